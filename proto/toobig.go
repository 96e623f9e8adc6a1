package proto

import "encoding/binary"

// Answers to a packet that is too long for the link it should leave by, and to one that a
// tunnel lost. Like those of reply.go they come from the address that the packet was sent
// to, and an append that answers nothing returns b as it was.

// Of ICMPv6 (RFC 4443 §3).
const (
	icmp6CodeAddress  uint8 = 3 // of ICMP6Unreachable
	icmp6PacketTooBig uint8 = 2
	icmpCodeHost      uint8 = 1 // of ICMPUnreachable
	icmpMTU                 = 6 // RFC 1191 §4
)

// AppendFragmentationNeeded appends the whole IPv4 packet that says that ip, which has DF
// set, is longer than mtu, in bytes of packet: ICMP type 3, code 4 (RFC 1191 §4).
func AppendFragmentationNeeded(b []byte, ip IPv4, mtu int) []byte {
	whole := appendICMPError(b, ip, ICMPUnreachable, ICMPCodeFragNeeded)
	if len(whole) == len(b) {
		return b
	}
	m := ICMP(whole[len(b)+IPv4Len:])
	sum := UpdateChecksum(m.Checksum(), 0, uint16(mtu))
	binary.BigEndian.PutUint16(m[icmpMTU:], uint16(mtu))
	binary.BigEndian.PutUint16(m[icmpChecksum:], sum)
	return whole
}

// AppendPacketTooBig appends the whole IPv6 packet that says that ip is longer than mtu,
// in bytes of packet: ICMPv6 type 2 (RFC 4443 §3.2).
func AppendPacketTooBig(b []byte, ip IPv6, mtu int) []byte {
	return appendICMP6Error(b, ip, icmp6PacketTooBig, 0, uint32(mtu))
}

// AppendTunnelError tells the sender of inner what became of it in a tunnel whose packet
// an error of the given type and code came back for, six if that was ICMPv6. inner is the
// packet as far as the error quotes it, at least its header and eight bytes. With an mtu
// above 0 it is too long: that is the longest that fits. Else the error is the same one in
// the same version of IP, as IPVS has it, and an unreachable address in the other
// (RFC 2473 §8, RFC 4213 §3.4).
func AppendTunnelError(b []byte, inner IP, six bool, typ, code uint8, mtu int) []byte {
	switch {
	case mtu > 0 && inner.Is6():
		return AppendPacketTooBig(b, IPv6(inner), mtu)
	case mtu > 0:
		return AppendFragmentationNeeded(b, IPv4(inner), mtu)
	case inner.Is6() && six:
		return appendICMP6Error(b, IPv6(inner), typ, code, 0)
	case inner.Is6():
		return appendICMP6Error(b, IPv6(inner), ICMP6Unreachable, icmp6CodeAddress, 0)
	case six:
		return appendICMPError(b, IPv4(inner), ICMPUnreachable, icmpCodeHost)
	}
	return appendICMPError(b, IPv4(inner), typ, code)
}
