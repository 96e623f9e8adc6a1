package forward

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
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
	reused := known != 0 && f.outlived(known, flags)
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

// FuzzPacket throws packets at services of every method: nothing panics, a packet that goes
// on is as long as it was, parses, and a checksum that was right stays right.
func FuzzPacket(f *testing.F) {
	for _, line := range []string{
		"10.0.2.1:1000 > 10.0.0.100:80 SYN", "10.0.2.1:1000 > 10.0.0.100:53", "10.0.2.1:1000 > 10.0.0.100:53 mf data=16",
		"10.0.0.100:80 > 10.0.2.1:1000 ACK icmp", "10.0.1.2:8080 > 10.0.2.1:1000 SYN ACK", "10.0.2.1:1000 > 10.0.1.2:8080 ACK icmp",
		"10.0.2.1:1000 > 10.0.0.100:9 sctp=1", "[2001:db8:2::1]:1000 > [2001:db8::100]:80 SYN options",
		"[2001:db8:1::1]:8080 > [2001:db8:2::1]:1000 ACK", "[2001:db8::100]:80 > [2001:db8:2::1]:1000 ACK icmp",
	} {
		f.Add(build(f, strings.Fields(line)), false)
		f.Add(build(f, strings.Fields(line)), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, partial bool) {
		fw := everything(t)
		opened := [][]byte{
			build(t, strings.Fields("10.0.2.1:1000 > 10.0.0.100:80 SYN")), build(t, strings.Fields("10.0.2.1:1000 > 10.0.0.100:80 SYN")),
			build(t, strings.Fields("[2001:db8:2::1]:1000 > [2001:db8::100]:80 SYN")),
		}
		for _, p := range opened {
			fw.Packet(0, Ingress{}, p)
		}
		length, right := len(b), sound(b) == nil
		var v proto.Virtio
		if partial {
			v = make(proto.Virtio, proto.VirtioLen)
			v[0], right = 1, false
		}
		d := fw.Packet(0, Ingress{Virtio: v}, b)
		if d.Verdict != Forward && d.Verdict != Return {
			return
		}
		if _, err := parse(b); err != nil || len(b) != length {
			t.Fatalf("what is sent does not parse: %v", err)
		}
		if right {
			if err := sound(b); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// everything makes a forwarder with servers of every method, local ones of both families.
func everything(tb testing.TB) *Forwarder {
	f := New(Config{MaxConns: 16, Seed: 1})
	for _, s := range []struct {
		protocol uint8
		vip      string
		servers  []Server
	}{
		{proto.ProtocolTCP, "10.0.0.100:80", []Server{{Addr: netip.MustParseAddrPort("10.0.1.1:80"), Weight: 1}, {Addr: netip.MustParseAddrPort("10.0.1.2:8080"), Method: NAT, Weight: 1}}},
		{proto.ProtocolUDP, "10.0.0.100:53", []Server{{Addr: netip.MustParseAddrPort("10.0.1.3:5353"), Method: NAT, Weight: 1}}},
		{proto.ProtocolSCTP, "10.0.0.100:9", []Server{{Addr: netip.MustParseAddrPort("10.0.1.4:99"), Method: NAT, Weight: 1}}},
		{proto.ProtocolTCP, "[2001:db8::100]:80", []Server{{Addr: netip.MustParseAddrPort("[2001:db8:1::1]:8080"), Method: NAT, Weight: 1}}},
	} {
		k := ServiceKey{Protocol: s.protocol, Addr: netip.MustParseAddrPort(s.vip)}
		if err := f.AddService(Service{Key: k, Scheduler: "rr"}); err != nil {
			tb.Fatal(err)
		}
		f.SetLocal(k.Addr.Addr(), true)
		for _, rs := range s.servers {
			if _, err := f.AddServer(k, rs); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return f
}

// TestNATIsExact compares every packet there and back with one that was made with the other
// addresses from the start: they are equal to the last byte, checksums of all kinds included.
func TestNATIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		six := rapid.Bool().Draw(t, "IPv6")
		addr := func(name string) netip.Addr {
			if six {
				b := [16]byte{0x20, 0x01}
				copy(b[2:], rapid.SliceOfN(rapid.Byte(), 14, 14).Draw(t, name))
				return netip.AddrFrom16(b)
			}
			return netip.AddrFrom4([4]byte(append([]byte{10}, rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, name)...)))
		}
		end := func(name string) netip.AddrPort {
			return netip.AddrPortFrom(addr(name), uint16(rapid.IntRange(21, 65535).Draw(t, name+" port")))
		}
		client, vip, server := end("client"), end("service"), end("server")
		if client == vip || client == server || vip == server {
			return
		}
		s := shape{protocol: rapid.SampledFrom([]uint8{proto.ProtocolTCP, proto.ProtocolUDP, proto.ProtocolSCTP}).Draw(t, "protocol")}
		s.data, s.options = rapid.IntRange(0, 1400).Draw(t, "data"), six && rapid.Bool().Draw(t, "options")
		s.flags = map[uint8]uint8{proto.ProtocolTCP: proto.TCPSyn, proto.ProtocolSCTP: sctpInit}[s.protocol]
		partial := s.protocol != proto.ProtocolSCTP && rapid.Bool().Draw(t, "partial")

		f := New(Config{MaxConns: 4, Seed: rapid.Uint64().Draw(t, "seed")})
		k := ServiceKey{Protocol: s.protocol, Addr: vip}
		if err := f.AddService(Service{Key: k, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		f.SetLocal(vip.Addr(), true)
		if _, err := f.AddServer(k, Server{Addr: server, Method: NAT, Weight: 1}); err != nil {
			t.Fatal(err)
		}
		for _, way := range []struct {
			verdict          Verdict
			src, dst, as, to netip.AddrPort
		}{{Forward, client, vip, client, server}, {Return, server, client, vip, client}} {
			s.ttl = 64
			got := s.packet(way.src, way.dst)
			var v proto.Virtio
			if partial {
				v = leaveToHardware(got)
			}
			if d := f.Packet(0, Ingress{Virtio: v}, got); d.Verdict != way.verdict {
				t.Fatalf("%v, not %v", d.Verdict, way.verdict)
			}
			s.ttl = 63
			want := s.packet(way.as, way.to)
			if partial {
				leaveToHardware(want)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("\n%x, not\n%x", got, want)
			}
			s.flags = map[uint8]uint8{proto.ProtocolTCP: proto.TCPSyn | proto.TCPAck, proto.ProtocolSCTP: 2}[s.protocol]
		}
	})
}

// leaveToHardware puts the sum of the pseudo-header in place of the checksum, as a stack does
// whose device sums, and returns the header that says so.
func leaveToHardware(b []byte) proto.Virtio {
	p, _ := parse(b)
	sum := proto.Sum(0).AddPseudo(p.src.netip(), p.dst.netip(), p.protocol, len(p.payload)).Fold()
	binary.BigEndian.PutUint16(p.payload[map[uint8]int{proto.ProtocolTCP: 16, proto.ProtocolUDP: 6}[p.protocol]:], sum)
	v := make(proto.Virtio, proto.VirtioLen)
	v[0] = 1
	return v
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
	entry := int(reflect.TypeFor[conn]().Size() + reflect.TypeFor[more]().Size())
	if total := entry + 4*cap(f.table.buckets)/f.table.max; total > 128 {
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
