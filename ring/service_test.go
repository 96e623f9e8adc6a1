package ring_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// serviceAt is one virtual service; port 0 is every port.
func serviceAt(protocol uint8, addr netip.Addr, port uint16) ring.Match {
	return ring.Match{Protocol: protocol, Dst: host(addr), DstPorts: [2]uint16{port, port}}
}

func answerOf(protocol uint8, addr netip.Addr, port uint16) ring.Match {
	return ring.Match{Protocol: protocol, Src: host(addr), SrcPorts: [2]uint16{port, port}, Answer: true}
}

// Two hosts of each family that the tests speak of.
var (
	vip4, other4 = netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.101")
	vip6, other6 = netip.MustParseAddr("2001:db8::64"), netip.MustParseAddr("2001:db8::1:64")
	far4, far6   = netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8:f::7")
)

type passing struct {
	name string
	p    packet
	want bool
}

func checkPassing(t *testing.T, matches []ring.Match, list []passing) {
	t.Helper()
	filter, err := ring.ServiceFilter(matches)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		c.p.typ = 0x800
		if c.p.to.Is6() {
			c.p.typ = 0x86dd
		}
		if got := passes(t, filter, c.p.bytes()); got != c.want {
			t.Errorf("%s: passes %v, want %v", c.name, got, c.want)
		}
	}
}

func TestServiceFilter(t *testing.T) {
	services := []ring.Match{
		serviceAt(6, vip4, 443), serviceAt(6, vip4, 80), serviceAt(17, vip4, 53), serviceAt(6, vip4, 80), serviceAt(17, other4, 0),
	}
	const more = 0x2000
	checkPassing(t, services, []passing{
		{"TCP 80", packet{proto: 6, to: vip4, port: 80}, true},
		{"TCP 443", packet{proto: 6, to: vip4, port: 443}, true},
		{"TCP 81", packet{proto: 6, to: vip4, port: 81}, false},
		{"with IP options", packet{proto: 6, to: vip4, port: 80, options: 12}, true},
		{"with IP options, wrong port", packet{proto: 6, to: vip4, port: 81, options: 12}, false},
		{"UDP 53", packet{proto: 17, to: vip4, port: 53}, true},
		{"UDP 80", packet{proto: 17, to: vip4, port: 80}, false},
		{"every UDP port", packet{proto: 17, to: other4, port: 4711}, true},
		{"TCP of the other", packet{proto: 6, to: other4, port: 80}, false},
		{"first fragment", packet{proto: 6, to: vip4, port: 80, fragment: more}, true},
		{"first fragment, wrong port", packet{proto: 6, to: vip4, port: 81, fragment: more}, false},
		{"later fragment", packet{proto: 6, to: vip4, port: 0xffff, fragment: more | 185}, true},
		{"last fragment", packet{proto: 6, to: vip4, port: 0xffff, fragment: 185}, true},
		{"fragment to nobody", packet{proto: 6, to: far4, fragment: 185}, false},
		{"ICMP unreachable", packet{proto: 1, to: vip4, icmp: 3}, true},
		{"ICMP time exceeded", packet{proto: 1, to: vip4, icmp: 11}, true},
		{"ICMP echo", packet{proto: 1, to: vip4, icmp: 8}, false},
		{"another address", packet{proto: 6, to: far4, port: 80}, false},
		{"IPv6", packet{proto: 6, to: vip6, port: 80}, false},
	})
	for _, f := range [][]ring.Match{nil, services} {
		arp := packet{typ: 0x806, proto: 6, to: vip4, port: 80}
		if filter := must(ring.ServiceFilter(f)); len(filter) == 0 || passes(t, filter, arp.bytes()) {
			t.Error("ARP passes")
		}
	}
	if passes(t, ring.NothingFilter(), packet{typ: 0x800, proto: 6, to: vip4, port: 80}.bytes()) {
		t.Error("something passes where nothing shall")
	}
}

