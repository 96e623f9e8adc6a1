package replay

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/fsm"
)

// Options is what a replay is told.
type Options struct {
	Place     model.Place
	Tolerance time.Duration  // between what was sent and what should have been
	Start     *time.Duration // of the process, since the first packet; nil: inferred
}

// Difference is the first thing that a director did otherwise.
type Difference struct {
	Number   int // of the packet, or of the first one after what is missing; 0 at the end
	At       time.Duration
	Expected *Expected // nil: nothing
	Seen     *Said     // nil: nothing
	Model    model.Standing
	Silence  time.Duration // until the director spoke again, -1 for never; of what is missing
}

// Expected is something that the rules ask for.
type Expected struct {
	At time.Duration
	Said
}

// Result is how a replay ended.
type Result struct {
	Begun       []string // when the instances were taken to start, and by what
	Heard       int
	Adverts     int // that agree
	GARPs       int
	Transitions int
	Difference  *Difference
}

// Run replays the director of a configuration in a capture file. Every instance is replayed
// by itself: they share nothing but the process. The error is for a file or a configuration
// that cannot be replayed.
func Run(path string, cfg *config.Config, o Options) (*Result, error) {
	seat, err := model.Find(cfg, o.Place, path)
	if err != nil {
		return nil, err
	}
	c, err := read(path, seat)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	for _, p := range c.packets {
		if p.way == model.Heard {
			r.Heard++
		}
	}
	for _, in := range cfg.Instances {
		if in.Disabled != "" {
			continue
		}
		if err := r.instance(c, seat, cfg, in, o); err != nil {
			return nil, err
		}
	}
	r.explain(strange(c, seat, cfg), o.Tolerance)
	return r, nil
}

// explain takes an advertisement that no instance sends for the first difference, or for
// what was sent instead of what is missing.
func (r *Result) explain(d *Difference, tolerance time.Duration) {
	if m := r.Difference; d != nil && m != nil && m.Seen == nil && (d.At-m.At).Abs() <= tolerance {
		m.Number, m.At, m.Seen = d.Number, d.At, d.Seen
		return
	}
	r.differ(d)
}

// differ keeps the earliest difference.
func (r *Result) differ(d *Difference) {
	if d != nil && (r.Difference == nil || d.At < r.Difference.At) {
		r.Difference = d
	}
}

// strange looks for an advertisement of a VRID that the configuration does not have there.
func strange(c *capture, seat *model.Seat, cfg *config.Config) *Difference {
	for _, p := range c.packets {
		known := func(in *config.Instance) bool {
			return in.Disabled == "" && p.said.of(in) && in.Interface == seat.Links[p.port].Name
		}
		if p.way == model.Sent && p.said.VRID != 0 && !slices.ContainsFunc(cfg.Instances, known) {
			return &Difference{Number: p.number, At: p.at, Seen: &p.said}
		}
	}
	return nil
}

// player replays one instance.
type player struct {
	in        *config.Instance
	seat      *model.Seat
	cfg       *config.Config
	capture   *capture
	packets   []packet // its own, and what it heard
	tolerance time.Duration
	model     *model.Model
	running   bool
	now       time.Duration
	expected  []expectation
	seen      []sighting
	agreed    []Expected // advertisements, as expected and as seen
	result    *Result
	found     *Difference
}

// expectation is what the model did, and where it stood then.
type expectation struct {
	Expected
	standing model.Standing
}

// sighting is what the director did, and where the model stood then.
type sighting struct {
	packet
	standing model.Standing
}

func (r *Result) instance(c *capture, seat *model.Seat, cfg *config.Config, in *config.Instance, o Options) error {
	p := &player{in: in, seat: seat, cfg: cfg, capture: c, result: r, now: math.MinInt64}
	p.tolerance = min(o.Tolerance, in.AdvertInterval/2) // more would take one advertisement for the next
	for _, k := range c.packets {
		mine := k.join && k.six == (in.Family() == 6) || k.said.of(in) && seat.Links[k.port].Name == in.Interface || k.said.VRID == 0 && virtual(in, k.said.VIP)
		if k.way == model.Heard || k.way == model.Sent && mine {
			p.packets = append(p.packets, k)
		}
	}
	if err := p.renew(); err != nil {
		return err
	}
	p.play(o.Start)
	r.differ(p.found)
	return nil
}

