package forward

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// say gives a forwarder packets as traces write them, and fails where a verdict is another.
func say(t *testing.T, f *Forwarder, now time.Duration, want Verdict, lines ...string) (d Decision) {
	t.Helper()
	for _, line := range lines {
		if d = f.Packet(now, Ingress{From: Hop{Port: 1, MAC: proto.MAC{2, 9}}}, build(t, strings.Fields(line))); d.Verdict != want {
			t.Fatalf("%s: %v, not %v", line, d.Verdict, want)
		}
	}
	return d
}

// serving makes a forwarder of one service with its servers.
func serving(t *testing.T, c Config, s Service, servers ...Server) *Forwarder {
	t.Helper()
	f := New(c)
	if s.Scheduler == "" {
		s.Scheduler = "rr"
	}
	if err := f.AddService(s); err != nil {
		t.Fatal(err)
	}
	f.SetLocal(s.Key.Addr.Addr(), true)
	for _, rs := range servers {
		if _, err := f.AddServer(s.Key, rs); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestFullTableLeavesNoTemplate: without room for a connection there is no template for it.
func TestFullTableLeavesNoTemplate(t *testing.T) {
	f := serving(t, Config{MaxConns: 3, Seed: 1}, Service{Key: web, Persistence: time.Minute}, Server{Addr: serverAddr(1), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN")
	say(t, f, 0, TableFull, "10.0.2.2:1 > 10.0.0.100:80 SYN", "10.0.2.3:1 > 10.0.0.100:80 SYN")
	if f.Len() != 2 {
		t.Errorf("%d entries, not the connection and its template", f.Len())
	}
	say(t, f, 0, Forward, "10.0.2.1:2 > 10.0.0.100:80 SYN")
	say(t, f, 0, TableFull, "10.0.2.1:3 > 10.0.0.100:80 SYN") // whose template stays
	if st := f.Services()[0].Servers[0]; st.Persist != 1 || st.Active != 2 {
		t.Errorf("%d templates and %d connections", st.Persist, st.Active)
	}
}

// TestFloodOfPersistentService: a full table that recycles gives up the templates of half-open
// connections, too, or a flood would fill it with them. Who has a template of one that is
// about to go keeps it.
func TestFloodOfPersistentService(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1, Recycle: true}, Service{Key: web, Persistence: time.Minute}, Server{Addr: serverAddr(1), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK")
	for i := range 1000 {
		client := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()
		say(t, f, 0, Forward, client+":1 > 10.0.0.100:80 SYN")
	}
	for _, port := range []string{"2", "3", "4", "5", "6", "7", "8", "9"} { // its own half-open ones go for it
		say(t, f, 0, Forward, "10.1.3.231:"+port+" > 10.0.0.100:80 SYN")
	}
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 ACK")
	st := f.Services()[0].Servers[0]
	if entries := int(st.Active + st.Inactive + st.Persist); entries != f.Len() || f.Len() > 8 {
		t.Errorf("%d entries, of which the server has %d", f.Len(), entries)
	}
	for at, ok := f.Deadline(); ok; at, ok = f.Deadline() {
		f.Expire(at)
	}
	if st := f.Services()[0].Servers[0]; st.Active+st.Inactive+st.Persist != 0 {
		t.Errorf("after all expired: %+v", st)
	}
}

// TestSinglesOfTwoServices: datagrams that are scheduled one by one keep one entry for each
// server and service, however they alternate.
func TestSinglesOfTwoServices(t *testing.T) {
	server := Server{Addr: netip.MustParseAddrPort("10.0.1.1:53"), Method: NAT, Weight: 1}
	key := func(addr string) ServiceKey {
		return ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort(addr)}
	}
	f := serving(t, Config{MaxConns: 100, Seed: 1}, Service{Key: key("10.0.0.100:53"), OnePacket: true}, server)
	if err := f.AddService(Service{Key: key("10.0.0.101:53"), OnePacket: true, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	f.SetLocal(netip.MustParseAddr("10.0.0.101"), true)
	if _, err := f.AddServer(key("10.0.0.101:53"), server); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:53", "10.0.2.1:1 > 10.0.0.101:53")
	}
	if f.Len() != 2 {
		t.Errorf("%d entries", f.Len())
	}
}

// TestNobodyAimsForABucket: clients of IPv6 choose both halves of their addresses, and come
// to many buckets all the same.
func TestNobodyAimsForABucket(t *testing.T) {
	f := New(Config{MaxConns: 1 << 16, Seed: 42})
	for _, half := range []uint64{0x9e3779b97f4a7c15, 0, 1, ^uint64(0)} {
		high, low := map[uint64]bool{}, map[uint64]bool{}
		for i := range uint64(1000) {
			high[f.table.hash(addr{0x2001<<48 | i, half}, 1, proto.ProtocolTCP)&0xffff] = true
			low[f.table.hash(addr{half, i}, 1, proto.ProtocolTCP)&0xffff] = true
		}
		if len(high) < 900 || len(low) < 900 {
			t.Errorf("with %x in a half: %d and %d buckets for 1000 clients", half, len(high), len(low))
		}
	}
}

// TestLearnedMTUOnlyFalls: a router that tells of a larger MTU is not believed (RFC 8201 §4).
func TestLearnedMTUOnlyFalls(t *testing.T) {
	far := netip.MustParseAddrPort("10.9.0.1:80")
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, Server{Addr: far, Method: TUN, Weight: 1})
	f.SetPath(0, Path{MTU: 1500, Source: netip.MustParseAddr("10.0.0.1")})
	for _, step := range []struct {
		at        time.Duration
		mtu, fits int32
	}{{0, 1400, 1380}, {time.Minute, 1450, 1380}, {2 * time.Minute, 1300, 1280}, {3 * time.Minute, 1300, 1280}} {
		f.learn(step.at, toAddr(far.Addr()), int(step.mtu))
		if got := f.servers[0].fits; got != step.fits {
			t.Errorf("after %d: %d fit, not %d", step.mtu, got, step.fits)
		}
	}
	if f.forgetPaths(12*time.Minute + 59*time.Second); f.servers[0].fits != 1280 {
		t.Error("what was told again is forgotten too early")
	}
	if f.forgetPaths(13 * time.Minute); f.servers[0].fits != 1480 {
		t.Error("not forgotten")
	}
}

// TestLaterFragmentsOfWhatEnded: the other fragments of a datagram do not go to a server that
// was removed, nor where another connection goes that has the entry now.
func TestLaterFragmentsOfWhatEnded(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	for _, once := range []bool{false, true} {
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key, OnePacket: once}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:53"), Weight: 1})
		say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:53 data=16 mf", "10.0.2.1:1 > 10.0.0.100:53 data=16 frag=24")
		f.RemoveServer(key, netip.MustParseAddrPort("10.0.1.1:53"))
		say(t, f, 0, ServerGone, "10.0.2.1:1 > 10.0.0.100:53 data=16 frag=24")
	}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:53"), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:53 data=16 mf")
	f.EvictService(key)
	f.Sweep()
	say(t, f, 0, Forward, "10.0.2.1:2 > 10.0.0.100:53")
	say(t, f, 0, Fragment, "10.0.2.1:1 > 10.0.0.100:53 data=16 frag=24")
}

// TestServerOfAnotherMethod: a server comes back with NAT for DR while connections live. What
// it sends is an answer of them once the client has sent something by the new way, and goes
// to where that came from.
func TestServerOfAnotherMethod(t *testing.T) {
	s := Server{Addr: serverAddr(1), Weight: 1}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, s)
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK")
	f.RemoveServer(web, s.Addr)
	s.Method = NAT
	if _, err := f.AddServer(web, s); err != nil {
		t.Fatal(err)
	}
	say(t, f, 0, NotMine, "10.0.1.1:80 > 10.0.2.1:1 ACK") // there is no telling where to
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 ACK")
	if d := say(t, f, 0, Return, "10.0.1.1:80 > 10.0.2.1:1 FIN ACK"); d.Hop != (Hop{Port: 1, MAC: proto.MAC{2, 9}}) {
		t.Errorf("to %+v", d.Hop)
	}
	for c := range f.Conns {
		if c.State != "FIN_WAIT" {
			t.Errorf("%s after the server's FIN", c.State)
		}
	}
}

