package ipvs

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/netlab/vm"
	"github.com/ringkeep/ringkeep/proto"
)

// machine has every scheduler of the kernel and the tunnels' ends.
var machine = vm.Machine{Modules: []string{
	"ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sed", "ip_vs_nq", "ip_vs_fo", "ip_vs_ovf",
	"ip_vs_sh", "ip_vs_dh", "ip_vs_mh", "ip_vs_lblc", "ip_vs_lblcr", "veth", "dummy",
}, Programs: []string{"ipvsadm"}}

// network is the machine as a director: the clients are behind the link c0, the servers
// behind r0. Nobody lives on the far ends but this test, which sends frames and looks at those that come:
//
//	(test) c1 ── c0  192.0.2.1     director     10.0.0.1  r0 ── r1 (test)
type network struct {
	t               *testing.T
	k               *Kernel
	client, servers tap
	sent            uint32
}

// tap is a packet socket on the far end of a link, near the address of the other end.
type tap struct {
	fd, link int
	near     proto.MAC
}

var (
	vip     = netip.MustParseAddr("198.51.100.10")
	gateway = netip.MustParseAddr("192.0.2.254")
	marker  = netip.MustParseAddr("10.0.255.254") // a packet to it comes out behind all others
)

// serverMAC is the hardware address of 10.0.x.y.
func serverMAC(a netip.Addr) proto.MAC {
	b := a.As4()
	return proto.MAC{2, 0, 0, 0, b[2], b[3]}
}

// newNetwork makes the links in a network namespace of the test's own, which ends with the
// test, and its connections with it.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t}
	runtime.LockOSThread() // for good: the thread goes with the test, and with it the namespace
	ns, err := netns.New()
	n.must(err)
	n.must(ns.Close())
	for path, value := range map[string]string{
		"ipv6/conf/all/disable_ipv6": "1", "ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0",
		"ipv4/icmp_ratelimit": "0", "ipv4/icmp_msgs_per_sec": "1000000", "ipv4/icmp_msgs_burst": "1000000",
	} {
		n.must(os.WriteFile("/proc/sys/net/"+path, []byte(value), 0o644))
	}
	n.k, err = Open()
	n.must(err)
	t.Cleanup(n.k.Close)
	n.client = n.link("c", "192.0.2.1/24")
	n.servers = n.link("r", "10.0.0.1/16")
	n.neighbour("c0", gateway, proto.MAC{2, 0, 0, 0, 9, 9})
	n.neighbour("r0", marker, serverMAC(marker))
	lo := n.named("lo")
	n.must(netlink.LinkSetUp(lo))
	n.must(netlink.AddrAdd(lo, n.addr(vip.String()+"/32")))
	_, anywhere, err := net.ParseCIDR("198.18.0.0/16") // all of it is this host's
	n.must(err)
	n.must(netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: anywhere, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}))
	n.must(netlink.RouteAdd(&netlink.Route{LinkIndex: n.named("c0").Attrs().Index, Gw: gateway.AsSlice()}))
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) named(name string) netlink.Link {
	l, err := netlink.LinkByName(name)
	n.must(err)
	return l
}

func (n *network) addr(s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	n.must(err)
	return a
}

// link makes NAME0 with an address, and a tap on NAME1.
func (n *network) link(name, addr string) tap {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name + "0"
	n.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "1"}))
	near, far := n.named(name+"0"), n.named(name+"1")
	n.must(os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"0/rp_filter", []byte("0"), 0o644))
	n.must(netlink.AddrAdd(near, n.addr(addr)))
	n.must(netlink.LinkSetUp(near))
	n.must(netlink.LinkSetUp(far))
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	n.must(err)
	n.t.Cleanup(func() { unix.Close(fd) })
	n.must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	n.must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	n.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}))
	n.must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: far.Attrs().Index}))
	return tap{fd, far.Attrs().Index, proto.MAC(near.Attrs().HardwareAddr)}
}

func (n *network) neighbour(link string, a netip.Addr, mac proto.MAC) {
	n.must(netlink.NeighSet(&netlink.Neigh{
		LinkIndex: n.named(link).Attrs().Index, IP: a.AsSlice(), HardwareAddr: net.HardwareAddr(mac[:]), State: netlink.NUD_PERMANENT,
	}))
}

