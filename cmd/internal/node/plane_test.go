package node

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// gate is a guard that counts, and is never locked twice.
type gate struct {
	t     testing.TB
	locks int
	held  bool
}

func (g *gate) Lock() {
	if g.held {
		g.t.Fatal("the guard is locked by who has it")
	}
	g.locks++
	g.held = true
}

func (g *gate) Unlock() { g.held = false }

const planes = 3

// web is a service of the servers 10.0.0.3 and so on, with lines of its own.
func web(kind, extra string, servers ...string) string {
	text := fmt.Sprintf("virtual_server 10.0.0.100 80 {\n lb_algo rr\n lb_kind %s\n protocol TCP\n", kind)
	for _, s := range servers {
		text += fmt.Sprintf(" real_server %s 80 {\n%s\n }\n", s, extra)
	}
	return text + "}\n"
}

// workers is a MASTER whose frames three workers judge.
func workers(t testing.TB, text string) (*machine, *gate) {
	g := &gate{t: t}
	n, err := NewShared(parse(t, instanceText("A", "", 100)+text), hostLinks(), 1, Workers{Count: planes, Guard: g})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{n: n, held: map[string]int{}}
	m.step(Start{})
	m.run(5 * time.Second)
	if g.held {
		t.Fatal("the guard is held after a step")
	}
	return m, g
}

// at gives a frame to a worker.
func (m *machine) at(worker int, frame []byte, b *Batch) Verdict {
	b.Reset()
	head := make([]byte, proto.VirtioLen)
	if worker == 0 {
		m.n.Frame(m.now, 1, head, frame, b)
	} else {
		m.n.Plane(worker).Frame(m.now, 1, head, frame, b)
	}
	return b.Verdicts[0]
}

// A frame of a worker for a server that nobody has heard of waits at the node.
func TestWorkerFrameWaits(t *testing.T) {
	m, g := workers(t, web("DR", "", "10.0.0.3"))
	var b Batch
	if v := m.at(2, syn(7, proto.TCPSyn), &b); v.Fate != Held || len(b.Unresolved) != 1 {
		t.Fatalf("%v, %d frames wait", v, len(b.Unresolved))
	}
	m.step(b.Unresolved[0])
	before := g.locks
	out := m.n.Step(m.now, Received{Port: 1, Frame: arpFrom(2)}, nil)
	if len(out) != 1 || proto.Ethernet(out[0].(Send).Frame).Dst() != macOf(2) || out[0].(Send).Head == nil {
		t.Fatalf("after the answer: %v", out)
	}
	if g.locks != before+1 {
		t.Errorf("the guard was locked %d times", g.locks-before)
	}
	f := syn(7, proto.TCPAck)
	if v := m.at(2, f, &b); v.Fate != Forwarded || v.Port != 1 || proto.Ethernet(f).Dst() != macOf(2) {
		t.Errorf("the next frame: %v", v)
	}
	head := make([]byte, proto.VirtioLen)
	if got := testing.AllocsPerRun(100, func() {
		b.Reset()
		proto.Ethernet(f).SetDst(macOf(0))
		m.n.Plane(2).Frame(m.now, 1, head, f, &b)
		copy(f[14:], syn(7, proto.TCPAck)[14:])
	}) - testing.AllocsPerRun(100, func() { copy(f[14:], syn(7, proto.TCPAck)[14:]) }); got != 0 || b.Verdicts[0].Fate != Forwarded {
		t.Errorf("%v allocations a frame, %v", got, b.Verdicts)
	}
	m.step(Unresolved{Server: 0, Head: make([]byte, proto.VirtioLen), Frame: syn(7, proto.TCPAck)})
	if len(m.actions) != 1 || proto.Ethernet(m.actions[0].(Send).Frame).Dst() != macOf(2) {
		t.Errorf("a frame that comes after the answer: %v", m.actions)
	}
	if v := m.at(1, syn(7, proto.TCPAck), &b); v.Fate != Dropped || len(b.Actions) != 1 {
		t.Errorf("a segment at a worker that does not have the flow: %v, %v", v, b.Actions)
	}
	for i := 0; ; i++ { // a flood must not fill the node's inbox
		m.n.lose(&m.n.neighbours[0])
		if v := m.at(2, syn(7, proto.TCPAck), &b); v.Fate == Dropped {
			break
		} else if i > replyBurst {
			t.Fatalf("%d frames wait", i)
		}
	}
}

