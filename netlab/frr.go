package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ringkeep/ringkeep/proto"
)

// A node of kind frr runs zebra and vrrpd of FRR, and bfdd where its configuration has a line
// bfd: what stands from there on is bfdd's, the rest vrrpd's. What their manual leaves to the
// administrator the lab makes from the lines "vrrp VRID ip|ipv6 ADDRESS" of the node's
// configuration: for each virtual router a macvlan with the virtual MAC, in bridge mode,
// with the addresses on it, and over IPv6 a link-local one of its own. FRR holds it down
// (protodown) unless it is MASTER.

// parseFRR finds the virtual routers, with what lab and judge need to know of them: the
// instance is called by its VRID, that of IPv6 by VRID and v6. What else is wrong FRR will
// say.
func parseFRR(conf []byte) ([]Router, error) {
	var list []Router
	iface, number := "", 0
	for line := range strings.Lines(string(conf)) {
		number++
		w := strings.Fields(line)
		no := len(w) > 0 && w[0] == "no"
		switch {
		case len(w) > 1 && w[0] == "interface":
			iface = w[1]
		case len(w) == 4 && (w[0] == "vrrp" || no && w[1] == "vrrp" && w[3] == "preempt"):
			if no {
				w = []string{"vrrp", w[2], "preempt", "off"}
			}
			r := frrRouter(&list, iface, w[1])
			if r == nil || r.setFRR(w[2], w[3]) != nil {
				return nil, fmt.Errorf("line %d: %s: must be vrrp VRID ip|ipv6 ADDRESS or another setting, below interface NAME", number, strings.TrimSpace(line))
			}
		}
	}
	if list = byFamily(list); len(list) == 0 && !bytes.Contains(conf, []byte(bfdLine)) {
		return nil, errors.New("no line is vrrp VRID ip|ipv6 ADDRESS, below interface NAME")
	}
	return list, nil
}

// bfdLine begins bfdd's part of a configuration.
const bfdLine = "\nbfd\n"

// byFamily makes of every VRID the virtual routers that it is, one for each family of its
// addresses.
func byFamily(list []Router) (routers []Router) {
	for _, r := range list {
		four, six := r, r
		six.Instance += "v6"
		four.VIPs = slices.DeleteFunc(slices.Clone(r.VIPs), netip.Addr.Is6)
		six.VIPs = slices.DeleteFunc(slices.Clone(r.VIPs), netip.Addr.Is4)
		routers = append(routers, four, six)
	}
	return slices.DeleteFunc(routers, func(r Router) bool { return len(r.VIPs) == 0 })
}

// frrRouter finds a virtual router of the list, which may be a new one with FRR's
// defaults; nil if there can be none.
func frrRouter(list *[]Router, iface, vrid string) *Router {
	n, err := strconv.ParseUint(vrid, 10, 8)
	if err != nil || iface == "" {
		return nil
	}
	i := slices.IndexFunc(*list, func(r Router) bool { return r.Interface == iface && r.Instance == vrid })
	if i < 0 {
		i = len(*list)
		*list = append(*list, Router{Instance: vrid, Interface: iface, VRID: uint8(n), Priority: 100, Interval: time.Second, GARPRepeat: 1, Foreign: true})
	}
	return &(*list)[i]
}

// setFRR reads one setting.
func (r *Router) setFRR(key, value string) error {
	n, err := strconv.Atoi(value)
	switch key {
	case "priority":
		r.Priority = uint8(n)
		return err
	case "advertisement-interval":
		r.Interval = time.Duration(n) * time.Millisecond
		return err
	case "preempt":
		r.NoPreempt = true
	case "ip", "ipv6":
		vip, err := netip.ParseAddr(value)
		if err == nil && vip.Is6() != (key == "ipv6") {
			err = fmt.Errorf("%v is no address of %s", vip, key)
		}
		r.VIPs = append(r.VIPs, vip)
		return err
	}
	return nil
}

