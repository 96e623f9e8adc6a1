package fsm

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what an observer of the actions alone believes.
type model struct {
	t       *rapid.T
	in      *Instance
	now     time.Duration
	state   State
	vips    map[netip.Addr]int
	prio    uint8
	history []string
}

func drawConfig(t *rapid.T) Config {
	c := defaultConfig()
	c.Version = rapid.Uint8Range(2, 3).Draw(t, "version")
	c.Priority = rapid.SampledFrom([]uint8{1, 100, 101, 254, 255}).Draw(t, "priority")
	c.Interval = time.Duration(rapid.SampledFrom([]int{1, 3}).Draw(t, "interval")) * time.Second
	c.NoPreempt = rapid.Bool().Draw(t, "nopreempt")
	c.PreemptDelay = time.Duration(rapid.IntRange(0, 1).Draw(t, "preempt delay")) * 5 * time.Second
	c.StartupDelay = time.Duration(rapid.IntRange(0, 1).Draw(t, "startup delay")) * 2 * time.Second
	c.GARPRefresh = time.Duration(rapid.IntRange(0, 1).Draw(t, "refresh")) * 2 * time.Second
	c.HigherPrioSendAdvert, c.LowerPrioNoAdvert = rapid.Bool().Draw(t, "higher"), rapid.Bool().Draw(t, "lower")
	c.Unicast = rapid.Bool().Draw(t, "unicast")
	c.Excluded = []netip.Addr{netip.MustParseAddr("10.77.0.101")}
	for i := range rapid.IntRange(0, 3).Draw(t, "trackers") {
		c.Trackers = append(c.Trackers, Tracker{Kind: "script",
			Name: fmt.Sprint("t", i), Weight: rapid.SampledFrom([]int{0, 0, -60, 60, 253}).Draw(t, "weight"),
			Reverse: rapid.Bool().Draw(t, "reverse"), Initial: Tri(rapid.IntRange(0, 2).Draw(t, "initial")),
		})
	}
	return c
}

func drawEvent(t *rapid.T) Event {
	switch rapid.IntRange(0, 11).Draw(t, "event") {
	case 0, 1:
		return Startup{}
	case 2:
		return Shutdown{}
	case 3:
		return LinkChanged{Up: rapid.Bool().Draw(t, "up")}
	case 4:
		return SourceChanged{Addr: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.77.0.50")}).Draw(t, "source")}
	case 5, 6:
		return Tracked{Kind: "script", Name: fmt.Sprint("t", rapid.IntRange(0, 3).Draw(t, "tracker")), Up: rapid.Bool().Draw(t, "up")}
	case 7, 8, 9:
		return Heard{
			Priority: rapid.SampledFrom([]uint8{0, 1, 99, 100, 101, 254, 255}).Draw(t, "priority"),
			Interval: time.Duration(rapid.IntRange(0, 400).Draw(t, "cs")) * 10 * time.Millisecond,
			Src:      netip.AddrFrom4([4]byte{10, 77, 0, rapid.SampledFrom([]byte{2, 50, 200}).Draw(t, "src")}),
		}
	}
	return Tick{}
}

// step advances the time, by no more than to the deadline, and looks at the result.
func (m *model) step(ev Event) {
	wait := time.Duration(rapid.IntRange(0, 1500).Draw(m.t, "wait")) * time.Millisecond
	if at, ok := m.in.Deadline(); ok && m.now+wait >= at {
		m.now, ev = at, Tick{}
	} else {
		m.now += wait
	}
	m.history = append(m.history, fmt.Sprintf("%s %s", m.now, ev))
	before := m.state
	acts := m.in.Step(m.now, ev, nil)
	for _, a := range acts {
		m.history = append(m.history, "  "+a.String())
		m.observe(a)
	}
	m.invariants(ev, before, acts)
}

// observe takes one action in.
func (m *model) observe(a Action) {
	switch a := a.(type) {
	case Changed:
		if a.From != m.state || a.To == a.From {
			m.fail("change %s seen in %s", a, m.state)
		}
		m.state = a.To
	case AddVIP:
		m.vips[a.Addr]++
	case RemoveVIP:
		m.vips[a.Addr]--
	case PriorityChanged:
		if a.From != m.prio || a.To == a.From {
			m.fail("priority was %d", m.prio)
		}
		m.prio = a.To
	case SendAdvert:
		// With higher_prio_send_advert the last word precedes the change.
		if a.Priority != 0 && m.state != Master {
			m.fail("advertises %d in %s", a.Priority, m.state)
		}
		if !a.Src.IsValid() {
			m.fail("advertises from nowhere")
		}
	case Notify:
		if a.State != m.state {
			m.fail("notifies %s in %s", a.State, m.state)
		}
	}
}

// causes: every change has one that goes with its event, and says who and how long.
func (m *model) causes(ev Event, acts []Action) {
	for _, a := range acts {
		c, changed := a.(Changed)
		if !changed {
			continue
		}
		var may []Reason
		switch ev := ev.(type) {
		case Startup:
			may = []Reason{Started, LinkLost, SourceLost, TrackerFailed}
		case Shutdown:
			may = []Reason{Stopped}
		case Tick:
			may = []Reason{Silence, Resigned, DelayOver}
		case Heard:
			may = []Reason{Outbid}
			if c.Cause.Src != ev.Src || c.Cause.Priority != ev.Priority {
				m.fail("%s: %s", c, c.Cause)
			}
		case LinkChanged:
			may = []Reason{LinkLost, LinkFound}
		case SourceChanged:
			may = []Reason{SourceLost, SourceFound}
		case Tracked, Numbered:
			may = []Reason{TrackerFailed, TrackerFine}
		}
		if !slices.Contains(may, c.Cause.Reason) || c.Cause.Reason == Silence && c.Cause.After <= 0 || c.Cause.Reason == Resigned && !c.Cause.Src.IsValid() {
			m.fail("%s because of %s", c, c.Cause)
		}
	}
}

// invariants hold after every step.
func (m *model) invariants(ev Event, before State, acts []Action) {
	if m.in.State() != m.state || m.in.Priority() != m.prio {
		m.fail("%s %d, but the actions say %s %d", m.in.State(), m.in.Priority(), m.state, m.prio)
	}
	want := 0
	if m.state == Master {
		want = 1
	}
	for a, n := range m.vips {
		if n != want {
			m.fail("%s is held %d times in %s", a, n, m.state)
		}
	}
	at, ok := m.in.Deadline()
	if ok != (m.state == Master || m.state == Backup) {
		m.fail("deadline %t in %s", ok, m.state)
	}
	if ok && at < m.now {
		m.fail("deadline %s has passed", at)
	}
	m.causes(ev, acts)
	m.resignation(before, acts)
	if _, tick := ev.(Tick); tick && ok && at == m.now {
		m.fail("a tick left something due")
	}
}

// resignation: priority 0 is sent once at most, and only on leaving MASTER other
// than by losing.
func (m *model) resignation(before State, acts []Action) {
	zeros := 0
	for _, a := range acts {
		if s, ok := a.(SendAdvert); ok && s.Priority == 0 {
			zeros++
		}
	}
	if zeros > 1 || zeros == 1 && (before != Master || m.state != Fault && m.state != Init) {
		m.fail("%d resignations from %s to %s", zeros, before, m.state)
	}
	if before == Master && m.state == Init && zeros != 1 {
		m.fail("stopped without a resignation")
	}
}

func (m *model) fail(format string, a ...any) {
	m.t.Helper()
	for _, h := range m.history {
		m.t.Log(h)
	}
	m.t.Fatalf(format, a...)
}

// Whatever happens, the actions tell the state, addresses are held exactly in
// MASTER, deadlines are ahead, and a MASTER resigns at most once.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		m := &model{t: t, in: New(cfg), vips: map[netip.Addr]int{}}
		m.prio = m.in.Priority()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			m.step(drawEvent(t))
		}
	})
}

