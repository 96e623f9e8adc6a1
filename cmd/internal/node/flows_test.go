package node

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// serviceBy has servers without checks, by a method.
func serviceBy(addr string, protocol config.Protocol, method config.Method, servers ...string) *config.VirtualServer {
	vs := &config.VirtualServer{Addr: netip.MustParseAddrPort(addr), Protocol: protocol, Scheduler: "rr", Method: method, Quorum: 1}
	for _, s := range servers {
		vs.RealServers = append(vs.RealServers, &config.RealServer{Addr: netip.MustParseAddrPort(s), Weight: 1, Method: method})
	}
	return vs
}

var (
	byDR  = config.Method{Forwarding: "DR"}
	byNAT = config.Method{Forwarding: "NAT"}
)

// services is a node with services, of which addrOf(0) and global6(0) are addresses.
func services(t *testing.T, list ...*config.VirtualServer) *Node {
	t.Helper()
	cfg := with(instanceConf(255), conf6(255))
	cfg.Instances[1].Name, cfg.Instances[1].VRID = "VI_6", 52
	cfg.VirtualServers = list
	w := world6(t, cfg)
	w.start(0)
	return w.nodes[0]
}

func global6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i + 1)})
}

func (f Flow) String() string {
	s := fmt.Sprintf("%d from %v %v to %v %v", f.Protocol, f.Src, f.SrcPorts, f.Dst, f.DstPorts)
	if f.Answer {
		s += " answer"
	}
	if f.Quoted {
		s += " quoted"
	}
	if f.Pass {
		s += " pass"
	}
	if f.Port != AnyPort {
		s += fmt.Sprint(" at ", f.Port)
	}
	return s
}

