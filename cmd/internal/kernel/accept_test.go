package kernel

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var clientMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}

// send puts a packet of these layers into an interface.
func (p tap) send(t *testing.T, all ...gopacket.SerializableLayer) {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	_, err := unix.Write(int(p), b.Bytes())
	must(t, err)
}

// echo sends an echo request from the client to an address of either family.
func (p tap) echo(t *testing.T, dst net.HardwareAddr, to string, id uint16) {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}
	if addr := netip.MustParseAddr(to); addr.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IPv4(10, 1, 0, 2), DstIP: addr.AsSlice()}
		p.send(t, eth, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: id})
		return
	}
	eth.EthernetType = layers.EthernetTypeIPv6
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fe80::2"), DstIP: net.ParseIP(to)}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	p.send(t, eth, ip, icmp, &layers.ICMPv6Echo{Identifier: id})
}

// echoed reads until the answer to one echo request, and fails on an answer from another.
func (p tap) echoed(t *testing.T, id uint16) {
	t.Helper()
	p.until(t, func(packet gopacket.Packet) bool {
		var got uint16
		if icmp, ok := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && icmp.TypeCode.Type() == layers.ICMPv4TypeEchoReply {
			got = icmp.Id
		}
		icmp, six := packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if e, ok := packet.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo); ok && six && icmp.TypeCode.Type() == layers.ICMPv6TypeEchoReply {
			got = e.Identifier
		}
		if got != 0 && got != id && got != warm {
			t.Errorf("echo %d was answered, which must not be", got)
		}
		return got == id
	})
}

func (p tap) until(t *testing.T, ok func(gopacket.Packet) bool) {
	t.Helper()
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(int(p), b)
		if err != nil {
			t.Fatalf("waiting: %v", err)
		}
		if ok(gopacket.NewPacket(b[:n], layers.LayerTypeEthernet, gopacket.Default)) {
			return
		}
	}
}

// warm is the id of echo requests before the test, some of which may be answered late.
const warm = 0xffff

// answered waits until an address answers: right after the carrier came a link loses frames.
func (p tap) answered(t *testing.T, dst net.HardwareAddr, to string) {
	t.Helper()
	must(t, unix.SetNonblock(int(p), true))
	b := make([]byte, 2048)
	eventually(t, to+" answers", func() bool {
		p.echo(t, dst, to, warm)
		for {
			n, err := unix.Read(int(p), b)
			if err != nil {
				return false
			}
			packet := gopacket.NewPacket(b[:n], layers.LayerTypeEthernet, gopacket.Default)
			if packet.Layer(layers.LayerTypeICMPv6Echo) != nil || packet.Layer(layers.LayerTypeICMPv4) != nil {
				return true
			}
		}
	})
	must(t, unix.SetNonblock(int(p), false))
}

// blockedLink is v0 with addresses of its own and virtual ones, and the client at v1.
func blockedLink(t *testing.T) (k *Kernel, client tap, mac net.HardwareAddr) {
	t.Helper()
	namespace(t)
	veth(t, "v0", "v1")
	v0, err := netlink.LinkByName("v0")
	must(t, err)
	for _, a := range []string{"10.1.0.2", "fe80::2"} {
		must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: v0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(a), HardwareAddr: clientMAC}))
	}
	k = open(t)
	for _, a := range []string{"10.1.0.1/24", "10.1.0.100/24", "10.1.0.101/24", "fe80::1/64", "fe80::100/64", "2001:db8::100/64"} {
		must(t, k.AddAddress(vip("v0", a)))
	}
	client, mac = openTap(t, "v1"), v0.Attrs().HardwareAddr
	client.answered(t, mac, "10.1.0.1")
	client.answered(t, mac, "fe80::1")
	return k, client, mac
}

// What RFC 9568 §6.4.3 asks for without Accept_Mode: packets to the addresses are not
// accepted, of both families; who asks for their MAC is answered.
func TestBlockedAddressesAreNotReached(t *testing.T) {
	k, client, mac := blockedLink(t)
	list := []Address{vip("v0", "10.1.0.100/24"), vip("v0", "10.1.0.101/24"), vip("v0", "fe80::100/64"), vip("v0", "2001:db8::100/64")}
	own := []string{"10.1.0.1", "fe80::1"}
	virtual := []string{"10.1.0.100", "10.1.0.101", "fe80::100", "2001:db8::100"}
	id := uint16(0)
	ping := func(to string) { id++; client.echo(t, mac, to, id) }
	for _, a := range append(virtual, own...) {
		ping(a)
		client.echoed(t, id)
	}

	must(t, k.Block(list))
	for _, a := range virtual {
		ping(a)
	}
	for _, a := range own { // answered after the others were not
		ping(a)
		client.echoed(t, id)
	}
	client.askARP(t, "10.1.0.100")
	client.solicit(t, mac, "fe80::100")
	client.solicit(t, mac, "2001:db8::100")

	must(t, k.Unblock(list[1:])) // the first stays
	ping("10.1.0.100")
	for _, a := range virtual[1:] {
		ping(a)
		client.echoed(t, id)
	}
	must(t, k.Unblock(list[:1]))
	ping("10.1.0.100")
	client.echoed(t, id)
	if got := output(t, "nft", "list", "tables"); strings.Contains(got, "ringkeep") {
		t.Errorf("left when nothing is blocked: %s", got)
	}
}

