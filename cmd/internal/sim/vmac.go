package sim

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// vmac is a macvlan with a virtual MAC on an interface.
type vmac struct {
	name  string
	mac   proto.MAC
	port  int // its number for the node
	addrs []netip.Addr
}

// unstack removes macvlans that are not to stay, with the addresses on them.
func (d *director) unstack(stay []node.VMAC) {
	for _, n := range d.h.nics {
		n.vmacs = slices.DeleteFunc(n.vmacs, func(v vmac) bool {
			if slices.ContainsFunc(stay, func(s node.VMAC) bool { return s.Name == v.name }) {
				return false
			}
			for _, a := range slices.Clone(v.addrs) {
				n.setAddr(v.name, netip.PrefixFrom(a, a.BitLen()), false)
			}
			return true
		})
	}
}

// stack makes the macvlans of a director that are not there yet.
func (d *director) stack() {
	for _, v := range d.n.VMACs() {
		n := d.h.nicNamed(v.Base)
		if !slices.ContainsFunc(n.vmacs, func(o vmac) bool { return o.name == v.Name }) {
			n.vmacs = append(n.vmacs, vmac{name: v.Name, mac: v.MAC, port: d.n.Port(v.Name)})
		}
	}
}

// takes tells whether the network card takes frames to a MAC.
func (n *nic) takes(mac proto.MAC) bool {
	return mac == n.mac || slices.ContainsFunc(n.vmacs, func(v vmac) bool { return v.mac == mac })
}

// macOf is the MAC by which the host answers for an address of its own.
func (n *nic) macOf(a netip.Addr) proto.MAC {
	for _, v := range n.vmacs {
		if slices.Contains(v.addrs, a) {
			return v.mac
		}
	}
	return n.mac
}

// setAddr adds or removes an address of an interface or of a macvlan on it.
func (n *nic) setAddr(iface string, p netip.Prefix, present bool) {
	i := slices.IndexFunc(n.addrs, func(o netip.Prefix) bool { return o.Addr() == p.Addr() })
	switch {
	case present && i < 0:
		n.addrs = append(n.addrs, p)
	case !present && i >= 0:
		n.addrs = slices.Delete(n.addrs, i, i+1)
	default:
		return
	}
	port := n.port
	for k := range n.vmacs {
		if v := &n.vmacs[k]; v.name == iface {
			port = v.port
			v.addrs = slices.DeleteFunc(v.addrs, func(a netip.Addr) bool { return a == p.Addr() })
			if present {
				v.addrs = append(v.addrs, p.Addr())
			}
		}
	}
	n.host.w.changed = true
	n.host.w.record.Hold(n.host.w.now, n.host.name, p.Addr(), present)
	if d := n.host.dir; d != nil {
		d.step(node.AddressChanged{Port: port, Prefix: p, Present: present})
	}
}
