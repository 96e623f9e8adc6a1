package netlab

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
)

// space is an anonymous network namespace: it lives as long as the thread that made it
// and the handles on it.
type space struct {
	ns   netns.NsHandle
	nl   *netlink.Handle
	work chan func()
}

// newSpace makes a namespace and a thread that stays in it. Processes are started on
// that thread, which lives as long as the lab: a child is told of the death of the
// thread that started it.
func newSpace() (*space, error) {
	s := &space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ready <- s.make()
		for f := range s.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return s, s.quiet()
}

func (s *space) make() (err error) {
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if s.ns, err = netns.Get(); err != nil {
		return err
	}
	s.nl, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	return err
}

// quiet brings lo up and keeps IPv6 from talking: the lab is about what it is told.
func (s *space) quiet() error {
	for _, name := range []string{"net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6"} {
		if err := s.sysctl(name, "1"); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	lo, err := s.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return s.nl.LinkSetUp(lo)
}

// do runs f on the thread of the namespace.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() { f(); close(done) }
	<-done
}

// spawn runs f in a goroutine whose thread is in the namespace, so that the sockets it
// opens are too.
func (s *space) spawn(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := netns.Set(s.ns); err == nil {
			f()
		}
	}()
}

// sysctl writes a value below /proc/sys, which shows the namespace of who opens it.
func (s *space) sysctl(name, value string) (err error) {
	s.do(func() { err = os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) })
	return err
}

func (s *space) close() {
	close(s.work)
	s.nl.Close()
	s.ns.Close()
}

// host is a namespace with an interface on every lan that it is on.
type host struct {
	*space
	lab     *lab
	name    string
	nics    []*nic
	router  bool
	six     bool // it speaks IPv6
	servers map[string]func()
	ends    []*tunnelEnd
	written []string // files that its programs have written their output to
	node    *node    // nil for one that is no director
}

// macOf derives a stable MAC from a name, so that captures of two runs compare.
func macOf(name string) net.HardwareAddr {
	h := fnv.New32a()
	h.Write([]byte(name))
	v := h.Sum32()
	return net.HardwareAddr{2, 0, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

// addHost makes a host whose interfaces end in the wire.
func (l *lab) addHost(m Machine) (*host, error) {
	s, err := newSpace()
	if err != nil {
		return nil, err
	}
	if m.speaksIPv6() {
		if err := s.speak(); err != nil {
			return nil, fmt.Errorf("%s: IPv6: %w", m.Name, err)
		}
	}
	h := &host{space: s, six: m.speaksIPv6(), lab: l, name: m.Name, router: m.Kind == "router", servers: map[string]func(){}}
	l.hosts[m.Name] = h
	l.order = append(l.order, h)
	for i, n := range m.NICs {
		mac := macOf(m.Name)
		if i > 0 {
			mac = macOf(m.Name + ":" + n.Iface)
		}
		p := &nic{host: h, lan: n.LAN, iface: n.Iface, mac: mac, own: n.Addrs, device: fmt.Sprintf("p%d", len(l.wire.ports)+1)}
		if err := h.plug(l, p); err != nil {
			return nil, fmt.Errorf("%s: interface %s: %w", m.Name, n.Iface, err)
		}
		h.nics = append(h.nics, p)
	}
	if !m.Via.IsValid() {
		return h, nil
	}
	l.command("ip -n %s route add default via %v", m.Name, m.Via)
	if err := s.nl.RouteAdd(&netlink.Route{Gw: m.Via.AsSlice()}); err != nil {
		return nil, fmt.Errorf("%s: default route via %v: %w", m.Name, m.Via, err)
	}
	return h, nil
}

// plug makes an interface with its addresses, and joins it to the wire.
func (h *host) plug(l *lab, p *nic) error {
	l.command("ip link add %s netns %s type veth peer name %s netns wire", p.iface, h.name, p.device)
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: p.device}, PeerName: p.iface, PeerHardwareAddr: p.mac, PeerNamespace: netlink.NsFd(int(h.ns)),
	}
	if err := l.wireSpace.nl.LinkAdd(veth); err != nil {
		return err
	}
	for _, end := range []struct {
		nl   *netlink.Handle
		name string
	}{{l.wireSpace.nl, p.device}, {h.nl, p.iface}} {
		link, err := end.nl.LinkByName(end.name)
		if err == nil && end.name == p.device {
			err = l.join(p, link)
		}
		if err == nil {
			err = end.nl.LinkSetUp(link)
		}
		if err != nil {
			return err
		}
	}
	for _, a := range p.own {
		if err := h.addr(l, true, a, p.iface); err != nil {
			return err
		}
	}
	return l.wire.attach(p)
}

