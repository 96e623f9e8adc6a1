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
		s.PersistenceMask = 32
	}
	if s.Scheduler != svc.Scheduler {
		scheduler, err := sched.New(s.Scheduler)
		if err != nil {
			return fmt.Errorf("service %v: %w", s.Key, err)
		}
		svc.sched = scheduler
	}
	svc.Service = s
	svc.sched.Changed(svc.view)
	return nil
}

// RemoveService takes a service out with all its servers. Its connections stay in the
// table until they expire; their packets are dropped, unless the service comes back with
// the same servers.
func (f *Forwarder) RemoveService(k ServiceKey) {
	svc := f.service(k)
	for len(svc.view) > 0 {
		f.RemoveServer(k, f.servers[svc.view[0].ID].Addr)
	}
	svc.local, svc.gone = false, true
	delete(f.byKey, k.pack())
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