// The same over IPv6, behind extension headers too (RFC 8200 §4).
func TestServiceFilter6(t *testing.T) {
	services := []ring.Match{serviceAt(6, vip6, 80), serviceAt(17, vip6, 53), serviceAt(17, other6, 0)}
	checkPassing(t, services, []passing{
		{"TCP 80", packet{proto: 6, to: vip6, port: 80}, true},
		{"TCP 81", packet{proto: 6, to: vip6, port: 81}, false},
		{"UDP 53", packet{proto: 17, to: vip6, port: 53}, true},
		{"every UDP port", packet{proto: 17, to: other6, port: 4711}, true},
		{"TCP of the other", packet{proto: 6, to: other6, port: 80}, false},
		{"another address", packet{proto: 6, to: far6, port: 80}, false},
		{"behind options", packet{proto: 6, to: vip6, port: 80, headers: []uint8{0, 60, 43}}, true},
		{"behind options, wrong port", packet{proto: 6, to: vip6, port: 81, headers: []uint8{0, 60, 43}}, false},
		{"first fragment", packet{proto: 17, to: vip6, port: 53, headers: []uint8{0, 44, 60}, fragment: 1}, true},
		{"first fragment, wrong port", packet{proto: 17, to: vip6, port: 54, headers: []uint8{0, 44, 60}, fragment: 1}, false},
		{"later fragment", packet{proto: 17, to: vip6, headers: []uint8{44}, fragment: 8}, true},
		{"later fragment to nobody", packet{proto: 17, to: far6, headers: []uint8{44}, fragment: 8}, false},
		{"six headers", packet{proto: 6, to: vip6, port: 81, headers: []uint8{60, 60, 60, 60, 60, 60}}, false},
		{"more headers than are looked behind", packet{proto: 6, to: vip6, port: 81, headers: []uint8{60, 60, 60, 60, 60, 60, 60}}, true},
		{"the same to nobody", packet{proto: 6, to: far6, port: 80, headers: []uint8{60, 60, 60, 60, 60, 60, 60}}, false},
		{"packet too big", packet{proto: 58, to: vip6, icmp: 2}, true},
		{"an error not known yet", packet{proto: 58, to: vip6, icmp: 100, headers: []uint8{60}}, true},
		{"echo", packet{proto: 58, to: vip6, icmp: 128}, false},
		{"neighbour solicitation", packet{proto: 58, to: vip6, icmp: 135}, false},
		{"IPv4", packet{proto: 6, to: vip4, port: 80}, false},
	})
}

// What NAT servers send back passes, with the errors about it.
func TestServiceFilterAnswers(t *testing.T) {
	for _, f := range []struct {
		server, other, far netip.Addr
		icmp, echo         packet
		later              packet
	}{
		{vip4, other4, far4, packet{proto: 1, icmp: 3}, packet{proto: 1, icmp: 8}, packet{proto: 6, fragment: 185}},
		{vip6, other6, far6, packet{proto: 58, icmp: 2}, packet{proto: 58, icmp: 128}, packet{proto: 6, headers: []uint8{44}, fragment: 8}},
	} {
		between := func(p packet, from, to netip.Addr, quote *packet) packet {
			p.from, p.to, p.quote = from, to, quote
			return p
		}
		matches := []ring.Match{answerOf(6, f.server, 80), answerOf(17, f.server, 0), answerOf(6, f.other, 443)}
		checkPassing(t, matches, []passing{
			{"answer", packet{proto: 6, from: f.server, to: f.far, fromPort: 80}, true},
			{"another port", packet{proto: 6, from: f.server, to: f.far, fromPort: 81}, false},
			{"every port", packet{proto: 17, from: f.server, to: f.far, fromPort: 81}, true},
			{"the other", packet{proto: 6, from: f.other, to: f.far, fromPort: 443}, true},
			{"the other's protocol", packet{proto: 17, from: f.other, to: f.far, fromPort: 443}, false},
			{"to the server", packet{proto: 6, from: f.far, to: f.server, port: 80}, false},
			{"later fragment", between(f.later, f.server, f.far, nil), true},
			{"later fragment to the server", between(f.later, f.far, f.server, nil), false},
			{"error of the server", between(f.icmp, f.server, f.far, nil), true},
			{"echo of the server", between(f.echo, f.server, f.far, nil), false},
			{"a router's error about a packet to it", between(f.icmp, f.far, f.far, &packet{proto: 6, from: f.far, to: f.server, port: 80}), true},
			{"a router's error about a packet of it", between(f.icmp, f.far, f.far, &packet{proto: 6, from: f.server, to: f.far, port: 80}), false},
			{"a router's error that quotes nothing", between(f.icmp, f.far, f.far, nil), false},
		})
	}
}

