package fsm

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestReconfigureKeepsTheBooks changes the configuration of random instances between random
// events: what the actions tell agrees with the state all the time, a MASTER has exactly the
// addresses of its present configuration, and FAULT is where a fault is.
func TestReconfigureKeepsTheBooks(t *testing.T) {
	kept := 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		in := New(c)
		state, prio, vips := in.State(), in.Priority(), map[netip.Addr]int{}
		now := time.Duration(0)
		observe := func(acts []Action) {
			for _, a := range acts {
				switch a := a.(type) {
				case Changed:
					if a.From != state {
						t.Fatalf("%s seen in %s", a, state)
					}
					state = a.To
				case PriorityChanged:
					if a.From != prio {
						t.Fatalf("%s, and it was %d", a, prio)
					}
					prio = a.To
				case AddVIP:
					vips[a.Addr]++
				case RemoveVIP:
					vips[a.Addr]--
				}
			}
			if in.State() != state || in.Priority() != prio {
				t.Fatalf("%s %d, but the actions say %s %d", in.State(), in.Priority(), state, prio)
			}
			for _, a := range slices.Concat(in.cfg.Addrs, in.cfg.Excluded) {
				if state == Master && vips[a] < 1 {
					t.Fatalf("MASTER without %v: %v", a, vips)
				}
			}
			for a, n := range vips {
				if n != 0 && state != Master || n > 0 && !slices.Contains(slices.Concat(in.cfg.Addrs, in.cfg.Excluded), a) {
					t.Fatalf("%s has %v %d times", state, a, n)
				}
			}
			if in.started && in.faulty() != (state == Fault) && !in.pending() {
				t.Fatalf("a fault: %v, and it is %s", in.faulty(), state)
			}
		}
		observe(in.Step(0, Startup{}, nil))
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			now += time.Duration(rapid.IntRange(0, 4000).Draw(t, "wait")) * time.Millisecond
			if rapid.IntRange(0, 3).Draw(t, "reload") > 0 {
				ev := drawEvent(t)
				if _, ok := ev.(Shutdown); ok {
					continue
				}
				observe(in.Step(now, ev, nil))
				continue
			}
			next := drawConfig(t)
			next.Version, next.StartupDelay = c.Version, c.StartupDelay
			if rapid.Bool().Draw(t, "other addresses") {
				next.Addrs = []netip.Addr{netip.MustParseAddr("10.77.0.102"), c.Addrs[0]}
			}
			was := in.State()
			acts := in.Reconfigure(now, next, nil, nil)
			observe(acts)
			if was == Master && state == Master {
				kept++
				if n := adverts(acts); n != 1 {
					t.Fatalf("a MASTER that goes on says %d advertisements: %v", n, acts)
				}
			}
		}
	})
	if kept == 0 {
		t.Error("no MASTER was ever kept")
	}
}

func adverts(acts []Action) (n int) {
	for _, a := range acts {
		if _, ok := a.(SendAdvert); ok {
			n++
		}
	}
	return n
}

// masterOf is an instance that has become MASTER at 10 s.
func masterOf(t *testing.T, c Config) *Instance {
	in := New(c)
	in.Step(0, Startup{}, nil)
	for at, _ := in.Deadline(); in.State() != Master; at, _ = in.Deadline() {
		in.Step(at, Tick{}, nil)
	}
	return in
}

func lines(acts []Action) (list []string) {
	for _, a := range acts {
		list = append(list, a.String())
	}
	return list
}

