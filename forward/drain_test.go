package forward

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/proto"
)

// TestSteeringAndForesight plays random segments while an operator drains, lets fail and
// evicts, checks come and go, and weights change. Before each segment [Forwarder.Explain]
// says what becomes of it. A flow keeps its server unless that fails, was evicted or was
// removed; no new flow comes to a server that is steered away from; the counters of what was
// evicted return to zero.
func TestSteeringAndForesight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := New(Config{MaxConns: 60, Seed: rapid.Uint64().Draw(t, "seed")})
		s := Service{Key: web, Scheduler: rapid.SampledFrom([]string{"rr", "wrr", "wlc", "sh", "mh", "twos", "lblc"}).Draw(t, "scheduler")}
		if rapid.Bool().Draw(t, "persistent") {
			s.Persistence, s.PersistenceMask = 30*time.Second, 24
		}
		if err := f.AddService(s); err != nil {
			t.Fatal(err)
		}
		f.SetLocal(web.Addr.Addr(), true)
		for i := range 4 {
			if _, err := f.AddServer(web, Server{Addr: serverAddr(i), Weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
		placed := map[netip.AddrPort]netip.AddrPort{} // established flow to server, while it may not move
		var now time.Duration
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
			f.Expire(now)
			server := serverAddr(rapid.IntRange(0, 3).Draw(t, "server"))
			of := func(at netip.AddrPort) { // its flows may end
				for flow, s := range placed {
					if s == at {
						delete(placed, flow)
					}
				}
			}
			switch rapid.IntRange(0, 19).Draw(t, "what") {
			case 0, 1, 2:
				to := rapid.SampledFrom([]Steering{Serve, Drain, Drain, Fail}).Draw(t, "to")
				if f.SteerServer(web, server, to); to == Fail {
					of(server)
				}
			case 3:
				to := rapid.SampledFrom([]Steering{Serve, Serve, Drain, Fail}).Draw(t, "to all")
				if f.SteerService(web, to); to == Fail {
					clear(placed)
				}
			case 4:
				f.Evict(web, server)
				of(server)
			case 5:
				f.Sweep()
			case 6:
				f.RemoveServer(web, server)
				of(server)
			case 7:
				f.AddServer(web, Server{Addr: server, Weight: 1}) // or it is there
			case 8:
				f.SetWeight(web, server, rapid.Int32Range(0, 3).Draw(t, "weight"))
			default:
				foreseen(t, f, now, placed)
			}
			agree(t, f)
		}
		f.EvictService(web)
		for f.Sweep() {
		}
		for _, r := range f.Services()[0].Servers {
			if r.Active+r.Inactive+r.Persist != 0 {
				t.Fatalf("after all were evicted: %+v", r)
			}
		}
		if f.Len() != 0 {
			t.Fatalf("%d entries are left", f.Len())
		}
	})
}

// foreseen sends one segment.
func foreseen(t *rapid.T, f *Forwarder, now time.Duration, placed map[netip.AddrPort]netip.AddrPort) {
	client := 0x0a020000 + rapid.Uint32Range(0, 3).Draw(t, "client")<<7
	flow := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(client >> 8), byte(client)}), uint16(rapid.IntRange(1000, 1004).Draw(t, "port")))
	flags := rapid.SampledFrom([]uint8{proto.TCPSyn, proto.TCPAck, proto.TCPAck}).Draw(t, "flags")
	e := f.Explain(now, Flow{Protocol: proto.ProtocolTCP, Client: flow, Virtual: web.Addr})
	want := e.Verdict
	if e.Conn == nil && flags != proto.TCPSyn {
		want = NoConn
	}
	steered := map[netip.AddrPort]bool{}
	for _, s := range e.Service.Servers {
		steered[s.Addr] = s.Steering != Serve
	}
	d := f.Packet(now, Ingress{}, segment(client, flow.Port(), flags))
	server := netip.AddrPort{}
	if d.Verdict == Forward {
		s, _ := f.Server(d.Server)
		server = s.Addr
	}
	if d.Verdict != want || want == Forward && server != e.Server {
		t.Fatalf("%v %x: %v %v, foreseen was %v %v", flow, flags, d.Verdict, server, want, e.Server)
	}
	if e.Conn == nil && steered[server] {
		t.Fatalf("%v is new and comes to %v", flow, server)
	}
	if was, stays := placed[flow]; stays && server != was {
		t.Fatalf("%v went from %v to %v", flow, was, server)
	}
	if d.Verdict == Forward && flags == proto.TCPAck {
		placed[flow] = server
	}
}

// TestTableIsTakenInSlices takes the connections in slices while others come and go: what is
// there all the time is told once.
func TestTableIsTakenInSlices(t *testing.T) {
	f := loaded(t, 5000)
	var all []Conn
	at := int32(0)
	for slices := 0; at >= 0; slices++ {
		var part []Conn
		part, at = f.ConnsFrom(at, 512, part)
		if len(part) > 512 {
			t.Fatalf("%d in a slice", len(part))
		}
		all = append(all, part...)
		f.Packet(0, Ingress{}, segment(uint32(0x0c000000+slices), 1, proto.TCPSyn))
		f.Packet(0, Ingress{}, segment(uint32(0x0c000000+slices), 1, proto.TCPRst))
	}
	seen := map[netip.AddrPort]int{}
	for _, c := range all {
		seen[c.Client]++
	}
	for i := range uint32(5000) {
		a := 0x0b000000 + i
		if n := seen[netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), 1000)]; n != 1 {
			t.Fatalf("connection %d is told %d times", i, n)
		}
	}
}