// readFRR tells judge and record what the configuration says. The kernel's addresses say
// nothing of FRR, which keeps them in BACKUP: here the macvlans tell who holds one.
func (n *node) readFRR(l *lab, m Machine) (err error) {
	if n.routers, err = parseFRR(l.scenario.Files[m.Name+".conf"]); err != nil {
		return err
	}
	for i := range n.routers {
		r := &n.routers[i]
		nic, from, ok := r.speaker(m)
		if !ok {
			return fmt.Errorf("%s.conf: %s has no interface %s with an address of the family of %v", m.Name, m.Name, r.Interface, r.VIPs[0])
		}
		skew := (time.Duration(256-int(r.Priority)) * r.Interval / 256).Truncate(10 * time.Millisecond) // in centiseconds
		r.Node, r.LAN, r.Addr = m.Name, nic.LAN, from
		r.Down, r.Slowest, r.Skew = 3*r.Interval+skew, 4*r.Interval, r.Interval
	}
	l.record.Machine(m, n.routers, nil)
	return l.live.followMacvlans(n)
}

// speaker is the interface of a virtual router of FRR, and the address that it advertises
// from: the first of the interface, over IPv6 the link-local one of the macvlan.
func (r *Router) speaker(m Machine) (nic NIC, from netip.Addr, ok bool) {
	six := r.VIPs[0].Is6()
	for _, nic := range m.NICs {
		for _, p := range nic.Addrs {
			if nic.Iface != r.Interface || p.Addr().Is6() != six {
				continue
			}
			if from = p.Addr(); six {
				from = ownLinkLocal(from, r.VRID)
			}
			return nic, from, true
		}
	}
	return nic, from, false
}

// ownLinkLocal is the link-local address of the macvlan of a VRID on the interface with
// this address: nodes share the virtual MAC, and must not share what is made of it.
func ownLinkLocal(a netip.Addr, vrid uint8) netip.Addr {
	id := a.As16()
	copy(id[:], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x5e, vrid})
	return netip.AddrFrom16(id)
}

// macvlanMAC is the virtual MAC of a router of FRR, in its family.
func (r *Router) macvlanMAC() proto.MAC {
	if r.VIPs[0].Is6() {
		return proto.VirtualMAC6(r.VRID)
	}
	return proto.VirtualMAC(r.VRID)
}

// followMacvlans records which virtual addresses a node of FRR gets and loses, until done.
// The judge is not told: a macvlan is up a moment before the log says MASTER.
func (v *live) followMacvlans(n *node) error {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(updates, v.quit, netlink.LinkSubscribeOptions{Namespace: &n.ns}); err != nil {
		return fmt.Errorf("%s: subscribe to links: %w", n.name, err)
	}
	go func() {
		up := map[string]bool{}
		for u := range updates {
			a := u.Attrs()
			for _, r := range n.routers {
				mac, now := r.macvlanMAC(), a.OperState == netlink.OperUp
				if !bytes.Equal(a.HardwareAddr, mac[:]) || now == up[r.Instance] {
					continue
				}
				up[r.Instance] = now
				for _, vip := range r.VIPs {
					v.l.record.Hold(v.now(), n.name, vip, now)
				}
			}
		}
	}()
	return nil
}

// shut tells whether the macvlans of an instance of FRR, or of the only one, are down. zebra
// takes them down a moment after the log says BACKUP; until then they answer for the virtual addresses.
func (n *node) shut(instance string) bool {
	return n.kind != "frr" || !slices.ContainsFunc(n.macvlans(), func(link netlink.Link) bool {
		a := link.Attrs()
		return a.OperState == netlink.OperUp && slices.ContainsFunc(n.routers, func(r Router) bool {
			mac := r.macvlanMAC()
			return (instance == "" || r.Instance == instance) && bytes.Equal(a.HardwareAddr, mac[:])
		})
	})
}

