package ring_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

// packet describes a frame for the filters.
type packet struct {
	dst      [6]byte
	typ      uint16
	proto    uint8
	from, to netip.Addr
	options  int     // bytes of IPv4 options, a multiple of 4
	headers  []uint8 // extension headers of IPv6; 44 has the fragment
	fragment uint16  // the field of the family
	fromPort uint16
	port     uint16
	icmp     uint8
	quote    *packet // of an ICMP error
}

func (p packet) bytes() []byte {
	b := append([]byte(nil), p.dst[:]...)
	b = append(b, 2, 0, 0, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(b, p.typ)
	if p.to.Is6() {
		return append(b, p.ip6()...)
	}
	return append(b, p.ip4()...)
}

func (p packet) ip4() []byte {
	ip := make([]byte, 20+p.options)
	ip[0] = 0x45 + byte(p.options/4)
	binary.BigEndian.PutUint16(ip[6:], p.fragment)
	ip[8], ip[9] = 64, p.proto
	if p.to.IsValid() {
		copy(ip[16:], p.to.AsSlice())
	}
	if p.from.IsValid() {
		copy(ip[12:], p.from.AsSlice())
	}
	return append(ip, p.transport()...)
}

func (p packet) ip6() []byte {
	ip := make([]byte, 40)
	ip[0], ip[7] = 0x60, 64
	copy(ip[24:], p.to.AsSlice())
	if p.from.IsValid() {
		copy(ip[8:], p.from.AsSlice())
	}
	next := 6 // where the number of the next header goes
	for i, h := range p.headers {
		ip[next], next = h, len(ip)
		header := make([]byte, 8)
		if h == 44 {
			binary.BigEndian.PutUint16(header[2:], p.fragment)
		} else {
			header[1] = byte(i % 3)
			header = append(header, make([]byte, 8*(i%3))...)
		}
		ip = append(ip, header...)
	}
	ip[next] = p.proto
	return append(ip, p.transport()...)
}

func (p packet) transport() []byte {
	l4 := make([]byte, 8)
	if p.proto != 1 && p.proto != 58 {
		binary.BigEndian.PutUint16(l4, p.fromPort)
		binary.BigEndian.PutUint16(l4[2:], p.port)
		return l4
	}
	l4[0] = p.icmp
	switch {
	case p.quote == nil:
	case p.quote.to.Is6():
		l4 = append(l4, p.quote.ip6()...)
	default:
		l4 = append(l4, p.quote.ip4()...)
	}
	return l4
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

func TestWatchFilterOfFlows6(t *testing.T) {
	filter := must(ring.WatchFilter(nil, []netip.AddrPort{netip.AddrPortFrom(vip6, 80), netip.AddrPortFrom(vip4, 80)}))
	tcp := must(ring.WatchFilter([]uint8{6}, nil))
	for _, c := range []struct {
		name       string
		p          packet
		flows, all bool
	}{
		{"to the service", packet{proto: 6, from: far6, to: vip6, port: 80}, true, true},
		{"from the service", packet{proto: 17, from: vip6, to: far6, fromPort: 80}, true, false},
		{"another port", packet{proto: 6, from: far6, to: vip6, port: 81}, false, true},
		{"another address", packet{proto: 17, from: far6, to: other6, port: 80}, false, false},
		{"the port at the other end", packet{proto: 17, from: far6, to: vip6, fromPort: 80}, false, false},
		{"echo", packet{proto: 58, from: far6, to: vip6, icmp: 128}, false, false},
		{"neighbour solicitation", packet{proto: 58, from: far6, to: vip6, icmp: 135}, true, true},
	} {
		c.p.typ = 0x86dd
		if got := passes(t, filter, c.p.bytes()); got != c.flows {
			t.Errorf("%s: passes %v", c.name, got)
		}
		if got := passes(t, tcp, c.p.bytes()); got != c.all {
			t.Errorf("%s, all TCP: passes %v", c.name, got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// In the kernel the filters see a tag beside the frame: frames of a VLAN do not
// pass, those with only a priority do. A new filter takes effect at once.
func TestFiltersInTheKernel(t *testing.T) {
	left, right := cable(t)
	control := must(ring.ControlFilter([6]byte{}))
	service := must(ring.ServiceFilter([]ring.Match{serviceAt(6, vipOf(1), 80)}))
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