// TestSCTPKeepsItsChecksum: NAT to the same port changes nothing that SCTP sums, so that of a
// first fragment stays right; one that the sender left to the hardware is filled in, since
// no header tells the next device that it is no sum of the internet.
func TestSCTPKeepsItsChecksum(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolSCTP, Addr: netip.MustParseAddrPort("10.0.0.100:9")}
	for _, method := range []Method{DR, NAT} {
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:9"), Method: method, Weight: 1})
		b := build(t, strings.Fields("10.0.2.1:1 > 10.0.0.100:9 sctp=1"))
		sum := binary.BigEndian.Uint32(b[28:])
		first := append([]byte(nil), b...)
		binary.BigEndian.PutUint16(first[6:], 0x2000)
		binary.BigEndian.PutUint32(first[28:], 7) // of all the fragments
		sumIPv4(first)
		if f.Packet(0, Ingress{}, first); binary.BigEndian.Uint32(first[28:]) != 7 {
			t.Errorf("method %d: the first fragment has another checksum", method)
		}
		v := make(proto.Virtio, proto.VirtioLen)
		v[0] = 1
		binary.BigEndian.PutUint32(b[28:], 0)
		if f.Packet(0, Ingress{Virtio: v}, b); binary.BigEndian.Uint32(b[28:]) != sum || v.Partial() {
			t.Errorf("method %d: checksum %x of the kind %v, not %x", method, b[28:32], v.Partial(), sum)
		}
	}
}

