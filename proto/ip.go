package proto

import "net/netip"

// IP is a view of one packet of either family, for who asks both the same questions: it
// holds what [ParseIPv4] or [ParseIPv6] returned.
type IP []byte

// ParseIP tells the family by the version and parses for it.
func ParseIP(b []byte) (IP, error) {
	if len(b) > 0 && b[0]>>4 == 6 {
		p, err := ParseIPv6(b)
		return IP(p), err
	}
	p, err := ParseIPv4(b)
	return IP(p), err
}

// Is6 reports whether the packet is one of IPv6.
func (p IP) Is6() bool { return p[0]>>4 == 6 }

// Src is the source address.
func (p IP) Src() netip.Addr {
	if p.Is6() {
		return IPv6(p).Src()
	}
	return IPv4(p).Src()
}

// Dst is the destination address.
func (p IP) Dst() netip.Addr {
	if p.Is6() {
		return IPv6(p).Dst()
	}
	return IPv4(p).Dst()
}

// TTL is the number of hops that are left: TTL or hop limit.
func (p IP) TTL() uint8 {
	if p.Is6() {
		return IPv6(p).HopLimit()
	}
	return IPv4(p).TTL()
}

// Protocol is the number of what the payload is: protocol or next header.
func (p IP) Protocol() uint8 {
	if p.Is6() {
		return IPv6(p).NextHeader()
	}
	return IPv4(p).Protocol()
}

// Payload is what follows the header.
func (p IP) Payload() []byte {
	if p.Is6() {
		return IPv6(p).Payload()
	}
	return IPv4(p).Payload()
}

// ChecksumOK verifies the header checksum; IPv6 has none.
func (p IP) ChecksumOK() bool { return p.Is6() || IPv4(p).ChecksumOK() }

// DecrementTTL takes one hop from the TTL or hop limit in place. The caller has made
// sure that there is one.
func (p IP) DecrementTTL() {
	if p.Is6() {
		IPv6(p).DecrementHopLimit()
	} else {
		IPv4(p).DecrementTTL()
	}
}

// IsFragment reports whether p is any part of a fragmented packet.
func (p IP) IsFragment() bool {
	if p.Is6() {
		return IPv6(p).IsFragment()
	}
	return IPv4(p).IsFragment()
}
