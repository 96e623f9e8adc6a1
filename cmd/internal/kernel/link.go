package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is an interface as it was at one moment.
type Link struct {
	Index    int
	Name     string
	MAC      [6]byte // zero where the interface has none of this length
	MTU      int     // bytes of IP packet
	Up       bool    // administratively up and running (carrier), as keepalived counts it
	Loopback bool
	Router   bool           // forwards IPv6, in what Links returns
	Base     string         // of a macvlan in private mode, in what Links returns: the interface under it
	Prefixes []netip.Prefix // its addresses, not masked, in the kernel's order

	parent int // the index of Base
}

// snapshot is what is known of the links, by index.
type snapshot map[int]Link

// dumpTries is how often an interrupted dump (the kernel's tables changed under it)
// is started over.
const dumpTries = 5

// Links lists the interfaces of the namespace with their addresses, by index.
func (k *Kernel) Links() ([]Link, error) {
	s, err := k.snapshot()
	if err != nil {
		return nil, err
	}
	links := make([]Link, 0, len(s))
	for _, l := range s {
		l.Router, l.Base = forwards(l.Name), s[l.parent].Name
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return a.Index - b.Index })
	return links, nil
}

// Link finds one interface by name.
func (k *Kernel) Link(name string) (Link, error) {
	links, err := k.Links()
	if err != nil {
		return Link{}, err
	}
	for _, l := range links {
		if l.Name == name {
			return l, nil
		}
	}
	return Link{}, noLink(name)
}

// errNoLink is the end of an error about an interface that is not there.
var errNoLink = errors.New("does not exist")

func noLink(name string) error {
	return fmt.Errorf("interface %s: %w", name, errNoLink)
}

func (k *Kernel) snapshot() (snapshot, error) {
	s := snapshot{}
	err := retryDump(func() error {
		links, err := k.links.LinkList()
		clear(s)
		for _, l := range links {
			s[l.Attrs().Index] = linkOf(l)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	entries, err := k.addresses()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if l, ok := s[e.index]; ok {
			l.Prefixes = append(l.Prefixes, e.prefix)
			s[e.index] = l
		}
	}
	return s, nil
}

// Gateway asks by which gateway packets to addr leave an interface; the zero value is
// for one on the link, and for one that no route leads to. Changes of routes to addr are
// told from now on.
func (k *Kernel) Gateway(addr netip.Addr, iface string) netip.Addr {
	via, _ := k.NextHop(addr, iface)
	return via
}

// NextHop is the same and tells the number of the interface, 0 where there is no route.
// With iface "" the routes choose it.
func (k *Kernel) NextHop(addr netip.Addr, iface string) (via netip.Addr, index int) {
	k.mu.Lock()
	if !slices.Contains(k.asked, addr) {
		k.asked = append(k.asked, addr)
	}
	k.mu.Unlock()
	routes, err := k.links.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{Oif: iface})
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, 0
	}
	via, _ = netip.AddrFromSlice(routes[0].Gw)
	return via.Unmap(), routes[0].LinkIndex
}

func retryDump(dump func() error) error {
	var err error
	for range dumpTries {
		if err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Index:    a.Index,
		Name:     a.Name,
		MTU:      a.MTU,
		Up:       a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
		Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		parent:   parentOf(l),
	}
	if len(a.HardwareAddr) == len(out.MAC) {
		copy(out.MAC[:], a.HardwareAddr)
	}
	return out
}

// index finds an interface's number by its name.
func (k *Kernel) index(name string) (int, error) {
	l, err := k.links.LinkByName(name)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return 0, noLink(name)
		}
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return l.Attrs().Index, nil
}

// entry is one address as the kernel has it.
type entry struct {
	index     int
	prefix    netip.Prefix
	label     string
	scope     uint8
	broadcast netip.Addr
	protocol  uint8 // who added it, IFA_PROTO
}

// addresses dumps all addresses. A raw request, as netlink.AddrList leaves the
// address protocol out.
func (k *Kernel) addresses() ([]entry, error) {
	var entries []entry
	err := retryDump(func() error {
		entries = entries[:0]
		req := k.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
		for _, m := range msgs {
			if e, ok := parseEntry(m); ok {
				entries = append(entries, e)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return entries, nil
}

// parseEntry reads the body of an address message. The local address is IFA_LOCAL
// where there is one (IFA_ADDRESS is then the peer of a point-to-point link).
func parseEntry(m []byte) (entry, bool) {
	if len(m) < unix.SizeofIfAddrmsg {
		return entry{}, false
	}
	msg := nl.DeserializeIfAddrmsg(m)
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfAddrmsg:])
	if err != nil {
		return entry{}, false
	}
	e := entry{index: int(msg.Index), scope: msg.Scope}
	var local, address netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_BROADCAST:
			e.broadcast, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_LABEL:
			e.label = unix.ByteSliceToString(a.Value)
		case ifaProto:
			if len(a.Value) == 1 {
				e.protocol = a.Value[0]
			}
		}
	}
	if !local.IsValid() {
		local = address
	}
	e.prefix = netip.PrefixFrom(local, int(msg.Prefixlen))
	return e, e.prefix.IsValid()
}
