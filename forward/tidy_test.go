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

// years is a director that is given other services and servers again and again. It has two
// forwarders, each with the packets of half the clients.
type years struct {
	t       *testing.T
	f       [2]*Forwarder
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
// while that is away, and never comes to another; the counters are those of the table; there
// are hardly more numbers than were needed at a time; and they mean the same in both forwarders.
func TestReloadsForYears(t *testing.T) {
	for seed, scheduler := range []string{"rr", "wlc", "mh", "lblc", "lblcr"} {
		t.Run(scheduler, func(t *testing.T) {
			y := newYears(t, Config{MaxConns: 300, Seed: 1}, uint64(seed))
			y.pass(1000, scheduler)
			t.Logf("%d servers were needed at a time, %d numbers", y.peak, len(y.f[0].servers))
		})
	}
}

// TestSteeredForYears has operators drain, fail and evict meanwhile, with a table that is always full
// and gives up half-open connections: the counters are those of the table all the same.
func TestSteeredForYears(t *testing.T) {
	for seed := range uint64(3) {
		y := newYears(t, Config{MaxConns: 20, Seed: 1, Recycle: true}, seed)
		y.steers = true
		y.pass(1000, "wlc")
	}
}

func newYears(t *testing.T, c Config, seed uint64) *years {
	y := &years{
		t: t, f: [2]*Forwarder{New(c), New(c)}, random: rand.New(rand.NewPCG(seed, 1)), there: map[ServiceKey]bool{}, servers: map[member]Server{},
		flows: map[flowOf]netip.AddrPort{},
	}
	y.both(func(f *Forwarder) (int, error) {
		f.SetMarks([]Rule{{Mark: 7, Port: AnyPort, DstPorts: []PortRange{{700, 700}}}})
		return 0, nil
	})
	for port := range uint16(6) {
		y.keys = append(y.keys, ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(web.Addr.Addr(), 80+port)})
	}
	y.keys = append(y.keys, ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.AddrPortFrom(web.Addr.Addr(), 53)}, ServiceKey{Mark: 7, Addr: netip.MustParseAddrPort("0.0.0.0:0")})
	return y
}

// both does the same to both forwarders, with the same result.
func (y *years) both(do func(*Forwarder) (int, error)) {
	y.t.Helper()
	a, err := do(y.f[0])
	b, wrong := do(y.f[1])
	if a != b || err != nil || wrong != nil {
		y.t.Fatalf("%d %v, and %d %v", a, err, b, wrong)
	}
}

// pass lets so many reloads pass.
func (y *years) pass(reloads int, scheduler string) {
	for range reloads {
		y.now += time.Duration(y.random.IntN(30)) * time.Second
		for _, f := range y.f {
			for at, ok := f.Deadline(); ok && at <= y.now; at, ok = f.Deadline() {
				f.Expire(y.now)
			}
		}
		Tidy(y.f[:]...)
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
	addr := y.f[0].servers[y.random.IntN(len(y.f[0].servers))].Addr
	to, what := Steering(y.random.IntN(3)), y.random.IntN(6)
	y.both(func(f *Forwarder) (int, error) {
		switch what {
		case 0:
			f.SteerService(k, to)
		case 1:
			if f.find(k, addr) >= 0 {
				f.SteerServer(k, addr, to)
			}
		case 2:
			f.Evict(k, addr)
		case 3:
			f.EvictService(k)
		default:
			f.Sweep()
		}
		return 0, nil
	})
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
		y.both(func(f *Forwarder) (int, error) {
			err := f.AddService(s)
			f.SetLocal(web.Addr.Addr(), true)
			return 0, err
		})
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
		y.both(func(f *Forwarder) (int, error) { f.RemoveService(k); return 0, nil })
		y.there[k] = false
		for _, m := range old {
			delete(y.servers, m)
		}
	case len(old) > 0 && y.random.IntN(4) == 0:
		m := old[y.random.IntN(len(old))]
		s := y.servers[m]
		s.Weight = y.random.Int32N(4)
		y.both(func(f *Forwarder) (int, error) { return f.EditServer(k, s) })
		y.servers[m] = s
	case len(old) > 3 || len(old) > 0 && y.random.IntN(2) == 0:
		m := old[y.random.IntN(len(old))]
		y.both(func(f *Forwarder) (int, error) { f.RemoveServer(k, m.addr); return 0, nil })
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
		y.both(func(f *Forwarder) (int, error) { return f.AddServer(k, s) })
		y.servers[m] = s
	}
}

