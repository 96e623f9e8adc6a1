package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	roomForRows  = 700  // of the ladder; the capture has every packet
	roomForHeads = 3000 // deliveries in these rows
)

// rung is a row of the ladder.
type rung struct {
	at    time.Duration
	order int // among those of the same time
	rank  int // 0 is always shown; above it as far as there is room; quiet ones are folded
	kind  string
	text  string
	host  string  // of a state
	from  string  // the state before
	pack  *Packet // of kind packet
	named bool    // a breach names the packet
	last  time.Duration
}

const quiet = 4

// rungs are the events of a run and its packets in the order of time, with what is worth
// seeing at a low rank.
func (v *view) rungs() []rung {
	list := v.eventRungs()
	named := map[int]bool{}
	for _, b := range v.Breaches {
		for _, n := range b.Packets {
			named[n] = true
		}
	}
	for i := range v.Packets {
		p := &v.Packets[i]
		r := rung{at: p.At, last: p.At, order: 3, rank: 2, kind: "packet", pack: p, named: p.Number > 0 && named[p.Number]}
		if r.named {
			r.rank = 0
		}
		list = append(list, r)
	}
	slices.SortStableFunc(list, byTime)
	hush(list)
	return list
}

// events are the transitions and the faults.
func (v *view) events() []rung {
	list := slices.DeleteFunc(v.eventRungs(), func(r rung) bool { return r.kind != "state" && r.kind != "fault" })
	slices.SortStableFunc(list, byTime)
	return list
}

func byTime(a, b rung) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) }

func (v *view) eventRungs() []rung {
	var list []rung
	add := func(at time.Duration, order, rank int, kind, text string) {
		list = append(list, rung{at: at, last: at, order: order, rank: rank, kind: kind, text: text})
	}
	faults := v.begins()
	for _, s := range v.Steps {
		if !near(faults[s.Text], s.At) { // or it would be there twice
			add(s.At, 0, 3, "step", s.Text)
		}
	}
	for _, f := range v.Faults {
		add(f.From, 1, 1, "fault", f.Text)
		if f.To > f.From && f.To < v.Elapsed {
			add(f.To, 1, 1, "fault", "end of "+f.Text)
		}
	}
	for _, b := range v.Breaches {
		add(b.At, 5, 0, "breach", b.Invariant+": "+b.Text)
	}
	for _, in := range v.instances {
		before := ""
		for _, s := range in.states {
			if s.Name == before && before != "" {
				continue // the priority alone has changed
			}
			list = append(list, stateRung(in, s, before))
			before = s.Name
		}
	}
	return list
}

// begins tells when the faults of each statement came into force.
func (v *view) begins() map[string][]time.Duration {
	m := map[string][]time.Duration{}
	for _, f := range v.Faults {
		m[f.Text] = append(m[f.Text], f.From)
	}
	return m
}

// near tells whether a time in list is about at.
func near(list []time.Duration, at time.Duration) bool {
	const about = 20 * time.Millisecond
	i, _ := slices.BinarySearch(list, at-about)
	return i < len(list) && list[i] <= at+about
}

// stateRung is a transition. A new MASTER speaks after it became one; the others mostly
// change because of a packet.
func stateRung(in *instance, s State, before string) rung {
	r := rung{at: s.At, last: s.At, order: 4, rank: 1, kind: "state", host: s.Node, from: before, text: in.name}
	if s.Name == "MASTER" {
		r.order = 2
	}
	if s.Cause != "" {
		r.text += ": " + s.Cause
	}
	r.from = cmp.Or(before, "not running") + " → " + cmp.Or(s.Name, "not running")
	return r
}

// stream is what a periodic packet repeats.
type stream struct {
	from, kind string
	vrid       uint8
}

func streamOf(p *Packet) stream { return stream{p.From, p.Kind, p.VRID} }

// same tells whether two packets of a stream say the same, to the same end. The text of
// an advertisement may count something.
func same(a, b *Packet) bool {
	return a.Priority == b.Priority && a.Sender == b.Sender && slices.Equal(a.To, b.To) && (a.Kind == "vrrp" || a.Text == b.Text)
}

// hush gives the last rank to packets that repeat the one before and are repeated by the
// next, with nothing between the three.
func hush(list []rung) {
	type place struct{ at, era int }
	last := map[stream]place{}
	alike := map[int]bool{} // as the one before of its stream
	era := 0
	for i := range list {
		if list[i].kind != "packet" {
			if list[i].kind != "step" {
				era++
			}
			continue
		}
		s := streamOf(list[i].pack)
		if p, ok := last[s]; ok && p.era == era && same(list[p.at].pack, list[i].pack) {
			alike[i] = true
			if alike[p.at] && !list[p.at].named {
				list[p.at].rank = quiet
			}
		}
		last[s] = place{i, era}
	}
}

// fold leaves what there is room for and puts a line in place of the rest.
func (v *view) fold(list []rung) []rung {
	shown := choose(list)
	var out []rung
	for i := 0; i < len(list); {
		if shown[i] {
			out = append(out, list[i])
			i++
			continue
		}
		start := i
		for i < len(list) && !shown[i] {
			i++
		}
		if hidden := list[start:i]; len(hidden) < 3 && len(list) < roomForRows {
			out = append(out, hidden...)
		} else {
			out = append(out, rung{at: hidden[0].at, last: hidden[len(hidden)-1].at, kind: "fold", text: v.summary(hidden)})
		}
	}
	return v.hear(out)
}

