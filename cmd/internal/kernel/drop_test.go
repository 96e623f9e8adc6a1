package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tap is a packet socket on one interface that sees every protocol.
type tap int

func openTap(t *testing.T, iface string) tap {
	t.Helper()
	l, err := netlink.LinkByName(iface)
	must(t, err)
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index}))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3}))
	return tap(fd)
}

// next reads TCP segments until one matches, and fails on what must not come.
func (p tap) next(t *testing.T, what string, ok, never func(*layers.TCP) bool) {
	t.Helper()
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(int(p), b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		packet := gopacket.NewPacket(b[:n], layers.LayerTypeEthernet, gopacket.Default)
		tcp, is := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		switch {
		case is && never(tcp):
			t.Errorf("waiting for %s: the kernel answered %v", what, packet)
		case is && ok(tcp):
			return
		}
	}
}

func nothing(*layers.TCP) bool { return false }

// syn sends a SYN from 10.1.0.2 to 10.1.0.100 into an interface.
func (p tap) syn(t *testing.T, dst net.HardwareAddr, port uint16) {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IPv4(10, 1, 0, 2), DstIP: net.IPv4(10, 1, 0, 100)}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), SYN: true, Window: 1000}
	must(t, tcp.SetNetworkLayerForChecksum(ip))
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp))
	_, err := unix.Write(int(p), b.Bytes())
	must(t, err)
}

// The rules keep the kernel from answering exactly their flows, while a packet
// socket before them sees the frames.
func TestDropRulesSilenceTheKernelOnly(t *testing.T) {
	namespace(t)
	veth(t, "v0", "v1")
	v0, err := netlink.LinkByName("v0")
	must(t, err)
	must(t, netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: v0.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.IPv4(10, 1, 0, 2), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2},
	}))
	k := open(t)
	must(t, k.AddAddress(vip("v0", "10.1.0.100/24")))
	ours, client := openTap(t, "v0"), openTap(t, "v1")
	mac := v0.Attrs().HardwareAddr
	addr := netip.MustParseAddr("10.1.0.100")
	reset := func(port uint16) func(*layers.TCP) bool {
		return func(s *layers.TCP) bool { return s.RST && s.SrcPort == layers.TCPPort(port) }
	}

	client.syn(t, mac, 80)
	client.next(t, "the answer without rules", reset(80), nothing)

	must(t, k.DropRules([]string{"v0"}, []Flow{serviceFlow(6, addr, 80), serviceFlow(17, addr, 81), serviceFlow(6, addr, 80)}))
	client.syn(t, mac, 80)
	client.syn(t, mac, 81) // the other protocol's port is not ours
	client.next(t, "the answer of another port", reset(81), reset(80))
	for range 2 { // before the rules and with them
		ours.next(t, "the frame at the tap", func(s *layers.TCP) bool { return s.SYN && s.DstPort == 80 }, nothing)
	}

	must(t, k.DropRules([]string{"v0"}, []Flow{serviceFlow(6, addr, 81)})) // replaced, not added to
	client.syn(t, mac, 81)
	client.syn(t, mac, 80)
	client.next(t, "the answer of the flow no longer dropped", reset(80), reset(81))

	must(t, k.DropRules(nil, nil))
	client.syn(t, mac, 81)
	client.next(t, "the answer after the rules are gone", reset(81), nothing)
}

func TestDropRulesManyAndReplaced(t *testing.T) {
	namespace(t)
	link(t, "d0")
	link(t, "d1")
	k := open(t)
	var flows []Flow
	for i := range 10000 {
		server := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		flows = append(flows, serviceFlow(6, server, 80), answerFlow(6, server, 80))
	}
	must(t, k.DropRules([]string{"d0", "d1", "d0"}, flows))
	rules := output(t, "nft", "list", "table", "netdev", "ringkeep")
	if n := strings.Count(rules, " . tcp . "); n < 20000 {
		t.Errorf("%d flows listed, want 20000", n)
	}
	for _, want := range []string{"flags owner", `device "d0"`, `device "d1"`} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %s in\n%.2000s", want, rules)
		}
	}
	d1, err := netlink.LinkByName("d1")
	must(t, err)
	must(t, netlink.LinkDel(d1)) // takes its chain with it
	must(t, k.DropRules([]string{"d0"}, flows[:1]))
	rules = output(t, "nft", "list", "table", "netdev", "ringkeep")
	if strings.Contains(rules, "d1") || strings.Count(rules, " . tcp . ") != 1 {
		t.Errorf("not replaced:\n%s", rules)
	}
	must(t, k.Close())
	if got := output(t, "nft", "list", "tables"); strings.Contains(got, "ringkeep") {
		t.Errorf("table left after Close: %s", got)
	}
}

