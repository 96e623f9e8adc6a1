package kernel

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// waited is what a set of sockets hears within a time.
func waited(t *testing.T, b *BFD, want int) (list []Datagram) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); len(list) < want; {
		b.Receive(10, func(d Datagram) {
			d.Payload = append([]byte(nil), d.Payload...)
			list = append(list, d)
		})
		var polled []unix.PollFd
		for _, r := range b.receivers {
			polled = append(polled, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN})
		}
		if time.Now().After(until) {
			t.Fatalf("heard %+v only", list)
		}
		unix.Poll(polled, 100)
	}
	return list
}

// addLinkLocal gives the loopback an address, and waits until it is heard there, which the kernel
// sees to later.
func addLinkLocal(t *testing.T, ip net.IP) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(64, 128)}})
	}
	local := netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: &net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)}}
	for until := time.Now().Add(5 * time.Second); err == nil; {
		var routes []netlink.Route
		if routes, err = netlink.RouteListFiltered(netlink.FAMILY_V6, &local, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST); len(routes) > 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatal("no local route")
		}
	}
	t.Fatal(err)
}

// TestBFDSockets: what is sent arrives with its TTL and its addresses, over both families and
// to both ports; every path has a port of its own; what is needed no longer is closed.
func TestBFDSockets(t *testing.T) {
	namespace(t)
	polled := map[int]bool{}
	b := NewBFD(func(fd int) error { polled[fd] = true; return nil }, func(fd int) error { delete(polled, fd); return nil })
	four, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	other, near := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("fe80::1%lo")
	addLinkLocal(t, net.ParseIP("fe80::1"))
	paths := []BFDPath{
		{To: four, TTL: 255}, {From: other, To: four, TTL: 77}, {To: six, TTL: 64}, {From: six, To: six, TTL: 3, Multihop: true},
		{To: near, TTL: 255}, {From: near.WithZone(""), To: near, TTL: 9},
	}
	if err := b.Follow(paths); err != nil {
		t.Fatal(err)
	}
	if len(polled) != 3 {
		t.Errorf("%d sockets are waited for", len(polled))
	}
	for i, p := range paths {
		if err := b.Send(p, []byte{byte(i), 1, 2}, false); err != nil {
			t.Fatal(err)
		}
	}
	ports := map[int]bool{}
	for _, s := range b.senders {
		switch a, _ := unix.Getsockname(s.fd); a := a.(type) {
		case *unix.SockaddrInet4:
			ports[a.Port] = true
		case *unix.SockaddrInet6:
			ports[a.Port] = true
		}
	}
	for port := range ports {
		if port < bfdLeastSource || len(ports) != len(paths) {
			t.Errorf("source ports %v", ports)
		}
	}
	for _, d := range waited(t, b, len(paths)) {
		p := paths[d.Payload[0]]
		from := p.From
		if !from.IsValid() || p.To == near {
			from = p.To
		}
		if d.From != from || d.To != p.To.WithZone("") || d.TTL != p.TTL || d.Multihop != p.Multihop || len(d.Payload) != 3 {
			t.Errorf("%+v became %+v", p, d)
		}
	}
	if err := b.Send(paths[0], []byte{0}, true); err != nil || len(b.senders) != len(paths)-1 {
		t.Errorf("the last one: %v, %d senders", err, len(b.senders))
	}
	if err := b.Follow(paths[2:3]); err != nil || len(b.senders) != 1 || len(b.receivers) != 1 || len(polled) != 1 {
		t.Errorf("%v: %d senders, %d receivers, %d waited for", err, len(b.senders), len(b.receivers), len(polled))
	}
	second := NewBFD(func(int) error { return nil }, func(int) error { return nil })
	if err := second.Follow(paths[2:3]); err == nil || !strings.Contains(err.Error(), "hear BFD at UDP port 3784: address already in use") {
		t.Errorf("a second one: %v", err)
	}
	if err := b.Close(); err != nil || len(polled) != 0 {
		t.Error(err)
	}
	far := BFDPath{From: netip.MustParseAddr("192.0.2.1"), To: netip.MustParseAddr("192.0.2.2"), TTL: 255}
	if err := b.Send(far, []byte{1}, false); err == nil || !strings.HasPrefix(err.Error(), "send BFD to 192.0.2.2: ") {
		t.Errorf("nowhere: %v", err)
	}
}
