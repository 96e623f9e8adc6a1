package forward

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// marked is a service of mark 7, which every packet carries.
func marked(t *testing.T, c Config, s Service, servers ...Server) *Forwarder {
	s.Key = ServiceKey{Mark: 7, Addr: netip.MustParseAddrPort("0.0.0.0:0")}
	f := serving(t, c, s, servers...)
	f.SetMarks([]Rule{{Mark: 7, Port: AnyPort}})
	return f
}

func direct(n ...int) (list []Server) {
	for _, i := range n {
		list = append(list, Server{Addr: netip.AddrPortFrom(serverAddr(i).Addr(), 0), Weight: 1})
	}
	return list
}

// TestOnePacketIsOfDatagrams: of a mark with ops, TCP has connections all the same.
func TestOnePacketIsOfDatagrams(t *testing.T) {
	f := marked(t, Config{MaxConns: 4, Seed: 1}, Service{OnePacket: true}, direct(1, 2)...)
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.5.0.1:80", "10.0.2.1:1 > 10.5.0.1:80")
	if f.Len() != 0 {
		t.Errorf("%d entries of datagrams", f.Len())
	}
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.5.0.1:80 SYN", "10.0.2.1:1 > 10.5.0.1:80 ACK")
	if f.Len() != 1 {
		t.Errorf("%d entries of a connection", f.Len())
	}
}

// TestMarkAndAddressesElsewhere: an address that another node has is no mark's.
func TestMarkAndAddressesElsewhere(t *testing.T) {
	f := marked(t, Config{MaxConns: 4, Seed: 1}, Service{}, direct(1)...)
	f.SetAway(netip.MustParseAddr("10.5.0.1"), true)
	say(t, f, 0, NotLocal, "10.0.2.1:1 > 10.5.0.1:80 SYN")
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.5.0.2:80 SYN")
	f.SetAway(netip.MustParseAddr("10.5.0.1"), false)
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.5.0.1:80 SYN")
}

// TestBypassBindsNobody: what goes where it was sent leaves no template, so that the client's
// next connection finds a server that has come. Only marks have it.
func TestBypassBindsNobody(t *testing.T) {
	f := marked(t, Config{MaxConns: 8, Seed: 1}, Service{CacheBypass: true, Persistence: time.Minute, ExpireNoDest: true})
	say(t, f, 0, Deliver, "10.0.2.1:1 > 10.5.0.1:80 SYN")
	if f.Len() != 1 {
		t.Errorf("%d entries", f.Len())
	}
	if _, err := f.AddServer(f.services[0].Key, direct(1)[0]); err != nil {
		t.Fatal(err)
	}
	say(t, f, 0, Forward, "10.0.2.1:2 > 10.5.0.1:80 SYN")
	say(t, f, 0, Deliver, "10.0.2.1:1 > 10.5.0.1:80 ACK", "10.0.2.1:1 > 10.5.0.1:80 SYN") // it has nothing like a weight
	f = serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web, CacheBypass: true})
	say(t, f, 0, NoDestination, "10.0.2.1:1 > 10.0.0.100:80 SYN")
}

// TestTemplateLastsFromTheLastConnection: every new connection gives its template time.
func TestTemplateLastsFromTheLastConnection(t *testing.T) {
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: web, Persistence: time.Minute}, Server{Addr: serverAddr(1), Weight: 1}, Server{Addr: serverAddr(2), Weight: 1})
	until := func(at time.Duration) {
		for next, ok := f.Deadline(); ok && next <= at; next, ok = f.Deadline() {
			f.Expire(next)
		}
	}
	first := say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK", "10.0.2.1:1 > 10.0.0.100:80 RST").Server
	for _, at := range []time.Duration{50, 100, 150} {
		until(at * time.Second)
		if d := say(t, f, at*time.Second, Forward, "10.0.2.1:2 > 10.0.0.100:80 SYN", "10.0.2.1:2 > 10.0.0.100:80 ACK", "10.0.2.1:2 > 10.0.0.100:80 RST"); d.Server != first {
			t.Errorf("at %ds: server %d, not %d", at, d.Server, first)
		}
	}
	if until(212 * time.Second); f.Len() != 0 {
		t.Errorf("%d entries a minute after the last", f.Len())
	}
}

// TestMarkBindsAllProtocols: the template of a mark is for every protocol, address and port.
func TestMarkBindsAllProtocols(t *testing.T) {
	f := marked(t, Config{MaxConns: 8, Seed: 1}, Service{Persistence: time.Minute}, direct(1, 2, 3)...)
	first := say(t, f, 0, Forward, "10.0.2.1:1 > 10.5.0.1:80 SYN").Server
	for _, packet := range []string{"10.0.2.1:1 > 10.5.0.1:80", "10.0.2.1:9 > 10.5.0.2:53", "10.0.2.1:9 > 10.5.0.3:9 sctp=1"} {
		if d := say(t, f, 0, Forward, packet); d.Server != first {
			t.Errorf("%s: server %d, not %d", packet, d.Server, first)
		}
	}
}

// TestOldestHalfOpenGoes, not who has the entry of an older one that has ended.
func TestOldestHalfOpenGoes(t *testing.T) {
	f := serving(t, Config{MaxConns: 2, Seed: 1, Recycle: true}, Service{Key: web}, Server{Addr: serverAddr(1), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.2:2 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK", "10.0.2.1:1 > 10.0.0.100:80 RST")
	for range 12 {
		at, _ := f.Deadline()
		f.Expire(at)
	}
	now := 12 * time.Second
	say(t, f, now, Forward, "10.0.2.3:3 > 10.0.0.100:80 SYN", "10.0.2.4:4 > 10.0.0.100:80 SYN", "10.0.2.3:3 > 10.0.0.100:80 ACK")
	say(t, f, now, NoConn, "10.0.2.2:2 > 10.0.0.100:80 ACK")
	if key := (key{client: toAddr(netip.MustParseAddr("10.0.2.3")), cport: 3, virtual: toAddr(web.Addr.Addr()), vport: 80, protocol: proto.ProtocolTCP}); f.table.find(key) == 0 {
		t.Error("the younger one went")
	}
}

// TestAssuredTemplateStays: the template of a client that had an established connection is not
// given up with a half-open one.
func TestAssuredTemplateStays(t *testing.T) {
	f := serving(t, Config{MaxConns: 2, Seed: 1, Recycle: true}, Service{Key: web, Persistence: time.Hour}, Server{Addr: serverAddr(1), Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN", "10.0.2.1:1 > 10.0.0.100:80 ACK", "10.0.2.1:1 > 10.0.0.100:80 RST")
	for range 12 {
		at, _ := f.Deadline()
		f.Expire(at)
	}
	say(t, f, 12*time.Second, Forward, "10.0.2.1:2 > 10.0.0.100:80 SYN")
	say(t, f, 12*time.Second, TableFull, "10.0.2.2:1 > 10.0.0.100:80 SYN") // for which one entry is not enough
	for c := range f.Conns {
		if !c.Template || c.State != "ASSURED" {
			t.Errorf("left: %+v", c)
		}
	}
	if f.Len() != 1 {
		t.Errorf("%d entries", f.Len())
	}
}
