package sim

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

// arpEntry is what a host knows of a neighbour.
type arpEntry struct {
	mac     proto.MAC
	known   bool
	fresh   time.Duration // when it was last confirmed
	probing bool
	tries   int
	waiting [][]byte
}

const (
	arpFresh = 30 * time.Second // Linux: base_reachable_time
	arpRetry = time.Second
	arpTries = 3
	arpQueue = 16
)

// receive is the network card.
func (n *nic) receive(frame []byte) {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || !n.linkUp || !n.takes(eth.Dst()) && !eth.Dst().IsGroup() {
		return
	}
	h := n.host
	if h.dir != nil {
		h.dir.receive(n, frame, eth)
	}
	if r, ok := netlab.ParseResolution(eth); ok && eth.Type() == proto.EtherTypeIPv6 {
		n.ndp(r)
		return
	}
	switch eth.Type() {
	case proto.EtherTypeARP:
		n.arp(eth)
	case proto.EtherTypeIPv4, proto.EtherTypeIPv6:
		if !eth.Dst().IsGroup() && !(h.dir != nil && h.dir.serves(n, eth)) {
			h.packet(eth)
		}
	}
}

func (n *nic) arp(eth proto.Ethernet) {
	a, err := proto.ParseARP(eth.Payload())
	if err != nil {
		return
	}
	mine := n.host.announces(a.Target())
	if e := n.cache[a.Sender()]; e != nil && (mine || a.Op() == 2 || a.IsGratuitous()) {
		n.learn(e, a.SenderMAC())
	} else if mine && a.Op() == 1 && a.Sender().IsValid() && !a.Sender().IsUnspecified() && a.Sender() != a.Target() {
		n.cache[a.Sender()] = &arpEntry{mac: a.SenderMAC(), known: true, fresh: n.host.w.now}
	}
	if mine && a.Op() == 1 && a.Sender() != a.Target() {
		n.arpSend(2, n.macOf(a.Target()), a.Target(), a.Sender(), a.SenderMAC(), a.SenderMAC())
	}
}

// ndp is what ARP is for IPv6: an answer changes an entry and makes none, a question makes
// one for the asker (RFC 4861 §7.2.3, §7.2.5).
func (n *nic) ndp(r netlab.Resolution) {
	about := r.Addr
	if r.Question {
		about = r.Asker
	}
	mine := r.Question && n.host.announces(r.Addr)
	if e := n.cache[about]; e != nil && (mine || !r.Question) {
		n.learn(e, r.MAC)
	} else if mine {
		n.cache[about] = &arpEntry{mac: r.MAC, known: true, fresh: n.host.w.now}
	}
	if mine {
		mac := n.macOf(r.Addr)
		n.host.w.send(n, proto.AppendNDP(make([]byte, 0, 86), r.MAC, mac, r.Addr, r.Asker, proto.NDPMessage{
			Type: proto.NeighbourAdvertisement, Solicited: true, Override: true, Router: n.host.forwards, Target: r.Addr, MAC: mac,
		}))
	}
}

func (n *nic) learn(e *arpEntry, mac proto.MAC) {
	if e.mac != mac {
		n.host.w.changed = true
	}
	e.mac, e.known, e.probing, e.tries, e.fresh = mac, true, false, 0, n.host.w.now
	waiting := e.waiting
	e.waiting = nil
	for _, f := range waiting {
		proto.Ethernet(f).SetDst(mac)
		n.host.w.send(n, f)
	}
}

func (n *nic) arpSend(op uint16, mac proto.MAC, sender, target netip.Addr, targetMAC, dst proto.MAC) {
	m := proto.ARPMessage{Op: op, SenderMAC: mac, Sender: sender, TargetMAC: targetMAC, Target: target}
	n.host.w.send(n, m.Append(proto.AppendEthernet(make([]byte, 0, 42), dst, mac, proto.EtherTypeARP)))
}

// route finds where packets to an address leave, and who gets them: the address itself
// where an interface has its network, or the gateway.
func (h *host) route(to netip.Addr) (*nic, netip.Addr) {
	for _, hop := range [2]netip.Addr{to, h.via} {
		for _, n := range h.nics {
			for _, p := range n.own {
				if p.Contains(hop) {
					return n, hop
				}
			}
		}
	}
	return nil, to
}

// sendIP sends an IP packet, which begins at byte 14 of the frame.
func (h *host) sendIP(to netip.Addr, frame []byte) {
	if n, hop := h.route(to); n != nil {
		n.sendIP(hop, frame)
	}
}

func (n *nic) sendIP(to netip.Addr, frame []byte) {
	e := n.cache[to]
	if e == nil {
		e = &arpEntry{}
		n.cache[to] = e
	}
	proto.Ethernet(frame).SetSrc(n.mac)
	w := n.host.w
	if e.known {
		proto.Ethernet(frame).SetDst(e.mac)
		w.send(n, frame)
		if w.now-e.fresh > arpFresh && !e.probing {
			e.probing, e.tries = true, 0
			n.ask(to, e)
		}
		return
	}
	if len(e.waiting) < arpQueue {
		e.waiting = append(e.waiting, frame)
	}
	if e.tries == 0 {
		n.ask(to, e)
	}
}

// ask sends a request: to the MAC that is known while that is in doubt, else to all.
func (n *nic) ask(to netip.Addr, e *arpEntry) {
	e.tries++
	dst := proto.Broadcast
	if e.probing {
		dst = e.mac
	}
	if to.Is6() {
		if !e.probing {
			dst = proto.MAC{}
		}
		n.host.w.send(n, proto.AppendSolicitation(make([]byte, 0, 86), n.mac, n.host.sourceFor(to), to, dst))
	} else {
		n.arpSend(1, n.mac, n.host.sourceFor(to), to, proto.MAC{}, dst)
	}
	n.host.w.at(arpRetry, event{what: resolve, nic: n, frame: to.AsSlice(), n: e.tries})
}

