package forward

import (
	"cmp"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/sched"
)

// ServerStatus is one server as it stands. Wish is what an operator set for it alone.
type ServerStatus struct {
	Server
	Present                   bool
	Overload                  bool // above its upper threshold
	Wish, Steering            Steering
	Active, Inactive, Persist uint32
	Stats
	Rates Rates
}

// ServiceStatus is one service as it stands, its servers in list order, the removed
// ones that still have connections behind them.
type ServiceStatus struct {
	Service
	Local bool
	Wish  Steering
	Stats
	Rates   Rates
	Servers []ServerStatus
}

// Add adds how the same service stands in another forwarder with the same servers: there the
// rest of its connections is. The thresholds are added, too; above them is a server that is so
// in both.
func (s *ServiceStatus) Add(o ServiceStatus) {
	s.Stats, s.Rates = s.Stats.plus(o.Stats), s.Rates.plus(o.Rates)
	for _, b := range o.Servers {
		i := slices.IndexFunc(s.Servers, func(a ServerStatus) bool { return a.Addr == b.Addr })
		if i < 0 { // removed, with connections in the other one only
			s.Servers = append(s.Servers, b)
			continue
		}
		a := &s.Servers[i]
		a.Overload = a.Overload && b.Overload
		a.Upper, a.Lower = a.Upper+b.Upper, a.Lower+b.Lower
		a.Active, a.Inactive, a.Persist = a.Active+b.Active, a.Inactive+b.Inactive, a.Persist+b.Persist
		a.Stats, a.Rates = a.Stats.plus(b.Stats), a.Rates.plus(b.Rates)
	}
}

func (s Stats) plus(o Stats) Stats {
	return Stats{s.Conns + o.Conns, s.Packets + o.Packets, s.Bytes + o.Bytes, s.OutPackets + o.OutPackets, s.OutBytes + o.OutBytes}
}

func (r Rates) plus(o Rates) Rates { return Rates(Stats(r).plus(Stats(o))) }

// Services tells how the services stand.
func (f *Forwarder) Services() []ServiceStatus {
	list, _ := f.ServicesFrom(0, len(f.servers), nil)
	return list
}

// ServicesFrom appends to list how the services from number at on stand, until they have
// more than so many servers, so that the whole may be taken in slices between packets. next
// is where to go on, -1 at the end.
func (f *Forwarder) ServicesFrom(at, servers int, list []ServiceStatus) (_ []ServiceStatus, next int) {
	for ; at < len(f.services); at++ {
		if servers < 0 {
			return list, at
		}
		if svc := &f.services[at]; !svc.gone {
			list = append(list, f.serviceStatus(svc))
			servers -= len(svc.members)
		}
	}
	return list, -1
}

// Service tells how one service stands; ok is false for none.
func (f *Forwarder) Service(k ServiceKey) (s ServiceStatus, ok bool) {
	i, ok := f.byKey[k.place()]
	if !ok {
		return ServiceStatus{}, false
	}
	return f.serviceStatus(&f.services[i]), true
}

func (f *Forwarder) serviceStatus(svc *service) ServiceStatus {
	st := ServiceStatus{Service: svc.Service, Local: svc.local, Wish: svc.wish, Stats: svc.stats, Rates: svc.rate.rates()}
	members := slices.Clone(svc.members)
	slices.SortFunc(members, func(a, b int32) int {
		s, t := &f.servers[a], &f.servers[b]
		if s.present != t.present {
			if s.present {
				return -1
			}
			return 1
		}
		if s.present {
			return cmp.Compare(t.rank, s.rank)
		}
		return cmp.Compare(a, b)
	})
	for _, id := range members {
		if s := &f.servers[id]; s.present || s.active+s.inactive+s.persist > 0 {
			st.Servers = append(st.Servers, f.serverStatus(svc, id))
		}
	}
	return st
}

func (f *Forwarder) serverStatus(svc *service, id int32) ServerStatus {
	s := &f.servers[id]
	st := ServerStatus{
		Server: s.Server, Present: s.present, Wish: s.wish, Steering: s.steering,
		Active: s.active, Inactive: s.inactive, Persist: s.persist, Stats: s.stats, Rates: s.rate.rates(),
	}
	if at := svc.place(id); at >= 0 {
		st.Overload = svc.view[at].Overload
	}
	return st
}

// Size is how many chains the table's hash has.
func (f *Forwarder) Size() int { return cap(f.table.buckets) }

// Verdicts is how many verdicts there are, from 0 on.
const Verdicts = verdictCount

// seconds is a time as entries keep it.
func seconds(now time.Duration) uint32 { return uint32(now / time.Second) }

// numberOf is the number of a scheduler that sched.New knows.
func numberOf(name string) uint8 { return uint8(slices.Index(sched.Names, name)) }
