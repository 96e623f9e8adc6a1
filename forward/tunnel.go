package forward

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/ringkeep/ringkeep/proto"
)

// Header lengths of the tunnels, in bytes.
const (
	gueLen       = 4 // without options
	gueRemoteLen = 8 // private flags and the option of the remote checksum
	greLen       = 4
	greSumLen    = 4 // checksum and reserved
)

// headerLen is by how much a packet grows in the tunnel to an address of IPv6 (six) or
// IPv4. The option of a remote checksum is counted where it is used.
func (t Tunnel) headerLen(six, remote bool) int {
	n := proto.IPv4Len
	if six {
		n = proto.IPv6Len
	}
	switch t.Type {
	case GUE:
		n += udpLen + gueLen
		if remote {
			n += gueRemoteLen
		}
	case GRE:
		n += greLen
		if t.Sum == Sum {
			n += greSumLen
		}
	}
	return n
}

// most is the most that headerLen can be.
func (t Tunnel) most(six bool) int { return t.headerLen(six, t.Sum == RemoteSum) }

// entry is the near end of a tunnel.
type entry struct {
	Tunnel
	src, dst netip.Addr
	seed     uint64
}

// outside is what differs from packet to packet.
type outside struct {
	id             uint16 // of an outer IPv4 header
	remote         bool   // the checksum inside is left to the far end
	sumFrom, sumAt int    // with remote, in the inner packet: what it sums, and its field
}

// wrap writes the headers of the tunnel into the free bytes at the beginning of b; the
// packet follows them, whose TTL the director has decremented. The outer header has its
// TTL, its class with ECN as full functionality wants it (RFC 3168 §9.1.1) and its DF.
func (e entry) wrap(b []byte, o outside) {
	six := e.dst.Is6()
	n := e.headerLen(six, o.remote)
	inner := proto.IP(b[n:])
	h := b[:0:n]
	tos, protocol := classOf(inner), e.protocol(inner)
	length, df := len(b)-proto.IPv4Len, !inner.Is6() && proto.IPv4(inner).DontFragment()
	if six {
		length = len(b) - proto.IPv6Len
		h = proto.IPv6Header{TrafficClass: tos, NextHeader: protocol, HopLimit: inner.TTL(), Src: e.src, Dst: e.dst}.Append(h, length)
	} else {
		h = proto.IPv4Header{TOS: tos, ID: o.id, DF: df, TTL: inner.TTL(), Protocol: protocol, Src: e.src, Dst: e.dst}.Append(h, length)
	}
	switch e.Type {
	case GUE:
		e.gue(h, b[len(h):], inner, o)
	case GRE:
		e.gre(h, b[len(h):], inner)
	}
}

// protocol is what the outer header is followed by.
func (e entry) protocol(inner proto.IP) uint8 {
	switch e.Type {
	case GUE:
		return proto.ProtocolUDP
	case GRE:
		return proto.ProtocolGRE
	}
	return family(inner)
}

// family is the number of a packet in a packet.
func family(inner proto.IP) uint8 {
	if inner.Is6() {
		return proto.ProtocolIPv6
	}
	return proto.ProtocolIPv4
}

// classOf is the outer type of service: ECN-capable where the packet is, but not marked.
func classOf(inner proto.IP) uint8 {
	var tos uint8
	if inner.Is6() {
		tos = proto.IPv6(inner).TrafficClass()
	} else {
		tos = proto.IPv4(inner).TOS()
	}
	const ecn, congested, capable = 3, 3, 2
	if tos&ecn == congested {
		return tos&^ecn | capable
	}
	return tos
}

// gue appends UDP and the header of GUE, version 0 and no control message, to h. The
// payload from UDP on is datagram, which h runs into.
//
//	0        1          2       4
//	| 0 hlen | protocol | flags | private flags | checksum from | checksum at | packet ...
func (e entry) gue(h, datagram []byte, inner proto.IP, o outside) {
	const private, remoteSum = 1, 1 << 31
	h = proto.UDPHeader{SrcPort: e.flow(inner), DstPort: e.Port}.Append(h, len(datagram)-udpLen)
	if o.remote {
		h = append(h, gueRemoteLen/4, family(inner), 0, private)
		h = binary.BigEndian.AppendUint32(h, remoteSum)
		h = binary.BigEndian.AppendUint16(h, uint16(o.sumFrom))
		_ = binary.BigEndian.AppendUint16(h, uint16(o.sumAt))
	} else {
		_ = append(h, 0, family(inner), 0, 0)
	}
	if e.Sum != NoSum {
		proto.SealUDP(datagram, e.src, e.dst)
	}
}

// gre appends the header of GRE (RFC 2784 §2.1) to h. The payload from it on is message.
//
//	0                2          4          6
//	| checksum? 0    | protocol | checksum | 0      | packet ...
func (e entry) gre(h, message []byte, inner proto.IP) {
	var flags uint16
	if e.Sum == Sum {
		flags = 1 << 15
	}
	kind := proto.EtherTypeIPv4
	if inner.Is6() {
		kind = proto.EtherTypeIPv6
	}
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint16(h, kind)
	if e.Sum == Sum {
		_ = append(h, 0, 0, 0, 0)
		binary.BigEndian.PutUint16(message[greLen:], proto.Checksum(message))
	}
}

// flow is the source port of a flow's packets, so that routers keep them on one path and
// flows on several: of the dynamic ports (RFC 6335 §6).
func (e entry) flow(inner proto.IP) uint16 {
	p, err := parse(inner)
	if err != nil {
		return dynamicPorts
	}
	var ports uint64
	if !p.first && !p.later && len(p.payload) >= 4 {
		ports = uint64(binary.BigEndian.Uint32(p.payload))
	}
	hi, lo := bits.Mul64(p.src.lo^e.seed, p.dst.lo^0x9e3779b97f4a7c15)
	hi, lo = bits.Mul64(hi^lo^p.src.hi^ports, p.dst.hi^0xd6e8feb86659fd93^uint64(p.protocol)<<32)
	return dynamicPorts | uint16(hi^lo)&^dynamicPorts
}

const dynamicPorts = 0xc000
