package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// view is a run sorted by whom it speaks of: what all three renderers start from.
type view struct {
	*Run
	hosts     []string // as declared, then whoever else is named
	routers   []string // hosts that run an instance; the place in it is the colour
	instances []*instance
	addresses []*address
}

type instance struct {
	node, name string
	vrid       uint8
	states     []State
	timers     []Timer
}

type address struct {
	addr    netip.Addr
	holders []holders
	answers []Answer
}

// holders are the nodes that held an address at the same time.
type holders struct {
	from, to time.Duration
	nodes    []string
}

func newView(r *Run) *view {
	v := &view{Run: tidy(r)}
	v.findHosts()
	v.findInstances()
	v.findAddresses()
	return v
}

func (v *view) findHosts() {
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			v.hosts = append(v.hosts, name)
		}
	}
	for _, h := range v.Hosts {
		add(h.Name)
	}
	for _, s := range v.States {
		add(s.Node)
	}
	for _, h := range v.Holdings {
		add(h.Node)
	}
	for _, a := range v.Answers {
		add(a.Node)
	}
	for _, p := range v.Packets {
		add(p.From)
		for _, d := range p.To {
			add(d.Host)
		}
	}
}

func (v *view) findInstances() {
	type key struct{ node, name string }
	known := map[key]*instance{}
	get := func(node, name string) *instance {
		k := key{node, name}
		if known[k] == nil {
			known[k] = &instance{node: node, name: name}
			v.instances = append(v.instances, known[k])
		}
		return known[k]
	}
	for _, s := range v.States {
		in := get(s.Node, s.Instance)
		in.states = append(in.states, s)
		in.vrid = max(in.vrid, s.VRID)
	}
	for _, t := range v.Timers {
		in := get(t.Node, t.Instance)
		in.timers = append(in.timers, t)
	}
	place := places(v.hosts)
	slices.SortStableFunc(v.instances, func(a, b *instance) int {
		return cmp.Or(cmp.Compare(place[a.node], place[b.node]), cmp.Compare(a.vrid, b.vrid))
	})
	for _, in := range v.instances {
		if !slices.Contains(v.routers, in.node) {
			v.routers = append(v.routers, in.node)
		}
	}
}

func places(names []string) map[string]int {
	m := map[string]int{}
	for i, n := range names {
		m[n] = i
	}
	return m
}

func (v *view) findAddresses() {
	known := map[netip.Addr]*address{}
	get := func(a netip.Addr) *address {
		if known[a] == nil {
			known[a] = &address{addr: a}
			v.addresses = append(v.addresses, known[a])
		}
		return known[a]
	}
	held := map[netip.Addr][]Holding{}
	for _, h := range v.Holdings {
		// A real server has the address on lo, for good.
		if len(v.routers) == 0 || slices.Contains(v.routers, h.Node) {
			get(h.Addr)
			held[h.Addr] = append(held[h.Addr], h)
		}
	}
	for _, a := range v.Answers {
		in := get(a.Addr)
		in.answers = append(in.answers, a)
	}
	slices.SortStableFunc(v.addresses, func(a, b *address) int { return a.addr.Compare(b.addr) })
	place := places(v.hosts)
	for _, a := range v.addresses {
		a.hold(held[a.addr], place, v.Elapsed)
	}
}

// hold cuts the run where the holders of an address change.
func (a *address) hold(list []Holding, place map[string]int, end time.Duration) {
	for i, h := range list {
		now := holders{from: h.At, to: end}
		if i > 0 {
			now.nodes = slices.Clone(a.holders[len(a.holders)-1].nodes)
		}
		now.nodes = slices.DeleteFunc(now.nodes, func(n string) bool { return n == h.Node })
		if h.Present {
			now.nodes = append(now.nodes, h.Node)
			slices.SortFunc(now.nodes, func(x, y string) int { return cmp.Compare(place[x], place[y]) })
		}
		if n := len(a.holders); n > 0 {
			a.holders[n-1].to = h.At
		}
		a.holders = append(a.holders, now)
	}
}

