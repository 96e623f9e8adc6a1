package forward

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// years is a director that is given other services and servers again and again.
type years struct {
	t       *testing.T
	f       *Forwarder
	random  *rand.Rand
	now     time.Duration
	keys    []ServiceKey
	there   map[ServiceKey]bool
	servers map[member]Server // those that are there, by the number of their service in keys
	flows   map[flowOf]netip.AddrPort
	peak    int // servers that were needed at a time
	steers  bool
}

// flowOf is a connection of a service by its number in keys.
type flowOf struct {
	service int
	client  uint16
}

// TestReloadsForYears adds, edits and removes services and servers of thousands of addresses while
// connections come and expire. An established flow stays with its server, is dropped
// while that is away, and never comes to another; the counters are those of the table; and there
// are never more numbers than twice of what was needed at a time.
func TestReloadsForYears(t *testing.T) {
	for seed, scheduler := range []string{"rr", "wlc", "mh", "lblc", "lblcr"} {
		t.Run(scheduler, func(t *testing.T) {
			y := newYears(t, Config{MaxConns: 300, Seed: 1}, uint64(seed))
			y.pass(2000, scheduler)
			t.Logf("%d servers were needed at a time, %d numbers", y.peak, len(y.f.servers))
		})
	}
}

// TestSteeredForYears has operators drain, fail and evict meanwhile, with a table that is always full
// and gives up half-open connections: the counters are those of the table all the same.
func TestSteeredForYears(t *testing.T) {
	for seed := range uint64(3) {
		y := newYears(t, Config{MaxConns: 20, Seed: 1, Recycle: true}, seed)
		y.steers = true
		y.pass(2000, "wlc")
	}
}

func newYears(t *testing.T, c Config, seed uint64) *years {
	y := &years{
		t: t, f: New(c), random: rand.New(rand.NewPCG(seed, 1)), there: map[ServiceKey]bool{}, servers: map[member]Server{},
		flows: map[flowOf]netip.AddrPort{},
	}
	y.f.SetMarks([]Rule{{Mark: 7, Port: AnyPort, DstPorts: []PortRange{{700, 700}}}})
	for port := range uint16(6) {
		y.keys = append(y.keys, ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), 80+port)})
	}
	y.keys = append(y.keys, ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.AddrPortFrom(web.Addr.Addr(), 53)}, ServiceKey{Mark: 7, Addr: netip.MustParseAddrPort("0.0.0.0:0")})
	return y
}

// pass lets so many reloads pass.
func (y *years) pass(reloads int, scheduler string) {
	for range reloads {
		y.now += time.Duration(y.random.IntN(30)) * time.Second
		for at, ok := y.f.Deadline(); ok && at <= y.now; at, ok = y.f.Deadline() {
			y.f.Expire(y.now)
		}
		y.reload(scheduler)
		if y.steers {
			y.steer()
		}
		for range 12 {
			y.packet()
		}
		y.check()
	}
}

// steer is what an operator does to one service or server.
func (y *years) steer() {
	k := y.keys[y.random.IntN(len(y.keys))]
	if !y.there[k] {
		return
	}
	addr := y.f.servers[y.random.IntN(len(y.f.servers))].Addr
	to := Steering(y.random.IntN(3))
	switch y.random.IntN(6) {
	case 0:
		y.f.SteerService(k, to)
	case 1:
		if y.f.find(k, addr) >= 0 {
			y.f.SteerServer(k, addr, to)
		}
	case 2:
		y.f.Evict(k, addr)
	case 3:
		y.f.EvictService(k)
	default:
		y.f.Sweep()
	}
}

// reload changes one service or one server.
func (y *years) reload(scheduler string) {
	n := y.random.IntN(len(y.keys))
	k := y.keys[n]
	if !y.there[k] {
		s := Service{Key: k, Scheduler: scheduler, OnePacket: k.Protocol == proto.ProtocolUDP, CacheBypass: k.Mark != 0}
		if n%2 == 0 {
			s.Persistence = time.Minute
		}
		if err := y.f.AddService(s); err != nil {
			y.t.Fatal(err)
		}
		y.f.SetLocal(web.Addr.Addr(), true)
		y.there[k] = true
	}
	var old []member
	for m := range y.servers {
		if int(m.service) == n {
			old = append(old, m)
		}
	}
	switch {
	case y.random.IntN(40) == 0:
		y.f.RemoveService(k)
		y.there[k] = false
		for _, m := range old {
			delete(y.servers, m)
		}
	case len(old) > 0 && y.random.IntN(4) == 0:
		m := old[y.random.IntN(len(old))]
		s := y.servers[m]
		s.Weight = y.random.Int32N(4)
		if _, err := y.f.EditServer(k, s); err != nil {
			y.t.Fatal(err)
		}
		y.servers[m] = s
	case len(old) > 3 || len(old) > 0 && y.random.IntN(2) == 0:
		m := old[y.random.IntN(len(old))]
		y.f.RemoveServer(k, m.addr)
		delete(y.servers, m)
	default:
		s := Server{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(y.random.IntN(16)), byte(y.random.IntN(256))}), k.Addr.Port()), Weight: 1}
		m := member{int32(n), s.Addr}
		if _, ok := y.servers[m]; ok {
			return
		}
		if k.Protocol == proto.ProtocolUDP {
			s.Method = NAT
		}
		if _, err := y.f.AddServer(k, s); err != nil {
			y.t.Fatal(err)
		}
		y.servers[m] = s
	}
}