// Workers go on while the node hears advertisements, ARP and timers that change nothing.
func TestGuardIsLeftAlone(t *testing.T) {
	m, g := workers(t, web("DR", "", "10.0.0.3"))
	m.step(Received{Port: 1, Frame: arpFrom(2)})
	before := g.locks
	for range 20 {
		m.step(Received{Port: 1, Frame: arpFrom(2)})
		m.run(time.Second)
	}
	var b Batch
	m.at(0, syn(7, proto.TCPSyn), &b)
	if g.locks != before {
		t.Errorf("locked %d times", g.locks-before)
	}
	m.step(LinkChanged{Port: 1, MAC: macOf(0), Up: true, MTU: 1400})
	if g.locks != before+1 {
		t.Errorf("locked %d times for a change", g.locks-before)
	}
}

// What is seen of a service is what all workers have, what is done to it reaches all of them,
// and a limit of connections is that of all together.
func TestWorkersTogether(t *testing.T) {
	limited := func(n int) string { return web("DR", fmt.Sprintf(" uthreshold %d", n), "10.0.0.3") }
	m, _ := workers(t, limited(5))
	m.step(Received{Port: 1, Frame: arpFrom(2)})
	var b Batch
	open := func(worker int, port uint16) bool { return m.at(worker, syn(port, proto.TCPSyn), &b).Fate == Forwarded }
	fill := func() (opened int) {
		for worker := range planes {
			for port := range uint16(6) {
				if open(worker, uint16(1000*worker)+port) {
					opened++
				}
			}
		}
		return opened
	}
	if got := fill(); got != 5 {
		t.Fatalf("%d connections, want 5", got)
	}
	key := m.n.services[0].keys[0]
	check := func(conns uint32, upper uint32) {
		t.Helper()
		list, next := m.n.StatusFrom(0, 100, nil)
		if len(list) != 1 || next != -1 {
			t.Fatalf("%d services, next %d", len(list), next)
		}
		one, _ := m.n.Status(key)
		for _, s := range []forward.ServiceStatus{list[0], one} {
			if rs := s.Servers[0]; rs.Active+rs.Inactive != conns || rs.Upper != upper {
				t.Errorf("%d connections of %d, want %d of %d", rs.Active+rs.Inactive, rs.Upper, conns, upper)
			}
		}
		var conn []forward.Conn
		for at := int64(0); at >= 0; {
			conn, at = m.n.ConnsFrom(at, 2, conn)
		}
		if sum := m.n.Totals(); sum.Conns != int(conns) || len(conn) != int(conns) {
			t.Errorf("%d connections, %d listed, want %d", sum.Conns, len(conn), conns)
		}
	}
	check(5, 5)
	if s, _ := m.n.Status(key); !s.Servers[0].Overload || s.Stats.Conns != 5 {
		t.Errorf("%+v", s)
	}
	m.reload(t, parse(t, instanceText("A", "", 100)+limited(8)))
	check(5, 8)
	if v := m.at(2, syn(2000, proto.TCPAck), &b); v.Fate != Forwarded {
		t.Errorf("a flow after the reload: %v", v)
	}
	if got := fill() - 5; got != 3 {
		t.Errorf("%d more connections, want 3", got)
	}
	flow := forward.Flow{Protocol: 6, Client: netip.AddrPortFrom(addrOf(8), 2000), Virtual: netip.MustParseAddrPort("10.0.0.100:80")}
	if e := m.n.Explain(m.now, flow, 2); e.Conn == nil {
		t.Error("the worker with the flow does not know it")
	}
	if e := m.n.Explain(m.now, flow, 1); e.Conn != nil {
		t.Error("another worker knows the flow")
	}
	m.step(Evict{Service: key})
	for worker := range planes {
		if v := m.at(worker, syn(uint16(1000*worker), proto.TCPAck), &b); v.Fate != Dropped {
			t.Errorf("worker %d still has a flow: %v", worker, v)
		}
	}
	m.run(time.Second)
	check(0, 8)
	m.step(Steer{Service: key, To: forward.Drain})
	for worker := range planes {
		if open(worker, 77) {
			t.Errorf("worker %d takes new flows", worker)
		}
	}
}

// Connections of a worker end by its own timer, and its rates rest when nothing comes.
func TestWorkerTimers(t *testing.T) {
	m, _ := workers(t, web("DR", "", "10.0.0.3"))
	m.step(Received{Port: 1, Frame: arpFrom(2)})
	p := m.n.Plane(1)
	if _, ok := p.Deadline(); ok {
		t.Fatal("a deadline without a frame")
	}
	var b Batch
	m.at(1, syn(7, proto.TCPSyn), &b)
	steps := 0
	for at, ok := p.Deadline(); ok; at, ok = p.Deadline() {
		m.now = max(m.now, at)
		p.Tick(m.now)
		if steps++; steps > 1e6 {
			t.Fatal("the timers do not end")
		}
	}
	if sum := m.n.Totals(); sum.Conns != 0 || m.now < time.Minute {
		t.Errorf("%d connections at %v", sum.Conns, m.now)
	}
}

