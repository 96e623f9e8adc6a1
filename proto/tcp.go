package proto

import (
	"encoding/binary"
	"net/netip"
)

// TCP flags, in the byte at offset 13.
const (
	TCPFin uint8 = 1 << iota
	TCPSyn
	TCPRst
	TCPPsh
	TCPAck
	TCPUrg
	TCPEce // RFC 3168 §6.1
	TCPCwr
)

// TCP is a view of one segment (RFC 9293 §3.1):
//
//	0          2          4          8          12   13      14       16         18
//	| src port | dst port | sequence | ack      |off | flags | window | checksum | urgent |
type TCP []byte

const (
	tcpLen      = 20
	tcpSeq      = 4
	tcpAck      = 8
	tcpOffset   = 12
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
)

// ParseTCP needs the whole header with its options. The checksum is not looked at:
// in frames of the local stack it may be partial.
func ParseTCP(b []byte) (TCP, error) {
	if len(b) < tcpLen {
		return nil, ErrShort
	}
	header := int(b[tcpOffset]>>4) * 4
	if header < tcpLen {
		return nil, ErrLength
	}
	if header > len(b) {
		return nil, ErrShort
	}
	return TCP(b), nil
}

// SrcPort is the port of the sender.
func (t TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(t) }

// DstPort is the port of the receiver.
func (t TCP) DstPort() uint16 { return binary.BigEndian.Uint16(t[2:]) }

// Seq is the sequence number of the first byte, or of the SYN.
func (t TCP) Seq() uint32 { return binary.BigEndian.Uint32(t[tcpSeq:]) }

// Ack is the next sequence number expected, with [TCPAck] set.
func (t TCP) Ack() uint32 { return binary.BigEndian.Uint32(t[tcpAck:]) }

// HeaderLen is the length of the header with its options, 20 to 60 bytes.
func (t TCP) HeaderLen() int { return int(t[tcpOffset]>>4) * 4 }

// Flags are the bits from [TCPFin] up.
func (t TCP) Flags() uint8 { return t[tcpFlags] }

// ChecksumOK verifies the checksum of a whole segment between two addresses.
func (t TCP) ChecksumOK(src, dst netip.Addr) bool {
	return Sum(0).AddPseudo(src, dst, ProtocolTCP, len(t)).Add(t).Fold() == 0xffff
}

// Payload is the data after the header.
func (t TCP) Payload() []byte { return t[t.HeaderLen():] }

// SegmentLen is SEG.LEN of RFC 9293 §3.3.1: the data, and one each for SYN and FIN.
func (t TCP) SegmentLen() uint32 {
	n := uint32(len(t) - t.HeaderLen())
	if t.Flags()&TCPSyn != 0 {
		n++
	}
	if t.Flags()&TCPFin != 0 {
		n++
	}
	return n
}

// TCPHeader is a header without options, to be sent.
type TCPHeader struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            uint8
	Window           uint16
}

// Append appends the 20 bytes of h with checksum 0. [SealTCP] fills that in when the
// data follows.
func (h TCPHeader) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, h.SrcPort)
	b = binary.BigEndian.AppendUint16(b, h.DstPort)
	b = binary.BigEndian.AppendUint32(b, h.Seq)
	b = binary.BigEndian.AppendUint32(b, h.Ack)
	b = append(b, tcpLen/4<<4, h.Flags)
	b = binary.BigEndian.AppendUint16(b, h.Window)
	return append(b, 0, 0, 0, 0)
}

// SealTCP fills in the checksum of a whole segment, in place.
func SealTCP(segment []byte, src, dst netip.Addr) {
	field := segment[tcpChecksum : tcpChecksum+2]
	field[0], field[1] = 0, 0
	s := Sum(0).AddPseudo(src, dst, ProtocolTCP, len(segment)).Add(segment)
	binary.BigEndian.PutUint16(field, s.Checksum())
}

// Ports reads the two ports that TCP and UDP share, also from a payload that is cut
// after them (a first fragment, the quotation in an ICMP error).
func Ports(b []byte) (src, dst uint16, ok bool) {
	if len(b) < 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
}
