package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// bfdConf parses blocks of keepalived.conf. PEER stands for the other node's address.
func bfdConf(t *testing.T, i int, text string) *config.Config {
	t.Helper()
	cfg, messages := config.Parse("x", []byte(strings.ReplaceAll(text, "PEER", addrOf(1-i).String())), config.Options{})
	for _, m := range messages {
		if m.Level != config.Notice {
			t.Fatal(m)
		}
	}
	return cfg
}

const (
	bfdBlock = "bfd_instance b {\nneighbor_ip PEER\nmin_tx 50\nmin_rx 50\nmultiplier 3\n}\n"
	tracking = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\npriority 100\nadvert_int 1\ntrack_bfd {\nb WORDS\n}\nvirtual_ipaddress {\n10.0.0.100\n}\n}\n"
	checking = "virtual_server 10.0.0.100 80 {\nprotocol TCP\nlb_kind DR\nreal_server 10.0.0.7 80 {\nBFD_CHECK {\nname b\nWORDS\n}\n}\n}\n"
)

// TestTrackedBFD: down until it is Up, then as the weight says; the loss of the session is
// noticed after its detection time (reference 3.2, 3.8).
func TestTrackedBFD(t *testing.T) {
	for _, c := range []struct {
		words    string
		down, up uint8 // 0: FAULT
	}{
		{"", 0, 100}, {"weight 0 reverse", 100, 0}, {"weight 20", 100, 120}, {"weight -20", 80, 100}, {"weight 20 reverse", 100, 80},
	} {
		w := newWorld(t, bfdConf(t, 0, bfdBlock+strings.Replace(tracking, "WORDS", c.words, 1)), bfdConf(t, 1, bfdBlock))
		judge := func(want uint8) {
			t.Helper()
			in := &w.nodes[0].instances[0]
			got := in.fsm.Priority()
			if in.fsm.State() == fsm.Fault {
				got = 0
			}
			if got != want {
				t.Errorf("weight %q: %d, want %d\n%s", c.words, got, want, strings.Join(w.log, "\n"))
			}
		}
		w.start(0)
		judge(c.down)
		w.run(time.Second)
		judge(c.down)
		w.start(1)
		w.run(3 * time.Second)
		judge(c.up)
		w.kill(1)
		w.run(3*time.Second + 151*time.Millisecond)
		judge(c.down)
		w.expect("0 bfd b Init -> Up (neighbour signals ", "0 bfd b Up -> Down (control detection time expired (150ms))")
		w.nodes[1] = newWorld(t, with(), bfdConf(t, 1, bfdBlock)).nodes[1]
		w.start(1)
		w.run(5 * time.Second)
		judge(c.up)
	}
}

// TestBFDOfAGroup: what a sync group tracks counts for each member.
func TestBFDOfAGroup(t *testing.T) {
	first := strings.Replace(tracking, "track_bfd {\nb WORDS\n}\n", "", 1)
	second := strings.NewReplacer("VI_1", "VI_2", "id 51", "id 52", "0.100", "0.101").Replace(first)
	group := "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\ntrack_bfd {\nb\n}\n}\n"
	w := newWorld(t, bfdConf(t, 0, bfdBlock+first+second+group), bfdConf(t, 1, bfdBlock))
	w.start(0)
	w.run(5 * time.Second)
	if in := w.nodes[0].instances; in[0].fsm.State() != fsm.Fault || in[1].fsm.State() != fsm.Fault {
		t.Errorf("%v, %v without the session", in[0].fsm.State(), in[1].fsm.State())
	}
	w.start(1)
	w.run(12 * time.Second)
	if in := w.nodes[0].instances; in[0].fsm.State() != fsm.Master || in[1].fsm.State() != fsm.Master {
		t.Errorf("%v, %v with it", in[0].fsm.State(), in[1].fsm.State())
	}
	w.kill(1)
	w.run(13 * time.Second)
	w.expect("0 VI_1 MASTER -> FAULT (bfd b failed)", "0 VI_2 MASTER -> FAULT (")
}

