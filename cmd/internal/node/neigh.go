package node

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// The neighbour table: who has which MAC on which port (RFC 826, RFC 4861). Entries are made
// for real servers and unicast peers only, so their number is bounded by the
// configuration; what the wire says updates entries and never makes one.

const (
	reachableTime = 30 * time.Second // how long an answer is believed without a new one
	probeInterval = time.Second      // between requests
	probeCount    = 3                // unicast requests before the entry is broadcast for again
	retryInterval = 5 * time.Second  // between requests for a neighbour that stays silent
	heldFrames    = 3                // frames that wait for one neighbour
)

type neighbour struct {
	addr     netip.Addr
	port     int
	timer    int
	mac      proto.MAC
	resolved bool
	probes   int // requests since the last answer
	held     []Send
}

// hop is where frames for one real server go: the number of its neighbour, or -1
// while no port has a prefix for it.
type hop int

// AnyPort says that the prefixes, or the routes, decide by which port somebody is reached.
const AnyPort = -1

// neighbourFor returns the number of the entry for addr, making it; -1 if no port
// has a prefix that holds addr. A link-local address is one of the port that asks.
func (n *Node) neighbourFor(port int, addr netip.Addr) int {
	scoped := addr.Is6() && addr.IsLinkLocalUnicast()
	for i := range n.neighbours {
		if nb := &n.neighbours[i]; nb.addr == addr && (nb.port == port || !scoped) {
			return i
		}
	}
	if !scoped {
		port = n.route(addr)
	}
	if port < 0 {
		return -1
	}
	n.exclusive()
	n.neighbours = append(n.neighbours, neighbour{addr: addr, port: port, timer: n.newTimer(timerNeighbour, len(n.neighbours))})
	return len(n.neighbours) - 1
}

// route returns the port whose longest prefix holds addr, or -1. Host prefixes
// are virtual addresses and say nothing about who is on the link.
func (n *Node) route(addr netip.Addr) int {
	best, bits := -1, -1
	for i := range n.ports {
		for _, p := range n.ports[i].prefixes {
			if p.Bits() > bits && p.Bits() < p.Addr().BitLen() && p.Contains(addr) && !n.ports[i].link.Loopback {
				best, _ = n.outlet(i)
				bits = p.Bits()
			}
		}
	}
	return best
}

// Peer is a unicast peer of an instance, and the port by which advertisements go to it; or,
// with [AnyPort], a real server that may be behind a router.
type Peer struct {
	Port int
	Addr netip.Addr
}

// Peers lists the unicast peers and the servers of NAT and TUN, for the driver to look for
// their gateways.
func (n *Node) Peers() []Peer {
	var list []Peer
	for i := range n.instances {
		for _, a := range n.instances[i].cfg.UnicastPeers.Addrs() {
			list = append(list, Peer{n.instances[i].port, a})
		}
	}
	return append(list, n.farServers()...)
}

// routed takes the gateway towards a peer or server, which may be looked for at once. A MASTER in
// another network than its peer keeps it: the network of the virtual address is on its
// link only by name.
func (n *Node) routed(now time.Duration, ev Routed) {
	to := gateway{ev.Port, ev.Via}
	if ev.Port == AnyPort {
		to.port = ev.Out
	}
	if n.gateways[ev.Peer] == to || !ev.Via.IsValid() && !n.onLink(ev.Addr) {
		return
	}
	n.gateways[ev.Peer] = to
	switch {
	case !n.started:
	case ev.Port == AnyPort:
		n.reaim(now, ev.Addr)
	case ev.Via.IsValid():
		n.seek(now, ev.Port, ev.Via)
	}
}

// onLink tells whether addr is in the network of an address that is not virtual.
func (n *Node) onLink(addr netip.Addr) bool {
	for i := range n.ports {
		for _, p := range n.ports[i].prefixes {
			if p.Contains(addr) && !n.virtual(p.Addr()) {
				return true
			}
		}
	}
	return false
}

// nextHop is who gets the packets for a peer: itself, or the gateway towards it.
func (n *Node) nextHop(p Peer) netip.Addr {
	if via := n.gateways[p].addr; via.IsValid() {
		return via
	}
	return p.Addr
}

// probe asks for neighbour i and arms the timer for the next request.
func (n *Node) probe(now time.Duration, i int) {
	nb := &n.neighbours[i]
	p := &n.ports[nb.port]
	src, ok := n.sourceFor(nb.port, nb.addr)
	if p.link.Up && ok {
		n.emit(Send{Port: nb.port, Frame: nb.question(p.link.MAC, src)})
	}
	nb.probes++
	wait := probeInterval
	if nb.probes > probeCount {
		n.lose(nb)
		nb.held = nil // who sent them has given up, or sends again
		wait = retryInterval
	}
	n.timers.set(nb.timer, now+wait)
}