// choose takes the rows by rank until the room is used up.
func choose(list []rung) []bool {
	shown := make([]bool, len(list))
	rows, heads := 0, 0
	for rank := range quiet {
		for i, r := range list {
			if r.rank != rank || rows >= roomForRows {
				continue
			}
			if r.pack != nil {
				if heads += len(r.pack.To); heads > roomForHeads {
					continue
				}
			}
			shown[i] = true
			rows++
		}
	}
	return shown
}

// tally is what a fold hides of one stream.
type tally struct {
	stream
	n         int
	first, to time.Duration
	losses    []*loss
	known     map[string]*loss // by cause
}

// loss is what dropped packets of a stream.
type loss struct {
	cause string
	hosts []string
	n     int
}

// summary tells what is hidden: the packets by their streams, then the rest.
func (v *view) summary(hidden []rung) string {
	var order []*tally
	known := map[stream]*tally{}
	others := 0
	for _, r := range hidden {
		if r.pack == nil {
			others++
			continue
		}
		t := known[streamOf(r.pack)]
		if t == nil {
			t = &tally{stream: streamOf(r.pack), first: r.at, known: map[string]*loss{}}
			known[t.stream] = t
			order = append(order, t)
		}
		t.count(r.pack)
	}
	slices.SortStableFunc(order, func(a, b *tally) int { return cmp.Compare(b.n, a.n) })
	var words []string
	for i, t := range order {
		if i == 4 {
			words = append(words, many(len(order)-4, "more stream"))
			break
		}
		words = append(words, v.tell(t))
	}
	if others > 0 {
		words = append(words, many(others, "event"))
	}
	return "… " + strings.Join(words, " · ")
}

func (t *tally) count(p *Packet) {
	t.n++
	t.to = p.At
	counted := map[*loss]bool{}
	for _, d := range p.To {
		if d.Lost == "" {
			continue
		}
		l := t.loss(d.Lost)
		if !slices.Contains(l.hosts, d.Host) {
			l.hosts = append(l.hosts, d.Host)
		}
		if !counted[l] {
			counted[l] = true
			l.n++
		}
	}
}

func (t *tally) loss(cause string) *loss {
	l := t.known[cause]
	if l == nil {
		l = &loss{cause: cause}
		t.known[cause] = l
		t.losses = append(t.losses, l)
	}
	return l
}

func (v *view) tell(t *tally) string {
	thing := "ARP packet"
	if t.kind == "vrrp" {
		thing = "advertisement"
	}
	s := many(t.n, thing) + " of " + t.from
	if t.kind == "vrrp" && v.vrids() > 1 {
		s += fmt.Sprintf(" (VRID %d)", t.vrid)
	}
	if t.n > 1 {
		s += ", every " + about((t.to-t.first)/time.Duration(t.n-1))
	}
	for i, l := range t.losses {
		if i == 2 {
			return s + ", …"
		}
		count := ""
		if l.n < t.n {
			count = fmt.Sprintf("%d ", l.n)
		}
		s += fmt.Sprintf(", %slost to %s (%s)", count, strings.Join(l.hosts, ", "), l.cause)
	}
	return s
}

// about rounds a period to what a reader remembers.
func about(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return short(d.Round(time.Second))
	case d >= time.Second:
		return short(d.Round(10 * time.Millisecond))
	case d >= 10*time.Millisecond:
		return short(d.Round(time.Millisecond))
	}
	return short(d.Round(10 * time.Microsecond))
}

func (v *view) vrids() int {
	set := map[uint8]bool{}
	for _, in := range v.instances {
		set[in.vrid] = true
	}
	return len(set)
}

// hear puts a row where nothing was heard for much longer than usual: into the longest
// pause between the events of that time.
func (v *view) hear(list []rung) []rung {
	limit := v.lull()
	var out []rung
	last := -1 // the place of the last packet
	for _, r := range list {
		out = append(out, r)
		if r.kind != "packet" && r.kind != "fold" {
			continue
		}
		if here := len(out) - 1; last >= 0 && r.at-out[last].last > limit {
			start := out[last].last
			row := rung{at: start, last: r.at, kind: "silence", text: millis(r.at-start) + " without a packet"}
			out = slices.Insert(out, longestPause(out, last, here), row)
		}
		last = len(out) - 1
	}
	return out
}

// longestPause is the place behind the longest pause between the rows from a to b.
func longestPause(list []rung, a, b int) int {
	place, longest := b, time.Duration(-1)
	for i := a + 1; i <= b; i++ {
		if pause := list[i].at - list[i-1].last; pause > longest {
			place, longest = i, pause
		}
	}
	return place
}

// lull is how long a silence has to be to be told: twice the usual one between advertisements.
func (v *view) lull() time.Duration {
	var spaces []time.Duration
	last := time.Duration(-1)
	for _, p := range v.Packets {
		if p.Kind == "vrrp" {
			if last >= 0 {
				spaces = append(spaces, p.At-last)
			}
			last = p.At
		}
	}
	if len(spaces) < 4 {
		return 1500 * time.Millisecond
	}
	slices.Sort(spaces)
	return max(2*spaces[len(spaces)/2], 10*time.Millisecond)
}
