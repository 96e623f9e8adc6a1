package proto

import (
	"encoding/binary"
	"net/netip"
)

// Types of ICMPv6 by which neighbours find each other (RFC 4861 §4.3, §4.4).
const (
	NeighbourSolicitation  uint8 = 135
	NeighbourAdvertisement uint8 = 136
)

// NDPHopLimit is the hop limit of every message of neighbour discovery, so that none
// comes from behind a router (RFC 4861 §7.1).
const NDPHopLimit uint8 = 255

// AllNodes is the group of every node of the link (RFC 4291 §2.7.1).
var AllNodes = netip.IPv6LinkLocalAllNodes()

// NDP is a view of one neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4),
// the payload of an IPv6 packet:
//
//	0      1      2          4              8        24
//	| type | code | checksum | R S O, 0 ... | target | options ...
//
// Each option is its type, its length in units of 8 bytes, and its data (§4.6).
type NDP []byte

const (
	ndpChecksum = 2
	ndpFlags    = 4
	ndpTarget   = 8
	ndpLen      = 24

	ndpRouter    = 0x80
	ndpSolicited = 0x40
	ndpOverride  = 0x20

	ndpSourceLink = 1 // option in a solicitation: the sender's MAC
	ndpTargetLink = 2 // option in an advertisement: the target's MAC
	ndpLinkLen    = 8 // of both on Ethernet (RFC 2464 §6)
)

// ParseNDP accepts the two types only ([ErrType]) and checks that the options fill the
// message ([ErrLength]): after a nil error no accessor panics.
func ParseNDP(b []byte) (NDP, error) {
	if len(b) < ndpLen {
		return nil, ErrShort
	}
	if b[0] != NeighbourSolicitation && b[0] != NeighbourAdvertisement {
		return nil, ErrType
	}
	for rest := b[ndpLen:]; len(rest) > 0; {
		if len(rest) < 2 || rest[1] == 0 || int(rest[1])*8 > len(rest) {
			return nil, ErrLength
		}
		rest = rest[int(rest[1])*8:]
	}
	return NDP(b), nil
}

// Type is [NeighbourSolicitation] or [NeighbourAdvertisement].
func (m NDP) Type() uint8 { return m[0] }

// Code is 0 in what may be believed.
func (m NDP) Code() uint8 { return m[1] }

// Router, of an advertisement: the sender is one.
func (m NDP) Router() bool { return m[ndpFlags]&ndpRouter != 0 }

// Solicited, of an advertisement: it answers a question.
func (m NDP) Solicited() bool { return m[ndpFlags]&ndpSolicited != 0 }

// Override, of an advertisement: it replaces what is known of the target.
func (m NDP) Override() bool { return m[ndpFlags]&ndpOverride != 0 }

// Target is the address that is asked for, or that is told of.
func (m NDP) Target() netip.Addr { return addr16(m[ndpTarget:]) }

// LinkAddress is the MAC that the message tells: of its source where it asks, of its
// target where it answers. ok is false where it tells none, as in the probe of an address
// that is not yet used.
func (m NDP) LinkAddress() (mac MAC, ok bool) {
	want := uint8(ndpTargetLink)
	if m.Type() == NeighbourSolicitation {
		want = ndpSourceLink
	}
	for rest := m[ndpLen:]; len(rest) > 0; rest = rest[int(rest[1])*8:] {
		if rest[0] == want && rest[1] == ndpLinkLen/8 {
			return MAC(rest[2:8]), true
		}
	}
	return MAC{}, false
}

// Valid reports whether the message may be believed in the packet that brought it
// (RFC 4861 §7.1.1, §7.1.2): from this link, whole, about one host.
func (m NDP) Valid(ip IPv6) bool {
	_, told := m.LinkAddress()
	switch {
	case ip.NextHeader() != ProtocolICMPv6 || ip.HopLimit() != NDPHopLimit || m.Code() != 0 || m.Target().IsMulticast():
		return false
	case Sum(0).Add(m).AddPseudo(ip.Src(), ip.Dst(), ProtocolICMPv6, len(m)).Fold() != 0xffff:
		return false
	case m.Type() == NeighbourAdvertisement:
		return !(ip.Dst().IsMulticast() && m.Solicited())
	case ip.Src().IsUnspecified():
		return !told && ip.Dst() == SolicitedNode(m.Target())
	}
	return true
}

// NDPMessage is a neighbour solicitation or advertisement to be sent.
type NDPMessage struct {
	Type                        uint8
	Router, Solicited, Override bool // of an advertisement
	Target                      netip.Addr
	MAC                         MAC // of the source or of the target; zero for no option
}

// Append appends m, checksum included, for a packet between the two addresses.
func (m NDPMessage) Append(b []byte, src, dst netip.Addr) []byte {
	at := len(b)
	b = append(b, m.Type, 0, 0, 0, m.flags(), 0, 0, 0)
	b = appendAddr16(b, m.Target)
	if !m.MAC.IsZero() {
		option := byte(ndpTargetLink)
		if m.Type == NeighbourSolicitation {
			option = ndpSourceLink
		}
		b = append(append(b, option, ndpLinkLen/8), m.MAC[:]...)
	}
	sum := Sum(0).Add(b[at:]).AddPseudo(src, dst, ProtocolICMPv6, len(b)-at)
	binary.BigEndian.PutUint16(b[at+ndpChecksum:], sum.Checksum())
	return b
}

func (m NDPMessage) flags() (f byte) {
	for _, flag := range [...]struct {
		set bool
		bit byte
	}{{m.Router, ndpRouter}, {m.Solicited, ndpSolicited}, {m.Override, ndpOverride}} {
		if flag.set {
			f |= flag.bit
		}
	}
	return f
}

// AppendUnsolicitedNA appends the whole frame of 86 bytes that tells the link that vip is
// at mac (RFC 9568 §6.4.2). The source is vip itself, as keepalived sends it, and router
// is whether the sender forwards IPv6.
func AppendUnsolicitedNA(b []byte, mac MAC, vip netip.Addr, router bool) []byte {
	m := NDPMessage{Type: NeighbourAdvertisement, Router: router, Override: true, Target: vip, MAC: mac}
	return AppendNDP(b, GroupMAC6(AllNodes), mac, vip, AllNodes, m)
}

// AppendSolicitation appends the whole frame by which the host src at mac asks for the
// MAC of target: in its group, or of a neighbour that is known at to alone (RFC 4861
// §7.3.3).
func AppendSolicitation(b []byte, mac MAC, src, target netip.Addr, to MAC) []byte {
	dst := target
	if to.IsZero() {
		dst = SolicitedNode(target)
		to = GroupMAC6(dst)
	}
	return AppendNDP(b, to, mac, src, dst, NDPMessage{Type: NeighbourSolicitation, Target: target, MAC: mac})
}

// AppendNDP appends the whole frame of a message.
func AppendNDP(b []byte, to, from MAC, src, dst netip.Addr, m NDPMessage) []byte {
	n := ndpLen
	if !m.MAC.IsZero() {
		n += ndpLinkLen
	}
	b = AppendEthernet(b, to, from, EtherTypeIPv6)
	b = IPv6Header{NextHeader: ProtocolICMPv6, HopLimit: NDPHopLimit, Src: src, Dst: dst}.Append(b, n)
	return m.Append(b, src, dst)
}
