package forward

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// TestLocalServerTakesTheLastHop: only who forwards a packet decrements its TTL.
func TestLocalServerTakesTheLastHop(t *testing.T) {
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, Server{Addr: serverAddr(1), Method: Local, Weight: 1})
	say(t, f, 0, Deliver, "10.0.2.1:1 > 10.0.0.100:80 SYN ttl=1")
}

// TestShortFirstFragment: a first fragment without a whole header of UDP has nothing to write
// a port or checksum to.
func TestShortFirstFragment(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:5353"), Method: NAT, Weight: 1})
	for length := range 8 {
		b := build(t, strings.Fields("10.0.2.1:1 > 10.0.0.100:53 mf"))[:20+length]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		if d := f.Packet(0, Ingress{}, b[:len(b):len(b)]); d.Verdict != Malformed {
			t.Errorf("%d bytes: %v", length, d.Verdict)
		}
	}
}

// TestReuse has connections that are over, and where a new one over them goes, of three
// servers in turn: to another server, or not.
func TestReuse(t *testing.T) {
	sctp := ServiceKey{Protocol: proto.ProtocolSCTP, Addr: web.Addr}
	const client = "10.0.2.1:1 > 10.0.0.100:80 "
	for name, tt := range map[string]struct {
		service Service
		method  Method
		packets string
		moves   bool
	}{
		"CLOSE":                        {Service{Key: web}, DR, "SYN, ACK, RST, SYN", true},
		"CLOSE, never":                 {Service{Key: web, Reuse: ReuseNever}, DR, "SYN, ACK, RST, SYN", false},
		"CLOSE, persistent":            {Service{Key: web, Persistence: time.Minute}, DR, "SYN, ACK, RST, SYN", false},
		"FIN_WAIT":                     {Service{Key: web}, DR, "SYN, ACK, FIN ACK, SYN", false},
		"FIN_WAIT, answers not seen":   {Service{Key: web, Reuse: ReuseFinWait}, DR, "SYN, ACK, FIN ACK, SYN", true},
		"CLOSE_WAIT, answers are seen": {Service{Key: web, Reuse: ReuseFinWait}, NAT, "SYN, ACK, FIN ACK, SYN", false},
		"closed, SCTP":                 {Service{Key: sctp}, DR, "sctp=1, sctp=10, sctp=6, sctp=1", true},
		"established, SCTP":            {Service{Key: sctp}, DR, "sctp=1, sctp=10, sctp=1", false},
		"an ACK opens nothing over":    {Service{Key: web}, DR, "SYN, ACK, RST, ACK", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := serving(t, Config{MaxConns: 8, Seed: 1}, tt.service)
			for i := range 3 {
				if _, err := f.AddServer(tt.service.Key, Server{Addr: serverAddr(i), Method: tt.method, Weight: 1}); err != nil {
					t.Fatal(err)
				}
			}
			var went []int32
			for words := range strings.SplitSeq(tt.packets, ", ") {
				went = append(went, say(t, f, 0, Forward, client+words).Server)
			}
			if moved := went[len(went)-1] != went[0]; moved != tt.moves {
				t.Errorf("servers %v", went)
			}
		})
	}
}

// TestReuseAfterTheServersFin: with NAT a connection in FIN_WAIT is one whose server has sent
// its FIN, and goes on.
func TestReuseAfterTheServersFin(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web, Reuse: ReuseFinWait},
		Server{Addr: serverAddr(1), Method: NAT, Weight: 1}, Server{Addr: serverAddr(2), Method: NAT, Weight: 1})
	first := say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK").Server
	say(t, f, 0, Return, f.servers[first].Addr.String()+" > 10.0.2.1:1 FIN ACK")
	for c := range f.Conns {
		if c.State != "FIN_WAIT" {
			t.Fatalf("%s", c.State)
		}
	}
	if d := say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN"); d.Server != first {
		t.Errorf("server %d, not %d", d.Server, first)
	}
}

// TestThresholds counts connections up to the upper threshold and down to the lower one, or
// to three quarters of the upper.
func TestThresholds(t *testing.T) {
	for _, tt := range []struct{ upper, lower, stays, again uint32 }{{8, 5, 5, 4}, {8, 0, 6, 5}} {
		f := serving(t, Config{MaxConns: 20, Seed: 1}, Service{Key: web}, Server{Addr: serverAddr(1), Weight: 1, Upper: tt.upper, Lower: tt.lower})
		id := f.find(web, serverAddr(1))
		f.count(id, 0, int32(tt.upper-1))
		for _, step := range []struct {
			total    uint32
			overload bool
		}{{tt.upper - 1, false}, {tt.upper, true}, {tt.stays, true}, {tt.again, false}, {tt.upper - 1, false}} {
			f.count(id, 0, int32(step.total-f.servers[id].inactive))
			if got := f.services[0].view[0].Overload; got != step.overload {
				t.Errorf("%+v: with %d connections overload is %v", tt, step.total, got)
			}
		}
	}
}