// orphaned are the times in which nobody had an address that somebody had before and after.
func (a *address) orphaned() []Gap {
	var gaps []Gap
	for i, h := range a.holders {
		if len(h.nodes) == 0 && h.to > h.from && i > 0 && i+1 < len(a.holders) {
			gaps = append(gaps, Gap{h.from, h.to})
		}
	}
	return gaps
}

// until is when the state at place i ended.
func (in *instance) until(i int, end time.Duration) time.Duration {
	if i+1 < len(in.states) {
		return in.states[i+1].At
	}
	return max(end, in.states[i].At)
}

// tooth is a master down timer from its start to when it ran out, was started again, or
// its state was left.
type tooth struct {
	from, to time.Duration
	full     time.Duration // how long it was to run
	left     time.Duration // when it ended
}

func (in *instance) teeth(end time.Duration) []tooth {
	var list []tooth
	next := 0
	for i, t := range in.timers {
		to := min(t.Until, end)
		if i+1 < len(in.timers) {
			to = min(to, in.timers[i+1].At)
		}
		for next < len(in.states) && (in.states[next].At <= t.At || in.states[next].Name == "BACKUP") {
			next++
		}
		if next < len(in.states) {
			to = min(to, in.states[next].At)
		}
		if to >= t.At && t.Until > t.At {
			list = append(list, tooth{t.At, to, t.Until - t.At, t.Until - to})
		}
	}
	return list
}

// ranOut tells whether a tooth reached its end, but for what a process needs to notice.
func (t tooth) ranOut() bool { return t.left <= t.full/200 }

// silence is a gap that the headline tells of.
type silence struct {
	Gap
	of string
}

// silences are the gaps of the clients, or those of the addresses where no client asked;
// the longest first.
func (v *view) silences() []silence {
	var list []silence
	for _, f := range v.Flows {
		for _, g := range f.Gaps {
			list = append(list, silence{g, strings.TrimSpace(f.Name + " of " + f.Host + " had no answer")})
		}
	}
	if len(v.Flows) == 0 {
		for _, a := range v.addresses {
			for _, g := range a.orphaned() {
				list = append(list, silence{g, "nobody held " + a.addr.String()})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b silence) int { return cmp.Compare(b.To-b.From, a.To-a.From) })
	return list
}

// verdict is the outcome in a line.
func (v *view) verdict() string {
	switch {
	case v.Failure != "":
		return "failed: " + v.Failure
	case len(v.Breaches) > 0:
		return fmt.Sprintf("passed, with %s", many(len(v.Breaches), "hurt invariant"))
	}
	return "passed"
}

// met tells whether a measure is within its bounds; one without bounds has none to miss.
func (m Measure) met() bool {
	return m.Low == 0 && m.High == 0 || m.Got >= m.Low && m.Got <= m.High+m.Late
}

// closer are windows worth a closer look: around gaps and breaches that are short beside
// the run. At most n, in the order of time.
func (v *view) closer(n int) []Gap {
	var list []Gap
	for _, s := range v.silences() {
		list = append(list, s.Gap)
	}
	for _, b := range v.Breaches {
		list = append(list, Gap{b.At, b.At})
	}
	var windows []Gap
	for _, g := range list {
		margin := max((g.To-g.From)*2/5, v.Elapsed/50, time.Millisecond)
		w := Gap{max(g.From-margin, 0), min(g.To+margin, v.Elapsed)}
		apart := !slices.ContainsFunc(windows, func(o Gap) bool { return w.From < o.To && o.From < w.To })
		if apart && w.To-w.From <= v.Elapsed/3 && len(windows) < n {
			windows = append(windows, w)
		}
	}
	inOrder(windows, func(g Gap) time.Duration { return g.From })
	return windows
}
