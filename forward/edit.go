package forward

import (
	"fmt"
	"net/netip"

	"github.com/ringkeep/ringkeep/sched"
)

// EditService gives a service another scheduler or persistence, as IPVS's edit does:
// servers, connections and templates stay. The service must exist.
func (f *Forwarder) EditService(s Service) error {
	svc := f.service(s.Key)
	if s.PersistenceMask == 0 {
		s.PersistenceMask = s.Key.Addr.Addr().BitLen()
	}
	if s.Scheduler != svc.Scheduler || s.Options != svc.Options {
		scheduler, err := sched.New(s.Scheduler, s.Options)
		if err != nil {
			return fmt.Errorf("service %v: %w", s.Key, err)
		}
		svc.sched, svc.by = scheduler, numberOf(s.Scheduler)
	}
	svc.Service = s
	svc.sched.Changed(svc.view)
	return nil
}

// SetThresholds edits from how many connections on a server takes no new ones, see [Server].
func (f *Forwarder) SetThresholds(k ServiceKey, addr netip.AddrPort, upper, lower uint32) {
	svc, id := f.service(k), f.find(k, addr)
	if id < 0 || !f.servers[id].present {
		return
	}
	rs := &f.servers[id]
	rs.Upper, rs.Lower = upper, lower
	f.count(id, 0, 0)
	svc.sched.Changed(svc.view) // any edit of a server tells the scheduler, as in the kernel
}

// RemoveService takes a service out with all its servers. Its connections stay in the
// table until they expire; their packets are dropped, unless the service comes back with
// the same servers.
func (f *Forwarder) RemoveService(k ServiceKey) {
	svc := f.service(k)
	svc.wish = Serve
	for _, id := range svc.members {
		f.servers[id].present, f.servers[id].wish = false, Serve
		f.steer(id)
	}
	svc.local, svc.gone = false, true
	delete(f.byKey, k.place())
}

// revive finds the number that a removed service had.
func (f *Forwarder) revive(k ServiceKey) (int32, bool) {
	for i := range f.services {
		if f.services[i].gone && f.services[i].Key == k {
			return int32(i), true
		}
	}
	return 0, false
}