// TestTemplateIsAssuredByAnAssociation of SCTP, too.
func TestTemplateIsAssuredByAnAssociation(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolSCTP, Addr: web.Addr}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key, Persistence: time.Minute}, Server{Addr: serverAddr(1), Weight: 1})
	state := func() (s string) {
		for c := range f.Conns {
			if c.Template {
				s = c.State
			}
		}
		return s
	}
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 sctp=1")
	if got := state(); got != "NONE" {
		t.Errorf("after INIT: %s", got)
	}
	if say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 sctp=10"); state() != "ASSURED" {
		t.Errorf("after COOKIE ECHO: %s", state())
	}
}

// TestSinglesAreCountedByNobody, neither while they are there nor when they go. Answers keep
// them.
func TestSinglesAreCountedByNobody(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key, OnePacket: true}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:53"), Method: NAT, Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:53")
	for f.Len() > 0 {
		at, _ := f.Deadline()
		f.Expire(at)
	}
	if s := f.servers[0]; s.active != 0 || s.inactive != 0 {
		t.Errorf("%d active, %d inactive", s.active, s.inactive)
	}
}

// TestLaterFragmentsKeepTheirData: with NAT only their addresses change, both ways.
func TestLaterFragmentsKeepTheirData(t *testing.T) {
	for _, vip := range []string{"10.0.0.100", "2001:db8::100"} {
		server, client := "10.0.1.1:5353", "10.0.2.1:1"
		if strings.Contains(vip, ":") {
			server, client = "[2001:db8:1::1]:5353", "[2001:db8:2::1]:1"
		}
		at := netip.AddrPortFrom(netip.MustParseAddr(vip), 53)
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: ServiceKey{Protocol: proto.ProtocolUDP, Addr: at}},
			Server{Addr: netip.MustParseAddrPort(server), Method: NAT, Weight: 1})
		for _, way := range []struct {
			packet  string
			verdict Verdict
		}{{client + " > " + at.String(), Forward}, {server + " > " + client, Return}} {
			say(t, f, 0, way.verdict, way.packet+" data=16 mf")
			b := build(t, strings.Fields(way.packet+" data=16 frag=24"))
			was := string(b[len(b)-24:])
			if d := f.Packet(0, Ingress{From: Hop{MAC: proto.MAC{2}}}, b); d.Verdict != way.verdict || string(b[len(b)-24:]) != was {
				t.Errorf("%s: %v, data %x, not %x", way.packet, d.Verdict, b[len(b)-24:], was)
			}
		}
	}
}

// TestUDPSumThatIsZero: NAT sends 0xffff for a checksum that comes to 0, which would be none,
// and leaves none as it is.
func TestUDPSumThatIsZero(t *testing.T) {
	for _, ends := range [][3]string{{"10.0.2.1:1", "10.0.0.100:53", "10.0.1.1:5353"}, {"[2001:db8:2::1]:1", "[2001:db8::100]:53", "[2001:db8:1::1]:5353"}} {
		key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort(ends[1])}
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key}, Server{Addr: netip.MustParseAddrPort(ends[2]), Method: NAT, Weight: 1})
		udp := func(to string, word uint16, sum bool) (packet, datagram []byte) {
			b := build(t, []string{ends[0], ">", to, "data=2"})
			d := b[len(b)-10:]
			binary.BigEndian.PutUint16(d[8:], word)
			proto.SealUDP(d, netip.MustParseAddrPort(ends[0]).Addr(), netip.MustParseAddrPort(to).Addr())
			if !sum {
				d[6], d[7] = 0, 0
			}
			return b, d
		}
		_, d := udp(ends[2], 0, true)
		word := binary.BigEndian.Uint16(d[6:]) // with it in place of 0 the sum is complete
		for _, sum := range []bool{true, false} {
			b, d := udp(ends[1], word, sum)
			want := map[bool]uint16{true: 0xffff, false: 0}[sum]
			if v := f.Packet(0, Ingress{}, b).Verdict; v != Forward || binary.BigEndian.Uint16(d[6:]) != want {
				t.Errorf("%v: %v, checksum %x, not %x", ends, v, d[6:8], want)
			}
		}
	}
}

// TestTemplateIsAssuredByAnAnswer of UDP, which has no other state.
func TestTemplateIsAssuredByAnAnswer(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key, Persistence: time.Minute}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:53"), Method: NAT, Weight: 1})
	for _, step := range []struct {
		verdict       Verdict
		packet, state string
	}{{Forward, "10.0.2.1:1 > 10.0.0.100:53", "NONE"}, {Return, "10.0.1.1:53 > 10.0.2.1:1", "ASSURED"}} {
		say(t, f, 0, step.verdict, step.packet)
		for c := range f.Conns {
			if c.Template && c.State != step.state {
				t.Errorf("after %s: %s", step.packet, c.State)
			}
		}
	}
}

// TestErrorsWithAWrongSum are dropped where NAT would make it right, both ways.
func TestErrorsWithAWrongSum(t *testing.T) {
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:8080"), Method: NAT, Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN")
	for packet, want := range map[string]Verdict{"10.0.0.100:80 > 10.0.2.1:1 ACK icmp": Forward, "10.0.2.1:1 > 10.0.1.1:8080 ACK icmp": Return} {
		b := build(t, strings.Fields(packet))
		b[22] ^= 1
		if d := f.Packet(0, Ingress{}, b); d.Verdict != Malformed {
			t.Errorf("%s: %v with a wrong checksum", packet, d.Verdict)
		}
		say(t, f, 0, want, packet)
	}
}
