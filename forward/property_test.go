package forward

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/proto"
)

var web = ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.MustParseAddrPort("10.0.0.100:80")}

func serverAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 80)
}

// segment is a TCP packet of one of many clients.
func segment(client uint32, port uint16, flags uint8) []byte {
	src := netip.AddrFrom4([4]byte{byte(client >> 24), byte(client >> 16), byte(client >> 8), byte(client)})
	b := proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: src, Dst: web.Addr.Addr()}.Append(nil, 20)
	return proto.TCPHeader{SrcPort: port, DstPort: 80, Flags: flags}.Append(b)
}

// TestFlowsStayAndCountersReturn plays random packets, servers and weights: a flow never
// changes a living server, the table never exceeds its bound, the counters of servers
// and scheduler agree, and everything is zero when all has expired.
func TestFlowsStayAndCountersReturn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 40
		f := New(Config{MaxConns: most, Seed: rapid.Uint64().Draw(t, "seed")})
		s := Service{Key: web, Scheduler: rapid.SampledFrom([]string{"rr", "wrr", "lc", "wlc"}).Draw(t, "scheduler")}
		if rapid.Bool().Draw(t, "persistent") {
			s.Persistence, s.PersistenceMask = 30*time.Second, rapid.SampledFrom([]int{24, 32}).Draw(t, "mask")
		}
		if err := f.AddService(s); err != nil {
			t.Fatal(err)
		}
		f.SetLocal(web.Addr.Addr(), true)
		present := map[int]bool{}
		placed := map[[2]uint32]int32{} // flow to server, until it may be scheduled anew
		var now time.Duration
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond
			f.Expire(now)
			switch server := rapid.IntRange(0, 5).Draw(t, "server"); rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				if !present[server] {
					if _, err := f.AddServer(web, Server{Addr: serverAddr(server), Weight: rapid.Int32Range(0, 5).Draw(t, "weight")}); err != nil {
						t.Fatal(err)
					}
					present[server] = true
				}
			case 1:
				f.RemoveServer(web, serverAddr(server))
				present[server] = false
			case 2:
				f.SetWeight(web, serverAddr(server), rapid.Int32Range(0, 5).Draw(t, "weight"))
			default:
				step(t, f, now, placed)
			}
			if f.Len() > most {
				t.Fatalf("%d entries", f.Len())
			}
			agree(t, f)
		}
		for at, ok := f.Deadline(); ok; at, ok = f.Deadline() {
			f.Expire(at)
		}
		for _, r := range f.Services()[0].Servers {
			if r.Active+r.Inactive+r.Persist != 0 {
				t.Fatalf("after all expired: %+v", r)
			}
		}
	})
}

// step sends one segment and compares its server with that of the flow so far.
func step(t *rapid.T, f *Forwarder, now time.Duration, placed map[[2]uint32]int32) {
	client := 0x0a020000 + rapid.Uint32Range(0, 3).Draw(t, "client")
	port := uint16(rapid.IntRange(1000, 1004).Draw(t, "port"))
	flags := rapid.SampledFrom([]uint8{proto.TCPSyn, proto.TCPAck, proto.TCPAck, proto.TCPFin | proto.TCPAck, proto.TCPRst}).Draw(t, "flags")
	id := [2]uint32{client, uint32(port)}
	known := f.table.find(key{client: addr{lo: mapped | uint64(client)}, virtual: toAddr(web.Addr.Addr()), cport: port, vport: 80, protocol: proto.ProtocolTCP})
	reused := known != 0 && f.reused(known, flags)
	d := f.Packet(now, Ingress{}, segment(client, port, flags))
	if d.Verdict != Forward {
		return
	}
	if last, ok := placed[id]; ok && known != 0 && !reused && last != d.Server {
		t.Fatalf("flow %v went from server %d to %d", id, last, d.Server)
	}
	placed[id] = d.Server
}

