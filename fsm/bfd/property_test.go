package bfd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/proto"
)

// pair is two sessions on a path that delays and loses, in virtual time.
type pair struct {
	t       *rapid.T
	now     time.Duration
	ends    [2]*Session
	cfg     [2]Config
	wire    []packet
	lost    [2]bool // what this end sends does not arrive
	delay   time.Duration
	sent    [2]time.Duration    // the last packet, -1 for none
	arrived [2]time.Duration    // likewise
	last    [2]proto.BFDMessage // what it said
	polled  [2]bool             // this end owes an answer
	paced   [2]time.Duration    // the interval since the last packet; 0: it was another one meanwhile
	changed [2]bool             // this end was reconfigured since a packet arrived
	history []string
}

type packet struct {
	at   time.Duration
	to   int
	data []byte
}

func (p *pair) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%v: %s\n%s", p.now, fmt.Sprintf(format, args...), strings.Join(p.history, "\n"))
}

func (p *pair) step(i int, ev Event) {
	p.act(i, ev, p.ends[i].Step(p.now, ev, nil))
}

// act puts on the wire what one end sends, and looks at each packet.
func (p *pair) act(i int, ev fmt.Stringer, acts []Action) {
	p.history = append(p.history, fmt.Sprintf("%v %d %v", p.now, i, ev))
	for _, a := range acts {
		p.history = append(p.history, "  "+a.String())
		m, ok := a.(Send)
		if !ok {
			continue
		}
		switch {
		case m.Poll && m.Final:
			p.fail("poll and final at once (RFC 5880 §6.5)")
		case m.Final && !p.polled[i]:
			p.fail("final without a poll")
		case m.Mine != p.cfg[i].Discriminator:
			p.fail("discriminator %d", m.Mine)
		case m.Yours == 0 && m.State > proto.BFDDown:
			p.fail("no remote discriminator in state %v", m.State)
		case m.State != proto.BFDUp && m.MinTX < time.Second:
			p.fail("wishes for %v in state %v (RFC 5880 §6.8.3)", m.MinTX, m.State)
		}
		p.polled[i] = p.polled[i] && !m.Final
		if _, tick := ev.(Tick); tick && p.sent[i] >= 0 && p.same(i, m.BFDMessage) && p.paced[i] > 0 {
			p.jitter(i, p.paced[i])
		}
		p.last[i] = m.BFDMessage
		p.sent[i], p.paced[i] = p.now, p.ends[i].Interval()
		if !p.lost[i] {
			p.wire = append(p.wire, packet{p.now + p.delay, 1 - i, m.Append(nil)})
		}
	}
	if p.paced[i] != p.ends[i].Interval() {
		p.paced[i] = 0
	}
}

// same tells whether a packet has no news.
func (p *pair) same(i int, m proto.BFDMessage) bool {
	was := p.last[i]
	m.Poll, m.Final, was.Poll, was.Final = false, false, false, false
	return m == was
}

// jitter: a periodic packet leaves 75 to 100 % of the interval after the last packet, with a
// multiplier of 1 90 % at most (RFC 5880 §6.8.7).
func (p *pair) jitter(i int, interval time.Duration) {
	gap, most := p.now-p.sent[i], interval
	if p.cfg[i].Multiplier == 1 {
		most = interval * 9 / 10
	}
	if gap < interval*3/4 || gap > most {
		p.fail("end %d sends after %v, its interval is %v", i, gap, interval)
	}
}

// run lets time pass.
func (p *pair) run(until time.Duration) {
	for {
		next, who := until, -1
		for i, s := range p.ends {
			if at, ok := s.Deadline(); ok && at <= next {
				next, who = at, i
			}
		}
		if len(p.wire) > 0 && p.wire[0].at <= next {
			q := p.wire[0]
			p.wire = p.wire[1:]
			p.now = q.at
			p.deliver(q)
		} else {
			p.now = next
			if who < 0 {
				return
			}
			p.tick(who)
		}
	}
}

func (p *pair) deliver(q packet) {
	b, err := proto.ParseBFD(q.data)
	if err != nil {
		p.fail("sent %x: %v", q.data, err)
	}
	if p.ends[q.to].Check(b) != Accepted {
		return // of a session that was another one
	}
	p.arrived[q.to], p.changed[q.to] = p.now, false
	p.polled[q.to] = b.Poll() && p.ends[q.to].State() != proto.BFDAdminDown
	if p.step(q.to, Heard{b}); p.polled[q.to] {
		p.fail("a poll without an answer")
	}
}

// tick is never early, and one that ends a session comes after exactly the detection time.
func (p *pair) tick(i int) {
	s := p.ends[i]
	was, detection := s.State(), s.DetectionTime()
	p.step(i, Tick{})
	if was >= proto.BFDInit && s.State() == proto.BFDDown {
		if since := p.now - p.arrived[i]; since < detection || since > detection && !p.changed[i] || s.Diag() != proto.BFDTimeExpired {
			p.fail("end %d goes Down %v after the last packet, its detection time is %v, diagnostic %v", i, p.now-p.arrived[i], detection, s.Diag())
		}
	}
	if at, ok := s.Deadline(); ok && at <= p.now {
		p.fail("the deadline %v is over", at)
	}
}

func drawPair(t *rapid.T) *pair {
	p := &pair{t: t, sent: [2]time.Duration{-1, -1}, delay: time.Duration(rapid.IntRange(0, 3000).Draw(t, "delay")) * time.Microsecond}
	for i := range p.ends {
		p.cfg[i] = drawConfig(t, uint32(i+1))
		p.ends[i] = New(p.cfg[i])
	}
	if p.cfg[0].Passive {
		p.cfg[1].Passive = false // two passive ends never meet (RFC 5880 §6.1)
		p.ends[1] = New(p.cfg[1])
	}
	return p
}

