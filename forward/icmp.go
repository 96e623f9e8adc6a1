package forward

import (
	"encoding/binary"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// icmp finds the connection that an ICMP error is about (RFC 792, RFC 4443): the error quotes
// a packet from the virtual service to the client, and goes to the client's server; or a packet
// from the client to a NAT server, and goes to the client. With NAT the quotation is
// rewritten, too, but for the checksum of TCP or UDP in it.
func (f *Forwarder) icmp(now time.Duration, p packet) Decision {
	m, err := proto.ParseICMP(p.payload)
	if err != nil || !reports(p, m.Type()) {
		return Decision{}
	}
	if d, ok := f.lost(now, p, m); ok {
		return d
	}
	q, ok := quoted(m.Payload())
	if !ok {
		return Decision{}
	}
	sport, dport, _ := proto.Ports(q.payload)
	if i := f.table.find(key{client: q.dst, virtual: q.src, cport: dport, vport: sport, protocol: q.protocol}); i != 0 && p.dst == q.src {
		return f.errorIn(p, q, i)
	}
	if f.nat && p.dst == q.src {
		if i := f.findAnswer(q.src, q.dst, sport, dport, q.protocol); i != 0 {
			return f.errorOut(p, q, i)
		}
	}
	return Decision{}
}

// errorIn takes an error about a packet of the service to the server.
func (f *Forwarder) errorIn(p, q packet, i int32) Decision {
	c := f.table.at(i)
	rs := &f.servers[c.server]
	if f.standing(c.server) != Forward {
		return Decision{Verdict: ServerGone} // the kernel has seen it, too
	}
	if rs.Method == NAT {
		if !p.icmpOK() {
			return Decision{Verdict: Malformed}
		}
		q.readdress(source, rs.addr)
		binary.BigEndian.PutUint16(q.payload, c.rport)
		p.readdress(destination, rs.addr)
		p.sealICMP()
		p.protocol, p.later = 0, true // nothing more to redirect
	}
	return f.transmit(Ingress{}, p, c.server, 0)
}

// errorOut takes an error about a packet of the client to the client.
func (f *Forwarder) errorOut(p, q packet, i int32) Decision {
	c := f.table.at(i)
	if !p.icmpOK() {
		return Decision{Verdict: Malformed}
	}
	if p.ip.TTL() <= 1 {
		return Decision{Verdict: TTLExceeded}
	}
	q.readdress(destination, c.virtual)
	binary.BigEndian.PutUint16(q.payload[2:], c.vport)
	p.readdress(source, c.virtual)
	p.sealICMP()
	return f.giveBack(f.tooLongBack(Ingress{}, p, c.port), p, i)
}

// icmpSum is the sum that the checksum of a message is made of: that of ICMPv6 has a
// pseudo-header.
func (p packet) icmpSum() proto.Sum {
	s := proto.Sum(0).Add(p.payload)
	if p.ip.Is6() {
		s = s.Add(p.ip[8:40]) + proto.Sum(len(p.payload)) + proto.Sum(proto.ProtocolICMPv6)
	}
	return s
}

func (p packet) icmpOK() bool { return p.icmpSum().Fold() == 0xffff }

func (p packet) sealICMP() {
	field := p.payload[2:4]
	field[0], field[1] = 0, 0
	binary.BigEndian.PutUint16(field, p.icmpSum().Checksum())
}

// reports tells which ICMP messages are about a connection: unreachable, source quench
// and time exceeded, and every error of ICMPv6.
func reports(p packet, typ uint8) bool {
	if p.ip.Is6() {
		return p.protocol == proto.ProtocolICMPv6 && typ < 128
	}
	return p.protocol == proto.ProtocolICMP && (typ == proto.ICMPUnreachable || typ == proto.ICMPSourceQuench || typ == proto.ICMPTimeExceeded)
}

// quoted takes the packet apart that an error quotes, of the beginning of which the ports are
// there at least; ok is false for none, and for a later fragment.
func quoted(b []byte) (q packet, ok bool) {
	switch {
	case len(b) >= proto.IPv4Len && b[0]>>4 == 4:
		ip := proto.IPv4(b)
		ports := ip.HeaderLen()
		if ports < proto.IPv4Len || len(b) < ports+4 || ip.FragmentOffset() != 0 {
			return packet{}, false
		}
		return packet{ip: proto.IP(ip), src: addr4(b[12:]), dst: addr4(b[16:]), protocol: ip.Protocol(), payload: b[ports:]}, true
	case len(b) >= proto.IPv6Len && b[0]>>4 == 6:
		ip := proto.IPv6(b)
		protocol, payload, later, err := ip.Transport()
		if err != nil || later || len(payload) < 4 {
			return packet{}, false
		}
		return packet{ip: proto.IP(ip), src: addr6(b[8:]), dst: addr6(b[24:]), protocol: protocol, payload: payload}, true
	}
	return packet{}, false
}
