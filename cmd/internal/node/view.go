package node

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/forward"
)

// InstanceView is how a VRRP instance stands: in State since Since, because of Cause.
type InstanceView struct {
	Name, Interface string
	VRID            uint8
	State           string
	Priority        uint8 // with tracking
	Since           time.Duration
	Cause           string
	Addresses       []netip.Prefix // virtual, in the order of the configuration
}

// Instances tells how the instances stand.
func (n *Node) Instances() []InstanceView {
	var list []InstanceView
	for i := range n.instances {
		in := &n.instances[i]
		v := InstanceView{
			Name: in.cfg.Name, Interface: in.cfg.Interface, VRID: in.cfg.VRID, State: in.fsm.State().String(), Priority: in.fsm.Priority(),
			Since: in.since, Cause: in.cause.String(),
		}
		for _, a := range in.addresses() {
			v.Addresses = append(v.Addresses, a.Prefix)
		}
		list = append(list, v)
	}
	return list
}

// ServerView is what the checks say of a real server.
type ServerView struct {
	Addr   netip.AddrPort
	Weight int              // as configured
	Up     bool             // no check fails
	Failed int              // checks
	Wish   forward.Steering // an operator's for it alone, of a service in the kernel
}

// ServiceView is a service of the forwarder or of the kernel's IPVS with its real servers in the order of the
// configuration.
type ServiceView struct {
	Key         forward.ServiceKey
	Quorum      bool           // reached
	SorryServer netip.AddrPort // zero without one
	Sorry       bool           // it stands in
	Servers     []ServerView
	Kernel      bool             // the kernel's IPVS has it, and not the forwarder
	Here        bool             // its address is on this host, or it is of a mark
	Wish        forward.Steering // an operator's, of a service in the kernel
}

// ServicesFrom appends to list how the services from number at on stand, until they have
// more than so many servers, so that the whole may be taken in slices. A virtual server of a
// group is as many services as it has addresses and marks. next is where to go on, -1 at the end.
func (n *Node) ServicesFrom(at, servers int, list []ServiceView) (_ []ServiceView, next int) {
	number := 0
	for i := range n.services {
		s := &n.services[i]
		for k := max(0, at-number); k < len(s.keys); k++ {
			if servers < 0 {
				return list, number + k
			}
			list = append(list, n.serviceView(s, s.keys[k]))
			servers -= len(s.servers)
		}
		number += len(s.keys)
	}
	return list, -1
}

func (n *Node) serviceView(s *service, k forward.ServiceKey) ServiceView {
	v := ServiceView{
		Key: k, Quorum: s.quorum, Sorry: s.sorry, Kernel: s.cfg.InKernel(), Here: k.Mark != 0 || n.local(k.Addr.Addr()),
		Wish: n.programming.wishes[wished{service: k}],
	}
	if c := s.cfg.SorryServer; c != nil && n.serves(s, k, c) {
		v.SorryServer = n.server(s, k, c, 0).Addr
	}
	for i := range s.servers {
		if rs := &s.servers[i]; n.serves(s, k, rs.cfg) {
			addr := n.server(s, k, rs.cfg, 0).Addr
			v.Servers = append(v.Servers, ServerView{addr, rs.cfg.Weight, rs.alive, rs.failed, n.programming.wishes[wished{k, addr}]})
		}
	}
	return v
}