// TestReconfigureOfAMaster: the order of keepalived 2.2.7, seen by tcpdump and ip monitor:
// addresses that go, addresses that come, gratuitous ARP for all, the advertisement. Without
// a new address nothing is announced.
func TestReconfigureOfAMaster(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.77.0.100"), netip.MustParseAddr("10.77.0.101"), netip.MustParseAddr("10.77.0.102")
	first := defaultConfig()
	first.Addrs, first.Excluded, first.GARPRepeat = []netip.Addr{a, b}, nil, 1
	for _, row := range []struct {
		name   string
		change func(*Config)
		anew   []netip.Addr
		want   []string
	}{
		{"addresses and priority", func(n *Config) { n.Addrs, n.Priority = []netip.Addr{a, c}, 90 }, nil,
			[]string{"priority 100 -> 90", "remove-vip 10.77.0.101", "add-vip 10.77.0.102", "send-garp 10.77.0.100", "send-garp 10.77.0.102", "send-advert priority=90"}},
		{"interval", func(n *Config) { n.Interval = 2 * time.Second }, nil, []string{"send-advert priority=100"}},
		{"one goes", func(n *Config) { n.Addrs = []netip.Addr{a} }, nil, []string{"remove-vip 10.77.0.101", "send-advert priority=100"}},
		{"another prefix", func(*Config) {}, []netip.Addr{b},
			[]string{"remove-vip 10.77.0.101", "add-vip 10.77.0.101", "send-garp 10.77.0.100", "send-garp 10.77.0.101", "send-advert priority=100"}},
		{"a failed tracker", func(n *Config) {
			n.Addrs, n.Trackers = []netip.Addr{c}, []Tracker{{Kind: "interface", Name: "eth9", Initial: Down}}
		}, nil, []string{"MASTER -> FAULT", "send-advert priority=0", "remove-vip 10.77.0.100", "remove-vip 10.77.0.101", "notify FAULT"}},
	} {
		in := masterOf(t, first)
		at, _ := in.Deadline()
		next := first
		row.change(&next)
		if got := lines(in.Reconfigure(at-time.Millisecond, next, row.anew, nil)); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}

// TestReconfigureOfABackup moves the running timer by what the interval and the skew change;
// in version 3 the interval of the MASTER that was heard stays.
func TestReconfigureOfABackup(t *testing.T) {
	for _, row := range []struct {
		version uint8
		want    time.Duration
	}{{2, 6*time.Second + (256-90)*time.Second/256}, {3, 3*time.Second + (256-90)*time.Second/256}} {
		c := defaultConfig()
		c.Version, c.Interval, c.Priority = row.version, time.Second, 100
		in := New(c)
		in.Step(0, Startup{}, nil)
		in.Step(time.Second, Heard{Priority: 200, Interval: time.Second, Src: netip.MustParseAddr("10.77.0.200")}, nil)
		c.Interval, c.Priority = 2*time.Second, 90
		in.Reconfigure(2*time.Second, c, nil, nil)
		if at, _ := in.Deadline(); at != time.Second+row.want {
			t.Errorf("version %d: waits until %v, not %v", row.version, at, time.Second+row.want)
		}
	}
}

// TestGroupResumes: a MASTER that comes into a group with a new member begins with it as
// BACKUP, as with keepalived 2.2.7; members that are all MASTER go on; who leaves goes on.
func TestGroupResumes(t *testing.T) {
	c := defaultConfig()
	one, two := masterOf(t, c), New(c)
	g := NewGroup("G", []*Instance{one, two})
	g.Resume(20*time.Second, Init, nil)
	if g.State() != Backup || one.State() != Backup || two.State() != Backup {
		t.Errorf("%s, %s in %s", one.State(), two.State(), g.State())
	}
	one, two = masterOf(t, c), masterOf(t, c)
	g = NewGroup("G", []*Instance{one, two})
	acts := g.Resume(20*time.Second, Master, nil)
	if g.State() != Master || len(acts) > 0 {
		t.Errorf("two MASTERs: %v", acts)
	}
	if acts := one.Leave(21*time.Second, nil); one.State() != Master || len(acts) > 0 {
		t.Errorf("leaves: %v", acts)
	}
	fault := c
	fault.Source = netip.Addr{}
	one, two = New(c), New(fault)
	g = NewGroup("G", []*Instance{one, two})
	g.Start(0, nil)
	if one.Leave(time.Second, nil); one.State() != Backup {
		t.Errorf("held back by the fault of another, it leaves as %s", one.State())
	}
	one = masterOf(t, c)
	g = NewGroup("G", []*Instance{one, New(fault)})
	if g.Resume(20*time.Second, Init, nil); one.State() != Fault {
		t.Errorf("beside a fault it is %s", one.State())
	}
}

// TestGroupResumesWithAnOpenQuestion: a script that has not answered yet holds back who has
// not begun, and no MASTER in its state; when it answers, all are in one election.
func TestGroupResumesWithAnOpenQuestion(t *testing.T) {
	asks := defaultConfig()
	asks.Trackers = []Tracker{{Kind: "script", Name: "S", Initial: Unknown}}
	ok := Tracked{Kind: "script", Name: "S", Up: true}
	for _, tt := range []struct {
		name    string
		members []*Instance
		answers []int // the order in which they hear of it
	}{
		{"a MASTER that asks now, and a new one", []*Instance{New(defaultConfig()), asking(t, asks)}, []int{1}},
		{"a new one that asks, and a MASTER that asks now", []*Instance{New(asks), asking(t, asks)}, []int{0, 1}},
		{"the same, answered the other way round", []*Instance{New(asks), asking(t, asks)}, []int{1, 0}},
	} {
		g := NewGroup("G", tt.members)
		g.Resume(20*time.Second, Init, nil)
		if got := tt.members[1].State(); got != Backup {
			t.Errorf("%s: the MASTER is %s", tt.name, got)
		}
		for _, i := range tt.answers {
			g.Step(21*time.Second, i, ok, nil)
		}
		for range 8 {
			for i, in := range tt.members {
				if at, has := in.Deadline(); has && g.State() != Master {
					g.Step(at, i, Tick{}, nil)
				}
			}
		}
		if a, b := tt.members[0].State(), tt.members[1].State(); g.State() != Master || a != Master || b != Master {
			t.Errorf("%s: %s, %s in %s", tt.name, a, b, g.State())
		}
	}
}

// asking is a MASTER that tracks something by its new configuration, which is not known yet.
func asking(t *testing.T, c Config) *Instance {
	in := masterOf(t, defaultConfig())
	in.Reconfigure(15*time.Second, c, nil, nil)
	return in
}

// TestReconfigureKeepsTheSequence: the authentication header goes on counting, or nobody
// would listen any more (reference 1.5).
func TestReconfigureKeepsTheSequence(t *testing.T) {
	c := defaultConfig()
	c.Version, c.AuthType = 2, 2
	in := masterOf(t, c)
	at, _ := in.Deadline()
	before := in.sequence
	next := c
	next.Priority = 90
	acts := in.Reconfigure(at-time.Millisecond, next, nil, nil)
	last, ok := acts[len(acts)-1].(SendAdvert)
	if !ok || before == 0 || last.Sequence != before+1 {
		t.Errorf("after %d: %v", before, acts)
	}
}
