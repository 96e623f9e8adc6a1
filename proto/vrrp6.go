package proto

import "net/netip"

// Over IPv6 a message has addresses of 16 bytes and no authentication data; all else
// stands where it stands over IPv4 (RFC 9568 §5.2), also in the version 2 that keepalived
// can be told to send.

// ParseVRRP6 is [ParseVRRP] for a message over IPv6, of which [VRRP.Size6] and
// [VRRP.Addr6] are asked.
func ParseVRRP6(b []byte) (VRRP, error) {
	if len(b) < vrrpAddrs || len(b) < VRRP(b).Size6() {
		return nil, ErrShort
	}
	return VRRP(b), nil
}

// Size6 is how long a message over IPv6 must be for its count, in bytes.
func (v VRRP) Size6() int { return vrrpAddrs + 16*v.Count() }

// Addr6 is address i of a message over IPv6, from 0 to Count-1.
func (v VRRP) Addr6(i int) netip.Addr { return addr16(v[vrrpAddrs+16*i:]) }
