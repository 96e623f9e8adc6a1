package proto

import "encoding/binary"

// Answers of a director to a packet for one of its services. All of them come from
// the address that the packet was sent to, and an append that answers nothing
// returns b as it was.

const (
	replyTTL = 64
	// errorTOS is the precedence that RFC 1812 §4.3.2.5 wants for ICMP errors.
	errorTOS = 0xc0
	// errorMax is how long an ICMP error with its headers may be (RFC 1812 §4.3.2.3).
	errorMax = 576
)

// AppendPortUnreachable appends the whole IPv4 packet that says that nothing serves
// the port ip was sent to: ICMP type 3, code 3.
func AppendPortUnreachable(b []byte, ip IPv4) []byte {
	return appendICMPError(b, ip, ICMPUnreachable, ICMPCodePort)
}

// AppendTimeExceeded appends the whole IPv4 packet that says that the TTL of ip ran
// out here: ICMP type 11, code 0.
func AppendTimeExceeded(b []byte, ip IPv4) []byte {
	return appendICMPError(b, ip, ICMPTimeExceeded, ICMPCodeTTL)
}

// appendICMPError quotes as much of ip as fits. RFC 1122 §3.2.2 forbids errors about
// ICMP errors, other fragments than the first, and packets to or from a group.
func appendICMPError(b []byte, ip IPv4, typ, code uint8) []byte {
	if ip.FragmentOffset() != 0 || !fromOneHost(ip) {
		return b
	}
	if ip.Protocol() == ProtocolICMP {
		if m, err := ParseICMP(ip.Payload()); err != nil || m.IsError() {
			return b
		}
	}
	quote := ip[:min(len(ip), errorMax-IPv4Len-icmpLen)]
	b = answerTo(ip, ProtocolICMP, errorTOS).Append(b, icmpLen+len(quote))
	at := len(b)
	b = append(b, typ, code, 0, 0, 0, 0, 0, 0)
	b = append(b, quote...)
	binary.BigEndian.PutUint16(b[at+icmpChecksum:], Checksum(b[at:]))
	return b
}

// AppendReset appends the whole IPv4 packet that refuses a TCP segment for which no
// connection exists (RFC 9293 §3.10.7.1). A reset is never answered by a reset.
func AppendReset(b []byte, ip IPv4) []byte {
	if ip.Protocol() != ProtocolTCP || ip.IsFragment() || !fromOneHost(ip) {
		return b
	}
	h, ok := resetFor(ip.Payload())
	if !ok {
		return b
	}
	b = answerTo(ip, ProtocolTCP, 0).Append(b, tcpLen)
	at := len(b)
	b = h.Append(b)
	SealTCP(b[at:], ip.Dst(), ip.Src())
	return b
}

// resetFor is the header that refuses a segment; ok is false for what is none, or a reset.
func resetFor(segment []byte) (h TCPHeader, ok bool) {
	t, err := ParseTCP(segment)
	if err != nil || t.Flags()&TCPRst != 0 {
		return h, false
	}
	h = TCPHeader{SrcPort: t.DstPort(), DstPort: t.SrcPort()}
	if t.Flags()&TCPAck != 0 {
		h.Seq, h.Flags = t.Ack(), TCPRst
	} else {
		h.Ack, h.Flags = t.Seq()+t.SegmentLen(), TCPRst|TCPAck
	}
	return h, true
}

// answerTo is the header of an answer. It is an atomic datagram (DF, RFC 6864 §4.1),
// for which an identification of 0 will do.
func answerTo(ip IPv4, protocol, tos uint8) IPv4Header {
	return IPv4Header{TOS: tos, DF: true, TTL: replyTTL, Protocol: protocol, Src: ip.Dst(), Dst: ip.Src()}
}

// fromOneHost reports whether ip may be answered: a single host sent it to another.
func fromOneHost(ip IPv4) bool {
	src, dst := ip.Src(), ip.Dst()
	broadcast := [4]byte{255, 255, 255, 255}
	return src != dst && !src.IsMulticast() && !src.IsUnspecified() && !src.IsLoopback() && src.As4() != broadcast &&
		!dst.IsMulticast() && !dst.IsUnspecified() && dst.As4() != broadcast
}