// renew makes a model that has not started.
func (p *player) renew() (err error) {
	alone := *p.cfg
	alone.Instances = []*config.Instance{p.in}
	p.running = false
	p.model, err = model.New(&alone, p.seat.Links, p.did)
	return err
}

// did takes what the model does.
func (p *player) did(at time.Duration, a node.Action) {
	switch a := a.(type) {
	case node.Changed:
		p.result.Transitions++
	case node.Send:
		said, ok := say(a.Frame)
		if !ok || at < 0 || said.VRID == 0 && !virtual(p.in, said.VIP) {
			return // before the capture, or nobody's business
		}
		p.expected = append(p.expected, expectation{Expected{at, said}, p.standing()})
	}
}

func (p *player) standing() model.Standing { return p.model.Standings()[0] }

// play goes through the packets until something differs.
func (p *player) play(start *time.Duration) {
	begin, why := p.begins(0)
	if start != nil {
		begin, why = *start, "as told"
		p.packets = slices.DeleteFunc(p.packets, func(k packet) bool { return k.at < begin })
	}
	p.tell(begin, why)
	for i, k := range p.packets {
		if !p.running && begin <= k.at {
			p.start(begin)
		}
		p.until(k, i)
		p.now = max(p.now, k.at)
		switch {
		case k.way == model.Heard && p.running:
			p.model.Hear(k.at, k.port, k.data)
		case k.way == model.Sent && !k.join:
			if p.stops(k) {
				p.settle()
				if p.renew() != nil { // it could be made before
					return
				}
				if begin, why = p.begins(i + 1); why != "" {
					p.tell(begin, why)
				}
				continue
			}
			p.seen = append(p.seen, sighting{k, p.standing()})
		}
		if p.settle(); p.overdue(k.at) {
			return
		}
	}
	p.rest(begin)
}

// rest is what comes after the last packet.
func (p *player) rest(begin time.Duration) {
	if !p.running && begin <= p.capture.end {
		p.start(begin)
	}
	p.until(packet{at: p.capture.end + p.tolerance + 1}, len(p.packets))
	p.settle()
	late := func(e expectation) bool { return e.At > p.capture.end-p.tolerance } // may come after the end
	p.expected = slices.DeleteFunc(p.expected, late)
	p.overdue(p.capture.end + 2*p.tolerance + 2)
}

func (p *player) tell(at time.Duration, why string) {
	p.result.Begun = append(p.result.Begun, fmt.Sprintf("%s starts at %.6f: %s", p.in.Name, at.Seconds(), why))
}

func (p *player) start(at time.Duration) {
	p.running = true
	p.model.Start(at)
	p.now = max(p.now, at)
}

// race is how long a packet may be on its way from the capture to a process that reads it.
const race = 5 * time.Millisecond

// until lets the timers fire that the director's have before a packet, or so shortly after
// it that it took over without having read it.
func (p *player) until(k packet, i int) {
	for p.running {
		at, ok := p.model.Deadline()
		spoke, known := p.spoke(at, i)
		unread := k.way == model.Heard && known && at < k.at+min(race, p.tolerance) && p.standing().State == fsm.Backup
		switch {
		case !ok || at >= k.at && !unread:
			return
		case known:
			at = max(at, min(spoke, k.at))
		case k.way == model.Heard && k.at <= at+p.tolerance:
			return
		}
		p.model.Tick(max(at, p.now))
		p.now = max(at, p.now)
		p.settle()
	}
}

