package ring_test

import (
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/ring"
)

// value is what a fanout program returns for a frame.
func value(t testing.TB, program []bpf.RawInstruction, frame []byte) int {
	t.Helper()
	ins, ok := bpf.Disassemble(program)
	if !ok {
		t.Fatal("the program has instructions that are none")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(frame[14:])
	if err != nil {
		t.Fatal(err)
	}
	return int(uint32(n))
}

func programOf(t testing.TB, f ring.Fanout) []bpf.RawInstruction {
	t.Helper()
	p, err := f.Program()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every packet of a client is the same member's, whatever its port, its direction and its
// headers, and so are those of clients that differ only behind the bits that count.
func TestFanoutKeepsClientsTogether(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		six := rapid.Bool().Draw(rt, "IPv6")
		vip, server, size, typ := vip4, other4, 4, uint16(0x800)
		if six {
			vip, server, size, typ = vip6, other6, 16, 0x86dd
		}
		f := ring.Fanout{
			Matches: []ring.Match{serviceAt(6, vip, 80), serviceAt(17, vip, 0), answerOf(6, server, 8080), answerOf(17, server, 53)},
			Seed:    rapid.Uint32().Draw(rt, "seed"),
		}
		bits := rapid.IntRange(0, 8*size).Draw(rt, "bits")
		f.Bits4, f.Bits6 = bits, bits
		members := rapid.IntRange(1, 8).Draw(rt, "members")
		program := programOf(t, f)
		raw := rapid.SliceOfN(rapid.Byte(), size, size).Draw(rt, "client")
		client, _ := netip.AddrFromSlice(raw)
		neighbour := client
		if bits > 0 {
			for i := bits; i < 8*size; i++ {
				if rapid.Bool().Draw(rt, "flip") {
					raw[i/8] ^= 0x80 >> (i % 8)
				}
			}
			neighbour, _ = netip.AddrFromSlice(raw)
		}
		if client == vip || client == server || neighbour == vip || neighbour == server {
			rt.Skip("a client of itself")
		}
		want := f.Member(client, members)
		port := rapid.Uint16().Draw(rt, "port")
		later := uint16(100)
		headers := []uint8(nil)
		if six {
			later = 0x320
			headers = rapid.SliceOfN(rapid.SampledFrom([]uint8{0, 43, 60}), 0, 6).Draw(rt, "headers")
		}
		list := map[string]packet{
			"TCP":           {proto: 6, from: client, to: vip, fromPort: port, port: 80, headers: headers},
			"UDP":           {proto: 17, from: client, to: vip, fromPort: port, port: port, headers: headers},
			"neighbour":     {proto: 6, from: neighbour, to: vip, fromPort: port + 1, port: 80},
			"answer":        {proto: 6, from: server, to: client, fromPort: 8080, port: port, headers: headers},
			"UDP answer":    {proto: 17, from: server, to: neighbour, fromPort: 53, port: port},
			"fragment":      {proto: 17, from: client, to: vip, fragment: later},
			"answer's rest": {proto: 17, from: server, to: client, fragment: later},
		}
		for name, p := range list {
			p.typ = typ
			if p.fragment != 0 && six {
				p.headers = append(p.headers, 44)
			}
			if got := value(t, program, p.bytes()) % members; got != want {
				rt.Errorf("%s of %v: member %d of %d, want %d", name, client, got, members, want)
			}
		}
	})
}

// ICMP errors and what is no flow of a service are the first member's.
func TestFanoutFirstMember(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.77")
	about := packet{proto: 6, from: vip4, to: client, fromPort: 80, port: 7}
	for seed := range uint32(20) {
		program := programOf(t, ring.Fanout{Matches: []ring.Match{serviceAt(6, vip4, 80), answerOf(6, other4, 80)}, Seed: seed})
		for name, p := range map[string]packet{
			"ICMP error":             {proto: 1, icmp: 3, from: far4, to: vip4, quote: &about},
			"ICMP error of a server": {proto: 1, icmp: 3, from: other4, to: client, quote: &about},
			"another port":           {proto: 6, from: client, to: vip4, port: 81},
			"another family":         {proto: 6, from: far6, to: vip6, port: 80},
		} {
			p.typ = 0x800
			if got := value(t, program, p.bytes()); got != 0 {
				t.Errorf("%s: %d, want 0", name, got)
			}
		}
	}
}