// An ICMP error comes to the node's own worker and concerns a flow of another; what it tells
// of the way to a server, all of them know.
func TestWorkersShareICMP(t *testing.T) {
	m, g := workers(t, web("TUN", "", "10.0.0.3"))
	m.step(Received{Port: 1, Frame: arpFrom(2)})
	m.step(LinkChanged{Port: 1, MAC: macOf(0), Up: true, MTU: 1500})
	var b Batch
	for worker := range planes {
		if v := m.at(worker, syn(1000, proto.TCPSyn), &b); v.Fate != Rebuilt {
			t.Fatalf("worker %d: %v", worker, v)
		}
	}
	f := syn(1001, proto.TCPSyn)
	m.at(2, f, &b)
	quote := append([]byte{3, 4, 0, 0, 0, 0, 0x05, 0x14}, b.Built[0].Buf[24:]...) // 1300
	f = icmp(addrOf(6), addrOf(0), quote)
	if v := m.at(0, f, &b); v.Fate != Dropped || len(b.Actions) > 1 {
		t.Fatalf("%v, %v", v, b.Actions)
	}
	m.at(0, icmp(addrOf(6), addrOf(0), append([]byte{3}, make([]byte, 35)...)), &b) // which is nobody's
	if sum := m.n.Totals(); sum.Verdicts[forward.TunnelMTU] != 1 || sum.Verdicts[forward.NotMine] != 1 {
		t.Errorf("counted %v", sum.Verdicts)
	}
	for worker := range planes {
		m.at(worker, big(1300, true), &b)
		ip := replied(t, &b, proto.MAC{2, 0, 0, 0, 9, 9})
		if got := proto.ICMP(ip.Payload()).Rest(); got != 1280 {
			t.Errorf("worker %d tells an MTU of %d", worker, got)
		}
	}
	if g.held {
		t.Error("the guard is held after a frame")
	}
}

// icmp is a frame with an ICMP message, whose checksum is made.
func icmp(src, dst netip.Addr, m []byte) []byte {
	binary.BigEndian.PutUint16(m[2:], 0)
	binary.BigEndian.PutUint16(m[2:], proto.Checksum(m))
	f := proto.AppendEthernet(nil, macOf(0), macOf(6), proto.EtherTypeIPv4)
	return append(proto.IPv4Header{TTL: 60, Protocol: proto.ProtocolICMP, Src: src, Dst: dst}.Append(f, len(m)), m...)
}

// The client's error about an answer finds the server that the worker of the flow chose.
func TestWorkersShareErrorsOfClients(t *testing.T) {
	for worker := range planes {
		m, _ := workers(t, web("NAT", "", "10.0.0.3", "10.0.0.4"))
		m.step(Received{Port: 1, Frame: arpFrom(2)})
		m.step(Received{Port: 1, Frame: arpFrom(3)})
		var b Batch
		f := syn(1000, proto.TCPSyn)
		m.at(worker, f, &b)
		server := proto.IPv4(f[14:]).Dst()
		answer := proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: netip.MustParseAddr("10.0.0.100"), Dst: addrOf(8)}.Append(nil, 20)
		answer = proto.TCPHeader{SrcPort: 80, DstPort: 1000, Flags: proto.TCPAck}.Append(answer)
		f = icmp(addrOf(8), netip.MustParseAddr("10.0.0.100"), append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, answer...))
		if v := m.at(0, f, &b); v.Fate != Forwarded || proto.IPv4(f[14:]).Dst() != server {
			t.Errorf("worker %d: %v to %v, want %v", worker, v, proto.IPv4(f[14:]).Dst(), server)
		}
	}
}

// A packet of BFD ends its step as everything does: the workers go on, and the kernel's IPVS
// hears at once of a server that is lost.
func TestBFDEndsItsStep(t *testing.T) {
	service := web("DR", "BFD_CHECK {\n name b\n }", "10.0.0.3")
	m, g := workers(t, "bfd_instance b {\n neighbor_ip 10.0.0.2\n}\n"+service+strings.Replace(service, "100 80 {", "101 80 {\n @ringkeep dataplane ipvs", 1))
	for _, state := range []proto.BFDState{proto.BFDInit, proto.BFDDown} {
		m.asked = nil
		m.step(BFDHeard{From: addrOf(1), To: addrOf(0), TTL: 255, Payload: proto.BFDMessage{
			State: state, Multiplier: 3, Mine: 9, Yours: m.n.BFDs()[0].Own, MinTX: time.Second, MinRX: time.Second,
		}.Append(nil)})
		if g.held {
			t.Errorf("%v: the guard is held after a packet of BFD", state)
		}
	}
	if got, want := describePrograms(m.asked), "program flush=false timeouts={0s 0s 0s}\n  TCP 10.0.0.101:80 rr\n"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}
