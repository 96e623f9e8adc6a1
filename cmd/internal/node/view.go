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
	Weight int  // as configured
	Up     bool // no check fails
	Failed int  // checks
}

// ServiceView is a virtual service with its real servers in the order of the configuration.
type ServiceView struct {
	Key         forward.ServiceKey
	Quorum      bool           // reached
	SorryServer netip.AddrPort // zero without one
	Sorry       bool           // it stands in
	Servers     []ServerView
}

// ServicesFrom appends to list how the services from number at on stand, until they have
// more than so many servers, so that the whole may be taken in slices. next is where to go
// on, -1 at the end.
func (n *Node) ServicesFrom(at, servers int, list []ServiceView) (_ []ServiceView, next int) {
	for ; at < len(n.services); at++ {
		if servers < 0 {
			return list, at
		}
		s := &n.services[at]
		v := ServiceView{Key: s.key, Quorum: s.quorum, Sorry: s.sorry}
		if s.cfg.SorryServer != nil {
			v.SorryServer = s.cfg.SorryServer.Addr
		}
		for i := range s.servers {
			rs := &s.servers[i]
			v.Servers = append(v.Servers, ServerView{rs.cfg.Addr, rs.cfg.Weight, rs.alive, rs.failed})
		}
		list = append(list, v)
		servers -= len(s.servers)
	}
	return list, -1
}
