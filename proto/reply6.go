package proto

import "encoding/binary"

// ICMPv6 errors and codes (RFC 4443 §3) with which a director answers.
const (
	ICMP6Unreachable  uint8 = 1
	ICMP6TimeExceeded uint8 = 3
	ICMP6CodePort     uint8 = 4 // of ICMP6Unreachable
	ICMP6CodeHopLimit uint8 = 0 // of ICMP6TimeExceeded

	icmp6Redirect      = 137
	icmp6Informational = 128 // the first type that is no error
)

// errorMax6 is how long an ICMPv6 error with its headers may be: what every link carries
// (RFC 4443 §2.4 c).
const errorMax6 = 1280

// AppendPortUnreachable6 appends the whole IPv6 packet that says that nothing serves the
// port ip was sent to: ICMPv6 type 1, code 4.
func AppendPortUnreachable6(b []byte, ip IPv6) []byte {
	return appendICMP6Error(b, ip, ICMP6Unreachable, ICMP6CodePort, 0)
}

// AppendTimeExceeded6 appends the whole IPv6 packet that says that the hop limit of ip ran
// out here: ICMPv6 type 3, code 0.
func AppendTimeExceeded6(b []byte, ip IPv6) []byte {
	return appendICMP6Error(b, ip, ICMP6TimeExceeded, ICMP6CodeHopLimit, 0)
}

// appendICMP6Error quotes as much of ip as fits. RFC 4443 §2.4 e forbids errors about ICMPv6
// errors and redirects, and about packets to a group or from what is no single host; others
// than the first fragment have nothing by which the error could be told to anybody.
func appendICMP6Error(b []byte, ip IPv6, typ, code uint8, rest uint32) []byte {
	protocol, payload, later, err := ip.Transport()
	if err != nil || later || !fromOneHost6(ip) {
		return b
	}
	if protocol == ProtocolICMPv6 && (len(payload) == 0 || payload[0] < icmp6Informational || payload[0] == icmp6Redirect) {
		return b
	}
	quote := ip[:min(len(ip), errorMax6-IPv6Len-icmpLen)]
	b = answerTo6(ip, ProtocolICMPv6).Append(b, icmpLen+len(quote))
	at := len(b)
	b = append(b, typ, code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, rest)
	b = append(b, quote...)
	sum := Sum(0).AddPseudo(ip.Dst(), ip.Src(), ProtocolICMPv6, len(b)-at).Add(b[at:]).Checksum()
	binary.BigEndian.PutUint16(b[at+icmpChecksum:], sum)
	return b
}

// AppendReset6 appends the whole IPv6 packet that refuses a TCP segment for which no
// connection exists (RFC 9293 §3.10.7.1). A reset is never answered by a reset.
func AppendReset6(b []byte, ip IPv6) []byte {
	protocol, payload, _, err := ip.Transport()
	if err != nil || protocol != ProtocolTCP || ip.IsFragment() || !fromOneHost6(ip) {
		return b
	}
	h, ok := resetFor(payload)
	if !ok {
		return b
	}
	b = answerTo6(ip, ProtocolTCP).Append(b, tcpLen)
	at := len(b)
	b = h.Append(b)
	SealTCP(b[at:], ip.Dst(), ip.Src())
	return b
}

func answerTo6(ip IPv6, protocol uint8) IPv6Header {
	return IPv6Header{NextHeader: protocol, HopLimit: replyTTL, Src: ip.Dst(), Dst: ip.Src()}
}

// fromOneHost6 reports whether ip may be answered: a single host sent it to another.
func fromOneHost6(ip IPv6) bool {
	src, dst := ip.Src(), ip.Dst()
	return src != dst && !src.IsMulticast() && !src.IsUnspecified() && !src.IsLoopback() && !dst.IsMulticast() && !dst.IsUnspecified()
}