// askARP asks for an address and waits for the answer.
func (p tap) askARP(t *testing.T, who string) {
	t.Helper()
	p.send(t, &layers.Ethernet{SrcMAC: clientMAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: clientMAC, SourceProtAddress: []byte{10, 1, 0, 2}, DstHwAddress: make([]byte, 6), DstProtAddress: net.ParseIP(who).To4()})
	p.until(t, func(packet gopacket.Packet) bool {
		a, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP)
		return ok && a.Operation == layers.ARPReply && net.IP(a.SourceProtAddress).String() == who
	})
}

// solicit asks for an address of IPv6, sent to the address itself, and waits for the answer.
func (p tap) solicit(t *testing.T, dst net.HardwareAddr, who string) {
	t.Helper()
	target := net.ParseIP(who)
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fe80::2"), DstIP: target}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	p.send(t, &layers.Ethernet{SrcMAC: clientMAC, DstMAC: dst, EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: target, Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: clientMAC}}})
	p.until(t, func(packet gopacket.Packet) bool {
		a, ok := packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		return ok && a.TargetAddress.Equal(target)
	})
}

// A program of this host cannot speak from the address either; a packet for another host
// passes through (RFC 9568 §6.4.3: MUST forward).
func TestBlockedAddressesForward(t *testing.T) {
	k, client, mac := blockedLink(t)
	veth(t, "w0", "w1")
	w0, err := netlink.LinkByName("w0")
	must(t, err)
	must(t, k.AddAddress(vip("w0", "10.2.0.1/24")))
	must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: w0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 2, 0, 9), HardwareAddr: clientMAC}))
	for _, name := range []string{"all/rp_filter", "v0/rp_filter", "w0/rp_filter"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+name, []byte("0"), 0))
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	must(t, k.Block([]Address{vip("v0", "10.1.0.100/24")}))

	behind := openTap(t, "w1")
	client.echo(t, mac, "10.2.0.9", 7)
	behind.until(t, func(packet gopacket.Packet) bool {
		icmp, ok := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && icmp.Id == 7
	})
	for _, tt := range []struct {
		from string
		ok   bool
	}{{"10.1.0.100", false}, {"10.1.0.1", true}} {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(tt.from)}, &net.UDPAddr{IP: net.IPv4(10, 1, 0, 2), Port: 9})
		must(t, err)
		if _, err := c.Write([]byte("x")); (err == nil) != tt.ok {
			t.Errorf("from %s: %v", tt.from, err)
		}
		c.Close()
	}
}

// An address that two instances block is open again after both have left it; a set holds
// thousands; nothing is left by Close.
func TestBlockCounts(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	one := []Address{vip("d0", "10.1.0.100/24"), vip("d0", "10.1.0.100/32")}
	listed := func() string { return output(t, "nft", "list", "ruleset") }
	must(t, k.Unblock(one))
	must(t, k.Block(one))
	must(t, k.Unblock(one[:1]))
	if !strings.Contains(listed(), "10.1.0.100") {
		t.Errorf("opened by one of two:\n%s", listed())
	}
	must(t, k.Unblock(one[:1]))
	if strings.Contains(listed(), "ringkeep") {
		t.Errorf("still there:\n%s", listed())
	}
	var many []Address
	for i := range 3000 {
		many = append(many, Address{Interface: "d0", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)})
	}
	began := time.Now()
	must(t, k.Block(many))
	t.Log("3000 addresses in", time.Since(began))
	must(t, k.Block([]Address{vip("d0", "fe80::100/64")}))
	if n := strings.Count(listed(), "10.1."); n != 3000 {
		t.Errorf("%d addresses listed", n)
	}
	for _, want := range []string{"flags owner", `fe80::100 . "d0"`, "hook input priority filter - 1", "hook output priority filter - 1"} {
		if !strings.Contains(listed(), want) {
			t.Errorf("no %s in\n%.3000s", want, listed())
		}
	}
	must(t, k.Close())
	if got := listed(); strings.Contains(got, "ringkeep") {
		t.Errorf("left after Close: %s", got)
	}
}
