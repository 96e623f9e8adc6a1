package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/ringkeep/ringkeep/proto"
)

// Namespace is a network namespace of its own with IPv6 off, for what needs no wire of the
// lab's: benchmarks join two by a plain pair of veth interfaces. It is gone with Close, when
// nothing in it is held open any more.
type Namespace struct{ space *space }

// NewNamespace makes one; it needs root.
func NewNamespace() (*Namespace, error) {
	s, err := newSpace()
	if err != nil {
		return nil, err
	}
	return &Namespace{s}, nil
}

// Do runs f on the namespace's own thread, one f at a time. What f leaves on the thread, such
// as a priority, stays, and a process that it starts is in the namespace.
func (n *Namespace) Do(f func() error) (err error) {
	n.space.do(func() { err = f() })
	return err
}

// Spawn runs f in a goroutine on a thread in the namespace, which ends with f.
func (n *Namespace) Spawn(f func()) { n.space.spawn(f) }

// Close gives the namespace up.
func (n *Namespace) Close() { n.space.close() }

// Sysctl writes a value below /proc/sys.
func (n *Namespace) Sysctl(name, value string) error { return n.space.sysctl(name, value) }

// Join makes a pair of veth interfaces, both up: a here and b in the other namespace.
func (n *Namespace) Join(a string, macA proto.MAC, other *Namespace, b string, macB proto.MAC) error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: a, HardwareAddr: macA[:]}, PeerName: b, PeerHardwareAddr: macB[:], PeerNamespace: netlink.NsFd(int(other.space.ns)),
	}
	if err := n.space.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("pair %s and %s: %w", a, b, err)
	}
	for _, end := range []struct {
		*Namespace
		name string
	}{{n, a}, {other, b}} {
		link, err := end.link(end.name)
		if err == nil {
			err = end.space.nl.LinkSetUp(link)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Namespace) link(name string) (netlink.Link, error) {
	link, err := n.space.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return link, nil
}

// Address adds an address to an interface.
func (n *Namespace) Address(iface string, p netip.Prefix) error {
	link, err := n.link(iface)
	if err != nil {
		return err
	}
	if err := n.space.nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil {
		return fmt.Errorf("address %v on %s: %w", p, iface, err)
	}
	return nil
}

// Neighbour says for good who has an address.
func (n *Namespace) Neighbour(iface string, a netip.Addr, mac proto.MAC) error {
	link, err := n.link(iface)
	if err != nil {
		return err
	}
	entry := &netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac[:]}
	if err := n.space.nl.NeighSet(entry); err != nil {
		return fmt.Errorf("neighbour %v on %s: %w", a, iface, err)
	}
	return nil
}

// Route adds a route through a gateway.
func (n *Namespace) Route(to netip.Prefix, via netip.Addr) error {
	if err := n.space.nl.RouteAdd(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("route to %v via %v: %w", to, via, err)
	}
	return nil
}

// Received is how many frames an interface has taken.
func (n *Namespace) Received(iface string) (uint64, error) {
	link, err := n.link(iface)
	if err != nil {
		return 0, err
	}
	st := link.Attrs().Statistics
	if st == nil {
		return 0, fmt.Errorf("interface %s: %w", iface, syscall.ENODATA)
	}
	return st.RxPackets, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