// send puts an IP packet on a link, for the director.
func (n *network) send(on tap, ip []byte) {
	frame := append(proto.AppendEthernet(nil, on.near, proto.MAC{2, 0, 0, 0, 8, 8}, proto.EtherTypeIPv4), ip...)
	n.must(unix.Sendto(on.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: on.link}))
}

// seen is a packet that came out of the director.
type seen struct {
	toClient bool
	mac      proto.MAC
	ip       []byte
}

// collect returns what came out of the director since the last call, of which it is told
// by a packet to the marker that everything else came before.
func (n *network) collect() (list []seen) {
	n.sent++
	n.send(n.client, datagram(netip.AddrPortFrom(gateway, 9), netip.AddrPortFrom(marker, 9), n.sent))
	for {
		s := n.receive(n.servers, 0)
		if s == nil {
			n.t.Fatal("the director is silent")
		}
		if ip := proto.IPv4(s.ip); ip.Dst() == marker && binary.BigEndian.Uint32(ip.Payload()[8:]) == n.sent {
			break
		}
		list = append(list, *s)
	}
	for s := n.receive(n.client, unix.MSG_DONTWAIT); s != nil; s = n.receive(n.client, unix.MSG_DONTWAIT) {
		s.toClient = true
		list = append(list, *s)
	}
	return list
}

// receive returns the next IPv4 packet on a link, nil if there is none.
func (n *network) receive(on tap, flags int) *seen {
	b := make([]byte, 2048)
	for {
		size, _, err := unix.Recvfrom(on.fd, b, flags)
		if err == unix.EAGAIN {
			return nil
		}
		if err == unix.EINTR {
			continue
		}
		n.must(err)
		e, err := proto.ParseEthernet(b[:size])
		n.must(err)
		if e.Type() == proto.EtherTypeIPv4 {
			ip, err := proto.ParseIPv4(e.Payload())
			n.must(err)
			return &seen{mac: e.Dst(), ip: ip}
		}
	}
}

// segment is a TCP segment with a number, by which its answer is known.
func segment(src, dst netip.AddrPort, flags uint8, number uint32) []byte {
	s := proto.TCPHeader{SrcPort: src.Port(), DstPort: dst.Port(), Seq: number, Ack: number, Flags: flags, Window: 1000}.Append(nil)
	proto.SealTCP(s, src.Addr(), dst.Addr())
	h := proto.IPv4Header{ID: uint16(number), TTL: 64, Protocol: proto.ProtocolTCP, Src: src.Addr(), Dst: dst.Addr()}
	return append(h.Append(nil, len(s)), s...)
}

// datagram is one of UDP whose data is a number.
func datagram(src, dst netip.AddrPort, number uint32) []byte {
	d := proto.UDPHeader{SrcPort: src.Port(), DstPort: dst.Port()}.Append(nil, 4)
	d = binary.BigEndian.AppendUint32(d, number)
	proto.SealUDP(d, src.Addr(), dst.Addr())
	h := proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()}
	return append(h.Append(nil, len(d)), d...)
}

// The outcomes of a segment but the address of a server.
const (
	dropped     = "dropped"
	unreachable = "port unreachable"
	reset       = "reset"
)

// outcome tells of a packet to which segment it belongs, and what became of that. ok is
// false for what is about no segment of the client's.
func (s seen) outcome() (number uint32, what string, ok bool) {
	ip := proto.IPv4(s.ip)
	b := ip.Payload()
	switch {
	case !s.toClient && ip.Protocol() == proto.ProtocolTCP:
		return binary.BigEndian.Uint32(b[4:]), netip.AddrFrom4([4]byte{10, 0, s.mac[4], s.mac[5]}).String(), true
	case s.toClient && ip.Protocol() == proto.ProtocolTCP && b[13]&proto.TCPRst != 0:
		return binary.BigEndian.Uint32(b[4:]), reset, true // its number is what the segment acknowledged
	case s.toClient && ip.Protocol() == proto.ProtocolICMP && b[0] == proto.ICMPUnreachable && b[1] == 3:
		return binary.BigEndian.Uint32(b[8+20+4:]), unreachable, true
	}
	return 0, "", false
}
