package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// serviceFlow is one address and port; 0 is every port.
func serviceFlow(protocol uint8, addr netip.Addr, port uint16) Flow {
	return Flow{Protocol: protocol, Dst: netip.PrefixFrom(addr, addr.BitLen()), DstPorts: [2]uint16{port, port}}
}

func answerFlow(protocol uint8, addr netip.Addr, port uint16) Flow {
	return Flow{Protocol: protocol, Src: netip.PrefixFrom(addr, addr.BitLen()), SrcPorts: [2]uint16{port, port}, Answer: true}
}

// Of a director that forwards for others too: servers at v0, clients at w0.
type crossing struct {
	k                *Kernel
	servers, clients tap
	serial           uint16
}

var (
	serverSide = []string{"10.1.0.2", "2001:db8:1::2"}
	clientSide = []string{"10.2.0.2", "2001:db8:2::2"}
)

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	namespace(t)
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/icmp_ratelimit": "0", "net/ipv4/conf/all/rp_filter": "0",
		"net/ipv4/conf/all/send_redirects": "0",
	} {
		must(t, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
	}
	c := &crossing{k: open(t), serial: 1000}
	for i, side := range []struct {
		near, far string
		peers     []string
	}{{"v0", "v1", serverSide}, {"w0", "w1", clientSide}} {
		veth(t, side.near, side.far)
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+side.far+"/disable_ipv6", []byte("1"), 0o644))
		l, err := netlink.LinkByName(side.near)
		must(t, err)
		for _, a := range side.peers {
			must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(a), HardwareAddr: clientMAC}))
		}
		must(t, c.k.AddAddress(vip(side.near, fmt.Sprintf("10.%d.0.1/24", i+1))))
		must(t, c.k.AddAddress(vip(side.near, fmt.Sprintf("2001:db8:%d::1/64", i+1))))
	}
	c.servers, c.clients = openTap(t, "v1"), openTap(t, "w1")
	for _, tp := range []tap{c.servers, c.clients} {
		iface := map[tap]string{c.servers: "v0", c.clients: "w0"}[tp]
		l, err := netlink.LinkByName(iface)
		must(t, err)
		n := map[string]int{"v0": 1, "w0": 2}[iface]
		tp.warmUp(t, l.Attrs().HardwareAddr, fmt.Sprintf("10.%d.0.2", n), fmt.Sprintf("10.%d.0.1", n))
	}
	return c
}

// warmUp waits until the kernel answers: right after the carrier came a link loses frames.
func (p tap) warmUp(t *testing.T, dst net.HardwareAddr, from, to string) {
	t.Helper()
	for serial := range uint16(5) {
		sent := crossed{from: from, to: to, sport: 1, dport: 1, serial: serial + 1}
		p.send(t, sent.frame(t, dst)...)
	}
	p.until(t, func(q gopacket.Packet) bool { return answered(q) != 0 })
}

// crossed is a TCP SYN of either family, or a fragment of something else.
type crossed struct {
	from, to     string
	sport, dport uint16
	options      bool // behind a header of destination options
	later        bool // a fragment without ports
	serial       uint16
	about        *crossed // of an ICMP error
}

