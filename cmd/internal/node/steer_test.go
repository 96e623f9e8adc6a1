package node

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// steered is a director of the servers 3 and 4 that knows their MACs, with flow 1 at 4 and
// flow 2 at 3.
func steered(t *testing.T, sorry bool) *world {
	cfg := with(instanceConf(150))
	vs := webService(3, 4)
	if sorry {
		vs.SorryServer = &config.RealServer{Addr: netip.MustParseAddrPort("127.0.0.1:80"), Weight: 1}
	}
	cfg.VirtualServers = []*config.VirtualServer{vs}
	w := newWorld(t, cfg)
	w.checks["10.0.0.3:80"], w.checks["10.0.0.4:80"] = true, true
	w.start(0)
	w.run(4 * time.Second)
	w.step(0, Received{Port: 1, Frame: arpFrom(2)})
	w.step(0, Received{Port: 1, Frame: arpFrom(3)})
	for port, at := range map[uint16]int{1: 3} {
		goes(t, w, port, proto.TCPSyn, at)
		goes(t, w, port, proto.TCPAck, at)
	}
	goes(t, w, 2, proto.TCPSyn, 2)
	goes(t, w, 2, proto.TCPAck, 2)
	return w
}

// Where a frame goes beside a host.
const (
	here    = -1
	nowhere = -2
)

// goes sends a segment and expects it at a host.
func goes(t *testing.T, w *world, port uint16, flags uint8, host int) (answers []Action) {
	t.Helper()
	var b Batch
	f := syn(port, flags)
	w.nodes[0].Frame(w.now, 1, make([]byte, 10), f, &b)
	got := nowhere
	switch b.Verdicts[0].Fate {
	case Delivered:
		got = here
	case Forwarded:
		for got = range 9 {
			if proto.Ethernet(f).Dst() == macOf(got) {
				break
			}
		}
	}
	if got != host {
		t.Fatalf("flow %d goes to %d, want %d", port, got, host)
	}
	return b.Actions
}

func steer(w *world, server string, to forward.Steering) {
	ev := Steer{Service: w.nodes[0].services[0].keys[0], To: to}
	if server != "" {
		ev.Server = netip.MustParseAddrPort(server)
	}
	w.step(0, ev)
}

// TestSorryServerWhereAllAreDrained: it takes the new flows, those that are there stay.
func TestSorryServerWhereAllAreDrained(t *testing.T) {
	w := steered(t, true)
	steer(w, "10.0.0.4:80", forward.Drain)
	goes(t, w, 3, proto.TCPSyn, 2)
	steer(w, "10.0.0.3:80", forward.Drain)
	w.expect("quorum up=false")
	goes(t, w, 4, proto.TCPSyn, here)
	goes(t, w, 1, proto.TCPAck, 3)
	goes(t, w, 2, proto.TCPAck, 2)

	w.checks["10.0.0.4:80"] = false // a server that is dead has no flows, drained or not
	w.run(30 * time.Second)
	w.expect("server 10.0.0.4:80 up=false")
	goes(t, w, 1, proto.TCPAck, nowhere)
	w.checks["10.0.0.4:80"] = true
	w.run(60 * time.Second)
	w.step(0, Received{Port: 1, Frame: arpFrom(2)})
	w.step(0, Received{Port: 1, Frame: arpFrom(3)})
	goes(t, w, 1, proto.TCPAck, 3)
	goes(t, w, 5, proto.TCPSyn, here)

	steer(w, "10.0.0.3:80", forward.Serve)
	w.expect("server 10.0.0.4:80 up=true", "quorum up=true")
	goes(t, w, 6, proto.TCPSyn, 2)
	goes(t, w, 7, proto.TCPSyn, 2)
	goes(t, w, 1, proto.TCPAck, 3)
}

// TestDrainedServersCountWhileAnotherServes: the quorum is that of the living.
func TestDrainedServersCountWhileAnotherServes(t *testing.T) {
	w := steered(t, false)
	w.nodes[0].services[0].cfg.Quorum = 2
	steer(w, "10.0.0.4:80", forward.Drain)
	if s := &w.nodes[0].services[0]; !s.quorum {
		t.Error("a server that is drained is alive")
	}
	steer(w, "", forward.Drain)
	w.expect("quorum up=false")
	steer(w, "", forward.Serve)
	goes(t, w, 3, proto.TCPSyn, 2)
	goes(t, w, 4, proto.TCPSyn, 2) // it is drained by itself
}

