package ring_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

// packet describes a frame for the filters.
type packet struct {
	dst      [6]byte
	typ      uint16
	proto    uint8
	from, to netip.Addr
	options  int // bytes of IPv4 options, a multiple of 4
	fragment uint16
	fromPort uint16
	port     uint16
	icmp     uint8
}

func (p packet) bytes() []byte {
	b := append([]byte(nil), p.dst[:]...)
	b = append(b, 2, 0, 0, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(b, p.typ)
	ip := make([]byte, 20+p.options+8)
	ip[0] = 0x45 + byte(p.options/4)
	binary.BigEndian.PutUint16(ip[6:], p.fragment)
	ip[8], ip[9] = 64, p.proto
	if p.to.IsValid() {
		to := p.to.As4()
		copy(ip[16:], to[:])
	}
	if p.from.IsValid() {
		from := p.from.As4()
		copy(ip[12:], from[:])
	}
	l4 := ip[20+p.options:]
	if p.proto == 1 {
		l4[0] = p.icmp
	} else {
		binary.BigEndian.PutUint16(l4, p.fromPort)
		binary.BigEndian.PutUint16(l4[2:], p.port)
	}
	return append(b, ip...)
}

func passes(t testing.TB, filter []bpf.RawInstruction, frame []byte) bool {
	t.Helper()
	ok, err := ringtest.Passes(filter, frame)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestControlFilter(t *testing.T) {
	own := [6]byte{2, 0, 0, 0, 0, 7}
	filter, err := ring.ControlFilter(own)
	if err != nil {
		t.Fatal(err)
	}
	anyMAC, err := ring.ControlFilter([6]byte{})
	if err != nil {
		t.Fatal(err)
	}
	group := [6]byte{1, 0, 0x5e, 0, 0, 18}
	all := [6]byte{255, 255, 255, 255, 255, 255}
	virtual := [6]byte{0, 0, 0x5e, 0, 1, 51}
	other := [6]byte{2, 0, 0, 0, 0, 8}
	for _, c := range []struct {
		name      string
		p         packet
		want, any bool
	}{
		{"advert to the group", packet{dst: group, typ: 0x800, proto: 112}, true, true},
		{"advert with AH", packet{dst: group, typ: 0x800, proto: 51}, true, true},
		{"unicast advert", packet{dst: own, typ: 0x800, proto: 112}, true, true},
		{"another's unicast advert", packet{dst: other, typ: 0x800, proto: 112}, false, true},
		{"to the virtual MAC", packet{dst: virtual, typ: 0x806}, true, true},
		{"to a virtual MAC of IPv6", packet{dst: [6]byte{0, 0, 0x5e, 0, 2, 51}, typ: 0x806}, true, true},
		{"to no virtual MAC", packet{dst: [6]byte{0, 0, 0x5e, 0, 3, 51}, typ: 0x806}, false, true},
		{"ARP request", packet{dst: all, typ: 0x806}, true, true},
		{"ARP reply", packet{dst: own, typ: 0x806}, true, true},
		{"another's ARP reply", packet{dst: other, typ: 0x806}, false, true},
		{"TCP", packet{dst: own, typ: 0x800, proto: 6}, false, false},
		{"in-band VLAN", packet{dst: group, typ: 0x8100, proto: 112}, false, false},
	} {
		if got := passes(t, filter, c.p.bytes()); got != c.want {
			t.Errorf("%s: passes %v, want %v", c.name, got, c.want)
		}
		if got := passes(t, anyMAC, c.p.bytes()); got != c.any {
			t.Errorf("%s, any MAC: passes %v, want %v", c.name, got, c.any)
		}
	}
	if passes(t, filter, []byte{1, 2, 3}) {
		t.Error("three bytes pass")
	}
}

// Over IPv6 VRRP and the questions and answers of neighbours pass, and nothing else of
// ICMPv6 (RFC 4861 §4.3, §4.4).
func TestControlFilter6(t *testing.T) {
	control, err := ring.ControlFilter([6]byte{2, 0, 0, 0, 0, 7})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := ring.WatchFilter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		next, icmp byte
		want       bool
	}{
		{"advert", 112, 0, true},
		{"neighbour solicitation", 58, 135, true},
		{"neighbour advertisement", 58, 136, true},
		{"router advertisement", 58, 134, false},
		{"redirect", 58, 137, false},
		{"MLD report", 0, 143, false},
		{"TCP", 6, 135, false},
	} {
		frame := make([]byte, 14+40+8)
		copy(frame, []byte{0x33, 0x33, 0, 0, 0, 0x12, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60})
		frame[14+6], frame[14+40] = c.next, c.icmp
		for _, filter := range [][]bpf.RawInstruction{control, watch} {
			if got := passes(t, filter, frame); got != c.want {
				t.Errorf("%s: passes %v", c.name, got)
			}
		}
	}
}

func TestWatchFilter(t *testing.T) {
	vip, other := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.101")
	web := netip.AddrPortFrom(vip, 80)
	filter := must(ring.WatchFilter(nil, []netip.AddrPort{web, netip.AddrPortFrom(other, 53)}))
	none := must(ring.WatchFilter(nil, nil))
	udp := must(ring.WatchFilter([]uint8{17}, nil))
	for _, c := range []struct {
		name             string
		p                packet
		flows, none, udp bool
	}{
		{"advert", packet{typ: 0x800, proto: 112}, true, true, true},
		{"advert with AH", packet{typ: 0x800, proto: 51}, true, true, true},
		{"ARP", packet{typ: 0x806}, true, true, true},
		{"to the service", packet{typ: 0x800, proto: 6, to: vip, port: 80}, true, false, false},
		{"from the service", packet{typ: 0x800, proto: 6, from: vip, fromPort: 80}, true, false, false},
		{"from it, with IP options", packet{typ: 0x800, proto: 6, from: vip, fromPort: 80, options: 8}, true, false, false},
		{"the same by UDP", packet{typ: 0x800, proto: 17, to: vip, port: 80}, true, false, true},
		{"the second", packet{typ: 0x800, proto: 17, to: other, port: 53}, true, false, true},
		{"the port of the other", packet{typ: 0x800, proto: 6, to: vip, port: 53}, false, false, false},
		{"the port at the other end", packet{typ: 0x800, proto: 6, to: vip, fromPort: 80}, false, false, false},
		{"later fragment", packet{typ: 0x800, proto: 6, to: vip, port: 80, fragment: 185}, false, false, false},
		{"ICMP", packet{typ: 0x800, proto: 1, to: vip, icmp: 3}, false, false, false},
		{"IPv6", packet{typ: 0x86dd, proto: 112}, false, false, false},
	} {
		for _, f := range []struct {
			name   string
			filter []bpf.RawInstruction
			want   bool
		}{{"flows", filter, c.flows}, {"none", none, c.none}, {"udp", udp, c.udp}} {
			if got := passes(t, f.filter, c.p.bytes()); got != f.want {
				t.Errorf("%s, %s: passes %v", c.name, f.name, got)
			}
		}
	}
	if _, err := ring.WatchFilter(nil, []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:80")}); err == nil {
		t.Error("an IPv6 address was taken")
	}
	if _, err := ring.WatchFilter(nil, make([]netip.AddrPort, 1)); err == nil {
		t.Error("no address was taken")
	}
	many := make([]netip.AddrPort, 500)
	for i := range many {
		many[i] = web
	}
	if _, err := ring.WatchFilter(nil, many); err == nil {
		t.Error("more flows than a filter holds were taken")
	}
}

func TestServiceFilter(t *testing.T) {
	vip, other := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.101")
	services := []ring.Match{{6, vip, 443}, {6, vip, 80}, {17, vip, 53}, {6, vip, 80}, {17, other, 0}}
	filter, err := ring.ServiceFilter(services)
	if err != nil {
		t.Fatal(err)
	}
	const more, first = 0x2000, 0
	for _, c := range []struct {
		name string
		p    packet
		want bool
	}{
		{"TCP 80", packet{typ: 0x800, proto: 6, to: vip, port: 80}, true},
		{"TCP 443", packet{typ: 0x800, proto: 6, to: vip, port: 443}, true},
		{"TCP 81", packet{typ: 0x800, proto: 6, to: vip, port: 81}, false},
		{"with IP options", packet{typ: 0x800, proto: 6, to: vip, port: 80, options: 12}, true},
		{"with IP options, wrong port", packet{typ: 0x800, proto: 6, to: vip, port: 81, options: 12}, false},
		{"UDP 53", packet{typ: 0x800, proto: 17, to: vip, port: 53}, true},
		{"UDP 80", packet{typ: 0x800, proto: 17, to: vip, port: 80}, false},
		{"every UDP port", packet{typ: 0x800, proto: 17, to: other, port: 4711}, true},
		{"TCP of the other", packet{typ: 0x800, proto: 6, to: other, port: 80}, false},
		{"first fragment", packet{typ: 0x800, proto: 6, to: vip, port: 80, fragment: more | first}, true},
		{"first fragment, wrong port", packet{typ: 0x800, proto: 6, to: vip, port: 81, fragment: more | first}, false},
		{"later fragment", packet{typ: 0x800, proto: 6, to: vip, port: 0xffff, fragment: more | 185}, true},
		{"last fragment", packet{typ: 0x800, proto: 6, to: vip, port: 0xffff, fragment: 185}, true},
		{"fragment to nobody", packet{typ: 0x800, proto: 6, to: netip.MustParseAddr("10.0.0.1"), fragment: 185}, false},
		{"ICMP unreachable", packet{typ: 0x800, proto: 1, to: vip, icmp: 3}, true},
		{"ICMP time exceeded", packet{typ: 0x800, proto: 1, to: vip, icmp: 11}, true},
		{"ICMP echo", packet{typ: 0x800, proto: 1, to: vip, icmp: 8}, false},
		{"another address", packet{typ: 0x800, proto: 6, to: netip.MustParseAddr("10.0.0.1"), port: 80}, false},
		{"ARP", packet{typ: 0x806, proto: 6, to: vip, port: 80}, false},
	} {
		if got := passes(t, filter, c.p.bytes()); got != c.want {
			t.Errorf("%s: passes %v, want %v", c.name, got, c.want)
		}
	}
	for _, f := range [][]bpf.RawInstruction{must(ring.ServiceFilter(nil)), ring.NothingFilter()} {
		if len(f) == 0 || passes(t, f, packet{typ: 0x800, proto: 6, to: vip, port: 80}.bytes()) {
			t.Error("without services something passes")
		}
	}
	if _, err := ring.ServiceFilter([]ring.Match{{6, netip.MustParseAddr("2001:db8::1"), 80}}); err == nil {
		t.Error("an IPv6 address was taken")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func vipOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }

// The filter agrees with the plain reading of the list, near its limits too.
func TestServiceFilterAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		match := rapid.Custom(func(rt *rapid.T) ring.Match {
			return ring.Match{
				Protocol: rapid.SampledFrom([]uint8{6, 17, 132}).Draw(rt, "protocol"),
				Addr:     vipOf(rapid.IntRange(0, 12).Draw(rt, "addr")),
				Port:     uint16(rapid.IntRange(0, 5).Draw(rt, "port")),
			}
		})
		services := rapid.SliceOfN(match, 0, 120).Draw(rt, "services")
		filter, err := ring.ServiceFilter(services)
		if err != nil {
			rt.Fatal(err)
		}
		for range 20 {
			m := match.Draw(rt, "packet")
			want := false
			for _, s := range services {
				want = want || s.Protocol == m.Protocol && s.Addr == m.Addr && (s.Port == 0 || s.Port == m.Port)
			}
			p := packet{typ: 0x800, proto: m.Protocol, to: m.Addr, port: m.Port}
			if got, err := ringtest.Passes(filter, p.bytes()); err != nil || got != want {
				rt.Fatalf("%+v: passes %v, %v, want %v", m, got, err, want)
			}
		}
	})
}