// TestBFDCheck: a server is up before the session was, or down with alpha; afterwards it is
// what the session is (reference 1.12).
func TestBFDCheck(t *testing.T) {
	for words, first := range map[string]bool{"": true, "alpha": false} {
		w := newWorld(t, bfdConf(t, 0, bfdBlock+strings.Replace(checking, "WORDS", words, 1)), bfdConf(t, 1, bfdBlock))
		alive := func() bool { return w.nodes[0].services[0].servers[0].alive }
		w.start(0)
		w.run(time.Minute)
		if alive() != first {
			t.Errorf("%q: begins as %v", words, alive())
		}
		w.start(1)
		w.run(62 * time.Second)
		if !alive() {
			t.Errorf("%q: down with its session Up", words)
		}
		for _, text := range []string{"", bfdBlock} { // an administrator is no failure
			out, _ := w.nodes[1].Reload(w.now, bfdConf(t, 1, text), nil, nil)
			w.carry(1, out)
			w.run(w.now + 2*time.Second)
			if !alive() {
				t.Errorf("%q: down after AdminDown", words)
			}
		}
		w.kill(1)
		w.run(w.now + time.Second)
		if last := w.nodes[0].checkView(&w.nodes[0].checks[0]).Last; alive() || last.OK || last.Reason != "bfd_instance b: control detection time expired (150ms)" {
			t.Errorf("%q: %v after the session, %+v", words, alive(), last)
		}
		w.expect("0 bfd b Up -> Down (neighbour signals AdminDown (Administratively Down))", "0 bfd b Up -> Down (control", "server 10.0.0.7:80 up=false")
	}
}

// TestBFDRefusals: who comes from too far, what is no packet, and strangers.
func TestBFDRefusals(t *testing.T) {
	w := newWorld(t, bfdConf(t, 0, bfdBlock), bfdConf(t, 1, strings.Replace(bfdBlock, "multiplier 3", "max_hops 2\nmultiplier 3", 1)))
	w.ttl = 253
	w.start(0)
	w.start(1)
	w.run(10 * time.Second)
	w.step(0, BFDHeard{From: addrOf(1), To: addrOf(0), TTL: 255, Payload: make([]byte, 30)})
	for i := range 3 {
		w.step(0, BFDHeard{From: addrOf(7 + i), To: addrOf(0), TTL: 255, Payload: make([]byte, 30)})
	}
	want := []string{"bfd b refused 10.0.0.2: TTL 253, must be 255 at least", "bfd b refused 10.0.0.2: no BFD control packet: version 0, must be 1",
		"bfd  refused 10.0.0.8: no bfd_instance has this neighbour; others that come are not told"}
	w.expect(want...)
	if n := strings.Count(strings.Join(w.log, "\n"), "refused"); n != len(want) {
		t.Errorf("%d lines\n%s", n, strings.Join(w.log, "\n"))
	}
	if v := w.nodes[0].BFDs()[0]; v.Received != 0 || v.Refused < 9 || v.State != proto.BFDDown || v.Cause != "startup" {
		t.Errorf("%+v", v)
	}
	if v := w.nodes[1].BFDs()[0]; v.Received < 9 || v.State != proto.BFDInit {
		t.Errorf("two hops are allowed there: %+v", v)
	}
}

// TestBFDHopLimit: over IPv6 the configured hop limit is sent, and expected.
func TestBFDHopLimit(t *testing.T) {
	cfg := bfdConf(t, 0, "bfd_instance b {\nneighbor_ip 2001:db8::2\nsource_ip 2001:db8::1\nmultihop\n}\n")
	w := newWorld(t, cfg)
	if got, want := w.nodes[0].BFDPaths(), (BFDPath{From: cfg.BFDs[0].Source, To: cfg.BFDs[0].Neighbor, TTL: 64, Multihop: true}); len(got) != 1 || got[0] != want {
		t.Fatalf("%+v", got)
	}
	w.start(0)
	heard := BFDHeard{From: cfg.BFDs[0].Neighbor, To: cfg.BFDs[0].Source, TTL: 64, Multihop: true,
		Payload: proto.BFDMessage{State: proto.BFDInit, Multiplier: 3, Mine: 9, MinTX: time.Second, MinRX: time.Second}.Append(nil)}
	state := func(change func(*BFDHeard)) proto.BFDState {
		one := heard
		one.Payload = slices.Clone(heard.Payload)
		own := w.nodes[0].BFDs()[0].Own
		copy(one.Payload[8:], []byte{byte(own >> 24), byte(own >> 16), byte(own >> 8), byte(own)})
		change(&one)
		w.step(0, one)
		return w.nodes[0].BFDs()[0].State
	}
	for name, change := range map[string]func(*BFDHeard){
		"hop limit": func(h *BFDHeard) { h.TTL = 63 }, "port": func(h *BFDHeard) { h.Multihop = false },
		"address": func(h *BFDHeard) { h.To = netip.MustParseAddr("2001:db8::3") }, "discriminator": func(h *BFDHeard) { h.Payload[11]++ },
	} {
		if s := state(change); s != proto.BFDDown {
			t.Errorf("wrong %s: %v", name, s)
		}
	}
	if s := state(func(*BFDHeard) {}); s != proto.BFDUp {
		t.Errorf("%v", s)
	}
}

