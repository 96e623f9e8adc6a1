package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// VMAC is the interface that an instance with use_vmac wants: a macvlan in private mode
// with the virtual MAC (RFC 9568 §7.3), which holds its addresses of the instance's family.
type VMAC struct {
	Instance *config.Instance
	Name     string
	Base     string // the interface under it
	MAC      proto.MAC
}

// VMACs lists those of the node. Its slice belongs to the node.
func (n *Node) VMACs() []VMAC { return n.vmacs }

// VMACs lists them in the order of the configuration. A name that another interface has is
// left alone, as keepalived does: vrrp.51 becomes vrrp6.51 for IPv6, then vrrp1.51. An
// interface is no other one if it is on the same base with the same MAC.
func VMACs(cfg *config.Config, links []Link) []VMAC {
	var list []VMAC
	for _, c := range cfg.Instances {
		if c.Disabled != "" || c.UseVMAC == nil {
			continue
		}
		v := VMAC{Instance: c, Base: c.Interface, MAC: virtualMAC(c)}
		free := func(name string) bool {
			mine := func(o VMAC) bool { return o.Name == name }
			other := func(l Link) bool { return l.Name == name && (l.Base != v.Base || l.MAC != v.MAC) }
			return !slices.ContainsFunc(list, mine) && !slices.ContainsFunc(links, other)
		}
		v.Name = vmacName(c, cfg.Global.VMACPrefix, free)
		list = append(list, v)
	}
	return list
}

func vmacName(c *config.Instance, prefix string, free func(name string) bool) string {
	if c.UseVMAC.Name != "" {
		return c.UseVMAC.Name
	}
	name := fmt.Sprintf("%s.%d", prefix, c.VRID)
	if !free(name) && c.Family() == 6 {
		name = fmt.Sprintf("%s6.%d", prefix, c.VRID)
	}
	for i := 1; !free(name); i++ {
		name = fmt.Sprintf("%s%d.%d", prefix, i, c.VRID)
	}
	return name
}

// virtualMAC is that of the file, or the one of the VRID and the family.
func virtualMAC(c *config.Instance) proto.MAC {
	mac, err := proto.ParseMAC(c.UseVMAC.MAC)
	switch {
	case err == nil:
		return mac
	case c.Family() == 6:
		return proto.VirtualMAC6(c.VRID)
	}
	return proto.VirtualMAC(c.VRID)
}

// addVMACs gives every instance with use_vmac its port: that of the link with its name, or
// a new one where the host has none and the node only thinks. Frames leave and arrive by
// the port of the base.
func (n *Node) addVMACs() error {
	var links []Link
	for _, p := range n.ports {
		links = append(links, p.link)
	}
	n.vmacs = VMACs(n.cfg, links)
	taken := map[int]bool{}
	for _, v := range n.vmacs {
		at := v.Instance.At("use_vmac")
		base, err := n.portNamed(v.Instance.At("interface"), v.Base)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(n.ports, func(p port) bool { return p.link.Name == v.Name })
		switch {
		case i < 0:
			i = len(n.ports)
			n.ports = append(n.ports, port{link: Link{Name: v.Name, MAC: v.MAC, Base: v.Base, Up: true}})
		case n.ports[i].link.Base != v.Base || n.ports[i].link.MAC != v.MAC:
			return fmt.Errorf("%s: vrrp_instance %s: use_vmac %s: this host has another interface of that name", at, v.Instance.Name, v.Name)
		}
		if taken[i] {
			return fmt.Errorf("%s: vrrp_instance %s: use_vmac %s: another instance has an interface of that name", at, v.Instance.Name, v.Name)
		}
		taken[i], n.ports[i].under = true, &outlet{port: base, mac: v.MAC}
	}
	return nil
}

// outlet is how frames with a virtual MAC leave.
type outlet struct {
	port int
	mac  proto.MAC
}

// outlet tells by which port the frames of port p leave, and with which source.
func (n *Node) outlet(p int) (port int, mac proto.MAC) {
	if u := n.ports[p].under; u != nil {
		return u.port, u.mac
	}
	return p, n.ports[p].link.MAC
}

// vmac is the interface with the virtual MAC of an instance, nil for none.
func (n *Node) vmac(c *config.Instance) *VMAC {
	i := slices.IndexFunc(n.vmacs, func(v VMAC) bool { return v.Instance == c })
	if i < 0 {
		return nil
	}
	return &n.vmacs[i]
}

// deviceOf is the interface of a virtual address without one of its own: the macvlan for
// those of the instance's family (reference: 6.1 dev).
func (n *Node) deviceOf(c *config.Instance, a config.Address) string {
	if v := n.vmac(c); v != nil && a.Prefix.Addr().Is6() == (c.Family() == 6) {
		return v.Name
	}
	return c.Interface
}

// mine tells whether a frame on the port is addressed to this node: to the MAC of the
// interface, or to the virtual one of an instance that is MASTER (RFC 9568 §6.4.2, §6.4.3).
func (n *Node) mine(port int, dst proto.MAC) bool {
	if dst == n.ports[port].link.MAC {
		return true
	}
	for i := range n.instances {
		if in := &n.instances[i]; in.port == port && in.virtual == dst && in.master() {
			return true
		}
	}
	return false
}

// Port is the number of the interface with that name, -1 for none; the macvlans that the
// node thinks itself come after the links that it was made with.
func (n *Node) Port(name string) int {
	return slices.IndexFunc(n.ports, func(p port) bool { return p.link.Name == name })
}

// settleTime is what an old MASTER may take to give its addresses up.
const settleTime = 50 * time.Millisecond

// settleSoon arms the last announcement of a new MASTER over IPv4 with a virtual MAC. While
// the old one still has its addresses, its kernel answers our gratuitous ARP, which is a
// request, and does so with the virtual MAC (keepalived 2.2.7 does): switches learn that MAC
// there, and would send its frames there until our next advertisement.
func (n *Node) settleSoon(in *instance, to fsm.State) {
	switch {
	case in.virtual.IsZero() || in.six():
	case to == fsm.Master:
		n.timers.set(in.settle, n.now+settleTime)
	default:
		n.timers.clear(in.settle)
	}
}

// settle has switches learn the virtual MAC at this host, by an ARP answer, which nobody
// answers.
func (n *Node) settle(i int) {
	in := &n.instances[i]
	device := n.vmac(in.cfg).Name
	at := slices.IndexFunc(in.addresses(), func(a config.Address) bool { return a.Device == device && a.Prefix.Addr().Is4() })
	if at < 0 {
		return // all are elsewhere
	}
	vip := in.addresses()[at].Prefix.Addr()
	m := proto.ARPMessage{Op: proto.ARPReply, SenderMAC: in.virtual, Sender: vip, TargetMAC: in.virtual, Target: vip}
	n.emit(Send{Port: in.port, Frame: m.Append(proto.AppendEthernet(make([]byte, 0, 42), proto.Broadcast, in.virtual, proto.EtherTypeARP))})
}