// Beyond the kernel's limit the filters grow coarser, step by step, and the
// kernel takes each of them.
func TestServiceFilterGrowsCoarser(t *testing.T) {
	space := newSpace(t)
	space.up("lo")
	sock := space.open(ring.Config{Interface: "lo"})
	grid := func(addrs, ports int) (out []ring.Match) {
		for a := range addrs {
			for p := range ports {
				out = append(out, ring.Match{Protocol: 6, Addr: vipOf(a), Port: uint16(1000 + p)})
			}
		}
		return out
	}
	hit := packet{typ: 0x800, proto: 6, to: vipOf(1), port: 1000}
	port, proto, addr := hit, hit, hit
	port.port, proto.proto, addr.to = 9, 17, netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		addrs, ports      int
		port, proto, addr bool // whether a packet wrong in this passes
	}{
		{10, 10, false, false, false},
		{10, 150, false, false, false},
		{2, 1500, true, false, false},
		{100, 100, true, false, false},
		{500, 3, true, true, false},
		{3000, 1, true, true, true},
	} {
		filter, err := ring.ServiceFilter(grid(c.addrs, c.ports))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d addresses with %d ports (%d instructions)", c.addrs, c.ports, len(filter))
		if len(filter) > unix.BPF_MAXINSNS {
			t.Errorf("%s: too long", name)
		}
		if err := sock.SetFilter(filter); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, pair := range map[string]struct {
			p    packet
			want bool
		}{"service": {hit, true}, "wrong port": {port, c.port}, "wrong protocol": {proto, c.proto}, "wrong address": {addr, c.addr}} {
			if got := passes(t, filter, pair.p.bytes()); got != pair.want {
				t.Errorf("%s: %s passes %v, want %v", name, what, got, pair.want)
			}
		}
	}
}