func (n *nic) arpDue(ev *event) {
	to, _ := netip.AddrFromSlice(ev.frame)
	e := n.cache[to]
	switch {
	case e == nil || e.tries != ev.n || e.known && !e.probing:
	case e.tries < arpTries:
		n.ask(to, e)
	case e.probing:
		*e = arpEntry{}
	default:
		delete(n.cache, to)
	}
}

// sourceFor picks the address that the host uses towards another.
func (h *host) sourceFor(to netip.Addr) netip.Addr {
	n, hop := h.route(to)
	if n == nil {
		n = h.nics[0]
	}
	for _, p := range n.own {
		if p.Contains(hop) {
			return p.Addr()
		}
	}
	if len(n.own) > 0 {
		return n.own[0].Addr()
	}
	return netip.IPv4Unspecified()
}

// reach follows the routes to an address as it is now, and returns who has it.
func (h *host) reach(a netip.Addr) *host {
	for range maxHops {
		if h.has(a) {
			return h
		}
		n, hop := h.route(a)
		if n == nil || !n.linkUp {
			return nil
		}
		next := (*host)(nil)
		for _, o := range n.lan.nics {
			if o.linkUp && o.host.announces(hop) && h.w.network.Connected(h.name, o.host.name) {
				next = o.host
			}
		}
		if h = next; h == nil || !h.forwards && !h.has(a) {
			return nil
		}
	}
	return nil
}

// maxHops ends a walk in a circle.
const maxHops = 8

// packet is the host's stack: for its own addresses, and what a router passes on.
func (h *host) packet(eth proto.Ethernet) {
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil || !ip.ChecksumOK() {
		return
	}
	if !h.has(ip.Dst()) {
		if h.forwards && ip.TTL() > 1 && !ip.Dst().IsMulticast() {
			decrement(ip)
			h.sendIP(ip.Dst(), eth)
		}
		return
	}
	if h.dir != nil && h.dir.blocked[ip.Dst()] > 0 {
		return
	}
	switch ip.Protocol() {
	case proto.ProtocolUDP:
		h.datagram(ip)
	case proto.ProtocolTCP:
		h.segment(ip)
	}
}

// decrement takes one hop from a packet.
func decrement(ip proto.IP) {
	if ip.Is6() {
		proto.IPv6(ip).DecrementHopLimit()
	} else {
		proto.IPv4(ip).DecrementTTL()
	}
}

func (h *host) datagram(ip proto.IP) {
	u, err := proto.ParseUDP(ip.Payload())
	if err != nil || !u.ChecksumOK(ip.Src(), ip.Dst()) {
		return
	}
	if h.dir != nil && (u.DstPort() == proto.BFDPort || u.DstPort() == proto.BFDMultihopPort) {
		h.dir.heardBFD(ip, u)
		return
	}
	if f := h.flowAt(ip, u.DstPort()); f != nil {
		f.answer(string(u.Payload()))
		return
	}
	if h.servers[service{proto.ProtocolUDP, u.DstPort()}] {
		h.sendIP(ip.Src(), udpFrame(ip.Dst(), ip.Src(), u.DstPort(), u.SrcPort(), []byte(h.name)))
	}
}

func (h *host) flowAt(ip proto.IP, port uint16) *flow {
	for _, f := range h.w.flows {
		if f.from == h && f.port == port && f.to.Addr() == ip.Src() {
			return f
		}
	}
	return nil
}

// ordinaryTTL is what hosts send, or their hop limit.
const ordinaryTTL = 64

// ipFrame begins a frame of the family for so many bytes of payload.
func ipFrame(ttl, protocol uint8, src, dst netip.Addr, payload int) []byte {
	f := make([]byte, 0, 54+payload)
	if dst.Is6() {
		f = proto.AppendEthernet(f, proto.MAC{}, proto.MAC{}, proto.EtherTypeIPv6)
		return proto.IPv6Header{HopLimit: ttl, NextHeader: protocol, Src: src, Dst: dst}.Append(f, payload)
	}
	f = proto.AppendEthernet(f, proto.MAC{}, proto.MAC{}, proto.EtherTypeIPv4)
	return proto.IPv4Header{TTL: ttl, Protocol: protocol, Src: src, Dst: dst}.Append(f, payload)
}

func udpFrame(src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	return datagramFrame(ordinaryTTL, src, dst, sport, dport, payload)
}

func datagramFrame(ttl uint8, src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	f := ipFrame(ttl, proto.ProtocolUDP, src, dst, 8+len(payload))
	at := len(f)
	f = append(proto.UDPHeader{SrcPort: sport, DstPort: dport}.Append(f, len(payload)), payload...)
	proto.SealUDP(f[at:], src, dst)
	return f
}

func tcpFrame(src, dst netip.AddrPort, seq, ack uint32, flags uint8, payload []byte) []byte {
	f := ipFrame(ordinaryTTL, proto.ProtocolTCP, src.Addr(), dst.Addr(), 20+len(payload))
	at := len(f)
	f = append(proto.TCPHeader{SrcPort: src.Port(), DstPort: dst.Port(), Seq: seq, Ack: ack, Flags: flags, Window: 65535}.Append(f), payload...)
	proto.SealTCP(f[at:], src.Addr(), dst.Addr())
	return f
}
