package proto

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers.
const (
	ProtocolICMP = 1
	ProtocolTCP  = 6
	ProtocolUDP  = 17
	ProtocolAH   = 51
	ProtocolVRRP = 112
)

// IPv4 is a view of one IPv4 packet, cut at its total length (RFC 791 §3.1).
//
//	0        1     2              4    6                8     9          10         12    16    20
//	+--------+-----+--------------+----+----------------+-----+----------+----------+-----+-----+--------
//	| 4, IHL | TOS | total length | ID | flags, offset  | TTL | protocol | checksum | src | dst | options
//	+--------+-----+--------------+----+----------------+-----+----------+----------+-----+-----+--------
type IPv4 []byte

const ipv4Len = 20

// ParseIPv4 checks version and lengths and cuts what follows the total length
// (Ethernet padding).
func ParseIPv4(b []byte) (IPv4, error) {
	if len(b) < ipv4Len {
		return nil, ErrShort
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ipv4Len || total < header {
		return nil, ErrFormat
	}
	if total > len(b) {
		return nil, ErrShort
	}
	return IPv4(b[:total]), nil
}

// HeaderLen is the length of the header with its options, in bytes.
func (p IPv4) HeaderLen() int { return int(p[0]&15) * 4 }

// TOS is the type of service byte.
func (p IPv4) TOS() uint8 { return p[1] }

// ID is the identification.
func (p IPv4) ID() uint16 { return binary.BigEndian.Uint16(p[4:]) }

// DontFragment is the DF flag.
func (p IPv4) DontFragment() bool { return p[6]&0x40 != 0 }

// MoreFragments is the MF flag.
func (p IPv4) MoreFragments() bool { return p[6]&0x20 != 0 }

// FragmentOffset is the place of this fragment in the datagram, in bytes.
func (p IPv4) FragmentOffset() int { return int(binary.BigEndian.Uint16(p[6:])&0x1fff) * 8 }

// TTL is the time to live.
func (p IPv4) TTL() uint8 { return p[8] }

// Protocol is what the payload is.
func (p IPv4) Protocol() uint8 { return p[9] }

// ChecksumOK tells whether the header checksum is right.
func (p IPv4) ChecksumOK() bool { return Checksum(p[:p.HeaderLen()]) == 0 }

// Src is the source address.
func (p IPv4) Src() netip.Addr { return netip.AddrFrom4([4]byte(p[12:16])) }

// Dst is the destination address.
func (p IPv4) Dst() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// Payload is what follows the header.
func (p IPv4) Payload() []byte { return p[p.HeaderLen():] }

// DecrementTTL takes one off the TTL and mends the header checksum (RFC 1624 eqn. 3).
// The TTL must not be 0.
func (p IPv4) DecrementTTL() {
	p[8]--
	// The word that holds the TTL lost 0x0100, so its complement sum gains it.
	c := uint32(binary.BigEndian.Uint16(p[10:])) + 0x0100
	binary.BigEndian.PutUint16(p[10:], uint16(c+c>>16))
}

// IPv4Header is a header without options to be written.
type IPv4Header struct {
	TOS           uint8
	ID            uint16
	DF            bool
	TTL, Protocol uint8
	Src, Dst      netip.Addr
}

// Append appends the 20 bytes of the header, with its checksum, for a payload of
// payloadLen bytes.
func (h IPv4Header) Append(b []byte, payloadLen int) []byte {
	at := len(b)
	b = append(b, 0x45, h.TOS)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4Len+payloadLen))
	b = binary.BigEndian.AppendUint16(b, h.ID)
	var flags byte
	if h.DF {
		flags = 0x40
	}
	b = append(b, flags, 0, h.TTL, h.Protocol, 0, 0)
	b = appendAddr4(b, h.Src)
	b = appendAddr4(b, h.Dst)
	binary.BigEndian.PutUint16(b[at+10:], Checksum(b[at:at+ipv4Len]))
	return b
}