// TestServicesAreTakenInSlices compares the slices with the whole.
func TestServicesAreTakenInSlices(t *testing.T) {
	f := New(Config{MaxConns: 10, Seed: 1})
	for port := range uint16(20) {
		k := ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), port)}
		if err := f.AddService(Service{Key: k, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		for i := range int(port % 5) {
			if _, err := f.AddServer(k, Server{Addr: serverAddr(i), Weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if port%7 == 3 {
			f.RemoveService(k)
		}
	}
	var list []ServiceStatus
	parts := 0
	for at := 0; at >= 0; parts++ {
		list, at = f.ServicesFrom(at, 3, list)
	}
	whole := f.Services()
	same := slices.EqualFunc(list, whole, func(a, b ServiceStatus) bool { return a.Key == b.Key && len(a.Servers) == len(b.Servers) })
	if !same || parts < 5 || len(whole) != 17 {
		t.Errorf("%d services in %d parts, %d as a whole", len(list), parts, len(whole))
	}
}

// BenchmarkSlice is for how long the loop stands still while status lists connections.
func BenchmarkSlice(b *testing.B) {
	f := loaded(b, 1_000_000)
	var list []Conn
	at := int32(0)
	for b.Loop() {
		if list, at = f.ConnsFrom(at, 1024, list[:0]); at < 0 {
			at = 0
		}
	}
}

// BenchmarkSweep is for how long it stands still while connections are evicted.
func BenchmarkSweep(b *testing.B) {
	f := loaded(b, 1_000_000)
	f.EvictService(web)
	for b.Loop() {
		if !f.Sweep() {
			b.StopTimer()
			f = loaded(b, 1_000_000)
			f.EvictService(web)
			b.StartTimer()
		}
	}
}

// TestForesightWithoutWhatEnds: a connection that was evicted no longer counts where its
// flow's next one is foreseen.
func TestForesightWithoutWhatEnds(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web, Scheduler: "wlc"}, Server{Addr: serverAddr(1), Weight: 1}, Server{Addr: serverAddr(2), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN")
	before := f.Services()[0]
	f.Evict(web, serverAddr(2))
	flow := Flow{Protocol: proto.ProtocolTCP, Client: netip.MustParseAddrPort("10.0.2.1:1"), Virtual: web.Addr}
	e := f.Explain(0, flow)
	if after := f.Services()[0]; !slices.Equal(after.Servers, before.Servers) {
		t.Errorf("explaining changed %+v to %+v", before.Servers, after.Servers)
	}
	if d := say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN"); e.Server != f.servers[d.Server].Addr {
		t.Errorf("goes to %v, foreseen was %v", f.servers[d.Server].Addr, e.Server)
	}
}

// TestFailAfterEvict: a connection that was made after the eviction of its server fails all
// the same when the table has been gone through. To serve is nothing to remember.
func TestFailAfterEvict(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web}, Server{Addr: serverAddr(1), Weight: 1})
	f.SteerServer(web, serverAddr(2), Serve)
	if len(f.servers) != 1 {
		t.Errorf("%d servers", len(f.servers))
	}
	f.Evict(web, serverAddr(1))
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN")
	f.SteerServer(web, serverAddr(1), Fail)
	for f.Sweep() {
	}
	say(t, f, 0, NoConn, "10.0.2.1:1 > 10.0.0.100:80 ACK")
}

// TestEvictedIsNotReset where its server fails, too: its next segment is one of no connection.
func TestEvictedIsNotReset(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web, Midstream: Drop}, Server{Addr: serverAddr(1), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.2:1 > 10.0.0.100:80 SYN")
	f.Evict(web, serverAddr(1))
	f.SteerServer(web, serverAddr(1), Fail)
	say(t, f, 0, Unwanted, "10.0.2.1:1 > 10.0.0.100:80 ACK")
}

// TestEvictTakesHiddenTemplates, whose connections are gone already.
func TestEvictTakesHiddenTemplates(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web, Persistence: time.Hour}, Server{Addr: serverAddr(1), Weight: 1}, Server{Addr: serverAddr(2), Weight: 1})
	first := f.servers[say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK", "10.0.2.1:1 > 10.0.0.100:80 RST").Server].Addr
	f.RemoveServer(web, first)
	say(t, f, 0, Forward, "10.0.2.1:2 > 10.0.0.100:80 SYN")
	for range 12 {
		at, _ := f.Deadline()
		f.Expire(at)
	}
	f.Evict(web, first)
	for f.Sweep() {
	}
	if rs := f.servers[f.find(web, first)]; rs.persist != 0 || rs.active+rs.inactive != 0 {
		t.Errorf("left: %d templates, %d connections", rs.persist, rs.active+rs.inactive)
	}
}