// frrDirs are where distributions install FRR's daemons.
var frrDirs = []string{"/usr/lib/frr", "/usr/libexec/frr", "/usr/sbin", "/usr/local/sbin"}

// frrScript runs $1/zebra and $1/vrrpd with the configuration $2, and $1/bfdd where it finds
// one for it, in the order of frrinit.sh: zebra starts first, because the others look for it
// every ten seconds only, and stops last, because it is the one that takes the macvlan down
// for vrrpd.
const frrScript = `#!/bin/sh
trap 'kill $vrrpd $bfdd || exit' TERM
"$1/zebra" -u root -g root -P 0 -f /dev/null --log stdout &
zebra=$!
until [ -S /var/run/frr/zserv.api ]; do kill -0 $zebra || exit 1; sleep 0.01; done
"$1/vrrpd" -u root -g root -P 0 -f "$2" --log stdout --log-level debug &
vrrpd=$!
if [ -s ` + bfddConf + ` ]; then
"$1/bfdd" -u root -g root -P 0 -f ` + bfddConf + ` --log stdout --log-level debug &
bfdd=$!
fi
wait $vrrpd # the signal ends this one
wait $vrrpd $bfdd
kill $zebra
wait $zebra
`

// Where the daemons find their parts of the configuration.
const (
	vrrpdConf = scriptDir + "vrrpd.conf"
	bfddConf  = scriptDir + "bfdd.conf"
)

// startFRR prepares what the daemons need and returns how they are started.
func (n *node) startFRR(l *lab) ([]string, error) {
	at := slices.IndexFunc(frrDirs, func(dir string) bool { _, err := os.Stat(dir + "/vrrpd"); return err == nil })
	if at < 0 {
		return nil, fmt.Errorf("node %s: FRR is not installed: no vrrpd in %s", n.name, strings.Join(frrDirs, ", "))
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		return nil, err
	}
	n.files["/etc/group"] = inVTYGroup(group)
	n.files[scriptDir+"frr"] = []byte(frrScript)
	vrrp, bfd, found := strings.Cut(string(l.scenario.Files[n.name+".conf"]), bfdLine)
	if n.files[vrrpdConf] = []byte(vrrp + "\n"); found {
		n.files[bfddConf] = []byte(strings.TrimPrefix(bfdLine, "\n") + bfd)
	}
	for _, dir := range []string{"/var/run/frr", "/var/tmp/frr"} { // they write there whatever they are told
		n.files[dir+"/of-the-lab"] = nil
	}
	for _, r := range n.routers {
		if err := n.macvlan(l, r); err != nil {
			return nil, fmt.Errorf("node %s: virtual router %d: %w", n.name, r.VRID, err)
		}
	}
	return []string{scriptDir + "frr", frrDirs[at], vrrpdConf}, nil
}

// inVTYGroup puts root into the group that FRR wants the user it runs as to be in. The
// user it was built for may not read the directory of the lab.
func inVTYGroup(group []byte) []byte {
	var out []byte
	for line := range bytes.Lines(group) {
		if bytes.HasPrefix(line, []byte("frrvty:")) {
			line = []byte(strings.Join(append(strings.Split(string(line), ":")[:3], "root\n"), ":"))
		}
		out = append(out, line...)
	}
	return out
}