func TestDropRulesErrors(t *testing.T) {
	namespace(t)
	k := open(t)
	addr := netip.MustParseAddr("10.1.0.1")
	for _, tt := range []struct {
		iface string
		flow  Flow
		want  string
	}{
		{"nosuch0", serviceFlow(6, addr, 80), "drop rules: interface nosuch0: does not exist"},
		{"lo", serviceFlow(0, addr, 80), "drop rule for {"},
		{"lo", Flow{Protocol: 6, Src: netip.MustParsePrefix("::1/128"), Dst: netip.MustParsePrefix("10.1.0.1/32")}, "drop rule for {"},
		{"lo", Flow{Protocol: 6, DstPorts: [2]uint16{2, 1}}, "drop rule for {"},
		{"lo", Flow{Protocol: 6, Src: netip.MustParsePrefix("10.0.0.0/8"), Answer: true}, "drop rule for {"},
	} {
		err := k.DropRules([]string{tt.iface}, []Flow{tt.flow})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s %v: %v", tt.iface, tt.flow, err)
		}
	}
	// A transaction that failed leaves nothing behind in the next one.
	must(t, k.DropRules([]string{"lo"}, []Flow{serviceFlow(6, addr, 80)}))
	if err := k.DropRules([]string{"nosuch0"}, []Flow{serviceFlow(6, addr, 81)}); err == nil {
		t.Error("no error for a missing interface")
	}
	other, err := newDropRules([]Flow{serviceFlow(6, addr, 82)})
	must(t, err)
	if err := k.replace([]string{strings.Repeat("x", 300)}, other); err == nil {
		t.Error("no error from the kernel for an impossible chain")
	}
	got := output(t, "nft", "list", "table", "netdev", "ringkeep")
	if !strings.Contains(got, fmt.Sprintf("%s . tcp . 80", addr)) {
		t.Errorf("a failed replacement took the rules away:\n%s", got)
	}
}

// Advertisements to our own address must not be answered with "protocol
// unreachable"; the kernel does so for protocols that nobody listens to.
func TestKernelIsSilentAboutVRRP(t *testing.T) {
	namespace(t)
	veth(t, "v0", "v1")
	v0, err := netlink.LinkByName("v0")
	must(t, err)
	client := net.HardwareAddr{2, 0, 0, 0, 0, 2}
	must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: v0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 1, 0, 2), HardwareAddr: client}))
	k := open(t)
	must(t, k.AddAddress(vip("v0", "10.1.0.100/24")))
	wire := openTap(t, "v1")
	for _, protocol := range []layers.IPProtocol{protocolVRRP, protocolAH, 113} {
		eth := &layers.Ethernet{SrcMAC: client, DstMAC: v0.Attrs().HardwareAddr, EthernetType: layers.EthernetTypeIPv4}
		ip := &layers.IPv4{Version: 4, TTL: 255, Protocol: protocol, SrcIP: net.IPv4(10, 1, 0, 2), DstIP: net.IPv4(10, 1, 0, 100)}
		b := gopacket.NewSerializeBuffer()
		must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, gopacket.Payload(make([]byte, 40))))
		_, err := unix.Write(int(wire), b.Bytes())
		must(t, err)
	}
	if got := wire.unreachable(t); got != 113 {
		t.Errorf("the first protocol that is answered for is %d, want 113", got)
	}
}

// unreachable reads up to an ICMP "unreachable" and returns the protocol that it is about.
func (p tap) unreachable(t *testing.T) uint8 {
	t.Helper()
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(int(p), b)
		must(t, err)
		packet := gopacket.NewPacket(b[:n], layers.LayerTypeEthernet, gopacket.Default)
		icmp, ok := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if ok && icmp.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable && len(icmp.Payload) > 9 {
			return icmp.Payload[9]
		}
	}
}
