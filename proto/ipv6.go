package proto

import (
	"encoding/binary"
	"net/netip"
)

// IPv6Len is the length of an IPv6 header, in bytes.
const IPv6Len = 40

// IPv6 is a view of one packet, from the header to the end of the payload
// (RFC 8200 §3). Extension headers belong to the payload:
//
//	0                            4                6             7           8
//	| v  traffic class  flow     | payload length | next header | hop limit |
//	8        24            40
//	| source | destination | payload ...
type IPv6 []byte

const (
	ip6PayloadLen = 4
	ip6NextHeader = 6
	ip6HopLimit   = 7
	ip6Src        = 8
	ip6Dst        = 24

	ip6FlowMask = 0xfffff
)

// ParseIPv6 checks version and lengths and cuts the packet at its payload length, which
// takes the padding of short frames away. A jumbogram (RFC 2675) is not known.
func ParseIPv6(b []byte) (IPv6, error) {
	if len(b) < IPv6Len {
		return nil, ErrShort
	}
	if b[0]>>4 != 6 {
		return nil, ErrVersion
	}
	total := IPv6Len + int(binary.BigEndian.Uint16(b[ip6PayloadLen:]))
	if total > len(b) {
		return nil, ErrShort
	}
	return IPv6(b[:total:total]), nil
}

// TrafficClass is the byte that IPv4 calls TOS: DSCP and ECN.
func (p IPv6) TrafficClass() uint8 { return uint8(binary.BigEndian.Uint16(p) >> 4) }

// FlowLabel is a number of 20 bits that the packets of a flow share.
func (p IPv6) FlowLabel() uint32 { return binary.BigEndian.Uint32(p) & ip6FlowMask }

// NextHeader is the number of what the payload begins with.
func (p IPv6) NextHeader() uint8 { return p[ip6NextHeader] }

// HopLimit is the number of hops that are left.
func (p IPv6) HopLimit() uint8 { return p[ip6HopLimit] }

// Src is the source address.
func (p IPv6) Src() netip.Addr { return addr16(p[ip6Src:]) }

// Dst is the destination address.
func (p IPv6) Dst() netip.Addr { return addr16(p[ip6Dst:]) }

// Payload is what follows the header.
func (p IPv6) Payload() []byte { return p[IPv6Len:] }

// DecrementHopLimit takes one hop in place. The caller has made sure that there is one.
func (p IPv6) DecrementHopLimit() { p[ip6HopLimit]-- }

// IPv6Header is a header to be sent.
type IPv6Header struct {
	TrafficClass uint8
	FlowLabel    uint32 // 20 bits
	NextHeader   uint8
	HopLimit     uint8
	Src, Dst     netip.Addr // anything but IPv6 is written as ::
}

// Append appends the 40 bytes of h for a payload of payloadLen bytes, 65535 at most, that
// the caller appends next.
func (h IPv6Header) Append(b []byte, payloadLen int) []byte {
	b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(h.TrafficClass)<<20|h.FlowLabel&ip6FlowMask)
	b = binary.BigEndian.AppendUint16(b, uint16(payloadLen))
	b = append(b, h.NextHeader, h.HopLimit)
	return appendAddr16(appendAddr16(b, h.Src), h.Dst)
}

// SolicitedNode is the group of the hosts whose address ends like addr, in which they
// are asked for their MAC (RFC 4291 §2.7.1).
func SolicitedNode(addr netip.Addr) netip.Addr {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 0x01, 12: 0xff, a[13], a[14], a[15]})
}

// Next headers that are extension headers (RFC 8200 §4).
const (
	ip6HopByHop    = 0
	ip6Routing     = 43
	ip6Fragment    = 44
	ip6Destination = 60
)

// Transport finds what the extension headers end with: its protocol, its bytes, which
// alias p, and whether it is a fragment other than the first, whose bytes begin anywhere. It
// works on a packet that was cut, such as the one in an ICMPv6 error, as far as that goes:
// the error is [ErrShort] where a header is not whole.
func (p IPv6) Transport() (protocol uint8, payload []byte, later bool, err error) {
	protocol, payload = p[ip6NextHeader], p[IPv6Len:]
	for {
		size := 8
		switch protocol {
		case ip6HopByHop, ip6Routing, ip6Destination:
			if len(payload) >= 8 {
				size += int(payload[1]) * 8
			}
		case ip6Fragment:
			if len(payload) >= 8 {
				later = binary.BigEndian.Uint16(payload[2:])>>3 != 0
			}
		default:
			return protocol, payload, false, nil
		}
		if len(payload) < size {
			return protocol, nil, false, ErrShort
		}
		protocol, payload = payload[0], payload[size:]
		if later {
			return protocol, payload, true, nil
		}
	}
}

// Fragment finds the fragment header: the identification, where the fragment belongs in the
// whole, in bytes, and whether more follow. ok is false for a packet that is none.
func (p IPv6) Fragment() (id uint32, offset int, more, ok bool) {
	next, rest := p[ip6NextHeader], p[IPv6Len:]
	for len(rest) >= 8 {
		switch next {
		case ip6HopByHop, ip6Routing, ip6Destination:
			size := 8 + int(rest[1])*8
			if size > len(rest) {
				return 0, 0, false, false
			}
			next, rest = rest[0], rest[size:]
		case ip6Fragment:
			at := binary.BigEndian.Uint16(rest[2:])
			return binary.BigEndian.Uint32(rest[4:]), int(at &^ 7), at&1 != 0, true
		default:
			return 0, 0, false, false
		}
	}
	return 0, 0, false, false
}

// IsFragment reports whether p is any part of a fragmented packet: one with a fragment
// header that does not stand for the whole (RFC 8200 §4.5, RFC 6946).
func (p IPv6) IsFragment() bool {
	_, offset, more, ok := p.Fragment()
	return ok && (offset != 0 || more)
}

// GroupMAC6 is the MAC of an IPv6 group (RFC 2464 §7).
func GroupMAC6(group netip.Addr) MAC {
	a := group.As16()
	return MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

// addr16 reads an IPv6 address from the first sixteen bytes of b.
func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }

// appendAddr16 appends an IPv6 address; any other becomes ::, so that an encoder never
// panics on an address that is not known yet.
func appendAddr16(b []byte, a netip.Addr) []byte {
	var x [16]byte
	if a.Is6() {
		x = a.As16()
	}
	return append(b, x[:]...)
}
