package kernel

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// vrrpGroup6 is where VRRP advertisements over IPv6 go (RFC 9568 §5.1.2.2).
func vrrpGroup6() netip.Addr { return netip.AddrFrom16([16]byte{0xff, 0x02, 15: 0x12}) }

// openGroups6 is openGroups for IPv6, nil where the kernel does not speak it. One socket
// takes all memberships: the kernel counts them per socket for IPv4 only.
func openGroups6() (*groups, error) {
	vrrp, err := holder(unix.AF_INET6, protocolVRRP)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &groups{group: vrrpGroup6(), sockets: []int{vrrp}, other: -1, joined: map[membership]bool{}}, nil
}

// JoinVRRP6 makes this host a member of ff02::12 on an interface, until Close: the kernel
// reports it by MLD. Switches that snoop flood 224.0.0.18 (RFC 4541 §2.1.2), but no group
// of IPv6 that nobody reported. A second call for the interface does nothing.
func (k *Kernel) JoinVRRP6(iface string) error {
	if k.groups6 == nil {
		return errors.New("the kernel does not speak IPv6")
	}
	return k.join(k.groups6, iface, vrrpGroup6())
}

// forwards tells whether the kernel forwards IPv6 from an interface: neighbour
// advertisements say so (RFC 4861 §4.4, the R flag).
func forwards(iface string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + iface + "/forwarding")
	return err == nil && len(b) > 0 && b[0] != '0'
}
