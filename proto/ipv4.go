package proto

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers.
const (
	ProtocolICMP   uint8 = 1
	ProtocolIPv4   uint8 = 4 // a packet in a packet
	ProtocolTCP    uint8 = 6
	ProtocolUDP    uint8 = 17
	ProtocolIPv6   uint8 = 41
	ProtocolGRE    uint8 = 47
	ProtocolAH     uint8 = 51
	ProtocolICMPv6 uint8 = 58
	ProtocolVRRP   uint8 = 112
	ProtocolSCTP   uint8 = 132
)

// IPv4Len is the length of an IPv4 header without options, in bytes.
const IPv4Len = 20

// IPv4 is a view of one packet, from the header to the total length (RFC 791 §3.1):
//
//	 0       1       2               4               6
//	| v  hl | TOS   | total length  | ID            |flg| fragment  |
//	 8       9       10              12              16              20
//	| TTL   | proto | checksum      | source        | destination   | options ...
type IPv4 []byte

const (
	ip4TOS      = 1
	ip4Total    = 2
	ip4ID       = 4
	ip4Fragment = 6
	ip4TTL      = 8
	ip4Protocol = 9
	ip4Checksum = 10
	ip4Src      = 12
	ip4Dst      = 16

	ip4DF         = 0x4000
	ip4MF         = 0x2000
	ip4OffsetMask = 0x1fff
)

// ParseIPv4 checks version and lengths and cuts the packet at its total length, which
// takes the padding of short frames away. The header checksum is not looked at.
func ParseIPv4(b []byte) (IPv4, error) {
	if len(b) < IPv4Len {
		return nil, ErrShort
	}
	if b[0]>>4 != 4 {
		return nil, ErrVersion
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[ip4Total:]))
	if header < IPv4Len || total < header {
		return nil, ErrLength
	}
	if total > len(b) {
		return nil, ErrShort
	}
	return IPv4(b[:total:total]), nil
}

// HeaderLen is the length of the header with its options, 20 to 60 bytes.
func (p IPv4) HeaderLen() int { return int(p[0]&15) * 4 }

// TOS is the type of service byte: DSCP and ECN.
func (p IPv4) TOS() uint8 { return p[ip4TOS] }

// TotalLen is the length of header and payload in bytes; equal to len(p).
func (p IPv4) TotalLen() int { return int(binary.BigEndian.Uint16(p[ip4Total:])) }

// ID is the identification that the fragments of a packet share.
func (p IPv4) ID() uint16 { return binary.BigEndian.Uint16(p[ip4ID:]) }

// DontFragment is the DF flag.
func (p IPv4) DontFragment() bool { return p.fragment()&ip4DF != 0 }

// MoreFragments is the MF flag.
func (p IPv4) MoreFragments() bool { return p.fragment()&ip4MF != 0 }

// FragmentOffset is where the payload belongs in the whole packet, in bytes.
func (p IPv4) FragmentOffset() int { return int(p.fragment()&ip4OffsetMask) * 8 }

// IsFragment reports whether p is any part of a fragmented packet.
func (p IPv4) IsFragment() bool { return p.fragment()&(ip4MF|ip4OffsetMask) != 0 }

func (p IPv4) fragment() uint16 { return binary.BigEndian.Uint16(p[ip4Fragment:]) }

// TTL is the number of hops that are left.
func (p IPv4) TTL() uint8 { return p[ip4TTL] }

// Protocol is the number of what the payload is.
func (p IPv4) Protocol() uint8 { return p[ip4Protocol] }

// Checksum is the header checksum as it stands in the packet.
func (p IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(p[ip4Checksum:]) }

// ChecksumOK verifies the header checksum.
func (p IPv4) ChecksumOK() bool { return Sum(0).Add(p[:p.HeaderLen()]).Fold() == 0xffff }

// Src is the source address.
func (p IPv4) Src() netip.Addr { return addr4(p[ip4Src:]) }

// Dst is the destination address.
func (p IPv4) Dst() netip.Addr { return addr4(p[ip4Dst:]) }

// Payload is what follows the header and its options.
func (p IPv4) Payload() []byte { return p[p.HeaderLen():] }

// DecrementTTL takes one hop from the TTL in place and corrects the header checksum
// (RFC 1624). The caller has made sure that the TTL is not 0.
func (p IPv4) DecrementTTL() {
	old := binary.BigEndian.Uint16(p[ip4TTL:])
	p[ip4TTL]--
	now := binary.BigEndian.Uint16(p[ip4TTL:])
	binary.BigEndian.PutUint16(p[ip4Checksum:], UpdateChecksum(p.Checksum(), old, now))
}

// IPv4Header is a header without options, to be sent.
type IPv4Header struct {
	TOS      uint8
	ID       uint16
	DF       bool
	TTL      uint8
	Protocol uint8
	Src, Dst netip.Addr // anything but IPv4 is written as 0.0.0.0
}

// Append appends the 20 bytes of h, checksum included, for a payload of payloadLen
// bytes that the caller appends next. The sum of both must fit 16 bits.
func (h IPv4Header) Append(b []byte, payloadLen int) []byte {
	var flags uint16
	if h.DF {
		flags = ip4DF
	}
	at := len(b)
	b = append(b, 0x45, h.TOS)
	b = binary.BigEndian.AppendUint16(b, uint16(IPv4Len+payloadLen))
	b = binary.BigEndian.AppendUint16(b, h.ID)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, h.TTL, h.Protocol, 0, 0)
	b = appendAddr4(b, h.Src)
	b = appendAddr4(b, h.Dst)
	binary.BigEndian.PutUint16(b[at+ip4Checksum:], Checksum(b[at:]))
	return b
}
