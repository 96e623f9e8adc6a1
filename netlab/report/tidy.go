package report

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const longest = 240 // runes of any text; the capture and the scenario have the whole

// tidy copies a run with its lists in order, its spans closed, and its texts fit to be
// shown: a scenario may hold control characters, which would reach the reader's terminal.
func tidy(r *Run) *Run {
	c := *r
	c.Elapsed = end(r)
	for _, s := range []*string{&c.Scenario, &c.Clock, &c.Failure, &c.Capture} {
		*s = clean(*s)
	}
	c.Drawing = slices.Clone(r.Drawing)
	for i, line := range c.Drawing {
		c.Drawing[i] = clean(strings.ReplaceAll(line, "\t", "        "))
	}
	c.Hosts = copied(r.Hosts, func(h *Host) []*string { return []*string{&h.Name, &h.Kind} })
	c.Measures = copied(r.Measures, func(m *Measure) []*string { return []*string{&m.Text} })
	c.tidyNodes(r)
	c.tidyPackets(r)
	c.tidySpans(r)
	return &c
}

// end is when the last thing of a run was seen, at least a millisecond after its start.
func end(r *Run) time.Duration {
	at := max(r.Elapsed, time.Millisecond)
	for _, s := range r.States {
		at = max(at, s.At)
	}
	for _, p := range r.Packets {
		at = max(at, p.At)
	}
	for _, f := range r.Faults {
		at = max(at, f.From, f.To)
	}
	for _, f := range r.Flows {
		at = max(at, f.From, f.To)
	}
	for _, s := range r.Steps {
		at = max(at, s.At)
	}
	for _, b := range r.Breaches {
		at = max(at, b.At)
	}
	return at
}

func (r *Run) tidyNodes(from *Run) {
	r.States = copied(from.States, func(s *State) []*string { return []*string{&s.Node, &s.Instance, &s.Name, &s.Cause} })
	inOrder(r.States, func(s State) time.Duration { return s.At })
	r.Timers = copied(from.Timers, func(t *Timer) []*string { return []*string{&t.Node, &t.Instance} })
	inOrder(r.Timers, func(t Timer) time.Duration { return t.At })
	r.Holdings = copied(from.Holdings, func(h *Holding) []*string { return []*string{&h.Node} })
	inOrder(r.Holdings, func(h Holding) time.Duration { return h.At })
	r.Answers = copied(from.Answers, func(a *Answer) []*string { return []*string{&a.Node} })
	inOrder(r.Answers, func(a Answer) time.Duration { return a.At })
}

func (r *Run) tidyPackets(from *Run) {
	r.Packets = copied(from.Packets, func(p *Packet) []*string {
		p.To = copied(p.To, func(d *Delivery) []*string { return []*string{&d.Host, &d.Lost, &d.Verdict} })
		return []*string{&p.From, &p.Kind, &p.Text, &p.Sender}
	})
	inOrder(r.Packets, func(p Packet) time.Duration { return p.At })
}

func (r *Run) tidySpans(from *Run) {
	r.Steps = copied(from.Steps, func(s *Step) []*string { return []*string{&s.Text} })
	inOrder(r.Steps, func(s Step) time.Duration { return s.At })
	r.Breaches = copied(from.Breaches, func(b *Breach) []*string { return []*string{&b.Invariant, &b.Text} })
	inOrder(r.Breaches, func(b Breach) time.Duration { return b.At })
	r.Faults = copied(from.Faults, func(f *Fault) []*string {
		f.To = closed(f.From, f.To, r.Elapsed)
		return []*string{&f.Text}
	})
	inOrder(r.Faults, func(f Fault) time.Duration { return f.From })
	r.Flows = copied(from.Flows, func(f *Flow) []*string {
		f.To = closed(f.From, f.To, r.Elapsed)
		f.Gaps = slices.Clone(f.Gaps)
		for i, g := range f.Gaps {
			f.Gaps[i].To = closed(g.From, g.To, r.Elapsed)
		}
		f.Gaps = apart(f.Gaps)
		return []*string{&f.Name, &f.Host, &f.Text}
	})
}

// apart puts gaps in order; one that begins within another begins at its end.
func apart(gaps []Gap) []Gap {
	inOrder(gaps, func(g Gap) time.Duration { return g.From })
	var list []Gap
	for _, g := range gaps {
		if n := len(list); n > 0 {
			g.From = max(g.From, list[n-1].To)
		}
		if g.To > g.From {
			list = append(list, g)
		}
	}
	return list
}

// closed is the end of a span; one that has none lasts to the end of the run.
func closed(from, to, end time.Duration) time.Duration {
	if to < from {
		return max(from, end)
	}
	return to
}

func copied[T any](list []T, texts func(*T) []*string) []T {
	list = slices.Clone(list)
	for i := range list {
		for _, s := range texts(&list[i]) {
			*s = clean(*s)
		}
	}
	return list
}

func inOrder[T any](list []T, at func(T) time.Duration) {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(at(a), at(b)) })
}

// clean makes one line of printable text of s, of bounded length.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return clip(s, longest)
}

// clip shortens s to n cells of a terminal.
func clip(s string, n int) string {
	wide, cut := 0, 0 // cut is where the last character that leaves room for the dots ends
	for i, r := range s {
		if wide += cell(r); wide > n {
			if n < 1 {
				return ""
			}
			return strings.TrimRight(s[:cut], " ") + "…"
		}
		if wide < n {
			cut = i + utf8.RuneLen(r)
		}
	}
	return s
}

// cells is how many columns of a fixed-width font s fills.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += cell(r)
	}
	return n
}

func cell(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xffdc && r != 0xfeff, r >= 0x1f000:
		return 2
	}
	return 1
}