// packet sends one of a random connection.
func (y *years) packet() {
	n := y.random.IntN(len(y.keys))
	k := y.keys[n]
	flow := flowOf{n, uint16(1000 + y.random.IntN(100))}
	port := k.Addr.Port()
	if k.Mark != 0 {
		port = 700
	}
	line := fmt.Sprintf("10.2.%d.1:%d > 10.0.0.100:%d", flow.client%5, flow.client, port)
	if k.Protocol == proto.ProtocolUDP {
		say1(y.t, y.f, y.now, line)
		return
	}
	client := addr4([]byte{10, 2, byte(flow.client % 5), 1})
	if y.steers {
		flags := []string{" SYN", " SYN", " ACK", " ACK", " FIN ACK", " RST"}
		say1(y.t, y.f, y.now, line+flags[y.random.IntN(len(flags))])
		return
	}
	known := y.f.table.find(key{client: client, virtual: toAddr(web.Addr.Addr()), cport: flow.client, vport: port, protocol: proto.ProtocolTCP}) != 0
	if !known {
		d := say1(y.t, y.f, y.now, line+" SYN")
		if d.Verdict != Forward && d.Verdict != Deliver {
			return
		}
		y.flows[flow] = y.f.servers[d.Server].Addr
		say1(y.t, y.f, y.now, line+" ACK")
		return
	}
	d := say1(y.t, y.f, y.now, line+" ACK")
	was := y.flows[flow]
	_, present := y.servers[member{int32(n), was}]
	if !was.IsValid() { // no server took it: it goes where it was sent
		present = y.there[k]
	}
	switch {
	case present && d.Verdict != Forward && d.Verdict != Deliver:
		y.t.Fatalf("%s, to %v which is there: %v", line, was, d.Verdict)
	case !present && d.Verdict != ServerGone:
		y.t.Fatalf("%s, to %v which is not there: %v to %v", line, was, d.Verdict, y.f.servers[d.Server].Addr)
	case present && y.f.servers[d.Server].Addr != was:
		y.t.Fatalf("%s went from %v to %v", line, was, y.f.servers[d.Server].Addr)
	}
}

// say1 gives a forwarder one packet.
func say1(t *testing.T, f *Forwarder, now time.Duration, line string) Decision {
	return f.Packet(now, Ingress{}, build(t, strings.Fields(line)))
}

// check compares what servers count with the table, and how many there are with what is needed.
func (y *years) check() {
	f := y.f
	count := make([]server, len(f.servers))
	for i := int32(1); i < f.table.made; i++ {
		if !f.table.live(i) {
			continue
		}
		c := f.table.at(i)
		switch is := &count[c.server]; {
		case c.kind == template:
			is.persist++
		case c.kind == single:
			is.singles++
		case c.state.active():
			is.active++
		default:
			is.inactive++
		}
	}
	needed := 0
	for i := range f.servers {
		rs, is := &f.servers[i], &count[i]
		if rs.active != is.active || rs.inactive != is.inactive || rs.persist != is.persist || rs.singles != is.singles {
			y.t.Fatalf("server %v counts %d %d %d %d, the table has %d %d %d %d", rs.Addr, rs.active, rs.inactive, rs.persist, rs.singles, is.active, is.inactive, is.persist, is.singles)
		}
		if rs.service != nobody && !f.idle(int32(i)) {
			needed++
		}
	}
	y.peak = max(y.peak, needed)
	if len(f.servers) > 2*y.peak+4 || len(f.services) > 2*len(y.keys) {
		y.t.Fatalf("%d numbers of servers and %d of services, needed were %d and %d", len(f.servers), len(f.services), y.peak, len(y.keys))
	}
	if len(f.numbers) > len(f.servers) {
		y.t.Fatalf("%d servers are known by their address, there are %d", len(f.numbers), len(f.servers))
	}
}

// TestNumberOfAnother: what remembers a server that is gone does not lead to the one that has
// its number now: neither the other fragments of a datagram of which nothing is kept, nor the
// cache of lblc, nor an eviction that is still under way.
func TestNumberOfAnother(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: key, OnePacket: true, Scheduler: "lblc"}, Server{Addr: serverAddr(1), Weight: 9})
	d := say1(t, f, 0, "10.0.2.1:1 > 10.0.0.100:53 data=16 mf")
	f.Evict(key, serverAddr(1))
	f.RemoveServer(key, serverAddr(1))
	f.tidy()
	for n := range 2 {
		id, err := f.AddServer(key, Server{Addr: serverAddr(3 - n), Weight: int32(1 + n)})
		if err != nil || int32(id) == d.Server != (n == 0) {
			t.Fatalf("number %d, %v", id, err)
		}
	}
	say(t, f, 0, Fragment, "10.0.2.1:1 > 10.0.0.100:53 data=16 frag=24")
	f.steer(d.Server)
	if rs := &f.servers[d.Server]; rs.cut || rs.evicted {
		t.Error("the new server is evicted")
	}
	// Of two without a load wlc takes the first in the list, which is the other one.
	if n := say1(t, f, 0, "10.0.2.1:1 > 10.0.0.100:53").Server; n == d.Server {
		t.Error("lblc goes on with the number")
	}
}
