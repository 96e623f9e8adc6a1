package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Macvlan is an interface with a virtual MAC on top of another one, in private mode: it
// takes the frames to that MAC, and its kernel answers ARP and neighbour solicitations for
// the addresses on it with that MAC (RFC 9568 §8.1.2, §8.2.2).
type Macvlan struct {
	Name     string
	Base     string // the interface under it
	MAC      [6]byte
	Group    uint32 // of interfaces, 0 for the default one
	Instance string // whose it is, for the log
	IPv6     bool   // it is for IPv6, else for IPv4 alone
	Addrs    []netip.Addr
}

// macvlanMark begins the alias of a macvlan of ours; behind it stands the instance. By it,
// with the kind and the mode, Sweep tells ours from those of others.
const macvlanMark = "ringkeep use_vmac "

// AddMacvlan makes a macvlan and sets it up. It stays until Close: one that another program
// removes or sets down is put back while Watch runs. One of that name is taken over if it is
// on the same interface with the same MAC, as keepalived does; any other is an error.
//
// The interface under it answers ARP only for addresses of its own, and asks with them,
// until Close (arp_ignore, arp_filter, arp_announce). The last is ours: keepalived lets a
// MASTER that looks for a neighbour ask with a virtual address and the physical MAC, which
// RFC 9568 §8.1.2 forbids.
func (k *Kernel) AddMacvlan(m Macvlan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	had, ours := k.macvlans[m.Name]
	if ours && reflect.DeepEqual(had, m) {
		return nil
	}
	if err := k.addMacvlan(m); err != nil {
		if !ours {
			k.undo(m.Name)
		}
		return fmt.Errorf("vrrp_instance %s: use_vmac: interface %s on %s: %w", m.Instance, m.Name, m.Base, explain(err))
	}
	if k.macvlans == nil {
		k.macvlans = map[string]Macvlan{}
	}
	k.macvlans[m.Name] = m
	return k.guardMacvlans()
}

// KeepMacvlans removes those of [Kernel.AddMacvlan] that have none of the names.
func (k *Kernel) KeepMacvlans(names []string) (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	there := len(k.macvlans)
	for name := range k.macvlans {
		if !slices.Contains(names, name) {
			delete(k.macvlans, name) // first: nobody is to put it back
			err = errors.Join(err, k.removeMacvlan(name))
		}
	}
	if len(k.macvlans) < there {
		err = errors.Join(err, k.guardMacvlans())
	}
	return err
}

func (k *Kernel) addMacvlan(m Macvlan) error {
	link, err := k.makeMacvlan(m)
	if err != nil {
		return err
	}
	if err := k.links.LinkSetAlias(link, macvlanMark+m.Instance); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	if err := k.tuneMacvlan(m); err != nil {
		return err
	}
	if err := k.links.LinkSetUp(link); err != nil {
		if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("another macvlan there has the MAC %s: %w", net.HardwareAddr(m.MAC[:]), err)
		}
		return err
	}
	if m.IPv6 {
		return k.serveIPv6(m, link)
	}
	return nil
}

// undo removes what addMacvlan could not finish.
func (k *Kernel) undo(name string) {
	if link, err := k.links.LinkByName(name); err == nil && parentOf(link) != 0 && strings.HasPrefix(link.Attrs().Alias, macvlanMark) {
		_ = k.links.LinkDel(link) // the error is told already
	}
}

