package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/fsm"
)

func (n *Node) addressChanged(now time.Duration, ev AddressChanged) {
	p := &n.ports[ev.Port]
	known := slices.Contains(p.prefixes, ev.Prefix)
	switch {
	case ev.Present && !known: // in the kernel's order, of which the first is the primary
		p.prefixes = append(p.prefixes, ev.Prefix)
	case !ev.Present:
		defer n.addressLost(now, ev.Port, ev.Prefix, known)
		p.prefixes = slices.DeleteFunc(p.prefixes, func(q netip.Prefix) bool { return q == ev.Prefix })
	}
	n.localChanged(ev.Prefix.Addr())
	for i := range n.services {
		if s := &n.services[i]; n.started && s.cfg.HASuspend {
			n.suspend(s, false)
		}
	}
	n.refit(now, ev.Prefix.Addr())
	for i := range n.instances {
		if n.instances[i].port == ev.Port {
			n.instanceSource(now, i)
		}
	}
	n.resolveHops(now)
}

// addressLost looks whether an address that the kernel has lost is missed: one that was
// there, is virtual or static, and was not removed by this node.
func (n *Node) addressLost(now time.Duration, port int, prefix netip.Prefix, known bool) {
	addr := prefix.Addr()
	switch {
	case n.removing[addr] > 0:
		n.removing[addr]--
	case known:
		n.staticLost(port, prefix)
		n.virtualLost(now, port, addr)
		n.restoreSources(addr)
	}
	if bare := !slices.ContainsFunc(n.ports[port].prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }); bare {
		n.restoreRoutes(port)
	}
}

// virtualLost tells the instances that have the address there. Elsewhere, as on the loopback of
// a real server, it is none of theirs.
func (n *Node) virtualLost(now time.Duration, port int, addr netip.Addr) {
	for i := range n.instances {
		in := &n.instances[i]
		if a, ok := in.vips[addr]; !ok || a.NoTrack || a.Device != n.ports[port].link.Name {
			continue
		}
		if in.fsm.State() == fsm.Master {
			n.emit(Restored{Instance: in.cfg.Name, Addr: addr})
		}
		n.stepInstance(now, i, fsm.VIPLost{Addr: addr})
	}
}

// addAddress asks for the address and takes it for present at once: the kernel's
// own word comes only after the frames that the gratuitous ARP attracts.
func (n *Node) addAddress(a config.Address) {
	n.emit(AddAddress{a})
	n.setLocal(a.Prefix.Addr(), true)
}

func (n *Node) removeAddress(a config.Address) {
	n.emit(RemoveAddress{a})
	if n.local(a.Prefix.Addr()) {
		n.removing[a.Prefix.Addr()]++
	}
	n.setLocal(a.Prefix.Addr(), false)
}

// localChanged tells the forwarder whether addr is one of this host's, or a virtual one that
// another node has. Whose loopback alone has a virtual address is a real server of that node:
// its packets are for the local stack, not to be shared out again.
func (n *Node) localChanged(addr netip.Addr) {
	away := n.virtual(addr)
	here := n.local(addr) && !(away && n.onLoopback(addr))
	n.all(func(f *forward.Forwarder) {
		f.SetLocal(addr, here)
		f.SetAway(addr, !here && away)
	})
}

// local tells whether any interface has addr.
func (n *Node) local(addr netip.Addr) bool {
	for i := range n.ports {
		for _, p := range n.ports[i].prefixes {
			if p.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// onLoopback tells whether no interface but the loopback has addr.
func (n *Node) onLoopback(addr netip.Addr) bool {
	return !slices.ContainsFunc(n.ports, func(p port) bool {
		return !p.link.Loopback && slices.ContainsFunc(p.prefixes, func(q netip.Prefix) bool { return q.Addr() == addr })
	})
}

// virtual tells whether addr is a virtual address of any instance.
func (n *Node) virtual(addr netip.Addr) bool {
	for i := range n.instances {
		if _, ok := n.instances[i].vips[addr]; ok {
			return true
		}
	}
	return false
}
