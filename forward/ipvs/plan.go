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
	Op      Op
	Service Service
	Server  Server
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
			list = append(list, Command{AddServer, w, s})
		case have[i].Server != s.Server:
			list = append(list, Command{EditServer, w, s})
		}
	}
	for _, s := range have {
		if find(w.Servers, s) < 0 {
			list = append(list, Command{DeleteServer, w, s})
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
		return except(k.AddService(c.Service), syscall.EEXIST)
	case EditService:
		return k.SetService(c.Service)
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
}

// NewReconciler starts with no service of its own.
func NewReconciler(k *Kernel) *Reconciler {
	return &Reconciler{kernel: k, mine: map[forward.ServiceKey]bool{}}
}

// Apply makes the kernel's services those that are wanted, and returns the commands which
// that took: none where nothing had changed. After an error it goes on with the others; the
// next call tries what failed again.
func (r *Reconciler) Apply(want []Service) (done []Command, err error) {
	have, err := r.kernel.Services()
	if err != nil {
		return nil, err
	}
	for _, c := range Plan(want, have, func(k forward.ServiceKey) bool { return r.mine[k] }) {
		if failed := r.kernel.Do(c); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		done = append(done, c)
		if c.Op == DeleteService {
			delete(r.mine, c.Service.Key)
		}
	}
	for _, s := range want {
		r.mine[s.Key] = true
	}
	return done, err
}