// TestReloadKeepsBFD: a session that stays is Up all the time, also with other intervals; who
// begins to track it, or to check by it, knows its state at once. One that goes says so.
func TestReloadKeepsBFD(t *testing.T) {
	first := bfdBlock + strings.Replace(tracking, "WORDS", "", 1)
	w := newWorld(t, bfdConf(t, 0, first), bfdConf(t, 1, bfdBlock))
	w.start(0)
	w.start(1)
	w.run(5 * time.Second)
	w.expect("0 VI_1 FAULT -> BACKUP (bfd b ok)", "MASTER")
	own := w.nodes[0].BFDs()[0].Own
	reload := func(text string) {
		t.Helper()
		w.log = nil
		out, err := w.nodes[0].Reload(w.now, bfdConf(t, 0, text), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.carry(0, out)
		w.run(w.now + 2*time.Second)
	}
	quiet := func(what string) {
		t.Helper()
		if len(w.log) > 0 {
			t.Fatalf("%s: %s", what, strings.Join(w.log, "\n"))
		}
	}
	reload(first)
	quiet("the same")
	reload(strings.NewReplacer("min_tx 50", "min_tx 200", "multiplier 3", "multiplier 5").Replace(first))
	quiet("other intervals")
	if v := w.nodes[0].BFDs()[0]; v.State != proto.BFDUp || v.Own != own || v.Interval != 200*time.Millisecond {
		t.Fatalf("%+v", v)
	}
	if v := w.nodes[1].BFDs()[0]; v.State != proto.BFDUp || v.Detection != time.Second {
		t.Fatalf("%+v", v)
	}
	second := strings.Replace(tracking, "VI_1", "VI_2", 1)
	second = strings.NewReplacer("id 51", "id 52", "0.100", "0.101", "WORDS", "").Replace(second)
	reload(first + second + strings.Replace(checking, "WORDS", "alpha", 1))
	w.expect("0 VI_2 INIT -> BACKUP")
	if !w.nodes[0].services[0].servers[0].alive {
		t.Error("a new check does not know that its session is Up")
	}
	reload(strings.Replace(first, "PEER", "10.0.0.9", 1))
	w.expect("0 bfd b Up -> AdminDown (shutdown)", "0 VI_1 MASTER -> FAULT (bfd b failed)", "1 bfd b Up -> Down (neighbour signals AdminDown (Administratively Down))")
	if v := w.nodes[0].BFDs()[0]; v.State != proto.BFDDown || v.Own == own {
		t.Errorf("%+v", v)
	}
	reload(strings.NewReplacer(bfdBlock, "", "track_bfd {\nb \n}\n", "").Replace(first))
	if len(w.nodes[0].BFDs()) != 0 {
		t.Error("there is still a session")
	}
}

// TestBFDLeaves: a node that stops is gone at once for who tracks it.
func TestBFDLeaves(t *testing.T) {
	w := newWorld(t, bfdConf(t, 0, bfdBlock+strings.Replace(tracking, "WORDS", "", 1)), bfdConf(t, 1, bfdBlock))
	w.start(0)
	w.start(1)
	w.run(2 * time.Second)
	w.step(1, Stop{})
	w.run(2*time.Second + time.Millisecond)
	w.expect("0 bfd b Up -> Down (neighbour signals Down (Administratively Down))", "0 VI_1 BACKUP -> FAULT (bfd b failed)")
}

// TestReloadRenamesBFD: who tracks a name hears how the session stands that has it now. One that
// is new is in its state since then.
func TestReloadRenamesBFD(t *testing.T) {
	const two = "bfd_instance b {\nneighbor_ip PEER\n}\nbfd_instance c {\nneighbor_ip 10.0.0.9\n}\n"
	tracks := strings.Replace(tracking, "WORDS", "", 1)
	w := newWorld(t, bfdConf(t, 0, two+tracks), bfdConf(t, 1, bfdBlock))
	w.start(0)
	w.start(1)
	w.run(3 * time.Second)
	state := func() fsm.State { return w.nodes[0].instances[0].fsm.State() }
	if state() == fsm.Fault {
		t.Fatal("FAULT with its session Up")
	}
	for _, c := range []struct {
		text  string
		fault bool
		since time.Duration // of the last session
	}{
		{"bfd_instance b {\nneighbor_ip 10.0.0.9\n}\nbfd_instance c {\nneighbor_ip PEER\n}\n", true, 0},
		{two + "bfd_instance d {\nneighbor_ip 10.0.0.8\n}\n", false, 4 * time.Second},
	} {
		out, err := w.nodes[0].Reload(w.now, bfdConf(t, 0, c.text+tracks), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.carry(0, out)
		if got := state() == fsm.Fault; got != c.fault {
			t.Errorf("%s: %v", c.text, state())
		}
		list := w.nodes[0].BFDs()
		if last := list[len(list)-1]; c.since > 0 && last.Since != c.since {
			t.Errorf("%s is in its state since %v", last.Name, last.Since)
		}
		w.run(w.now + time.Second)
	}
}
