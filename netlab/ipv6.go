package netlab

import (
	"net/netip"
	"slices"
)

// speaksIPv6 tells whether a machine has an address of IPv6.
func (m Machine) speaksIPv6() bool {
	return slices.ContainsFunc(m.NICs, NIC.speaksIPv6)
}

func (n NIC) speaksIPv6() bool {
	return slices.ContainsFunc(n.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// linkLocal gives an interface that speaks IPv6 the address that every such one has
// (RFC 4291 §2.8), with the interface identifier of the first one declared:
// 2001:db8::11/64 comes with fe80::11/64.
func (n *NIC) linkLocal() {
	isLocal := func(p netip.Prefix) bool { return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() }
	i := slices.IndexFunc(n.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if i < 0 || slices.ContainsFunc(n.Addrs, isLocal) {
		return
	}
	id := n.Addrs[i].Addr().As16()
	local := [16]byte{0xfe, 0x80}
	copy(local[8:], id[8:])
	n.Addrs = append(n.Addrs, netip.PrefixFrom(netip.AddrFrom16(local), 64))
}

// speak switches IPv6 on in the namespace of a machine: addresses are used at once, and
// nothing is made or asked for that was not declared.
func (s *space) speak() error {
	for _, scope := range []string{"all", "default"} {
		for _, setting := range [][2]string{
			{"accept_dad", "0"}, {"dad_transmits", "0"}, {"accept_ra", "0"}, {"router_solicitations", "0"},
			{"autoconf", "0"}, {"disable_ipv6", "0"},
		} {
			if err := s.sysctl("net/ipv6/conf/"+scope+"/"+setting[0], setting[1]); err != nil {
				return err
			}
		}
	}
	const none = "1" // IN6_ADDR_GEN_MODE_NONE: no link-local address but the declared one
	return s.sysctl("net/ipv6/conf/default/addr_gen_mode", none)
}