func (c crossed) frame(t *testing.T, dst net.HardwareAddr) []gopacket.SerializableLayer {
	t.Helper()
	src, to := net.ParseIP(c.from), net.ParseIP(c.to)
	eth := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}
	ip4 := &layers.IPv4{Version: 4, TTL: 64, Id: c.serial, Protocol: layers.IPProtocolTCP, SrcIP: src, DstIP: to}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, FlowLabel: uint32(c.serial), NextHeader: layers.IPProtocolTCP, SrcIP: src, DstIP: to}
	six := to.To4() == nil
	tcp := &layers.TCP{SrcPort: layers.TCPPort(c.sport), DstPort: layers.TCPPort(c.dport), Seq: uint32(c.serial), SYN: true, Window: 1000}
	if six {
		eth.EthernetType = layers.EthernetTypeIPv6
		must(t, tcp.SetNetworkLayerForChecksum(ip6))
	} else {
		must(t, tcp.SetNetworkLayerForChecksum(ip4))
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, tcp))
	payload := b.Bytes()
	if c.about != nil {
		ip4.Protocol, ip6.NextHeader, payload = layers.IPProtocolICMPv4, layers.IPProtocolICMPv6, c.about.quoted(t, six)
	}
	if six && c.options {
		ip6.NextHeader, payload = layers.IPProtocolIPv6Destination, append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, payload...)
	}
	if c.later {
		ip4.FragOffset, ip6.NextHeader, payload = 100, layers.IPProtocolIPv6Fragment, append([]byte{6, 0, 3, 32, 0, 0, 0, 1}, payload...)
	}
	if six {
		return []gopacket.SerializableLayer{eth, ip6, gopacket.Payload(payload)}
	}
	return []gopacket.SerializableLayer{eth, ip4, gopacket.Payload(payload)}
}

// quoted is the message of an ICMP error about the packet, which says that nobody listens.
func (c crossed) quoted(t *testing.T, six bool) []byte {
	t.Helper()
	m := []byte{layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort, 0, 0, 0, 0, 0, 0}
	if six {
		m[0], m[1] = layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6CodePortUnreachable
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, c.frame(t, clientMAC)...))
	return append(m, b.Bytes()[14:]...)
}

// give sends a packet from the servers' side or the clients', and returns its serial.
func (c *crossing) give(t *testing.T, from tap, p crossed) uint16 {
	t.Helper()
	c.serial++
	p.serial = c.serial
	l, err := netlink.LinkByName(map[tap]string{c.servers: "v0", c.clients: "w0"}[from])
	must(t, err)
	from.send(t, p.frame(t, l.Attrs().HardwareAddr)...)
	return c.serial
}

// forwarded is the serial of a packet as it was sent.
func forwarded(q gopacket.Packet) uint16 {
	if ip, ok := q.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok && ip.Id >= 1000 && ip.TTL == 63 {
		return ip.Id
	}
	if ip, ok := q.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok && ip.FlowLabel >= 1000 && ip.HopLimit == 63 {
		return uint16(ip.FlowLabel)
	}
	return 0
}

// answered is the serial of the SYN that a reset answers.
func answered(q gopacket.Packet) uint16 {
	if tcp, ok := q.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && tcp.RST {
		return uint16(tcp.Ack - 1)
	}
	return 0
}

// upTo lists the serials that arrive up to the last one.
func (p tap) upTo(t *testing.T, last uint16, serial func(gopacket.Packet) uint16) (list []uint16) {
	t.Helper()
	p.until(t, func(q gopacket.Packet) bool {
		if n := serial(q); n >= 1000 {
			list = append(list, n)
		}
		return len(list) > 0 && list[len(list)-1] == last
	})
	return list
}