// macvlan makes the interface of a virtual router as FRR's manual does, unless it is there
// from an earlier start. Without the two settings the kernel would answer ARP for the
// virtual address on the interface below too, with its MAC, and in BACKUP as well.
func (n *node) macvlan(l *lab, r Router) error {
	base, err := n.nl.LinkByName(r.Interface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", r.Interface, err)
	}
	mac, addrs := r.macvlanMAC(), r.VIPs
	name := fmt.Sprintf("vrrp4-%d-%d", base.Attrs().Index, r.VRID)
	if r.Addr.Is6() {
		name = fmt.Sprintf("vrrp6-%d-%d", base.Attrs().Index, r.VRID)
		addrs = append(slices.Clip(addrs), r.Addr) // the last, as if made with the link: FRR speaks from the newest
	}
	if _, err := n.nl.LinkByName(name); err == nil {
		return nil
	}
	if err := n.strictARP(l); err != nil {
		return err
	}
	l.command("ip -n %s link add %s link %s address %v type macvlan mode bridge", n.name, name, r.Interface, mac)
	link := &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: base.Attrs().Index, HardwareAddr: net.HardwareAddr(mac[:])}, Mode: netlink.MACVLAN_MODE_BRIDGE,
	}
	if err := n.nl.LinkAdd(link); err != nil {
		return fmt.Errorf("make macvlan %s: %w", name, err)
	}
	for _, a := range addrs {
		if err := n.addr(l, true, n.prefixOf(a), name); err != nil {
			return err
		}
	}
	l.command("ip -n %s link set %s up", n.name, name)
	return n.nl.LinkSetUp(link)
}

// prefixOf gives an address the length of the network of the host that it is in.
func (h *host) prefixOf(a netip.Addr) netip.Prefix {
	for _, nic := range h.nics {
		for _, own := range nic.own {
			if own.Contains(a) {
				return netip.PrefixFrom(a, own.Bits())
			}
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// macvlans lists the host's macvlans; vrrpd is not the only one that has some.
func (h *host) macvlans() []netlink.Link {
	list, _ := h.nl.LinkList() // what waits for one looks again
	return slices.DeleteFunc(list, func(link netlink.Link) bool { return link.Type() != "macvlan" })
}

// unstack removes what was made on top of the host's interfaces, as a power loss does.
func (h *host) unstack(l *lab) error {
	for _, link := range h.macvlans() {
		l.command("ip -n %s link del %s", h.name, link.Attrs().Name)
		if err := h.nl.LinkDel(link); err != nil {
			return fmt.Errorf("%s: remove %s: %w", h.name, link.Attrs().Name, err)
		}
	}
	return nil
}

// carries is [host.holds] but for an address on a macvlan that is held down: FRR keeps the
// address there in BACKUP.
func (h *host) carries(a netip.Addr) bool {
	for _, link := range h.macvlans() {
		if link.Attrs().OperState == netlink.OperUp {
			continue
		}
		list, err := h.nl.AddrList(link, netlink.FAMILY_ALL)
		if err == nil && slices.ContainsFunc(list, func(e netlink.Addr) bool { return e.IP.Equal(a.AsSlice()) }) {
			return false
		}
	}
	return h.holds(a)
}

// seesVirtual tells whether the host's neighbour entry for a is the MAC of a macvlan of
// another host, and the wire has learned it there: nodes share a virtual MAC.
func (h *host) seesVirtual(a netip.Addr, at *host) bool {
	list, err := h.nl.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(list, func(n netlink.Neigh) bool { return n.IP.Equal(a.AsSlice()) && len(n.HardwareAddr) == 6 })
	if i < 0 || !slices.ContainsFunc(at.macvlans(), func(m netlink.Link) bool { return bytes.Equal(m.Attrs().HardwareAddr, list[i].HardwareAddr) }) {
		return false
	}
	mac, found := proto.MAC(list[i].HardwareAddr), false
	h.lab.wire.with(func() {
		for _, nic := range at.nics {
			found = found || h.lab.wire.table[learned{nic.lan, mac}] == nic
		}
	})
	return found
}

// frrEntering finds the state lines of vrrpd. That it ends is told by its end.
var frrEntering = regexp.MustCompile(`\[VRID (\d+)\] \[IPv(4|6)\] \w+ -> (Backup|Master)`)

// frrState reads a line of vrrpd's log as [entering] does: the line, the instance and the
// state; nil if it tells no state.
func frrState(line string) []string {
	m := frrEntering.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	instance := m[1]
	if m[2] == "6" {
		instance += "v6"
	}
	return []string{m[0], instance, strings.ToUpper(m[3])}
}