// Errors about packets of tunnels come to the director itself.
func TestServiceFilterQuoted(t *testing.T) {
	const ipip, gre = 4, 47
	for _, f := range []struct {
		server, other, us, router netip.Addr
		icmp                      packet
	}{
		{vip4, other4, netip.MustParseAddr("10.0.0.1"), far4, packet{proto: 1, icmp: 3}},
		{vip6, other6, netip.MustParseAddr("2001:db8::1"), far6, packet{proto: 58, icmp: 2}},
	} {
		about := func(q packet) packet {
			p := f.icmp
			p.from, p.to, p.quote = f.router, f.us, &q
			return p
		}
		matches := []ring.Match{
			{Protocol: ipip, Dst: host(f.server), Quoted: true},
			{Protocol: 17, Dst: host(f.server), DstPorts: [2]uint16{6080, 6080}, Quoted: true},
			{Protocol: gre, Dst: host(f.other), Quoted: true},
		}
		checkPassing(t, matches, []passing{
			{"about IPIP", about(packet{proto: ipip, to: f.server}), true},
			{"about GRE", about(packet{proto: gre, to: f.other}), true},
			{"about another's GRE", about(packet{proto: gre, to: f.server}), false},
			{"about GUE", about(packet{proto: 17, to: f.server, port: 6080}), true},
			{"about other UDP", about(packet{proto: 17, to: f.server, port: 6081}), false},
			{"about IPIP to somebody", about(packet{proto: ipip, to: f.router}), false},
			{"the packet itself", packet{proto: ipip, from: f.us, to: f.server}, false},
		})
	}
}

// A rule may name both ends by prefix and range.
func TestServiceFilterRules(t *testing.T) {
	matches := []ring.Match{
		{Protocol: 6, Src: netip.MustParsePrefix("192.0.2.0/25"), Dst: netip.MustParsePrefix("10.0.0.0/22"), DstPorts: [2]uint16{8000, 8099}},
		{Protocol: 17, Dst: netip.MustParsePrefix("2001:db8:0:4000::/50"), SrcPorts: [2]uint16{1024, 65535}},
		{Protocol: 132, DstPorts: [2]uint16{36412, 36412}},
	}
	in := netip.MustParseAddr("2001:db8:0:7fff::1")
	out := netip.MustParseAddr("2001:db8:0:8000::1")
	checkPassing(t, matches, []passing{
		{"all of it", packet{proto: 6, from: far4, to: vip4, port: 8050}, true},
		{"the first port", packet{proto: 6, from: far4, to: vip4, port: 8000}, true},
		{"the last port", packet{proto: 6, from: far4, to: vip4, port: 8099}, true},
		{"below", packet{proto: 6, from: far4, to: vip4, port: 7999}, false},
		{"above", packet{proto: 6, from: far4, to: vip4, port: 8100}, false},
		{"another source", packet{proto: 6, from: netip.MustParseAddr("192.0.2.128"), to: vip4, port: 8050}, false},
		{"another destination", packet{proto: 6, from: far4, to: netip.MustParseAddr("10.0.4.0"), port: 8050}, false},
		{"another protocol", packet{proto: 17, from: far4, to: vip4, port: 8050}, false},
		{"later fragment", packet{proto: 6, from: far4, to: vip4, fragment: 185}, true},
		{"error of a router to it", packet{proto: 1, icmp: 3, from: netip.MustParseAddr("198.51.100.1"), to: vip4}, true},
		{"IPv6 prefix", packet{proto: 17, from: far6, to: in, fromPort: 5000, port: 1}, true},
		{"beside the prefix", packet{proto: 17, from: far6, to: out, fromPort: 5000, port: 1}, false},
		{"a low source port", packet{proto: 17, from: far6, to: in, fromPort: 1023, port: 1}, false},
		{"any address", packet{proto: 132, from: far4, to: other4, port: 36412}, true},
		{"any address of IPv6", packet{proto: 132, from: far6, to: out, port: 36412}, true},
		{"any address, another port", packet{proto: 132, from: far6, to: out, port: 36413}, false},
	})
	for _, m := range []ring.Match{
		{Dst: host(vip4)},
		{Protocol: 6, Src: host(vip6), Dst: host(vip4)},
		{Protocol: 6, Dst: host(vip4), DstPorts: [2]uint16{2, 1}},
		{Protocol: 6, Answer: true},
		{Protocol: 6, Src: netip.MustParsePrefix("10.0.0.0/8"), Answer: true},
		{Protocol: 6, Src: host(vip4), DstPorts: [2]uint16{80, 80}, Answer: true},
		{Protocol: 4, Quoted: true},
	} {
		if _, err := ring.ServiceFilter([]ring.Match{m}); err == nil {
			t.Errorf("%+v was taken", m)
		}
	}
}

func vipOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }

// addrOf is one of both families, near others and far from them.
func addrOf(i int) netip.Addr {
	if i%2 == 0 {
		return vipOf(i/2 + i/6*77)
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i / 9), 11: byte(i / 5), 15: byte(i / 2)})
}