// TestTemplateNamesThePort: a template is to the server's port, as the kernel lists it, unless
// its service is of every port.
func TestTemplateNamesThePort(t *testing.T) {
	for service, want := range map[string]uint16{"10.0.0.100:80": 8080, "10.0.0.100:0": 0} {
		key := ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.MustParseAddrPort(service)}
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key, Persistence: time.Minute},
			Server{Addr: netip.MustParseAddrPort("10.0.1.1:8080"), Method: NAT, Weight: 1})
		say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN")
		for c := range f.Conns {
			if c.Template && c.Server.Port() != want {
				t.Errorf("%v: the template is to %v", key, c.Server)
			}
		}
	}
}

// TestPortsOfAPersistentMark: with persistence the packets of a service by mark keep their
// port, whatever that of the NAT server is; without it they get the server's.
func TestPortsOfAPersistentMark(t *testing.T) {
	key := ServiceKey{Mark: 7, Addr: netip.MustParseAddrPort("0.0.0.0:0")}
	for persistence, want := range map[time.Duration]uint16{0: 8080, time.Minute: 80} {
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key, Persistence: persistence},
			Server{Addr: netip.MustParseAddrPort("10.0.1.1:8080"), Method: NAT, Weight: 1})
		f.SetMarks([]Rule{{Mark: 7, Port: AnyPort}})
		b := build(t, strings.Fields("10.0.2.1:1 > 10.0.0.100:80 SYN"))
		if d := f.Packet(0, Ingress{}, b); d.Verdict != Forward || binary.BigEndian.Uint16(b[22:]) != want {
			t.Errorf("persistence %v: %v to port %d, not %d", persistence, d.Verdict, binary.BigEndian.Uint16(b[22:]), want)
		}
	}
}

// TestMartians: what comes from an address that nobody has is not placed, nor handed to the
// local stack, which trusts its own.
func TestMartians(t *testing.T) {
	for service, clients := range map[string][]string{
		"10.0.0.100:53":      {"127.0.0.1:1", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1"},
		"[2001:db8::100]:53": {"[::1]:1", "[::]:1", "[ff02::1]:1"},
	} {
		key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort(service)}
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key}, Server{Addr: key.Addr, Method: Local, Weight: 1})
		for _, local := range []bool{true, false} {
			f.SetLocal(key.Addr.Addr(), local)
			for _, client := range clients {
				say(t, f, 0, Unwanted, client+" > "+service)
			}
		}
		if f.Len() != 0 {
			t.Errorf("%v: %d entries", key, f.Len())
		}
	}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, Server{Addr: serverAddr(1), Weight: 1})
	say(t, f, 0, Forward, "1.0.0.0:1 > 10.0.0.100:80 SYN", "126.255.255.255:1 > 10.0.0.100:80 SYN", "223.255.255.255:1 > 10.0.0.100:80 SYN")
}