// The same calls give the same actions (rapid draws them once, two instances run).
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		a, b := New(cfg), New(cfg)
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			ev, now := drawEvent(t), time.Duration(i)*700*time.Millisecond
			x, y := fmt.Sprint(a.Step(now, ev, nil)), fmt.Sprint(b.Step(now, ev, nil))
			if x != y || a.State() != b.State() {
				t.Fatalf("%s and %s", x, y)
			}
		}
	})
}

// Two instances on one link, without loss: exactly one is MASTER once both have had
// time, and it is the better one (RFC 9568 §6.4.3). Between equals it is whoever was
// there first, but of two owners the one with the greater address.
func TestTwoElectOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &link{t: t}
		for i := range l.nodes {
			c := defaultConfig()
			c.Version, c.Interval = 3, 100*time.Millisecond
			c.Priority = rapid.SampledFrom([]uint8{1, 100, 150, 254, 255}).Draw(t, "priority")
			c.Source = netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)})
			c.NoPreempt = false
			l.nodes[i] = node{in: New(c), src: c.Source}
		}
		l.step(0, Startup{})
		l.run(time.Duration(rapid.IntRange(0, 600).Draw(t, "second starts")) * time.Millisecond)
		l.step(1, Startup{})
		l.run(l.now + 2*time.Second)
		a, b := l.nodes[0].in, l.nodes[1].in
		if a.Priority() > b.Priority() || a.Priority() == b.Priority() && a.State() == Master && a.Priority() != OwnerPriority {
			a, b = b, a
		}
		if a.State() != Backup || b.State() != Master {
			t.Errorf("priority %d is %s, priority %d is %s", a.Priority(), a.State(), b.Priority(), b.State())
		}
	})
}

// link carries advertisements between two instances at once.
type link struct {
	t     *rapid.T
	nodes [2]node
	now   time.Duration
}

type node struct {
	in  *Instance
	src netip.Addr
}

func (l *link) step(i int, ev Event) {
	for _, a := range l.nodes[i].in.Step(l.now, ev, nil) {
		if s, ok := a.(SendAdvert); ok {
			adv := l.nodes[i].in.Advert(s.Priority)
			l.step(1-i, Heard{Priority: s.Priority, Interval: adv.Interval, Src: l.nodes[i].src})
		}
	}
}

func (l *link) run(end time.Duration) {
	for {
		next, at := -1, end
		for i := range l.nodes {
			if d, ok := l.nodes[i].in.Deadline(); ok && d <= at {
				next, at = i, d
			}
		}
		l.now = at
		if next < 0 {
			return
		}
		l.step(next, Tick{})
	}
}