// In the kernel the filters see a tag beside the frame: frames of a VLAN do not
// pass, those with only a priority do. A new filter takes effect at once.
func TestFiltersInTheKernel(t *testing.T) {
	left, right := cable(t)
	control := must(ring.ControlFilter([6]byte{}))
	service := must(ring.ServiceFilter([]ring.Match{{6, vipOf(1), 80}}))
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", Filter: control})
	send := func(p packet, vid uint16) {
		b := p.bytes()
		tag := []byte{0x81, 0, 0xe0 | byte(vid>>8), byte(vid)}
		if vid != 0xffff {
			b = append(b[:12:12], append(tag, b[12:]...)...)
		}
		out.Queue(append(make([]byte, ring.VNetLen), b...))
		if _, err := out.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	advert := packet{dst: [6]byte{1, 0, 0x5e, 0, 0, 18}, typ: 0x800, proto: 112}
	syn := packet{dst: [6]byte{2, 0, 0, 0, 0, 8}, typ: 0x800, proto: 6, to: vipOf(1), port: 80}
	for _, p := range []packet{advert, syn} {
		send(p, 0xffff) // untagged
		send(p, 0)
		send(p, 5)
	}
	for _, got := range receive(t, in, 2) {
		if got[ring.VNetLen+23] != 112 {
			t.Errorf("control filter passed % x", got)
		}
	}
	if err := in.SetFilter(service); err != nil {
		t.Fatal(err)
	}
	for _, p := range []packet{advert, syn} {
		send(p, 5)
		send(p, 0xffff)
	}
	if got := receive(t, in, 1)[0]; got[ring.VNetLen+23] != 6 {
		t.Errorf("service filter passed % x", got)
	}
	if err := in.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	send(advert, 5)
	receive(t, in, 1)
	if err := in.SetFilter(nil); err != nil {
		t.Errorf("a second detach: %v", err)
	}
	if err := in.SetFilter([]bpf.RawInstruction{{Op: 0xffff}}); err == nil {
		t.Error("the kernel took nonsense")
	}
}
