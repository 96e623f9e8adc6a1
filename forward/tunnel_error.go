package forward

import (
	"encoding/binary"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// lost handles an ICMP error about a packet of one of our tunnels, which came back to its
// entry: ok is false for any other. What it says of the MTU is learned, and the client is
// to be told (RFC 2003 §4, RFC 2473 §8), unless it did not ask to be: where the packet
// inside has no DF it is cut from now on.
func (f *Forwarder) lost(now time.Duration, p packet, m proto.ICMP) (d Decision, ok bool) {
	q := m.Payload()
	t, inner, ok := peel(q)
	if !ok || !p.icmpOK() {
		return Decision{}, false
	}
	mtu, big := tooBig(p, m)
	in, ok := quoted(inner)
	if !ok { // eight bytes, as RFC 792 asks for: the client is told when it sends the next packet
		return f.lostUnseen(now, t, mtu, big)
	}
	sport, dport, _ := proto.Ports(in.payload)
	i := f.table.find(key{client: in.src, virtual: in.dst, cport: sport, vport: dport, protocol: in.protocol})
	if i == 0 {
		return Decision{}, false
	}
	server := f.table.at(i).server
	rs := &f.servers[server]
	if !rs.enters(t) {
		return Decision{}, false
	}
	d = Decision{Verdict: TunnelError, Server: server, Hop: f.hop(i), Inner: uint16(len(p.ip) - len(inner))}
	if !big {
		return d, true
	}
	f.learn(now, rs.addr, mtu)
	d.MTU = int(rs.fits)
	switch {
	case in.ip.Is6():
		d.MTU = max(d.MTU, leastMTU6)
	case !proto.IPv4(in.ip).DontFragment():
		d.Verdict = TunnelMTU
	}
	return d, true
}

// lostUnseen is the same for an error that does not tell whose packet it was.
func (f *Forwarder) lostUnseen(now time.Duration, t tunnelled, mtu int, big bool) (d Decision, ok bool) {
	for i := range f.servers {
		if rs := &f.servers[i]; big && rs.enters(t) {
			f.learn(now, rs.addr, mtu)
			return Decision{Verdict: TunnelMTU, Server: int32(i)}, true
		}
	}
	return Decision{}, false
}

// tunnelled is whose packet it was, by its outer headers.
type tunnelled struct {
	src, dst addr
	kind     TunnelType
	port     uint16 // of GUE
}

// enters tells whether packets like t are those of the tunnel to the server.
func (s *server) enters(t tunnelled) bool {
	return s.Method == TUN && s.Tunnel.Type == t.kind && s.addr == t.dst && s.path.Source.IsValid() &&
		toAddr(s.path.Source) == t.src && (t.kind != GUE || s.Tunnel.Port == t.port)
}

// peel takes the headers of a tunnel off a packet that was cut; what is inside may have
// been cut away. ok is false for a packet of no tunnel.
func peel(q []byte) (t tunnelled, inner []byte, ok bool) {
	var protocol uint8
	switch {
	case len(q) >= proto.IPv4Len && q[0]>>4 == 4:
		ip := proto.IPv4(q)
		if ip.HeaderLen() < proto.IPv4Len || ip.HeaderLen() > len(q) || ip.FragmentOffset() != 0 {
			return t, nil, false
		}
		t.src, t.dst, protocol, inner = addr4(q[12:]), addr4(q[16:]), ip.Protocol(), ip.Payload()
	case len(q) >= proto.IPv6Len && q[0]>>4 == 6:
		var later bool
		var err error
		t.src, t.dst = addr6(q[8:]), addr6(q[24:])
		if protocol, inner, later, err = proto.IPv6(q).Transport(); err != nil || later || t.src.is4() || t.dst.is4() {
			return t, nil, false
		}
	default:
		return t, nil, false
	}
	size := 0
	switch {
	case protocol == proto.ProtocolIPv4 || protocol == proto.ProtocolIPv6:
	case protocol == proto.ProtocolGRE && len(inner) >= greLen:
		t.kind, size = GRE, greLen
		if inner[0]&0x80 != 0 {
			size += greSumLen
		}
	case protocol == proto.ProtocolUDP && len(inner) >= udpLen:
		t.kind, t.port, size = GUE, binary.BigEndian.Uint16(inner[2:]), udpLen+gueLen
		if len(inner) > udpLen {
			size += int(inner[udpLen]&31) * 4
		}
	default:
		return t, nil, false
	}
	return t, inner[min(size, len(inner)):], true
}

// tooBig tells the MTU that an error is about, 0 from a router that does not tell.
func tooBig(p packet, m proto.ICMP) (mtu int, ok bool) {
	if p.ip.Is6() {
		const packetTooBig = 2
		return int(min(m.Rest(), longestPacket)), m.Type() == packetTooBig
	}
	return int(uint16(m.Rest())), m.Type() == proto.ICMPUnreachable && m.Code() == proto.ICMPCodeFragNeeded
}

// AppendTunnelError appends the packet that tells the client what became of its packet, of
// which the packet b, with the verdict [TunnelError], has told us.
func AppendTunnelError(to []byte, d Decision, b []byte) []byte {
	p, err := parse(b)
	if err != nil {
		return to
	}
	return proto.AppendTunnelError(to, proto.IP(p.ip[d.Inner:]), p.ip.Is6(), p.payload[0], p.payload[1], d.MTU)
}
