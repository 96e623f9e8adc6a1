package node

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
)

// gateway is the neighbour by which a peer or a server is reached, and its port; without an
// address that is the peer itself.
type gateway struct {
	port int
	addr netip.Addr
}

// farServers lists the real servers that may be behind a router: those of NAT and TUN.
func (n *Node) farServers() []Peer {
	var list []Peer
	add := func(r *config.RealServer) {
		if r != nil && (r.Method.Forwarding == "NAT" || r.Method.Forwarding == "TUN") {
			list = append(list, Peer{AnyPort, r.Addr.Addr()})
		}
	}
	for i := range n.services {
		if n.services[i].cfg.InKernel() {
			continue
		}
		for _, r := range n.services[i].cfg.RealServers {
			add(r)
		}
		add(n.services[i].cfg.SorryServer)
	}
	return list
}

// aim finds the way to the server with that number: its neighbour, which is the gateway
// where there is one and the method allows that.
func (n *Node) aim(now time.Duration, id int) {
	s, ok := n.fwd.Server(int32(id))
	if !ok || !travels(s.Method) {
		return
	}
	to := n.towards(s)
	n.hops[id] = hop(n.seek(now, to.port, to.addr))
	n.tellPath(id)
}

// towards is the neighbour that gets the packets for a server.
func (n *Node) towards(s forward.Server) gateway {
	addr := s.Addr.Addr()
	if g := n.gateways[Peer{AnyPort, addr}]; g.addr.IsValid() && s.Method != forward.DR {
		return g
	}
	return gateway{AnyPort, addr}
}

// travels tells whether packets of the method leave this host.
func travels(m forward.Method) bool {
	return m == forward.DR || m == forward.NAT || m == forward.TUN
}

// reaim follows a route to a server.
func (n *Node) reaim(now time.Duration, to netip.Addr) {
	for id := range n.hops {
		if s, ok := n.fwd.Server(int32(id)); ok && s.Addr.Addr() == to {
			n.aim(now, id)
		}
	}
}

// tellPath tells the forwarder about the link towards a server.
func (n *Node) tellPath(id int) {
	h := n.hops[id]
	if h < 0 {
		return
	}
	nb := &n.neighbours[h]
	s, _ := n.fwd.Server(int32(id))
	p := forward.Path{MTU: n.ports[nb.port].link.MTU}
	if s.Method == forward.TUN {
		p.Source = n.tunnelSource(nb.port, s.Addr.Addr())
	}
	n.fwd.SetPath(int32(id), p)
}

// tellMTUs tells the forwarder about all links.
func (n *Node) tellMTUs() {
	for i := range n.ports {
		n.fwd.SetPortMTU(i, n.ports[i].link.MTU)
	}
	for id := range n.hops {
		n.tellPath(id)
	}
}

// tunnelSource is the address that the packets of a tunnel come from: one of the port's own
// in the network of the server, else the first of its family that is not only of the link;
// never a virtual address.
func (n *Node) tunnelSource(port int, to netip.Addr) netip.Addr {
	if a, ok := n.sourceFor(port, to); ok {
		return a
	}
	for _, p := range n.ports[port].prefixes {
		if a := p.Addr(); a.Is4() == to.Is4() && !a.IsLinkLocalUnicast() && !n.virtual(a) {
			return a
		}
	}
	return netip.Addr{}
}

// resolveHops tries again for the servers that no port had a prefix for, and for the
// source of the tunnels.
func (n *Node) resolveHops(now time.Duration) {
	for id, h := range n.hops {
		s, ok := n.fwd.Server(int32(id))
		switch {
		case !ok || !travels(s.Method):
		case h >= 0 && s.Method == forward.TUN:
			n.tellPath(id)
		case h < 0 && n.route(n.towards(s).addr) >= 0:
			n.aim(now, id)
		}
	}
}