// A thousand clients are spread evenly, also those of which only the networks count.
func TestFanoutSpreads(t *testing.T) {
	const members, clients = 4, 1000
	for _, bits := range []int{0, 24} {
		f := ring.Fanout{Bits4: bits, Seed: 7}
		var shares [members]int
		for i := range clients {
			a := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
			if bits > 0 {
				a = netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
			}
			shares[f.Member(a, members)]++
		}
		for i, n := range shares {
			if n < clients/members*4/5 || n > clients/members*6/5 {
				t.Errorf("%d bits: member %d has %d of %d clients", bits, i, n, clients)
			}
		}
	}
}

// The kernel takes every program, however many services there are.
func TestFanoutGrowsCoarser(t *testing.T) {
	space := newSpace(t)
	space.up("lo")
	for _, c := range []struct{ services, servers int }{{1, 1}, {400, 10}, {700, 10}, {3000, 10}, {10, 3000}} {
		var list []ring.Match
		for a := range c.services {
			list = append(list, serviceAt(6, vipOf(a), uint16(1000+a)))
		}
		for a := range c.servers {
			list = append(list, answerOf(6, vipOf(10000+3*a), 80))
		}
		client := netip.MustParseAddr("192.0.2.77")
		f := ring.Fanout{Matches: list}
		var err error
		space.in(func() {
			group, failed := ring.OpenGroup(ring.Config{Interface: "lo"}, 2, f)
			if err = failed; err == nil {
				err = ring.CloseGroup(group)
			}
		})
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		want := 0 // all of them
		if c.servers < 3000 {
			want = f.Member(client, 1<<30)
		}
		for _, p := range []packet{{from: client, to: vipOf(0), port: 1000}, {from: vipOf(10000), to: client, fromPort: 80}} {
			p.typ, p.proto = 0x800, 6
			if got := value(t, programOf(t, f), p.bytes()) % (1 << 30); got != want {
				t.Errorf("%+v: %d, want %d", c, got, want)
			}
		}
	}
}

// The kernel gives each member the frames of its clients, of both sides, and none that this
// host sends; after the link went down and came back, too.
func TestFanoutInKernel(t *testing.T) {
	const members, clients = 3, 30 // which make less than a batch
	left, right := cable(t)
	service, err := ring.ServiceFilter([]ring.Match{serviceAt(17, vip4, 53), answerOf(17, other4, 53)})
	if err != nil {
		t.Fatal(err)
	}
	f := ring.Fanout{Matches: []ring.Match{serviceAt(17, vip4, 53), answerOf(17, other4, 53)}, Seed: 99}
	var group []*ring.Socket
	right.in(func() { group, err = ring.OpenGroup(ring.Config{Interface: "v1", Filter: service}, members, f) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.CloseGroup(group) })
	sender := left.open(ring.Config{Interface: "v0"})
	here := right.open(ring.Config{Interface: "v1", Filter: ring.NothingFilter(), Qdisc: true})
	clientOf := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	round := func(f ring.Fanout) {
		t.Helper()
		var want [members]int
		for i := range clients {
			for _, p := range []packet{
				{from: clientOf(i), to: vip4, fromPort: uint16(i), port: 53}, {from: other4, to: clientOf(i), fromPort: 53, port: uint16(i)},
			} {
				p.typ, p.proto, p.dst = 0x800, 17, [6]byte{255, 255, 255, 255, 255, 255}
				buf := append(make([]byte, ring.VNetLen), p.bytes()...)
				sender.Queue(buf)
				here.Queue(buf)
			}
			want[f.Member(clientOf(i), members)] += 2
		}
		for _, s := range []*ring.Socket{here, sender} {
			if sent, err := s.Flush(); err != nil || sent != 2*clients {
				t.Fatalf("sent %d of %s: %v, %+v", sent, s.Name(), err, s.Stats())
			}
		}
		for i, s := range group {
			for _, b := range receive(t, s, want[i]) {
				ip := b[ring.VNetLen+14:]
				client := netip.AddrFrom4([4]byte(ip[12:16]))
				if client == other4 {
					client = netip.AddrFrom4([4]byte(ip[16:20]))
				}
				if got := f.Member(client, members); got != i {
					t.Errorf("member %d got a packet of %v, which is of member %d", i, client, got)
				}
			}
		}
	}
	round(f)
	right.down("v1")
	right.up("v1")
	for _, s := range append(group, here) {
		s.Err() // that it was down
	}
	wait(t, sender, "link", func() bool { return right.link("v1").Attrs().OperState == 6 })
	round(f)
	f.Bits4 = 28
	if err := ring.SetGroupFilter(group, service, f); err != nil {
		t.Fatal(err)
	}
	round(f)
}
