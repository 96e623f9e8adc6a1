package sim

import (
	"net/netip"
	"slices"
	"time"

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

// receive is the host's network card.
func (h *host) receive(frame []byte) {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || !h.linkUp || eth.Dst() != h.mac && !eth.Dst().IsGroup() {
		return
	}
	if h.dir != nil {
		h.dir.receive(frame, eth)
	}
	switch eth.Type() {
	case proto.EtherTypeARP:
		h.arp(eth)
	case proto.EtherTypeIPv4:
		if eth.Dst() == h.mac && !(h.dir != nil && h.dir.serves(eth)) {
			h.packet(eth)
		}
	}
}

func (h *host) arp(eth proto.Ethernet) {
	a, err := proto.ParseARP(eth.Payload())
	if err != nil {
		return
	}
	mine := h.announces(a.Target())
	if e := h.cache[a.Sender()]; e != nil && (mine || a.Op() == 2 || a.IsGratuitous()) {
		h.learn(e, a.SenderMAC())
	} else if mine && a.Op() == 1 && a.Sender().IsValid() && !a.Sender().IsUnspecified() && a.Sender() != a.Target() {
		h.cache[a.Sender()] = &arpEntry{mac: a.SenderMAC(), known: true, fresh: h.w.now}
	}
	if mine && a.Op() == 1 && a.Sender() != a.Target() {
		h.arpSend(2, a.Target(), a.Sender(), a.SenderMAC(), a.SenderMAC())
	}
}

func (h *host) learn(e *arpEntry, mac proto.MAC) {
	if e.mac != mac {
		h.w.changed = true
	}
	e.mac, e.known, e.probing, e.tries, e.fresh = mac, true, false, 0, h.w.now
	waiting := e.waiting
	e.waiting = nil
	for _, f := range waiting {
		proto.Ethernet(f).SetDst(mac)
		h.w.send(h, f)
	}
}

func (h *host) arpSend(op uint16, sender, target netip.Addr, targetMAC, dst proto.MAC) {
	m := proto.ARPMessage{Op: op, SenderMAC: h.mac, Sender: sender, TargetMAC: targetMAC, Target: target}
	h.w.send(h, m.Append(proto.AppendEthernet(make([]byte, 0, 42), dst, h.mac, proto.EtherTypeARP)))
}

// sendIP sends an IPv4 packet, which begins at byte 14 of the frame, to a neighbour.
func (h *host) sendIP(to netip.Addr, frame []byte) {
	e := h.cache[to]
	if e == nil {
		e = &arpEntry{}
		h.cache[to] = e
	}
	if e.known {
		proto.Ethernet(frame).SetDst(e.mac)
		h.w.send(h, frame)
		if h.w.now-e.fresh > arpFresh && !e.probing {
			e.probing, e.tries = true, 0
			h.ask(to, e)
		}
		return
	}
	if len(e.waiting) < arpQueue {
		e.waiting = append(e.waiting, frame)
	}
	if e.tries == 0 {
		h.ask(to, e)
	}
}

var broadcast = proto.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ask sends a request: to the MAC that is known while that is in doubt, else to all.
func (h *host) ask(to netip.Addr, e *arpEntry) {
	e.tries++
	dst := broadcast
	if e.probing {
		dst = e.mac
	}
	h.arpSend(1, h.sourceFor(to), to, proto.MAC{}, dst)
	h.w.at(arpRetry, event{what: resolve, host: h, frame: to.AsSlice(), n: e.tries})
}

func (h *host) arpDue(ev *event) {
	to, _ := netip.AddrFromSlice(ev.frame)
	e := h.cache[to]
	switch {
	case e == nil || e.tries != ev.n || e.known && !e.probing:
	case e.tries < arpTries:
		h.ask(to, e)
	case e.probing:
		*e = arpEntry{}
	default:
		delete(h.cache, to)
	}
}

// sourceFor picks the address that the host uses towards another.
func (h *host) sourceFor(to netip.Addr) netip.Addr {
	for _, p := range h.own {
		if p.Contains(to) {
			return p.Addr()
		}
	}
	if len(h.own) > 0 {
		return h.own[0].Addr()
	}
	return netip.IPv4Unspecified()
}

// packet is the host's stack for packets to its own addresses.
func (h *host) packet(eth proto.Ethernet) {
	ip, err := proto.ParseIPv4(eth.Payload())
	if err != nil || !h.has(ip.Dst()) || !ip.ChecksumOK() {
		return
	}
	switch ip.Protocol() {
	case proto.ProtocolUDP:
		h.datagram(ip)
	case proto.ProtocolTCP:
		h.segment(ip)
	}
}

func (h *host) datagram(ip proto.IPv4) {
	u, err := proto.ParseUDP(ip.Payload())
	if err != nil || !u.ChecksumOK(ip.Src(), ip.Dst()) {
		return
	}
	if f := h.flowAt(ip, u.DstPort()); f != nil {
		f.answer(string(u.Payload()))
		return
	}
	if h.servers[service{proto.ProtocolUDP, u.DstPort()}] {
		h.sendIP(ip.Src(), udpFrame(h.mac, ip.Dst(), ip.Src(), u.DstPort(), u.SrcPort(), []byte(h.name)))
	}
}

func (h *host) flowAt(ip proto.IPv4, port uint16) *flow {
	for _, f := range h.w.flows {
		if f.from == h && f.port == port && f.to.Addr() == ip.Src() {
			return f
		}
	}
	return nil
}

func udpFrame(mac proto.MAC, src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	f := proto.AppendEthernet(make([]byte, 0, 64), proto.MAC{}, mac, proto.EtherTypeIPv4)
	f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolUDP, Src: src, Dst: dst}.Append(f, 8+len(payload))
	at := len(f)
	f = append(proto.UDPHeader{SrcPort: sport, DstPort: dport}.Append(f, len(payload)), payload...)
	proto.SealUDP(f[at:], src, dst)
	return f
}

func tcpFrame(mac proto.MAC, src, dst netip.AddrPort, seq, ack uint32, flags uint8, payload []byte) []byte {
	f := proto.AppendEthernet(make([]byte, 0, 80+len(payload)), proto.MAC{}, mac, proto.EtherTypeIPv4)
	f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: src.Addr(), Dst: dst.Addr()}.Append(f, 20+len(payload))
	at := len(f)
	f = append(proto.TCPHeader{SrcPort: src.Port(), DstPort: dst.Port(), Seq: seq, Ack: ack, Flags: flags, Window: 65535}.Append(f), payload...)
	proto.SealTCP(f[at:], src.Addr(), dst.Addr())
	return f
}

// setAddr adds or removes an address.
func (h *host) setAddr(p netip.Prefix, present bool) {
	i := slices.IndexFunc(h.addrs, func(o netip.Prefix) bool { return o.Addr() == p.Addr() })
	switch {
	case present && i < 0:
		h.addrs = append(h.addrs, p)
	case !present && i >= 0:
		h.addrs = slices.Delete(h.addrs, i, i+1)
	default:
		return
	}
	h.w.changed = true
	if h.dir != nil {
		h.dir.addressChanged(p, present)
	}
}
