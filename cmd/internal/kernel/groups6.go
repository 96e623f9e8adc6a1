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

// forwards tells whether the kernel forwards IPv6 from an interface: neighbour
// advertisements say so (RFC 4861 §4.4, the R flag).
func forwards(iface string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + iface + "/forwarding")
	return err == nil && len(b) > 0 && b[0] != '0'
}