// question is the request of src at mac for the neighbour: to all, or to it alone where
// it is known (RFC 1122 §2.3.2.1, RFC 4861 §7.3.3).
func (nb *neighbour) question(mac proto.MAC, src netip.Addr) []byte {
	if nb.addr.Is6() {
		to := proto.MAC{}
		if nb.resolved {
			to = nb.mac
		}
		return proto.AppendSolicitation(make([]byte, 0, 86), mac, src, nb.addr, to)
	}
	dst := proto.Broadcast
	if nb.resolved {
		dst = nb.mac
	}
	f := proto.AppendEthernet(make([]byte, 0, 64), dst, mac, proto.EtherTypeARP)
	return proto.ARPMessage{Op: proto.ARPRequest, SenderMAC: mac, Sender: src, Target: nb.addr}.Append(f)
}

// sourceFor picks the address that a request for addr comes from: one of the
// port's own whose prefix holds addr, never a virtual address.
func (n *Node) sourceFor(port int, addr netip.Addr) (netip.Addr, bool) {
	for _, p := range n.ports[port].prefixes {
		if p.Contains(addr) && p.Addr() != addr && !n.virtual(p.Addr()) {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// heardARP learns from any ARP packet of a neighbour that is in the table
// (RFC 826: merge before looking at the operation).
func (n *Node) heardARP(now time.Duration, port int, frame proto.Ethernet) {
	arp, err := proto.ParseARP(frame.Payload())
	if err != nil || arp.SenderMAC().IsGroup() {
		return
	}
	n.heardNeighbour(now, port, arp.Sender(), arp.SenderMAC())
}

// heardNDP learns from the question or answer of a neighbour that is in the table: of who
// asks its own MAC, of who answers that of the target (RFC 4861 §7.2.3, §7.2.5).
func (n *Node) heardNDP(now time.Duration, port int, frame proto.Ethernet) {
	ip, err := proto.ParseIPv6(frame.Payload())
	if err != nil || ip.NextHeader() != proto.ProtocolICMPv6 {
		return
	}
	m, err := proto.ParseNDP(ip.Payload())
	if err != nil || !m.Valid(ip) {
		return
	}
	about := ip.Src()
	if m.Type() == proto.NeighbourAdvertisement {
		about = m.Target()
	}
	if mac, ok := m.LinkAddress(); ok && !mac.IsGroup() {
		n.heardNeighbour(now, port, about, mac)
	}
}

// heardNeighbour takes the MAC of an address that is in the table.
func (n *Node) heardNeighbour(now time.Duration, port int, addr netip.Addr, mac proto.MAC) {
	for i := range n.neighbours {
		if nb := &n.neighbours[i]; nb.addr == addr && nb.port == port {
			n.learn(now, i, mac)
		}
	}
}

// learn takes mac for neighbour i and lets the frames go that waited for it.
func (n *Node) learn(now time.Duration, i int, mac proto.MAC) {
	nb := &n.neighbours[i]
	if nb.mac != mac || !nb.resolved {
		n.exclusive()
		nb.mac, nb.resolved = mac, true
	}
	nb.probes = 0
	n.timers.set(nb.timer, now+reachableTime)
	for _, s := range nb.held {
		n.address(s.Frame, nb)
		n.emit(s)
	}
	nb.held = nil
}

// lose forgets the MAC of a neighbour.
func (n *Node) lose(nb *neighbour) {
	if nb.resolved {
		n.exclusive()
		nb.resolved = false
	}
}

// unresolved takes a frame that a worker has for a server whose MAC it does not know.
func (n *Node) unresolved(now time.Duration, ev Unresolved) {
	if int(ev.Server) >= len(n.hops) || n.hops[ev.Server] < 0 {
		return
	}
	h := n.hops[ev.Server]
	if nb := &n.neighbours[h]; nb.resolved { // meanwhile
		n.address(ev.Frame, nb)
		n.emit(Send{Port: nb.port, Head: ev.Head, Frame: ev.Frame})
		return
	}
	n.hold(now, int(h), ev.Head, ev.Frame)
}

// address writes the Ethernet addresses of a frame to neighbour nb.
func (n *Node) address(frame []byte, nb *neighbour) {
	eth := proto.Ethernet(frame)
	eth.SetDst(nb.mac)
	eth.SetSrc(n.ports[nb.port].link.MAC)
}

// hold keeps a copy of a frame until neighbour i answers, heldFrames at most.
// It reports whether there was room.
func (n *Node) hold(now time.Duration, i int, head, frame []byte) bool {
	nb := &n.neighbours[i]
	if len(nb.held) >= heldFrames {
		return false
	}
	if len(nb.held) == 0 && nb.probes > probeCount {
		nb.probes = 0 // somebody wants it: ask at once, not at the slow pace
		n.probe(now, i)
	}
	nb.held = append(nb.held, Send{Port: nb.port, Head: append([]byte(nil), head...), Frame: append([]byte(nil), frame...)})
	return true
}

// forget asks anew for everybody behind a port, as after its link came back.
func (n *Node) forget(now time.Duration, port int) {
	for i := range n.neighbours {
		if nb := &n.neighbours[i]; nb.port == port {
			n.lose(nb)
			nb.probes, nb.held = 0, nil
			n.probe(now, i)
		}
	}
}
