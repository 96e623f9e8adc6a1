package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	protocolAH   = 51
	protocolVRRP = 112
)

// groups holds raw sockets that nobody reads. One for each protocol of ours keeps
// the kernel from answering unicast advertisements with "protocol unreachable",
// and those of VRRP are members of the group: the kernel sends IGMP reports for
// them and takes the group's frames in at the interface.
type groups struct {
	group netip.Addr // of the standard, by which the family is known

	mu      sync.Mutex
	sockets []int // the last one takes the next membership
	other   int   // AH, -1 for IPv6, where nobody speaks it
	joined  map[membership]bool
}

// membership is of an interface, by its index, in a group.
type membership struct {
	index int
	group netip.Addr
}

// vrrpGroup is where VRRP advertisements go (RFC 9568 §5.1.1.2).
func vrrpGroup() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 18}) }

func openGroups() (*groups, error) {
	ah, err := holder(unix.AF_INET, protocolAH)
	if err != nil {
		return nil, err
	}
	vrrp, err := holder(unix.AF_INET, protocolVRRP)
	if err != nil {
		unix.Close(ah)
		return nil, err
	}
	return &groups{group: vrrpGroup(), sockets: []int{vrrp}, other: ah, joined: map[membership]bool{}}, nil
}

// holder opens a raw socket whose filter refuses everything, so that it never holds
// a packet.
func holder(family, protocol int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("open a raw socket for IP protocol %d: %w: needs CAP_NET_RAW (run as root)", protocol, err)
	}
	if err != nil {
		return -1, fmt.Errorf("open a raw socket for IP protocol %d: %w", protocol, err)
	}
	if err := refuseAll(fd); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("filter of the raw socket for IP protocol %d: %w", protocol, err)
	}
	return fd, nil
}

func refuseAll(fd int) error {
	code, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	filter := []unix.SockFilter{{Code: code[0].Op, Jt: code[0].Jt, Jf: code[0].Jf, K: code[0].K}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &filter[0]})
}

// JoinGroup makes this host a member of a multicast group of either family on an
// interface, until [Kernel.LeaveGroup] or Close: the kernel reports it by IGMP or MLD, so
// that snooping switches send the group our way. A second call does nothing.
//
// The kernel allows one socket 20 memberships of IPv4 (igmp_max_memberships). Beyond them
// JoinGroup opens further sockets, and those belong to the calling thread's
// network namespace.
func (k *Kernel) JoinGroup(iface string, group netip.Addr) error {
	switch {
	case group.Is4():
		return k.join(k.groups, iface, group)
	case k.groups6 == nil:
		return errors.New("the kernel does not speak IPv6")
	}
	return k.join(k.groups6, iface, group)
}

func (k *Kernel) join(g *groups, iface string, group netip.Addr) error {
	index, err := k.index(iface)
	if err != nil {
		return fmt.Errorf("join %s: %w", group, err)
	}
	if err := g.join(membership{index, group}); err != nil {
		return fmt.Errorf("join %s on %s: %w", group, iface, explain(err))
	}
	return nil
}

func (g *groups) join(m membership) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.joined[m] {
		return nil
	}
	if len(g.sockets) == 0 {
		return errors.New("closed")
	}
	err := g.member(g.sockets[len(g.sockets)-1], m)
	if errors.Is(err, unix.ENOBUFS) && g.group.Is4() {
		fd, openErr := holder(unix.AF_INET, protocolVRRP)
		if openErr != nil {
			return openErr
		}
		g.sockets = append(g.sockets, fd)
		err = g.member(fd, m)
	}
	if err == nil {
		g.joined[m] = true
	}
	return err
}

// LeaveGroup ends a membership of [Kernel.JoinGroup]. Without one it does nothing.
func (k *Kernel) LeaveGroup(iface string, group netip.Addr) error {
	g := k.groups
	if group.Is6() {
		g = k.groups6
	}
	index, err := k.index(iface)
	if g == nil || errors.Is(err, errNoLink) {
		return nil // it went with the interface
	}
	if err == nil {
		err = g.leave(membership{index, group})
	}
	if err != nil {
		return fmt.Errorf("leave %s on %s: %w", group, iface, explain(err))
	}
	return nil
}

func (g *groups) leave(m membership) (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.joined[m] {
		return nil
	}
	for _, fd := range g.sockets { // one of them is the member
		if g.group.Is6() {
			err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, &unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.index)})
		} else {
			err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, &unix.IPMreqn{Multiaddr: m.group.As4(), Ifindex: int32(m.index)})
		}
		if err == nil {
			delete(g.joined, m)
			return nil
		}
	}
	return err
}

func (g *groups) member(fd int, m membership) error {
	if g.group.Is6() {
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.index)})
	}
	return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
		&unix.IPMreqn{Multiaddr: m.group.As4(), Ifindex: int32(m.index)})
}

func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, fd := range g.sockets {
		unix.Close(fd)
	}
	if g.other >= 0 {
		unix.Close(g.other)
	}
	g.sockets, g.other = nil, -1
}