// spoke is when the director said something within the tolerance of a deadline, which no
// packet before number i is any more.
func (p *player) spoke(at time.Duration, i int) (time.Duration, bool) {
	for _, s := range p.seen {
		if (s.at - at).Abs() <= p.tolerance {
			return s.at, true
		}
	}
	for _, k := range p.packets[i:] {
		if k.at > at+p.tolerance {
			break
		}
		if k.way == model.Sent && !k.join && k.at >= at-p.tolerance {
			return k.at, true
		}
	}
	return 0, false
}

// stops takes priority 0 of a MASTER for an order that the capture does not show.
func (p *player) stops(k packet) bool {
	if k.said.VRID == 0 || k.said.Priority != 0 || !p.running || p.standing().State != fsm.Master {
		return false
	}
	p.seen = append(p.seen, sighting{k, p.standing()})
	p.model.Stop(k.at)
	return true
}

// settle takes out what agrees.
func (p *player) settle() {
	p.seen = slices.DeleteFunc(p.seen, func(s sighting) bool {
		i := slices.IndexFunc(p.expected, func(e expectation) bool {
			return e.Said == s.said && (e.At-s.at).Abs() <= p.tolerance
		})
		if i < 0 {
			return false
		}
		if s.said.VRID == 0 {
			p.result.GARPs++
		} else {
			p.result.Adverts++
			p.agreed = append(p.agreed, p.expected[i].Expected, Expected{s.at, s.said})
		}
		p.expected = slices.Delete(p.expected, i, i+1)
		return true
	})
}

// again tells whether an advertisement only repeats one that agrees. Of two MASTERs each
// answers the other, so that their timers keep step: whether one answers just before or
// just after its own timer decides between one advertisement and two.
func (p *player) again(at time.Duration, said Said) bool {
	return slices.ContainsFunc(p.agreed, func(a Expected) bool { return a.Said == said && (a.At-at).Abs() <= min(race, p.tolerance) })
}

// overdue looks for what has found no counterpart in time.
func (p *player) overdue(now time.Duration) bool {
	p.expected = slices.DeleteFunc(p.expected, func(e expectation) bool { return e.At+p.tolerance < now && p.again(e.At, e.Said) })
	p.seen = slices.DeleteFunc(p.seen, func(s sighting) bool { return s.at+p.tolerance < now && p.again(s.at, s.said) })
	var e *expectation
	var s *sighting
	if len(p.expected) > 0 && p.expected[0].At+p.tolerance < now {
		e = &p.expected[0]
	}
	if len(p.seen) > 0 && p.seen[0].at+p.tolerance < now && (e == nil || p.seen[0].at < e.At) {
		s, e = &p.seen[0], nil
	}
	switch {
	case e != nil:
		if i := slices.IndexFunc(p.seen, func(s sighting) bool { return s.said.alike(e.Said) && (s.at-e.At).Abs() <= p.tolerance }); i >= 0 {
			s = &p.seen[i]
		}
	case s != nil:
		if i := slices.IndexFunc(p.expected, func(e expectation) bool { return e.Said.alike(s.said) && (s.at-e.At).Abs() <= p.tolerance }); i >= 0 {
			e = &p.expected[i]
		}
	default:
		return false
	}
	p.found = p.difference(e, s)
	return true
}

func (p *player) difference(e *expectation, s *sighting) *Difference {
	d := &Difference{}
	if e != nil {
		d.Expected, d.At, d.Model = &e.Expected, e.At, e.standing
	}
	if s != nil {
		d.Seen, d.Number, d.At = &s.said, s.number, s.at
		if e == nil {
			d.Model = s.standing
		}
		return d
	}
	if i := slices.IndexFunc(p.capture.numbers, func(n stamp) bool { return n.at >= d.At }); i >= 0 {
		d.Number = p.capture.numbers[i].number
	}
	d.Silence = -1
	for _, k := range p.packets {
		if k.way == model.Sent && !k.join && k.at > d.At+p.tolerance {
			d.Silence = k.at - d.At
			break
		}
	}
	return d
}