// matched is the plain reading of the list, for packets with ports.
func matched(list []ring.Match, p packet) bool {
	in := func(ports [2]uint16, port uint16) bool {
		return ports == [2]uint16{} || ports[0] <= port && port <= ports[1]
	}
	on := func(q netip.Prefix, a netip.Addr) bool { return !q.IsValid() || q.Contains(a) }
	for _, m := range list {
		if m.Protocol == p.proto && on(m.Src, p.from) && on(m.Dst, p.to) && in(m.SrcPorts, p.fromPort) && in(m.DstPorts, p.port) {
			return true
		}
	}
	return false
}

// The filter agrees with the plain reading of the list, near its limits too.
func TestServiceFilterAgainstModel(t *testing.T) {
	protocol := rapid.SampledFrom([]uint8{6, 17, 132})
	small := rapid.Custom(func(rt *rapid.T) uint16 { return uint16(rapid.IntRange(0, 5).Draw(rt, "port")) })
	match := rapid.Custom(func(rt *rapid.T) ring.Match {
		a := addrOf(rapid.IntRange(0, 12).Draw(rt, "addr"))
		m := serviceAt(protocol.Draw(rt, "protocol"), a, small.Draw(rt, "port"))
		switch rapid.IntRange(0, 5).Draw(rt, "kind") {
		case 0:
			return answerOf(m.Protocol, a, m.DstPorts[0])
		case 1:
			m.Dst = must(a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(rt, "bits")))
			m.DstPorts[1] += 2
		case 2:
			m.Dst, m.Src, m.SrcPorts = netip.Prefix{}, m.Dst, [2]uint16{1, 1 + m.DstPorts[0]}
		}
		return m
	})
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(match, 0, 60).Draw(rt, "matches")
		filter, err := ring.ServiceFilter(list)
		if err != nil {
			rt.Fatal(err)
		}
		for range 20 {
			at := rapid.IntRange(0, 12).Draw(rt, "to")
			p := packet{
				typ: 0x800, proto: protocol.Draw(rt, "protocol"), to: addrOf(at), from: addrOf((at + 2*rapid.IntRange(0, 6).Draw(rt, "from")) % 14),
				fromPort: small.Draw(rt, "from port"), port: small.Draw(rt, "port"),
			}
			if p.to.Is6() {
				p.typ = 0x86dd
				p.headers = rapid.SliceOfN(rapid.SampledFrom([]uint8{0, 43, 44, 60}), 0, 6).Draw(rt, "headers")
			}
			want := matched(list, p)
			if got, err := ringtest.Passes(filter, p.bytes()); err != nil || got != want {
				rt.Fatalf("%+v: passes %v, %v, want %v", p, got, err, want)
			}
		}
	})
}

// Beyond the kernel's limit the filters grow coarser, step by step, and the
// kernel takes each of them. Addresses with the same ports cost little, and neighbours nothing.
func TestServiceFilterGrowsCoarser(t *testing.T) {
	space := newSpace(t)
	space.up("lo")
	sock := space.open(ring.Config{Interface: "lo"})
	at := func(i, apart int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+uint32(i*apart))))
	}
	grid := func(addrs, apart, ports, step int) (out []ring.Match) {
		for a := range addrs {
			for p := range ports {
				out = append(out, serviceAt(6, at(a, apart), uint16(1000+a*step+p)))
			}
		}
		return out
	}
	for _, c := range []struct {
		addrs, apart, ports, step int
		port, between, proto, far bool // whether a packet wrong in this passes
	}{
		{addrs: 10, apart: 2, ports: 10, step: 10},
		{addrs: 10, apart: 2, ports: 150, step: 150},
		{addrs: 10, apart: 2, ports: 1500},
		{addrs: 700, apart: 2, ports: 10},
		{addrs: 60000, apart: 1, ports: 10},
		{addrs: 2, apart: 2, ports: 1500, step: 1500, port: true},
		{addrs: 100, apart: 2, ports: 100, step: 100, port: true},
		{addrs: 500, apart: 2, ports: 3, step: 3, port: true},
		{addrs: 3000, apart: 1, ports: 1, step: 1, port: true},
		{addrs: 3000, apart: 16, ports: 1, port: true, between: true},
		{addrs: 3000, apart: 256, ports: 1, port: true, between: true},
		{addrs: 3000, apart: 65536, ports: 1, port: true, between: true},
		{addrs: 3000, apart: 65537, ports: 1, port: true, between: true, proto: true, far: true},
	} {
		filter, err := ring.ServiceFilter(grid(c.addrs, c.apart, c.ports, c.step))
		if err != nil {
			t.Fatal(err)
		}
		hit := packet{typ: 0x800, proto: 6, to: at(1, c.apart), port: uint16(1000 + c.step)}
		port, between, proto, far := hit, hit, hit, hit
		port.port, between.to, proto.proto, far.to = 9, at(1, c.apart).Next(), 17, netip.MustParseAddr("9.0.2.1")
		name := fmt.Sprintf("%+v (%d instructions)", c, len(filter))
		if len(filter) > unix.BPF_MAXINSNS {
			t.Errorf("%s: too long", name)
		}
		if err := sock.SetFilter(filter); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, pair := range map[string]struct {
			p    packet
			want bool
		}{
			"service": {hit, true}, "wrong port": {port, c.port}, "an address between": {between, c.between || c.apart == 1},
			"wrong protocol": {proto, c.proto}, "wrong address": {far, c.far},
		} {
			if got := passes(t, filter, pair.p.bytes()); got != pair.want {
				t.Errorf("%s: %s passes %v, want %v", name, what, got, pair.want)
			}
		}
	}
}