// What NAT servers answer to clients does not leave the kernel; what they send to this
// host, and what others send, does what it did. Over both families.
func TestDropRulesOfAnswers(t *testing.T) {
	c := newCrossing(t)
	for i, client := range clientSide {
		server, own := serverSide[i], strings.TrimSuffix(serverSide[i], "2")+"1"
		addr := netip.MustParseAddr(server)
		must(t, c.k.DropRules([]string{"v0", "w0"}, []Flow{answerFlow(6, addr, 80), answerFlow(17, addr, 0)}))
		var want []uint16
		for _, p := range []struct {
			crossed
			want bool
		}{
			{crossed{from: server, to: client, sport: 80}, false},
			{crossed{from: server, to: client, sport: 80, options: true}, false}, // of IPv6
			{crossed{from: server, to: client, sport: 81}, true},
			{crossed{from: server, to: client, later: true}, false},
			{crossed{from: server[:len(server)-1] + "3", to: client, sport: 80}, true},
			{crossed{from: server[:len(server)-1] + "3", to: client, later: true}, true},
			{crossed{from: server, to: client, about: &crossed{from: client, to: server, dport: 80}}, false},
			{crossed{from: server[:len(server)-1] + "3", to: client, about: &crossed{from: client, to: server, dport: 80}}, false}, // a router
			{crossed{from: server, to: client, about: &crossed{from: client, to: server, dport: 81}}, true},
			{crossed{from: server, to: client, about: &crossed{from: client, to: server[:len(server)-1] + "3", dport: 80}}, true},
			{crossed{from: server, to: client, about: &crossed{from: client, to: server, sport: 80, dport: 1}}, true},
		} {
			if n := c.give(t, c.servers, p.crossed); p.want {
				want = append(want, n)
			}
		}
		if got := c.clients.upTo(t, want[len(want)-1], forwarded); !slices.Equal(got, want) {
			t.Errorf("%s: forwarded %v, want %v", server, got, want)
		}
		to := c.give(t, c.servers, crossed{from: server, to: own, sport: 80, dport: 7})
		if got := c.servers.upTo(t, to, answered); len(got) != 1 {
			t.Errorf("%s: answered %v", server, got)
		}
		// An address that comes later is our own from then on.
		added := strings.TrimSuffix(client, "2") + "77"
		must(t, c.k.AddAddress(vip("w0", added+map[bool]string{true: "/64", false: "/24"}[i == 1])))
		eventually(t, added+" is there", func() bool { // over IPv6 a moment later
			list, err := netlink.RouteGet(net.ParseIP(added))
			return err == nil && list[0].Type == unix.RTN_LOCAL
		})
		to = c.give(t, c.servers, crossed{from: server, to: added, sport: 80, dport: 7})
		if got := c.servers.upTo(t, to, answered); len(got) != 1 {
			t.Errorf("%s: answered %v", server, got)
		}
	}
	rules := output(t, "nft", "list", "table", "netdev", "ringkeep")
	for _, want := range []string{"2001:db8:1::2 . tcp . 80", "2001:db8:1::2 . udp", "fib daddr type != local"} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %q in\n%s", want, rules)
		}
	}
}

// Services of both families, with one port and with all.
func TestDropRulesOfServices(t *testing.T) {
	c := newCrossing(t)
	for i, client := range clientSide {
		own := strings.TrimSuffix(client, "2") + "1"
		other := strings.TrimSuffix(client, "2") + "9"
		must(t, c.k.AddAddress(vip("w0", other+map[bool]string{true: "/64", false: "/24"}[i == 1])))
		must(t, c.k.DropRules([]string{"w0"}, []Flow{
			serviceFlow(6, netip.MustParseAddr(own), 80), serviceFlow(6, netip.MustParseAddr(other), 0), serviceFlow(17, netip.MustParseAddr(own), 0),
		}))
		c.give(t, c.clients, crossed{from: client, to: own, sport: 9, dport: 80})
		c.give(t, c.clients, crossed{from: client, to: own, sport: 9, dport: 80, options: true})
		c.give(t, c.clients, crossed{from: client, to: other, sport: 9, dport: 80})
		c.give(t, c.clients, crossed{from: client, to: other, sport: 9, dport: 81})
		last := c.give(t, c.clients, crossed{from: client, to: own, sport: 9, dport: 81})
		if got := c.clients.upTo(t, last, answered); len(got) != 1 {
			t.Errorf("%s: answered %v, want only %d", own, got, last)
		}
	}
}

