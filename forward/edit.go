package forward

import (
	"fmt"

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

// EditServer gives a server of the list other attributes, as IPVS's edit does: it keeps its
// place, its number and its connections, whose packets go by its new method from now on. With
// weight 0 it gets no new ones, but through a persistence template. The service must exist.
func (f *Forwarder) EditServer(k ServiceKey, s Server) (id int, err error) {
	svc, i := f.service(k), f.find(k, s.Addr)
	if err := s.check(k); err != nil {
		return 0, err
	}
	if i < 0 || !f.servers[i].present {
		return 0, fmt.Errorf("server %v of %v: not there", s.Addr, k)
	}
	f.equip(&f.servers[i], s)
	if at := svc.place(i); at >= 0 {
		svc.view[at].Weight = s.Weight
		f.count(i, 0, 0)
		svc.sched.Changed(svc.view)
	}
	return int(i), nil
}

// RemoveService takes a service out with all its servers. Its connections stay in the
// table until they expire; their packets are dropped, unless the service comes back with
// the same servers. Its own counters begin anew then.
func (f *Forwarder) RemoveService(k ServiceKey) {
	svc := f.service(k)
	svc.wish = Serve
	for _, id := range svc.members {
		f.servers[id].present, f.servers[id].wish = false, Serve
	}
	for id := range svc.all {
		f.steer(id)
	}
	svc.local, svc.gone = false, true
	delete(f.byKey, k.place())
}