// Tunnels to thousands of servers are no reason to take every packet of this host.
func TestServiceFilterOfManyServers(t *testing.T) {
	list := []ring.Match{serviceAt(6, vip4, 80)}
	for i := range 6000 {
		server := netip.AddrFrom4([4]byte{10, 20 + byte(i/250/256), byte(i / 250), byte(1 + i%250)})
		list = append(list, ring.Match{Protocol: 4, Dst: host(server), Quoted: true})
	}
	server := netip.MustParseAddr("10.20.7.7")
	checkPassing(t, list, []passing{
		{"the service", packet{proto: 6, to: vip4, port: 80}, true},
		{"a server's answer to a check", packet{proto: 6, from: server, fromPort: 80, to: far4}, false},
		{"an error about a tunnel", packet{proto: 1, icmp: 3, from: far4, to: far4, quote: &packet{proto: 4, to: server}}, true},
		{"an error about another", packet{proto: 1, icmp: 3, from: far4, to: far4, quote: &packet{proto: 4, to: netip.MustParseAddr("10.20.7.251")}}, false},
	})
}

// The kernel reads a program as the tests above do.
func TestServiceFilterInTheKernel(t *testing.T) {
	left, right := cable(t)
	filter := must(ring.ServiceFilter([]ring.Match{
		serviceAt(6, vip4, 80), serviceAt(6, vip6, 80), answerOf(17, other6, 53), {Protocol: 47, Dst: host(other4), Quoted: true},
	}))
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", Filter: filter})
	list := []packet{
		{proto: 6, to: vip4, port: 80}, {proto: 6, to: vip4, port: 81}, {proto: 6, to: vip4, port: 80, options: 8},
		{proto: 6, to: vip6, port: 80}, {proto: 6, to: vip6, port: 81}, {proto: 17, to: vip6, port: 80},
		{proto: 6, to: vip6, port: 80, headers: []uint8{0, 60, 44, 60}, fragment: 1},
		{proto: 6, to: vip6, port: 81, headers: []uint8{0, 60, 44, 60}, fragment: 1},
		{proto: 6, to: vip6, headers: []uint8{60, 44}, fragment: 8},
		{proto: 17, from: other6, to: far6, fromPort: 53}, {proto: 17, from: other6, to: far6, fromPort: 54},
		{proto: 58, icmp: 1, from: far6, to: far6, quote: &packet{proto: 17, to: other6}},
		{proto: 1, icmp: 3, from: far4, to: far4, quote: &packet{proto: 47, to: other4}},
		{proto: 1, icmp: 3, from: far4, to: far4, quote: &packet{proto: 4, to: other4}},
		{proto: 6, to: vip4, port: 80}, // the last
	}
	var want []byte
	for i, p := range list {
		p.dst = [6]byte{2, 0, 0, 0, 0, byte(i)}
		p.typ = 0x800
		if p.to.Is6() {
			p.typ = 0x86dd
		}
		if passes(t, filter, p.bytes()) {
			want = append(want, byte(i))
		}
		out.Queue(append(make([]byte, ring.VNetLen), p.bytes()...))
	}
	if _, err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, b := range receive(t, in, len(want)) {
		got = append(got, b[ring.VNetLen+5])
	}
	if string(got) != string(want) || len(want) != 9 {
		t.Errorf("the kernel passes frames %v, want %v", got, want)
	}
}
