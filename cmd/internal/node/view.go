package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
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
	Addr      netip.AddrPort
	Weight    int  // as configured
	Effective int  // with what checks add to it
	Inhibit   bool // inhibit_on_failure: it stays with weight 0 when it is down
	Up        bool // no check fails
	Failed    int  // checks
	Checks    []CheckView
	Wish      forward.Steering // an operator's for it alone, of a service in the kernel
}

// CheckView is a check with what is known of it.
type CheckView struct {
	Check     *config.Check // not to be changed
	Up        bool
	Known     bool          // a result has decided that; else it is what a check begins as
	Suspended bool          // by ha_suspend
	Failures  int           // in a row, of a check that is still up
	Left      int           // further ones that it may have before it is down
	Adjust    int           // what it adds to the weight of its server
	Shared    int           // checks of other services that ask the same
	Next      time.Duration // when it is tried next, 0 while it is, or tells its changes itself
	Last      Tried
}

// ScriptView is a tracking script with what is known of it.
type ScriptView struct {
	Name  string
	Up    bool
	Known bool // a result has decided that
	Last  Tried
}

// Scripts tells how the tracking scripts stand; those that nothing tracks do not run.
func (n *Node) Scripts() []ScriptView {
	var list []ScriptView
	for i := range n.scripts {
		if s := &n.scripts[i]; len(s.users) > 0 {
			list = append(list, ScriptView{s.cfg.Name, s.good >= s.cfg.Rise, s.good >= 0, s.last})
		}
	}
	return list
}

// ServiceView is a service of the forwarder or of the kernel's IPVS with its real servers in the order of the
// configuration.
type ServiceView struct {
	Key         forward.ServiceKey
	Quorum      bool           // reached
	Lost, Gain  int            // below which weight it is lost, at which it is gained
	Weight      int            // that counts for it
	SorryServer netip.AddrPort // zero without one
	Sorry       bool           // it stands in
	Servers     []ServerView
	Kernel      bool             // the kernel's IPVS has it, and not the forwarder
	Here        bool             // its address is on this host, or it is of a mark
	Wish        forward.Steering // an operator's, of a service in the kernel
}

// ServicesFrom appends to list how the services from number at on stand, until they have
// more than so many servers and checks, so that the whole may be taken in slices. A virtual server of a
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
			for range s.checks() {
				servers--
			}
		}
		number += len(s.keys)
	}
	return list, -1
}

func (n *Node) serviceView(s *service, k forward.ServiceKey) ServiceView {
	v := ServiceView{
		Key: k, Quorum: s.quorum, Lost: max(1, s.cfg.Quorum-s.cfg.Hysteresis), Gain: s.cfg.Quorum + s.cfg.Hysteresis, Weight: n.weight(s), Sorry: s.sorry,
		Kernel: s.cfg.InKernel(), Here: k.Mark != 0 || n.local(k.Addr.Addr()), Wish: n.programming.wishes[wished{service: k}],
	}
	if c := s.cfg.SorryServer; c != nil && n.serves(s, k, c) {
		v.SorryServer = n.server(s, k, c, 0).Addr
	}
	for i := range s.servers {
		if rs := &s.servers[i]; n.serves(s, k, rs.cfg) {
			addr := n.server(s, k, rs.cfg, 0).Addr
			one := ServerView{
				Addr: addr, Weight: rs.cfg.Weight, Effective: rs.weight(), Inhibit: rs.cfg.InhibitOnFailure, Up: rs.alive, Failed: rs.failed,
				Wish: n.programming.wishes[wished{k, addr}],
			}
			for c := rs.checks.from; c < rs.checks.to; c++ {
				one.Checks = append(one.Checks, n.checkView(&n.checks[c]))
			}
			v.Servers = append(v.Servers, one)
		}
	}
	return v
}

// With is the service with the servers of another virtual server that shares it in the kernel,
// too. A server of both is up if either says so.
func (v ServiceView) With(other ServiceView) ServiceView {
	v.Servers = slices.Clone(v.Servers)
	for _, s := range other.Servers {
		switch i := slices.IndexFunc(v.Servers, func(o ServerView) bool { return o.Addr == s.Addr }); {
		case i < 0:
			v.Servers = append(v.Servers, s)
		case s.Up && !v.Servers[i].Up:
			v.Servers[i] = s
		}
	}
	if !v.SorryServer.IsValid() {
		v.SorryServer = other.SorryServer
	}
	return v
}

func (n *Node) checkView(c *checker) CheckView {
	v := CheckView{
		Check: c.cfg, Up: c.up, Known: c.known, Suspended: n.services[c.service].suspended, Failures: c.failures, Left: c.left(), Adjust: c.adjust,
		Shared: max(0, len(c.equal)-1), Last: c.last,
	}
	if n.timers.pos[c.timer] >= 0 {
		v.Next = n.timers.at[c.timer]
	}
	return v
}
