package netlab

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The frames of a lan that is a bridge of the kernel reach their hosts on the processor, and
// in the system call, of who sent them: they wait for no process. The wire listens at
// the bridge's ports, and carries only what the lab made up.

// addBridge makes the bridge of a lan. It learns and floods, and says nothing by itself.
func (l *lab) addBridge(lan string) error {
	name := fmt.Sprintf("br%d", len(l.bridges)+1)
	l.command("ip -n wire link add %s type bridge mcast_snooping 0", name)
	snooping := false // which keeps multicast from ports that have not joined
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &snooping}
	if err := l.wireSpace.nl.LinkAdd(b); err != nil {
		return fmt.Errorf("make a bridge (the kernel needs CONFIG_BRIDGE): %w", err)
	}
	l.bridges[lan] = b
	return l.wireSpace.nl.LinkSetUp(b)
}

// join makes the wire's end of a link a port of its lan's bridge, if that is one.
func (l *lab) join(p *nic, end netlink.Link) error {
	b := l.bridges[p.lan]
	if b == nil {
		return nil
	}
	l.command("ip -n wire link set %s master %s", p.device, b.Attrs().Name)
	return l.wireSpace.nl.LinkSetMaster(end, b)
}

// cutPorts has the bridges pass nothing from and to the hosts that a partition leaves
// alone, while their links stay up.
func (l *lab) cutPorts() error {
	for _, p := range l.wire.ports {
		cut := l.wire.network.Alone(p.host.name)
		if l.bridges[p.lan] == nil || p.sock == nil || cut == p.cut {
			continue
		}
		if err := l.setPort(p, cut); err != nil && !errors.Is(err, unix.ENETDOWN) { // the link is down: it comes up open
			return fmt.Errorf("%s: cut the port of the bridge: %w", p.host.name, err)
		}
		p.cut = cut
	}
	return nil
}

// setPort closes or opens a port of a bridge that speaks no spanning tree.
func (l *lab) setPort(p *nic, cut bool) error {
	const disabled, forwarding = 0, 3 // BR_STATE_* of linux/if_bridge.h
	state := byte(forwarding)
	if cut {
		state = disabled
	}
	link, err := l.wireSpace.nl.LinkByName(p.device)
	if err != nil {
		return err
	}
	l.command("bridge -n wire link set dev %s state %d", p.device, state)
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
	req.AddData(info)
	l.wireSpace.do(func() { _, err = req.Execute(unix.NETLINK_ROUTE, 0) })
	return err
}

// checkBridged refuses what a bridge of the kernel does not do to frames.
func (s *Scenario) checkBridged(st Statement, known map[string]string) error {
	i := slices.IndexFunc(s.Statements, func(st Statement) bool { return st.Words[0] == "lan" && IsBridge(st.Words) })
	if i < 0 {
		return nil
	}
	lan := s.Statements[i].Words[1]
	if st.Words[0] != "partition" {
		return st.Errorf(0, "the kernel carries the frames of lan %s: only partition, heal and link befall them", lan)
	}
	var n Network
	n.Partition(st.Words)
	together := 0
	for _, group := range n.partitions {
		if len(group) > 1 {
			together++
		}
	}
	if together > 1 {
		return st.Errorf(0, "lan %s is a bridge of the kernel: all groups but one must be of a single host", lan)
	}
	for name, kind := range known {
		if kind != "lan" && n.group(name) < 0 {
			return st.Errorf(0, "lan %s is a bridge of the kernel: every host must be in a group", lan)
		}
	}
	return nil
}