func TestFlows(t *testing.T) {
	tun := func(kind string, port uint16) config.Method {
		return config.Method{Forwarding: "TUN", Tunnel: kind, Port: port}
	}
	direct := serviceBy("10.0.0.100:80", 6, byDR, "10.0.0.3:80")
	direct.SorryServer = &config.RealServer{Addr: netip.MustParseAddrPort("10.0.0.9:8080"), Method: byNAT}
	natted := serviceBy("[2001:db8::100]:0", 17, byNAT, "[2001:db8::3]:0", "[2001:db8::1]:0")
	again := serviceBy("[2001:db8::100]:53", 17, byNAT, "[2001:db8::3]:0")
	wrapped := serviceBy("10.0.0.100:443", 6, tun("ipip", 0), "10.0.0.3:443", "10.0.0.4:443", "10.0.0.5:443", "127.0.0.1:443")
	wrapped.RealServers[1].Method, wrapped.RealServers[2].Method = tun("gue", 6080), tun("gre", 0)
	off := serviceBy("10.0.0.100:25", 6, byNAT, "10.0.0.3:25")
	off.Disabled = "for some reason"
	n := services(t, direct, natted, wrapped, again, off)
	var got []string
	for _, f := range n.Flows() {
		got = append(got, f.String())
	}
	want := []string{
		"6 from invalid Prefix [0 0] to 10.0.0.100/32 [80 80]",
		"6 from 10.0.0.9/32 [8080 8080] to invalid Prefix [0 0] answer",
		"17 from invalid Prefix [0 0] to 2001:db8::100/128 [0 0]",
		"17 from 2001:db8::3/128 [0 0] to invalid Prefix [0 0] answer",
		"6 from invalid Prefix [0 0] to 10.0.0.100/32 [443 443]",
		"4 from invalid Prefix [0 0] to 10.0.0.3/32 [0 0] quoted",
		"17 from invalid Prefix [0 0] to 10.0.0.4/32 [6080 6080] quoted",
		"47 from invalid Prefix [0 0] to 10.0.0.5/32 [0 0] quoted",
		"17 from invalid Prefix [0 0] to 2001:db8::100/128 [53 53]",
		"17 from 2001:db8::3/128 [53 53] to invalid Prefix [0 0] answer",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// Of marks: a packet that an earlier rule takes is none of a later one.
func TestFlowsOfMarks(t *testing.T) {
	cfg := with(instanceConf(255))
	prefix := netip.MustParsePrefix
	cfg.Global.PacketMarks = config.PacketMarks{
		{Mark: 0, Family: 4, Sources: []netip.Prefix{prefix("10.9.0.0/16")}, Protocol: 6},
		{Mark: 7, Interface: "eth0", Destinations: []netip.Prefix{prefix("10.0.0.100/32"), prefix("10.0.1.0/24")}, Family: 4, DestinationPorts: []config.PortRange{{From: 80, To: 80}, {From: 8000, To: 8099}}, Protocol: 6},
		{Mark: 8, Protocol: 17},
	}
	for mark, family := range map[uint32]string{7: "inet", 8: "inet6"} {
		vs := serviceBy("10.0.0.100:0", 0, byNAT)
		vs.ByMark, vs.Fwmark, vs.Addr, vs.IPFamily = true, mark, netip.AddrPort{}, family
		cfg.VirtualServers = append(cfg.VirtualServers, vs)
	}
	slices.SortFunc(cfg.VirtualServers, func(a, b *config.VirtualServer) int { return int(a.Fwmark) - int(b.Fwmark) })
	cfg.VirtualServers[0].RealServers = []*config.RealServer{{Addr: netip.MustParseAddrPort("10.0.0.3:8080"), Method: byNAT}}
	n := newWorld(t, cfg).nodes[0]
	var got []string
	for _, f := range n.Flows() {
		got = append(got, f.String())
	}
	want := []string{
		"6 from 10.0.0.3/32 [8080 8080] to invalid Prefix [0 0] answer",
		"17 from 10.0.0.3/32 [8080 8080] to invalid Prefix [0 0] answer",
		"132 from 10.0.0.3/32 [8080 8080] to invalid Prefix [0 0] answer",
		"6 from 10.9.0.0/16 [0 0] to 0.0.0.0/0 [0 0] pass",
		"6 from 0.0.0.0/0 [0 0] to 10.0.0.100/32 [80 80] at 1",
		"6 from 0.0.0.0/0 [0 0] to 10.0.0.100/32 [8000 8099] at 1",
		"6 from 0.0.0.0/0 [0 0] to 10.0.1.0/24 [80 80] at 1",
		"6 from 0.0.0.0/0 [0 0] to 10.0.1.0/24 [8000 8099] at 1",
		"17 from 0.0.0.0/0 [0 0] to 0.0.0.0/0 [0 0] pass",
		"17 from ::/0 [0 0] to ::/0 [0 0]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// packetTo is a TCP segment for node 0, in a frame.
func packetTo(src, dst netip.AddrPort, flags uint8) []byte {
	h := proto.TCPHeader{SrcPort: src.Port(), DstPort: dst.Port(), Seq: 1, Ack: 7, Flags: flags}
	if src.Addr().Is6() {
		f := proto.AppendEthernet(nil, macOf(0), proto.MAC{2, 0, 0, 0, 9, 9}, proto.EtherTypeIPv6)
		return h.Append(proto.IPv6Header{NextHeader: proto.ProtocolTCP, HopLimit: 64, Src: src.Addr(), Dst: dst.Addr()}.Append(f, 20))
	}
	f := proto.AppendEthernet(nil, macOf(0), proto.MAC{2, 0, 0, 0, 9, 9}, proto.EtherTypeIPv4)
	return h.Append(proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: src.Addr(), Dst: dst.Addr()}.Append(f, 20))
}

// noon is before the second advertisement of a node that began as MASTER.
const noon = 500 * time.Millisecond

// fate gives a frame to the node.
func fate(n *Node, frame []byte) (Verdict, []Action) {
	var b Batch
	n.Frame(noon, 1, make([]byte, 10), frame, &b)
	return b.Verdicts[0], b.Actions
}

var (
	client6 = netip.MustParseAddrPort("[2001:db8:9::7]:4000")
	web6    = netip.MustParseAddrPort("[2001:db8::100]:80")
)

func TestServiceOverIPv6(t *testing.T) {
	n := services(t, serviceBy(web6.String(), 6, byDR, "[2001:db8::3]:80"))
	n.Step(0, AddressChanged{Port: 1, Prefix: netip.MustParsePrefix("2001:db8::100/64"), Present: true}, nil)
	if v, _ := fate(n, packetTo(client6, web6, proto.TCPSyn)); v.Fate != Held {
		t.Fatalf("the first frame: %v", v)
	}
	answer := proto.AppendNDP(nil, macOf(0), macOf(2), global6(2), global6(0), proto.NDPMessage{
		Type: proto.NeighbourAdvertisement, Solicited: true, Override: true, Target: global6(2), MAC: macOf(2),
	})
	sent := n.Step(noon, Received{Port: 1, Frame: answer}, nil)
	if len(sent) != 1 || proto.Ethernet(sent[0].(Send).Frame).Dst() != macOf(2) {
		t.Fatalf("after the answer: %v", sent)
	}
	f := packetTo(client6, web6, proto.TCPAck)
	if v, _ := fate(n, f); v.Fate != Forwarded || proto.Ethernet(f).Dst() != macOf(2) || proto.IPv6(f[14:]).HopLimit() != 63 {
		t.Errorf("a frame of the connection: %v, %x", v, f)
	}
	var b Batch
	if got := testing.AllocsPerRun(100, func() {
		b.Reset()
		f[21] = 64
		proto.Ethernet(f).SetDst(macOf(0))
		n.Frame(noon, 1, nil, f, &b)
	}); got != 0 || b.Verdicts[0].Fate != Forwarded {
		t.Errorf("%v allocations a frame, %v", got, b.Verdicts)
	}
	f = packetTo(client6, web6, proto.TCPAck)
	f[21] = 1
	for what, c := range map[string]struct {
		frame []byte
		next  uint8
		typ   uint8
	}{
		"midstream":      {packetTo(netip.AddrPortFrom(client6.Addr(), 9), web6, proto.TCPAck), proto.ProtocolTCP, 0},
		"hop limit of 1": {f, proto.ProtocolICMPv6, proto.ICMP6TimeExceeded},
	} {
		_, actions := fate(n, c.frame)
		if len(actions) != 1 {
			t.Errorf("%s: %v", what, actions)
			continue
		}
		eth := proto.Ethernet(actions[0].(Send).Frame)
		ip, err := proto.ParseIPv6(eth.Payload())
		if err != nil || eth.Type() != proto.EtherTypeIPv6 || eth.Dst() != (proto.MAC{2, 0, 0, 0, 9, 9}) || ip.NextHeader() != c.next || ip.Dst() != client6.Addr() {
			t.Errorf("%s: answered %x, %v", what, eth, err)
		} else if c.typ != 0 && ip.Payload()[0] != c.typ {
			t.Errorf("%s: answered %x", what, ip)
		}
	}
}

// What a NAT server sends to others than its clients was kept from the kernel, which is to
// forward it: as IPVS does with packets without a connection.
func TestPacketsOfNATServersAreGivenBack(t *testing.T) {
	n := services(t, serviceBy("10.0.0.100:80", 6, byNAT, "10.0.0.3:8080", "10.0.0.1:8080"), serviceBy("[2001:db8::100]:0", 6, byNAT, "[2001:db8::3]:0"))
	at := netip.MustParseAddrPort
	later := packetTo(at("10.0.0.3:1"), at("192.0.2.7:40"), 0)
	later[20], later[21] = 0, 9
	for _, c := range []struct {
		frame []byte
		want  Fate
	}{
		{packetTo(at("10.0.0.3:8080"), at("192.0.2.7:40"), proto.TCPAck), Delivered},
		{packetTo(at("10.0.0.3:8081"), at("192.0.2.7:40"), proto.TCPAck), Dropped},
		{packetTo(at("10.0.0.4:8080"), at("192.0.2.7:40"), proto.TCPAck), Dropped},
		{packetTo(at("10.0.0.1:8080"), at("192.0.2.7:40"), proto.TCPAck), Dropped},
		{packetTo(at("10.0.0.3:8080"), at("10.0.0.1:40"), proto.TCPAck), Dropped}, // to this host: the kernel has it
		{later, Delivered},
		{packetTo(at("[2001:db8::3]:77"), at("[2001:db8:9::7]:40"), proto.TCPAck), Delivered},
		{packetTo(at("[2001:db8::3]:77"), at("[2001:db8::1]:40"), proto.TCPAck), Dropped},
	} {
		before := slices.Clone(c.frame)
		v, actions := fate(n, c.frame)
		if v.Fate != c.want || len(actions) != 0 || !slices.Equal(before, c.frame) {
			t.Errorf("%s: %v %v", proto.Describe(before), v, actions)
		}
	}
	if c := n.Forwarder().Counter(forward.NotMine); c == 0 {
		t.Error("the forwarder took them")
	}
}
