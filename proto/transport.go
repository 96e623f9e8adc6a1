package proto

import "encoding/binary"

// Flags of TCP (RFC 9293 §3.1).
const (
	TCPFin = 1 << iota
	TCPSyn
	TCPRst
	TCPPsh
	TCPAck
)

// TCP is a view of one segment's header (RFC 9293 §3.1).
//
//	0          2          4     8     12         13      14       16         18       20
//	+----------+----------+-----+-----+----------+-------+--------+----------+--------+
//	| src port | dst port | seq | ack | offset,0 | flags | window | checksum | urgent |
//	+----------+----------+-----+-----+----------+-------+--------+----------+--------+
type TCP []byte

const tcpLen = 20

// ParseTCP checks the length of the header with its options.
func ParseTCP(b []byte) (TCP, error) {
	if len(b) < tcpLen {
		return nil, ErrShort
	}
	header := int(b[12]>>4) * 4
	if header < tcpLen {
		return nil, ErrFormat
	}
	if header > len(b) {
		return nil, ErrShort
	}
	return TCP(b), nil
}

// SrcPort is the source port.
func (t TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(t) }

// DstPort is the destination port.
func (t TCP) DstPort() uint16 { return binary.BigEndian.Uint16(t[2:]) }

// Seq is the sequence number.
func (t TCP) Seq() uint32 { return binary.BigEndian.Uint32(t[4:]) }

// Ack is the acknowledgment number.
func (t TCP) Ack() uint32 { return binary.BigEndian.Uint32(t[8:]) }

// HeaderLen is the length of the header with its options, in bytes.
func (t TCP) HeaderLen() int { return int(t[12]>>4) * 4 }

// Flags are the control bits.
func (t TCP) Flags() uint8 { return t[13] }

// Payload is the data of the segment.
func (t TCP) Payload() []byte { return t[t.HeaderLen():] }

// TCPHeader is a header without options to be written.
type TCPHeader struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            uint8
	Window           uint16
}

// Append appends the 20 bytes of the header with checksum 0.
func (h TCPHeader) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, h.SrcPort)
	b = binary.BigEndian.AppendUint16(b, h.DstPort)
	b = binary.BigEndian.AppendUint32(b, h.Seq)
	b = binary.BigEndian.AppendUint32(b, h.Ack)
	b = append(b, tcpLen/4<<4, h.Flags)
	b = binary.BigEndian.AppendUint16(b, h.Window)
	return append(b, 0, 0, 0, 0)
}

// UDP is a view of one datagram (RFC 768).
//
//	0          2          4        6          8
//	+----------+----------+--------+----------+------
//	| src port | dst port | length | checksum | data
//	+----------+----------+--------+----------+------
type UDP []byte

const udpLen = 8

// ParseUDP checks that b holds a header. The length field is not held against b:
// the first fragment of a datagram is shorter than it says.
func ParseUDP(b []byte) (UDP, error) {
	if len(b) < udpLen {
		return nil, ErrShort
	}
	return UDP(b), nil
}

// SrcPort is the source port.
func (u UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(u) }

// DstPort is the destination port.
func (u UDP) DstPort() uint16 { return binary.BigEndian.Uint16(u[2:]) }

// AppendReset appends the whole IPv4 packet that answers a TCP segment to which no
// connection belongs (RFC 9293 §3.10.7.1). It appends nothing to a segment that is
// itself a reset, not TCP, not whole, or a fragment.
func AppendReset(b []byte, ip IPv4) []byte {
	t, err := ParseTCP(ip.Payload())
	if err != nil || ip.Protocol() != ProtocolTCP || ip.FragmentOffset() != 0 || t.Flags()&TCPRst != 0 {
		return b
	}
	h := TCPHeader{SrcPort: t.DstPort(), DstPort: t.SrcPort(), Flags: TCPRst}
	if t.Flags()&TCPAck != 0 {
		h.Seq = t.Ack()
	} else {
		h.Flags |= TCPAck
		h.Ack = t.Seq() + uint32(len(t.Payload()))
		if t.Flags()&(TCPSyn|TCPFin) != 0 {
			h.Ack++
		}
	}
	b = IPv4Header{DF: true, TTL: 64, Protocol: ProtocolTCP, Src: ip.Dst(), Dst: ip.Src()}.Append(b, tcpLen)
	at := len(b)
	b = h.Append(b)
	binary.BigEndian.PutUint16(b[at+16:], PseudoChecksum(ip.Dst(), ip.Src(), ProtocolTCP, b[at:]))
	return b
}

// Types and codes of ICMP (RFC 792).
const (
	ICMPUnreachable     = 3
	ICMPPortUnreachable = 3 // code
	ICMPTimeExceeded    = 11
)

// icmpQuoted is how much of the packet's payload an error carries (RFC 792: the
// header and 64 bits).
const icmpQuoted = 8

// AppendPortUnreachable appends the IPv4 packet that tells the sender of ip that its
// port is not served. Nothing is appended where RFC 1122 §3.2.2 forbids an error: to
// fragments but the first, to ICMP errors, to group and broadcast addresses.
func AppendPortUnreachable(b []byte, ip IPv4) []byte {
	return appendICMPError(b, ip, ICMPUnreachable, ICMPPortUnreachable)
}

// AppendTimeExceeded appends the IPv4 packet that tells the sender of ip that its TTL
// ran out here, under the same conditions.
func AppendTimeExceeded(b []byte, ip IPv4) []byte {
	return appendICMPError(b, ip, ICMPTimeExceeded, 0)
}

func appendICMPError(b []byte, ip IPv4, typ, code uint8) []byte {
	if ip.FragmentOffset() != 0 || ip.Protocol() == ProtocolICMP || ip.Dst().IsMulticast() || !ip.Src().IsGlobalUnicast() {
		return b
	}
	quoted := ip[:min(len(ip), ip.HeaderLen()+icmpQuoted)]
	b = IPv4Header{TTL: 64, Protocol: ProtocolICMP, Src: ip.Dst(), Dst: ip.Src()}.Append(b, 8+len(quoted))
	at := len(b)
	b = append(b, typ, code, 0, 0, 0, 0, 0, 0)
	b = append(b, quoted...)
	binary.BigEndian.PutUint16(b[at+2:], Checksum(b[at:]))
	return b
}