// Prefixes, ranges, exceptions, and rules of one interface.
func TestDropRulesOneByOne(t *testing.T) {
	c := newCrossing(t)
	for i, client := range clientSide {
		server := serverSide[i]
		near, wide := netip.MustParsePrefix("10.1.0.0/26"), netip.MustParsePrefix("10.2.0.0/23")
		if i == 1 {
			near, wide = netip.MustParsePrefix("2001:db8:1::/121"), netip.MustParsePrefix("2001:db8:2::/47")
		}
		must(t, c.k.DropRules([]string{"v0", "w0"}, []Flow{
			{Protocol: 6, Dst: wide, DstPorts: [2]uint16{88, 89}, Pass: true},
			{Protocol: 6, Src: near, Dst: wide, SrcPorts: [2]uint16{1024, 65535}, DstPorts: [2]uint16{80, 99}},
			{Protocol: 6, Dst: wide, DstPorts: [2]uint16{200, 200}, Interface: "w0"},
			{Protocol: 6, Dst: wide, DstPorts: [2]uint16{300, 300}, Interface: "v0"},
			{Protocol: 6, DstPorts: [2]uint16{400, 401}},
			{Protocol: 17, Dst: wide},
			{Protocol: 6, Src: near, DstPorts: [2]uint16{500, 500}, Pass: true},
			serviceFlow(6, netip.MustParseAddr(client), 500),
		}))
		var want []uint16
		for _, p := range []struct {
			from         string
			sport, dport uint16
			want         bool
		}{
			{server, 2000, 80, false},
			{server, 2000, 99, false},
			{server, 2000, 79, true},
			{server, 2000, 100, true},
			{server, 1023, 80, true},
			{server, 2000, 88, true},
			{server, 2000, 89, true},
			{map[int]string{0: "10.1.0.64", 1: "2001:db8:1::80"}[i], 2000, 80, true},
			{map[int]string{0: "10.1.0.64", 1: "2001:db8:1::80"}[i], 2000, 500, false},
			{server, 2000, 500, true},
			{server, 2000, 200, true},
			{server, 2000, 300, false},
			{server, 2000, 401, false},
			{server, 2000, 402, true},
		} {
			if n := c.give(t, c.servers, crossed{from: p.from, to: client, sport: p.sport, dport: p.dport}); p.want {
				want = append(want, n)
			}
		}
		if got := c.clients.upTo(t, want[len(want)-1], forwarded); !slices.Equal(got, want) {
			t.Errorf("%s: forwarded %v, want %v", server, got, want)
		}
	}
}

// The frames of a VLAN are no business of the interface below: its own has rules for them,
// and the socket there has to see them. The witness counts what is left behind the rules.
func TestDropRulesLeaveVLANs(t *testing.T) {
	c := newCrossing(t)
	must(t, c.k.DropRules([]string{"w0"}, []Flow{serviceFlow(6, netip.MustParseAddr("10.2.0.1"), 80)}))
	output(t, "nft", "add table netdev witness; add chain netdev witness in { type filter hook ingress device w0 priority 10; }; "+
		"add rule netdev witness in meta protocol ip meta l4proto tcp counter")
	w0, err := netlink.LinkByName("w0")
	must(t, err)
	for _, tag := range []*layers.Dot1Q{{VLANIdentifier: 5}, {VLANIdentifier: 0}} {
		p := crossed{from: "10.2.0.2", to: "10.2.0.1", sport: 9, dport: 80, serial: 1000}
		all := p.frame(t, w0.Attrs().HardwareAddr)
		eth := all[0].(*layers.Ethernet)
		tag.Type, eth.EthernetType = eth.EthernetType, layers.EthernetTypeDot1Q
		c.clients.send(t, append([]gopacket.SerializableLayer{eth, tag}, all[1:]...)...)
	}
	last := c.give(t, c.clients, crossed{from: "10.2.0.2", to: "10.2.0.1", sport: 9, dport: 81})
	if got := c.clients.upTo(t, last, answered); len(got) != 1 {
		t.Errorf("answered %v, want only %d", got, last)
	}
	if got := output(t, "nft", "list", "table", "netdev", "witness"); !strings.Contains(got, "counter packets 2 ") {
		t.Errorf("want the frame of VLAN 5 and the last one:\n%s", got)
	}
}
