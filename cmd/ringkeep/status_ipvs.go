package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/cmd/internal/status"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/forward/ipvs"
)

// inKernel lists those of the services that the kernel's IPVS has, as it has them. One that
// is not there (yet) has no scheduler and no servers.
func inKernel(views []node.ServiceView) (list []forward.ServiceStatus, err error) {
	if !slices.ContainsFunc(views, func(v node.ServiceView) bool { return v.Kernel }) {
		return nil, nil
	}
	have, err := kernelServices()
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if !v.Kernel {
			continue
		}
		one := forward.ServiceStatus{Service: forward.Service{Key: v.Key}}
		if s, ok := have[v.Key]; ok {
			one = s.Status()
		}
		list = append(list, steered(one, v))
	}
	return list, nil
}

// together makes one of the virtual servers that share a service of the kernel: the first, with
// the servers of all. A server is up where one of them has it so.
func together(views []node.ServiceView) (list []node.ServiceView) {
	at := map[forward.ServiceKey]int{}
	for _, v := range views {
		i, shared := at[v.Key]
		if !shared {
			at[v.Key] = len(list)
			list = append(list, v)
			continue
		}
		first := &list[i]
		for _, s := range v.Servers {
			k := slices.IndexFunc(first.Servers, func(o node.ServerView) bool { return o.Addr == s.Addr })
			if k < 0 {
				first.Servers = append(first.Servers, s)
				continue
			}
			one := &first.Servers[k]
			checks := append(one.Checks, s.Checks...)
			if !one.Up && s.Up {
				*one = s
			}
			one.Checks = checks
		}
		if !first.Sorry && (v.Sorry || !first.SorryServer.IsValid()) {
			first.Sorry, first.SorryServer = v.Sorry, v.SorryServer
		}
	}
	return list
}

// kernelServices reads them all; none where the kernel has no IPVS.
func kernelServices() (map[forward.ServiceKey]*ipvs.Service, error) {
	k, err := ipvs.Open()
	if errors.Is(err, ipvs.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer k.Close()
	list, err := k.Services()
	have := map[forward.ServiceKey]*ipvs.Service{}
	for i := range list {
		have[list[i].Key] = &list[i]
	}
	return have, err
}

// steered adds what the kernel does not know: whether the address is here, and what an
// operator wants. A server that fails is not there for that.
func steered(s forward.ServiceStatus, v node.ServiceView) forward.ServiceStatus {
	s.Local, s.Wish = v.Here, v.Wish
	for _, c := range v.Servers {
		steering := max(v.Wish, c.Wish)
		i := slices.IndexFunc(s.Servers, func(r forward.ServerStatus) bool { return r.Addr == c.Addr })
		if i < 0 {
			if steering == forward.Serve {
				continue
			}
			i = len(s.Servers)
			s.Servers = append(s.Servers, forward.ServerStatus{Server: forward.Server{Addr: c.Addr, Weight: int32(c.Weight)}})
		}
		s.Servers[i].Wish, s.Servers[i].Steering = c.Wish, steering
	}
	return s
}

// listed leaves out what the kernel does not have.
func listed(list []forward.ServiceStatus) []forward.ServiceStatus {
	return slices.DeleteFunc(list, func(s forward.ServiceStatus) bool { return s.Scheduler == "" })
}

// inRing tells whether the ring has services, or nobody has.
func inRing(views []node.ServiceView) bool {
	return len(views) == 0 || slices.ContainsFunc(views, func(v node.ServiceView) bool { return !v.Kernel })
}

// kernelSize is the number of chains of the kernel's table.
func kernelSize() (int, error) {
	k, err := ipvs.Open()
	if err != nil {
		return 0, err
	}
	defer k.Close()
	_, size, err := k.Version()
	return size, err
}

// writeKernelConns writes the lines of the kernel's connections, of all that it has.
func writeKernelConns(w io.Writer, json bool) error {
	f, err := os.Open(ipvs.ConnsFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	const piece = 1 << 16
	var text []byte
	for c, err := range ipvs.Conns(f) {
		if err != nil {
			return err
		}
		if json {
			text = status.AppendJSON(text, 0, &c)
		} else {
			text = status.AppendConn(text, 0, &c)
		}
		if len(text) > piece {
			if _, err := w.Write(text); err != nil {
				return err
			}
			text = text[:0]
		}
	}
	if len(text) == 0 {
		return nil
	}
	_, err = w.Write(text)
	return err
}

// timeouts are those of the ring, or where it has no services those of the kernel.
func (r *reloader) timeouts(ctx context.Context, views []node.ServiceView) (tcp, fin, udp time.Duration, err error) {
	if inRing(views) {
		err = r.between(ctx, func() { tcp, fin, udp = r.loop.Node.Forwarder().Timeouts() })
		return tcp, fin, udp, err
	}
	k, err := ipvs.Open()
	if err != nil {
		return 0, 0, 0, err
	}
	defer k.Close()
	return k.Timeouts()
}

// explainKernel says of a flow that the kernel forwards where its connections are to be seen.
func explainKernel(views []node.ServiceView, f forward.Flow) error {
	for _, v := range views {
		k := v.Key
		of := k.Mark != 0 && k.Mark == f.Mark && k.Addr.Addr().Is4() == f.Virtual.Addr().Is4()
		of = of || k.Mark == 0 && k.Protocol == f.Protocol && k.Addr.Addr() == f.Virtual.Addr() && (k.Addr.Port() == f.Virtual.Port() || k.Addr.Port() == 0)
		if v.Kernel && of {
			return fmt.Errorf("the kernel's IPVS forwards %v, which gives no reasons: \"ringkeep status -Lnc\" has its connections", k)
		}
	}
	return nil
}