// makeMacvlan finds or makes the interface, still without anything else.
func (k *Kernel) makeMacvlan(m Macvlan) (netlink.Link, error) {
	base, err := k.index(m.Base)
	if err != nil {
		return nil, err
	}
	if link, err := k.links.LinkByName(m.Name); err == nil {
		if parentOf(link) != base || !bytes.Equal(link.Attrs().HardwareAddr, m.MAC[:]) {
			return nil, errors.New("there is another interface of that name")
		}
		return link, nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr, attrs.Group = m.Name, base, m.MAC[:], m.Group
	err = k.links.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("this kernel makes no macvlan: %w: it needs CONFIG_MACVLAN (modprobe macvlan)", err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf("the interface takes no macvlan: %w: it may be a port of a bridge or a bond, or a loopback", err)
	case err != nil:
		return nil, err
	}
	return k.links.LinkByName(m.Name)
}

// parentOf is the interface under a macvlan in private mode, 0 for any other link.
func parentOf(l netlink.Link) int {
	if m, ok := l.(*netlink.Macvlan); ok && m.Mode == netlink.MACVLAN_MODE_PRIVATE {
		return m.ParentIndex
	}
	return 0
}

// tuneMacvlan sets the switches of the macvlan and of the interface under it to what
// keepalived sets them (reference: 6.2), but for the last of each list.
func (k *Kernel) tuneMacvlan(m Macvlan) error {
	own := [][2]string{
		// No address is derived from the virtual MAC (RFC 9568 §7.4), nor one learned.
		{"ipv6/conf/" + m.Name + "/addr_gen_mode", "1"},
		{"ipv6/conf/" + m.Name + "/accept_ra", "0"},
	}
	if !m.IPv6 {
		own = [][2]string{
			{"ipv6/conf/" + m.Name + "/addr_gen_mode", "1"},
			{"ipv6/conf/" + m.Name + "/disable_ipv6", "1"},
			{"ipv4/conf/" + m.Name + "/arp_ignore", "1"},
			{"ipv4/conf/" + m.Name + "/accept_local", "1"},
			{"ipv4/conf/" + m.Name + "/promote_secondaries", "1"},
			{"ipv4/conf/" + m.Name + "/rp_filter", loosest()},
		}
	}
	for _, s := range own {
		err := os.WriteFile(filepath.Join(netSysctls, s[0]), []byte(s[1]), 0o644)
		if err != nil && (m.IPv6 || !strings.HasPrefix(s[0], "ipv6") || !os.IsNotExist(err)) {
			return err
		}
	}
	if m.IPv6 {
		return nil
	}
	for _, s := range [][2]string{{"arp_ignore", "1"}, {"arp_filter", "1"}, {"arp_announce", "2"}} {
		if err := k.switchTo(filepath.Join(sysctls, m.Base, s[0]), s[1]); err != nil {
			return err
		}
	}
	return nil
}

// netSysctls is where the switches of both families are.
const netSysctls = "/proc/sys/net"

// loosest is the rp_filter that lets the frames of a macvlan in whose answers leave by the
// interface under it: none, or the loose one where the whole host has a strict one, which
// would win (the kernel takes the higher).
func loosest() string {
	b, err := os.ReadFile(filepath.Join(sysctls, "all", "rp_filter"))
	if err == nil && strings.TrimSpace(string(b)) == "1" {
		return "2"
	}
	return "0"
}

// serveIPv6 lets the macvlan answer link-local neighbours, and has switches that snoop bring
// the solicitations for its addresses: the interface under it reports the groups, with its
// own MAC. keepalived puts the link-local address of that interface on the macvlan instead;
// there it is answered for with both MACs, by a BACKUP too, and switches learn the virtual
// one at the wrong place.
func (k *Kernel) serveIPv6(m Macvlan, link netlink.Link) error {
	local := net.IPNet{IP: net.ParseIP("fe80::"), Mask: net.CIDRMask(64, 128)}
	err := k.links.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &local, Protocol: ownProtocol, Table: unix.RT_TABLE_MAIN})
	if err != nil {
		return fmt.Errorf("route fe80::/64: %w", err)
	}
	if k.groups6 == nil {
		return errors.New("the kernel does not speak IPv6")
	}
	base, err := k.index(m.Base)
	if err != nil {
		return err
	}
	for _, a := range m.Addrs {
		if err := k.groups6.solicited(a, base); err != nil {
			return fmt.Errorf("join the solicited-node group of %s: %w", a, err)
		}
	}
	return nil
}

// solicited makes the host a member of the group to which neighbours of an address send
// their questions (RFC 4291 §2.7.1).
func (g *groups) solicited(a netip.Addr, index int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sockets) == 0 {
		return errors.New("closed")
	}
	b := a.As16()
	group := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}
	err := unix.SetsockoptIPv6Mreq(g.sockets[0], unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group, Interface: uint32(index)})
	if errors.Is(err, unix.EADDRINUSE) { // a member already
		return nil
	}
	return err
}

// mend puts a macvlan of ours back that another program removed or set down. It returns
// without a word while the interface under it is gone.
func (k *Kernel) mend(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ours := k.macvlans[name]
	if !ours {
		return
	}
	what := "removed"
	if link, err := k.links.LinkByName(name); err == nil {
		if link.Attrs().RawFlags&unix.IFF_UP != 0 && parentOf(link) != 0 {
			return
		}
		what = "set down"
	} else if _, err := k.index(m.Base); err != nil {
		return
	}
	if err := k.addMacvlan(m); err != nil {
		k.log.Error("interface with the virtual MAC not put back", "instance", m.Instance, "iface", name, "err", err)
		return
	}
	k.log.Warn("interface with the virtual MAC "+what+" by another program, put back", "instance", m.Instance, "iface", name)
}

// mendOn is mend for the macvlan itself and for all on top of an interface.
func (k *Kernel) mendOn(name string) {
	k.mu.Lock()
	var hurt []string
	for _, m := range k.macvlans {
		if m.Name == name || m.Base == name {
			hurt = append(hurt, m.Name)
		}
	}
	k.mu.Unlock()
	slices.Sort(hurt)
	for _, name := range hurt {
		k.mend(name)
	}
}

// removeMacvlans ends what AddMacvlan began.
func (k *Kernel) removeMacvlans() (err error) {
	for name := range k.macvlans {
		err = errors.Join(err, k.removeMacvlan(name))
	}
	k.macvlans = nil
	return errors.Join(err, k.removeGuards())
}

func (k *Kernel) removeMacvlan(name string) error {
	link, err := k.links.LinkByName(name)
	if err != nil {
		return nil // somebody was faster
	}
	if err := k.links.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, explain(err))
	}
	return nil
}

// SweepMacvlans removes what an earlier run of ours left that could not clean up: macvlans
// in private mode that carry our mark, with all that is on them. It returns their names.
// Call it before Links, under the conditions of [Kernel.Sweep].
func (k *Kernel) SweepMacvlans() (gone []string, err error) {
	links, err := k.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range links {
		a := l.Attrs()
		if parentOf(l) == 0 || !strings.HasPrefix(a.Alias, macvlanMark) || k.macvlans[a.Name].Name != "" {
			continue
		}
		if e := k.removeMacvlan(a.Name); e != nil {
			err = errors.Join(err, e)
			continue
		}
		gone = append(gone, a.Name)
	}
	if len(gone) > 0 { // or Watch would tell of these as of anybody's
		if k.seen, err = k.snapshot(); err != nil {
			return gone, err
		}
	}
	return gone, errors.Join(err, k.removeGuards())
}
