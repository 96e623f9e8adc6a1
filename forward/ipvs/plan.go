package ipvs

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/ringkeep/ringkeep/forward"
)

// Op is what a command does.
type Op uint8

// The operations.
const (
	AddService Op = iota
	EditService
	DeleteService
	AddServer
	EditServer
	DeleteServer
)

// Command is one change to the kernel's services. Of the service a command for a server
// uses the key only, of the server one that deletes only the address.
type Command struct {
	Op       Op
	Service  Service
	Server   Server
	Restores bool // what somebody else had changed
}

// Plan lists what makes the services in the kernel those that are wanted: nothing where they
// are the same already. A service that is not wanted is deleted if it is mine, and left
// alone if it is somebody else's; one that is wanted has exactly the wanted servers. Of a
// service new servers come before old ones go, so that it is never without.
func Plan(want, have []Service, mine func(forward.ServiceKey) bool) (list []Command) {
	find := func(in []Service, key forward.ServiceKey) int {
		return slices.IndexFunc(in, func(s Service) bool { return s.Key == key })
	}
	for _, h := range have {
		if find(want, h.Key) < 0 && mine(h.Key) {
			list = append(list, Command{Op: DeleteService, Service: h})
		}
	}
	for _, w := range want {
		i := find(have, w.Key)
		if i < 0 {
			list = append(list, Command{Op: AddService, Service: w})
			list = append(list, planServers(w, nil)...)
			continue
		}
		if !w.same(&have[i]) {
			list = append(list, Command{Op: EditService, Service: w})
		}
		list = append(list, planServers(w, have[i].Servers)...)
	}
	return list
}

func planServers(w Service, have []Server) (list []Command) {
	find := func(in []Server, s Server) int {
		return slices.IndexFunc(in, func(o Server) bool { return o.Addr == s.Addr })
	}
	for _, s := range w.Servers {
		switch i := find(have, s); {
		case i < 0:
			list = append(list, Command{Op: AddServer, Service: w, Server: s})
		case have[i].Server != s.Server:
			list = append(list, Command{Op: EditServer, Service: w, Server: s})
		}
	}
	for _, s := range have {
		if find(w.Servers, s) < 0 {
			list = append(list, Command{Op: DeleteServer, Service: w, Server: s})
		}
	}
	return list
}

// same tells whether two services are the same but for their servers.
func (s *Service) same(o *Service) bool {
	return s.Scheduler == o.Scheduler && s.Flags == o.Flags && s.Timeout == o.Timeout && s.Engine == o.Engine &&
		netmask(s.Key.Addr.Addr(), s.Mask) == netmask(o.Key.Addr.Addr(), o.Mask)
}

// Do carries a command out. What is there already, or gone already, is no error.
func (k *Kernel) Do(c Command) error {
	switch c.Op {
	case AddService:
		return c.Service.explain(except(k.AddService(c.Service), syscall.EEXIST))
	case EditService:
		return c.Service.explain(k.SetService(c.Service))
	case DeleteService:
		return except(k.DeleteService(c.Service.Key), syscall.ESRCH)
	case AddServer:
		return except(k.AddServer(c.Service.Key, c.Server), syscall.EEXIST)
	case EditServer:
		return k.SetServer(c.Service.Key, c.Server)
	case DeleteServer:
		return except(k.DeleteServer(c.Service.Key, c.Server), syscall.ENOENT)
	}
	panic(fmt.Sprintf("ipvs: operation %d", c.Op))
}

// explain names the module that the kernel did not find.
func (s *Service) explain(err error) error {
	switch {
	case !errors.Is(err, syscall.ENOENT):
		return err
	case s.Engine != "":
		return fmt.Errorf("%w: this kernel lacks the scheduler %s (module ip_vs_%s) or the engine %s (module ip_vs_pe_%s)", err, s.Scheduler, s.Scheduler, s.Engine, s.Engine)
	}
	return fmt.Errorf("%w: this kernel lacks the scheduler %s (module ip_vs_%s)", err, s.Scheduler, s.Scheduler)
}

func except(err error, harmless syscall.Errno) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// Reconciler keeps the kernel's services as they are wanted. It remembers which it was asked
// for, and never deletes another.
type Reconciler struct {
	kernel *Kernel
	mine   map[forward.ServiceKey]bool
	last   []Service // what was there after the last call
}

// NewReconciler starts with no service of its own.
func NewReconciler(k *Kernel) *Reconciler {
	return &Reconciler{kernel: k, mine: map[forward.ServiceKey]bool{}}
}

// Apply makes the kernel's services those that are wanted, and returns the commands which
// that took: none where nothing had changed. After an error it goes on with the other
// services; the next call tries what failed again.
func (r *Reconciler) Apply(want []Service) (done []Command, err error) {
	have, err := r.kernel.Services()
	if err != nil {
		return nil, err
	}
	return r.reconcile(want, have)
}

func (r *Reconciler) reconcile(want, have []Service) (done []Command, err error) {
	mine := func(k forward.ServiceKey) bool { return r.mine[k] }
	strange := map[string]bool{} // what the last call had not left so
	for _, c := range Plan(r.last, have, func(forward.ServiceKey) bool { return false }) {
		strange[c.place()] = true
	}
	failed := map[forward.ServiceKey]bool{}
	for _, c := range Plan(want, have, mine) {
		if failed[c.Service.Key] {
			continue
		}
		if fault := r.kernel.Do(c); fault != nil {
			err, failed[c.Service.Key] = errors.Join(err, fault), true
			continue
		}
		c.Restores = strange[c.place()]
		done = append(done, c)
		if c.Op == DeleteService {
			delete(r.mine, c.Service.Key)
		}
	}
	for key := range r.mine {
		if !slices.ContainsFunc(have, func(s Service) bool { return s.Key == key }) {
			delete(r.mine, key) // it is gone: one that comes back is another's
		}
	}
	for _, s := range want {
		r.mine[s.Key] = true
	}
	r.last = slices.DeleteFunc(slices.Clone(want), func(s Service) bool { return failed[s.Key] })
	return done, err
}

// place is what a command is about.
func (c Command) place() string {
	if c.Op < AddServer {
		return c.Service.Key.String()
	}
	return c.Service.Key.String() + " " + c.Server.Addr.String()
}

// Release deletes the services that were asked for, with their servers.
func (r *Reconciler) Release() error {
	var err error
	for key := range r.mine {
		err = errors.Join(err, except(r.kernel.DeleteService(key), syscall.ESRCH))
	}
	clear(r.mine)
	return err
}