// agree holds the scheduler's view against the servers.
func agree(t *rapid.T, f *Forwarder) {
	for _, v := range f.services[0].view {
		s := f.servers[v.ID]
		if !s.present || v.Active != s.active || v.Inactive != s.inactive || v.Weight != s.Weight {
			t.Fatalf("the scheduler sees %+v of %+v", v, s)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(segment(0x0a020001, 1000, proto.TCPSyn))
	f.Add(build(f, []string{"10.0.0.1:1000", ">", "10.0.0.100:53"}))
	f.Add(build(f, []string{"10.0.0.100:80", ">", "10.0.0.1:1000", "icmp"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		fw := New(Config{MaxConns: 4, Seed: 1})
		if err := fw.AddService(Service{Key: web, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		if _, err := fw.AddServer(web, Server{Addr: serverAddr(1), Weight: 1}); err != nil {
			t.Fatal(err)
		}
		fw.SetLocal(web.Addr.Addr(), true)
		for range 2 {
			if d := fw.Packet(0, Ingress{}, b); d.Verdict == Forward && !proto.IPv4(b).ChecksumOK() && fw.Len() > 1 {
				t.Fatal("one packet made two connections")
			}
		}
	})
}

// loaded makes a forwarder with n established connections.
func loaded(tb testing.TB, n int) *Forwarder {
	tb.Helper()
	f := New(Config{MaxConns: 1 << 20, Seed: 42})
	if err := f.AddService(Service{Key: web, Scheduler: "wlc"}); err != nil {
		tb.Fatal(err)
	}
	for i := range 4 {
		if _, err := f.AddServer(web, Server{Addr: serverAddr(i), Weight: 1}); err != nil {
			tb.Fatal(err)
		}
	}
	f.SetLocal(web.Addr.Addr(), true)
	for i := range n {
		for _, flags := range []uint8{proto.TCPSyn, proto.TCPAck} {
			if d := f.Packet(0, Ingress{}, segment(uint32(0x0b000000+i), 1000, flags)); d.Verdict != Forward {
				tb.Fatal(d.Verdict)
			}
		}
	}
	return f
}

func TestPacketDoesNotAllocate(t *testing.T) {
	f := loaded(t, 100)
	p := segment(0x0b000007, 1000, proto.TCPAck)
	if n := testing.AllocsPerRun(1000, func() { p[8] = 64; f.Packet(0, Ingress{}, p) }); n != 0 {
		t.Errorf("established: %v allocations", n)
	}
	port := uint16(0)
	p = segment(0x0c000000, 1, proto.TCPSyn)
	if n := testing.AllocsPerRun(1000, func() {
		port++
		p[8], p[20], p[21] = 64, byte(port>>8), byte(port)
		f.Packet(0, Ingress{}, p)
	}); n > 0.01 { // a chunk of the table now and then
		t.Errorf("new: %v allocations", n)
	}
}

// TestConnectionIsSmall keeps an entry, with its bucket, within 128 bytes.
func TestConnectionIsSmall(t *testing.T) {
	f := loaded(t, 0)
	entry := int(reflect.TypeFor[conn]().Size())
	if total := entry + 4*len(f.table.buckets)/f.table.max; total > 128 {
		t.Fatalf("%d bytes a connection", total)
	}
}

func BenchmarkPacketEstablished(b *testing.B) {
	const n = 100_000
	f := loaded(b, n)
	p := segment(0, 1000, proto.TCPAck)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i = (i + 7919) % n
		p[8], p[12], p[13], p[14], p[15] = 64, 0x0b, byte(i>>16), byte(i>>8), byte(i)
		if d := f.Packet(0, Ingress{}, p); d.Verdict != Forward {
			b.Fatal(d.Verdict)
		}
	}
}

func BenchmarkPacketNew(b *testing.B) {
	f := loaded(b, 0)
	p := segment(0, 1000, proto.TCPSyn)
	b.ReportAllocs()
	i, now := uint32(0), time.Duration(0)
	for b.Loop() {
		i++
		p[8], p[12], p[13], p[14], p[15] = 64, 0x0c, byte(i>>16), byte(i>>8), byte(i)
		if i%1024 == 0 { // a million new connections a minute: half-open ones leave after 60 s
			now += 100 * time.Millisecond
			f.Expire(now)
		}
		if d := f.Packet(now, Ingress{}, p); d.Verdict != Forward {
			b.Fatal(d.Verdict)
		}
	}
}