func drawConfig(t *rapid.T, discriminator uint32) Config {
	interval := func(name string) time.Duration {
		return time.Duration(rapid.SampledFrom([]int{70, 100, 111, 333, 2000}).Draw(t, name)) * time.Millisecond
	}
	return Config{
		MinTX: interval("tx"), MinRX: interval("rx"), IdleTX: rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second}).Draw(t, "idle"),
		Multiplier: rapid.SampledFrom([]uint8{2, 3, 5}).Draw(t, "mult"), Passive: rapid.Bool().Draw(t, "passive"), Discriminator: discriminator,
		Seed: rapid.Uint64().Draw(t, "seed"),
	}
}

type reconfigured struct{}

func (reconfigured) String() string { return "reconfigured" }

// settled is longer than any detection time and interval here, several times.
const settled = 30 * time.Second

// TestPairProperties: whatever was lost, two ends that hear each other are Up soon and stay so,
// and one that hears nothing for its detection time is not; every packet is lawful.
func TestPairProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		for i := range p.ends {
			p.step(i, Startup{})
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			p.disturb()
			p.run(p.now + time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms"))*time.Millisecond)
		}
		p.lost = [2]bool{}
		for i, s := range p.ends {
			if s.State() == proto.BFDAdminDown {
				p.step(i, Startup{})
			}
		}
		p.run(p.now + settled)
		stays := len(p.history)
		p.run(p.now + settled)
		for i, s := range p.ends {
			if s.State() != proto.BFDUp || s.polling {
				p.fail("end %d is %v, polls: %v", i, s.State(), s.polling)
			}
		}
		if slices.ContainsFunc(p.history[stays:], func(l string) bool { return strings.Contains(l, "->") }) {
			p.fail("it does not stay Up")
		}
		p.lost = [2]bool{true, true}
		p.run(p.now + settled)
		for i, s := range p.ends {
			if _, theirs := s.Discriminators(); s.State() != proto.BFDDown || theirs != 0 {
				p.fail("end %d is %v without a packet for so long", i, s.State())
			}
		}
	})
}

// disturb is something that happens.
func (p *pair) disturb() {
	t, i := p.t, rapid.IntRange(0, 1).Draw(p.t, "end")
	switch rapid.IntRange(0, 6).Draw(t, "what") {
	case 0, 1:
		p.lost[i] = !p.lost[i]
	case 2:
		p.step(i, Shutdown{Leaves: rapid.Bool().Draw(t, "leaves")})
	case 3:
		if p.ends[i].State() == proto.BFDAdminDown {
			p.step(i, Startup{})
		}
	case 4: // it crashes, and another one starts
		p.cfg[i].Discriminator += 2
		p.ends[i], p.sent[i], p.polled[i] = New(p.cfg[i]), -1, false
		p.step(i, Startup{})
	case 5, 6:
		c := drawConfig(t, p.cfg[i].Discriminator)
		c.Passive = p.cfg[i].Passive
		p.cfg[i] = c
		p.changed[i] = true
		p.act(i, reconfigured{}, p.ends[i].Reconfigure(p.now, c, nil))
	}
}

// TestSameEventsSameActions: the same session and events give the same result.
func TestSameEventsSameActions(t *testing.T) {
	play := func(seed uint64) (at []time.Duration) {
		c := defaults()
		c.Seed = seed
		s := New(c)
		s.Step(0, Startup{}, nil)
		for range 20 {
			next, _ := s.Deadline()
			s.Step(next, Tick{}, nil)
			at = append(at, next)
		}
		return at
	}
	if a, b, c := play(7), play(7), play(8); !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("seed 7: %v, again: %v, seed 8: %v", a, b, c)
	}
}

// Every cause, event and verdict has a line of its own for people.
func TestStrings(t *testing.T) {
	for s, want := range map[fmt.Stringer]string{
		Cause{Reason: Started}: "startup", Cause{Reason: Stopped}: "shutdown",
		Cause{Reason: Expired, After: 50 * time.Millisecond}:                  "control detection time expired (50ms)",
		Cause{Reason: Told, State: proto.BFDInit}:                             "neighbour signals Init",
		Cause{Reason: Told, State: proto.BFDDown, Diag: proto.BFDTimeExpired}: "neighbour signals Down (Control Detection Time Expired)",
		Cause{Reason: 9}: "Reason(9)", Verdict(9): "Verdict(9)", Accepted: "accepted", Shutdown{}: "shutdown", Shutdown{Leaves: true}: "shutdown, leaves", Startup{}: "startup", Tick{}: "tick",
	} {
		if s.String() != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
}

// What cannot happen is loud.
func TestUnknownEventPanics(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "Down") {
			t.Errorf("panic %v must name the state", r)
		}
	}()
	New(defaults()).Step(0, odd{}, nil)
}

type odd struct{ Tick }

// A step with nothing to say does not allocate.
func TestHeardDoesNotAllocate(t *testing.T) {
	s := New(defaults())
	p := proto.BFD(proto.BFDMessage{State: proto.BFDUp, Multiplier: 3, Mine: 7, Yours: 1, MinTX: time.Second, MinRX: time.Second}.Append(nil))
	out := s.Step(0, Startup{}, nil)
	out = s.Step(0, Heard{p}, out[:0])
	var ev Event = Heard{p}
	if n := testing.AllocsPerRun(100, func() { out = s.Step(1, ev, out[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
