package node

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// link is a step of the tests below: the carrier changes at a time.
type link struct {
	at time.Duration
	up bool
}

// TestLinkChangesMustLast is interface_up_down_delays: a change that does not last so long is
// none, and one that does counts at the end of that time.
func TestLinkChangesMustLast(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		down, up time.Duration
		changes  []link
		fault    time.Duration // when FAULT is entered, 0 for never
		end      time.Duration // and left
	}{
		{"a short loss", 500 * ms, 0, []link{{5000 * ms, false}, {5499 * ms, true}}, 0, 0},
		{"a long loss", 500 * ms, 0, []link{{5000 * ms, false}, {6000 * ms, true}}, 5500 * ms, 6000 * ms},
		{"many short ones", 500 * ms, 0, []link{{5000 * ms, false}, {5300 * ms, true}, {5400 * ms, false}, {5800 * ms, true}}, 0, 0},
		{"up after a while", 0, time.Second, []link{{5000 * ms, false}, {6000 * ms, true}}, 5000 * ms, 7000 * ms},
		{"up for a moment", 0, time.Second, []link{{5000 * ms, false}, {6000 * ms, true}, {6900 * ms, false}, {7000 * ms, true}}, 5000 * ms, 8000 * ms},
		// It must be told before the backups take over: two intervals and a bit is the most.
		{"longer than the others wait", 100 * time.Second, 0, []link{{5000 * ms, false}, {9000 * ms, true}}, 5000*ms + 2*time.Second - time.Second/256, 9000 * ms},
	} {
		cfg := with(instanceConf(150))
		cfg.InterfaceDelays = config.InterfaceDelays{{Interface: "eth0", Down: tt.down, Up: tt.up}}
		n, err := New(cfg, []Link{{Name: "lo", Loopback: true, Up: true}, {Name: "eth0", Up: true, Prefixes: instancePrefixes}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		var fault, end time.Duration
		note := func(now time.Duration, ev Event) {
			for _, a := range n.Step(now, ev, nil) {
				switch c, ok := a.(Changed); {
				case ok && c.To == fsm.Fault:
					fault = now
				case ok && c.From == fsm.Fault:
					end = now
				}
			}
		}
		note(0, Start{})
		for _, c := range append(tt.changes, link{20 * time.Second, true}) {
			for at, ok := n.Deadline(); ok && at < c.at; at, ok = n.Deadline() {
				note(at, Tick{})
			}
			note(c.at, LinkChanged{Port: 1, Up: c.up})
		}
		if fault != tt.fault || end != tt.end {
			t.Errorf("%s: FAULT from %v to %v, want %v to %v", tt.name, fault, end, tt.fault, tt.end)
		}
	}
}

// TestMissingInterface is dynamic_interfaces: the instance is in FAULT until the interface
// exists, is up and has an address; static addresses come with it.
func TestMissingInterface(t *testing.T) {
	cfg := with(instanceConf(150))
	cfg.StaticAddresses = config.Addresses{vip("10.0.0.9/24", "eth0")}
	n, err := New(cfg, []Link{{Name: "lo", Loopback: true, Up: true}, {Name: "eth0", Missing: true}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at    time.Duration
		ev    Event
		state fsm.State
		added int
	}{
		{0, Start{}, fsm.Fault, 0},
		{time.Second, LinkChanged{Port: 1}, fsm.Fault, 0},
		{2 * time.Second, LinkChanged{Port: 1, Up: true}, fsm.Fault, 1},
		{2 * time.Second, AddressChanged{Port: 1, Prefix: cfg.StaticAddresses[0].Prefix, Present: true}, fsm.Backup, 0},
		{2*time.Second + became, Tick{}, fsm.Master, 1},
		{6 * time.Second, LinkChanged{Port: 1}, fsm.Fault, 0},
	} {
		added := 0
		for _, a := range n.Step(tt.at, tt.ev, nil) {
			if _, ok := a.(AddAddress); ok {
				added++
			}
		}
		if got := n.instances[0].fsm.State(); got != tt.state || added != tt.added {
			t.Errorf("%v %T: %v with %d addresses added, want %v with %d", tt.at, tt.ev, got, added, tt.state, tt.added)
		}
	}
}

// TestLateAdvertisementsAreReported measures what left half an interval late or more, and
// says so once a minute (RFC 9568 §2.5).
func TestLateAdvertisementsAreReported(t *testing.T) {
	n, err := New(with(instanceConf(150)), []Link{{Name: "lo", Loopback: true, Up: true}, {Name: "eth0", Up: true, Prefixes: instancePrefixes}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	n.Step(0, Start{}, nil)
	n.Step(became, Tick{}, nil)
	var got []Late
	now := became
	for _, late := range []time.Duration{499 * time.Millisecond, 700 * time.Millisecond, 900 * time.Millisecond, 600 * time.Millisecond, 0} {
		at, _ := n.Deadline()
		if now = at + late; late == 0 {
			now += time.Minute
		}
		for _, a := range n.Step(now, Tick{}, nil) {
			if l, ok := a.(Late); ok {
				got = append(got, l)
			}
		}
		n.Step(now, Tick{}, nil)
	}
	if len(got) != 2 || got[0].By != 700*time.Millisecond || got[0].More != 0 || got[1].By != time.Minute || got[1].More != 2 || got[1].Instance != "VI_1" {
		t.Errorf("%+v", got)
	}
}

var instancePrefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.11/24")}