// TestFailedServerIsAnsweredFor: the client gets a reset.
func TestFailedServerIsAnsweredFor(t *testing.T) {
	w := steered(t, false)
	steer(w, "10.0.0.4:80", forward.Fail)
	answers := goes(t, w, 1, proto.TCPAck, nowhere)
	if len(answers) != 1 {
		t.Fatalf("%v", answers)
	}
	ip, err := proto.ParseIPv4(answers[0].(Send).Frame[14:])
	if err != nil || proto.TCP(ip.Payload()).Flags() != proto.TCPRst || ip.Dst() != addrOf(8) {
		t.Fatalf("%v: %x", err, ip)
	}
	goes(t, w, 2, proto.TCPAck, 2)
	goes(t, w, 1, proto.TCPSyn, 2)
}

// TestEvictionGoesOnInPieces: packets come between them, and find no connection either way.
func TestEvictionGoesOnInPieces(t *testing.T) {
	w := steered(t, false)
	n := w.nodes[0]
	for port := range uint16(1000) {
		goes(t, w, 1000+port, proto.TCPSyn, 3-int(port%2))
	}
	w.step(0, Evict{Service: n.services[0].keys[0], Server: netip.MustParseAddrPort("10.0.0.4:80")})
	if left := n.fwd.Len(); left <= 501 || left > 1002 {
		t.Fatalf("%d entries after the first piece", left)
	}
	goes(t, w, 1998, proto.TCPAck, nowhere) // of 10.0.0.4, at the table's end
	goes(t, w, 1999, proto.TCPAck, 2)
	w.run(w.now + time.Millisecond)
	if left := n.fwd.Len(); left != 501 {
		t.Errorf("%d entries are left", left)
	}
}

// TestRatesAreEstimatedWhileSomethingMoves: and without traffic no timer runs for them.
func TestRatesAreEstimatedWhileSomethingMoves(t *testing.T) {
	w := serviceWorld(t)
	n := w.nodes[0]
	if n.timers.pos[n.rateTimer] >= 0 {
		t.Error("a timer runs before the first packet")
	}
	goes(t, w, 1, proto.TCPSyn, nowhere) // waits for its neighbour
	for range 60 {
		goes(t, w, 1, proto.TCPAck, nowhere)
	}
	w.run(w.now + 3*time.Second)
	if r := n.fwd.Services()[0].Rates; r.Packets != 8 || r.Bytes != 305 { // a quarter of 61/2 and of 40·61/2
		t.Errorf("%+v", r)
	}
	w.run(w.now + 5*time.Minute)
	if n.timers.pos[n.rateTimer] >= 0 {
		t.Error("the timer runs after minutes without a packet")
	}
	goes(t, w, 1, proto.TCPAck, nowhere)
	if n.timers.pos[n.rateTimer] < 0 {
		t.Error("no timer runs after a packet")
	}
}

// TestWishesLastAsLongAsTheirServers: that for a sorry server, too.
func TestWishesLastAsLongAsTheirServers(t *testing.T) {
	text := func(servers string) *config.Config {
		return parse(t, instanceText("A", "", 100)+"virtual_server 10.0.0.100 80 {\n lb_kind DR\n protocol TCP\n"+servers+"}\n")
	}
	const sorry, real = " sorry_server 10.0.0.9 80\n", " real_server 10.0.0.3 80 {\n }\n"
	m := newMachine(t, text(sorry+real))
	m.run(5 * time.Second)
	key := m.n.services[0].keys[0]
	of := func(server string) forward.Steering { return m.n.fwd.Steered(key, netip.MustParseAddrPort(server)) }
	for _, server := range []string{"10.0.0.3:80", "10.0.0.9:80"} {
		m.step(Steer{Service: key, Server: netip.MustParseAddrPort(server), To: forward.Drain})
	}
	for _, c := range []struct {
		servers     string
		real, sorry forward.Steering
	}{
		{sorry + real, forward.Drain, forward.Drain}, {real, forward.Drain, forward.Serve}, {sorry + real, forward.Drain, forward.Serve},
		{sorry, forward.Serve, forward.Serve}, {sorry + real, forward.Serve, forward.Serve},
	} {
		m.reload(t, text(c.servers))
		if a, b := of("10.0.0.3:80"), of("10.0.0.9:80"); a != c.real || b != c.sorry {
			t.Errorf("%v and %v, want %v and %v", a, b, c.real, c.sorry)
		}
	}
}

func TestViews(t *testing.T) {
	w := steered(t, false)
	w.checks["10.0.0.3:80"] = false
	w.run(20 * time.Second)
	in := w.nodes[0].Instances()[0]
	if in.State != "MASTER" || in.Since != 3414062500 || in.Cause == "" || len(in.Addresses) != 1 {
		t.Errorf("%+v", in)
	}
	s, next := w.nodes[0].ServicesFrom(0, 100, nil)
	if len(s) != 1 || next != -1 || !s[0].Quorum || s[0].Servers[0].Up || s[0].Servers[0].Failed != 1 || !s[0].Servers[1].Up {
		t.Errorf("%+v, %d", s, next)
	}
}