// addr adds or removes an address of the host.
func (h *host) addr(l *lab, add bool, p netip.Prefix, iface string) error {
	link, err := h.nl.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("%s: interface %s: %w", h.name, iface, err)
	}
	verb, change := "del", h.nl.AddrDel
	if add {
		verb, change = "add", h.nl.AddrAdd
	}
	l.command("ip -n %s addr %s %v dev %s", h.name, verb, p, iface)
	ipnet := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	if err := change(link, &netlink.Addr{IPNet: ipnet}); err != nil {
		return fmt.Errorf("%s: addr %s %v: %w", h.name, verb, p, err)
	}
	return nil
}

// holds tells whether the kernel of the host has the address.
func (h *host) holds(a netip.Addr) bool {
	list, err := h.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, e := range list {
		if got, ok := netip.AddrFromSlice(e.IP); ok && got.Unmap() == a {
			return true
		}
	}
	return false
}

// sees tells whether the host's neighbour entry for a is a MAC of another.
func (h *host) sees(a netip.Addr, at *host) bool {
	return slices.ContainsFunc(at.nics, func(p *nic) bool { return h.seesMAC(a, proto.MAC(p.mac)) })
}

// seesMAC tells whether the host's neighbour entry for a is a MAC.
func (h *host) seesMAC(a netip.Addr, mac proto.MAC) bool {
	list, err := h.nl.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, n := range list {
		if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == a {
			return mac.String() == n.HardwareAddr.String()
		}
	}
	return false
}

// reboot leaves the host with its own addresses only, as a power loss does.
func (h *host) reboot(l *lab) error {
	for _, n := range h.nics {
		link, err := h.nl.LinkByName(n.iface)
		if err != nil {
			return err
		}
		list, err := h.nl.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, e := range list {
			a, _ := netip.AddrFromSlice(e.IP)
			ones, _ := e.Mask.Size()
			if p := netip.PrefixFrom(a.Unmap(), ones); !slices.Contains(n.own, p) {
				if err := h.addr(l, false, p, n.iface); err != nil {
					return err
				}
			}
		}
	}
	return h.forgetRoutes()
}

// forward has the kernel forward what is not for the host.
func (h *host) forward(l *lab) error {
	l.command("ip netns exec %s sysctl net.ipv4.ip_forward=1", h.name)
	err := h.sysctl("net/ipv4/ip_forward", "1")
	if err == nil && h.six {
		l.command("ip netns exec %s sysctl net.ipv6.conf.all.forwarding=1", h.name)
		err = h.sysctl("net/ipv6/conf/all/forwarding", "1")
	}
	return err
}

// quietARP makes a real server for direct routing of the host: the address is on lo,
// and ARP neither answers for it nor tells it, as neighbour discovery of itself does not.
func (h *host) quietARP(l *lab, vip netip.Addr) error {
	if err := h.strictARP(l); err != nil {
		return err
	}
	return h.addr(l, true, netip.PrefixFrom(vip, vip.BitLen()), "lo")
}

// strictARP has every interface answer and ask with its own addresses only.
func (h *host) strictARP(l *lab) error {
	for name, value := range map[string]string{"arp_ignore": "1", "arp_announce": "2"} {
		l.command("ip netns exec %s sysctl net.ipv4.conf.all.%s=%s", h.name, name, value)
		if err := h.sysctl("net/ipv4/conf/all/"+name, value); err != nil {
			return err
		}
	}
	return nil
}

// carrier cuts or restores the links of a host, or the one named, at the wire's end.
func (l *lab) carrier(h *host, up bool, iface ...string) error {
	found := false
	for _, n := range h.nics {
		if len(iface) > 0 && n.iface != iface[0] {
			continue
		}
		found = true
		if up && n.cut { // a bridge opens the port of a link that comes up
			return fmt.Errorf("%s is cut off by a partition: heal must come first", h.name)
		}
		l.live.link(h.name, n.iface, up)
		link, err := l.wireSpace.nl.LinkByName(n.device)
		if err != nil {
			return err
		}
		change := l.wireSpace.nl.LinkSetDown
		if up {
			change = l.wireSpace.nl.LinkSetUp
		}
		if err := change(link); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s has no interface %s", h.name, iface[0])
	}
	return nil
}

// iface deletes an interface, or makes it again with the host's own addresses.
func (l *lab) iface(h *host, name string, create bool) error {
	i := slices.IndexFunc(h.nics, func(n *nic) bool { return n.iface == name })
	if i < 0 {
		return fmt.Errorf("%s has no interface %s", h.name, name)
	}
	n := h.nics[i]
	if create != (n.sock == nil) {
		return fmt.Errorf("interface %s of %s is there already, or gone already", name, h.name)
	}
	if create {
		if err := h.plug(l, n); err != nil {
			return err
		}
		l.live.link(h.name, name, true)
		return nil
	}
	l.live.link(h.name, name, false)
	l.command("ip -n %s link del %s", h.name, name)
	link, err := l.wireSpace.nl.LinkByName(n.device)
	if err != nil {
		return err
	}
	l.wire.with(func() {
		n.sock.Close()
		n.sock = nil
	})
	return l.wireSpace.nl.LinkDel(link)
}