// packet sends one of a random connection.
func (y *years) packet() {
	n := y.random.IntN(len(y.keys))
	k := y.keys[n]
	flow := flowOf{n, uint16(1000 + y.random.IntN(100))}
	f := y.f[flow.client%2]
	port := k.Addr.Port()
	if k.Mark != 0 {
		port = 700
	}
	line := fmt.Sprintf("10.2.%d.1:%d > 10.0.0.100:%d", flow.client%5, flow.client, port)
	if k.Protocol == proto.ProtocolUDP {
		say1(y.t, f, y.now, line)
		return
	}
	client := addr4([]byte{10, 2, byte(flow.client % 5), 1})
	if y.steers {
		flags := []string{" SYN", " SYN", " ACK", " ACK", " FIN ACK", " RST"}
		say1(y.t, f, y.now, line+flags[y.random.IntN(len(flags))])
		return
	}
	known := f.table.find(key{client: client, virtual: toAddr(web.Addr.Addr()), cport: flow.client, vport: port, protocol: proto.ProtocolTCP}) != 0
	if !known {
		d := say1(y.t, f, y.now, line+" SYN")
		if d.Verdict != Forward && d.Verdict != Deliver {
			return
		}
		y.flows[flow] = f.servers[d.Server].Addr
		say1(y.t, f, y.now, line+" ACK")
		return
	}
	d := say1(y.t, f, y.now, line+" ACK")
	was := y.flows[flow]
	_, present := y.servers[member{int32(n), was}]
	if !was.IsValid() { // no server took it: it goes where it was sent
		present = y.there[k]
	}
	switch {
	case present && d.Verdict != Forward && d.Verdict != Deliver:
		y.t.Fatalf("%s, to %v which is there: %v", line, was, d.Verdict)
	case !present && d.Verdict != ServerGone:
		y.t.Fatalf("%s, to %v which is not there: %v to %v", line, was, d.Verdict, f.servers[d.Server].Addr)
	case present && f.servers[d.Server].Addr != was:
		y.t.Fatalf("%s went from %v to %v", line, was, f.servers[d.Server].Addr)
	}
}

// say1 gives a forwarder one packet.
func say1(t *testing.T, f *Forwarder, now time.Duration, line string) Decision {
	return f.Packet(now, Ingress{}, build(t, strings.Fields(line)))
}

// check compares what servers count with the table, and how many there are with what is needed.
func (y *years) check() {
	needed := map[int]bool{}
	for _, f := range y.f {
		y.counts(f)
		for i := range f.servers {
			if f.servers[i].service != nobody && !f.idle(int32(i)) {
				needed[i] = true
			}
		}
	}
	f := y.f[0]
	y.peak = max(y.peak, len(needed))
	if len(f.servers) > y.peak+8 || len(f.services) > 2*len(y.keys) { // with those that left just now
		y.t.Fatalf("%d numbers of servers and %d of services, needed were %d and %d", len(f.servers), len(f.services), y.peak, len(y.keys))
	}
	if len(f.numbers) > len(f.servers) {
		y.t.Fatalf("%d servers are known by their address, there are %d", len(f.numbers), len(f.servers))
	}
}

func (y *years) counts(f *Forwarder) {
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
	for i := range f.servers {
		rs, is := &f.servers[i], &count[i]
		if rs.active != is.active || rs.inactive != is.inactive || rs.persist != is.persist || rs.singles != is.singles {
			y.t.Fatalf("server %v counts %d %d %d %d, the table has %d %d %d %d", rs.Addr, rs.active, rs.inactive, rs.persist, rs.singles, is.active, is.inactive, is.persist, is.singles)
		}
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
	Tidy(f)
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
