package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const largest = 2_000_000 // bytes of a page

func TestOddRuns(t *testing.T) {
	one := long(1)
	one.Elapsed, one.States = 0, nil
	for name, r := range map[string]*Run{
		"empty":              {},
		"zero elapsed":       one,
		"long":               long(20000),
		"everything differs": noisy(2000),
		"a crowd":            crowd(45),
	} {
		t.Run(name, func(t *testing.T) { sound(t, r, 100) })
	}
}

// noisy is a run in which no packet is like another.
func noisy(n int) *Run {
	r := long(n)
	for i := range r.Packets {
		p := &r.Packets[i]
		p.Text = fmt.Sprintf("%d %s", i, strings.Repeat("<&> ", 100))
		p.Priority = uint8(i)
		p.To = append(p.To, Delivery{"client", p.Text, p.Text}, Delivery{fmt.Sprint("host", i%50), "", p.Text})
		r.States = append(r.States, State{p.At, "lb2", p.Text, 51, []string{"MASTER", "BACKUP"}[i%2], 1, p.Text})
		r.Holdings = append(r.Holdings, Holding{p.At, "lb1", vip, i%2 == 0})
		r.Answers = append(r.Answers, Answer{p.At, []string{"lb1", "lb2"}[i%2], vip, i%3 == 0})
		r.Steps = append(r.Steps, Step{p.At, p.Text})
		r.Breaches = append(r.Breaches, Breach{p.At, "interval", p.Text, []int{p.Number}})
		r.Faults = append(r.Faults, Fault{p.At, p.At + time.Second, p.Text, nil})
	}
	return r
}

// crowd is a run of many routers, each with an address and a client of its own.
func crowd(n int) *Run {
	r := &Run{Elapsed: 300 * time.Second}
	for i := range n {
		name, addr := fmt.Sprint("router-with-a-long-name-", i), netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})
		f := Flow{Name: "probe", Host: name, To: r.Elapsed}
		for at := time.Duration(0); at < r.Elapsed; at += time.Second {
			r.States = append(r.States, State{at, name, "VI", uint8(i), []string{"MASTER", "FAULT"}[at/time.Second%2], 100, name})
			r.Holdings = append(r.Holdings, Holding{at, name, addr, at/time.Second%2 == 0})
			r.Timers = append(r.Timers, Timer{at, at + 3*time.Second, name, "VI"})
			r.Answers = append(r.Answers, Answer{at, name, addr, false})
			f.Gaps = append(f.Gaps, Gap{at, at + time.Second/2})
		}
		r.Flows = append(r.Flows, f)
	}
	return r
}

// sound holds what is true of a report of any run.
func sound(t interface {
	Fatal(...any)
	Errorf(string, ...any)
}, r *Run, width int) {
	page, drawing := rendered(t, r.HTML), rendered(t, r.SVG)
	for name, b := range map[string][]byte{"page": page, "drawing": drawing} {
		if err := wellFormed(b); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, fault := range collisions(b) {
			t.Errorf("%s: %s", name, fault)
		}
	}
	if len(page) > largest {
		t.Errorf("the page has %d bytes", len(page))
	}
	for line := range strings.Lines(string(rendered(t, func(w io.Writer) error { return r.Text(w, width) }))) {
		if n := cells(strings.TrimSuffix(line, "\n")); n > max(width, narrow) && !strings.HasPrefix(line, "  tshark -r ") {
			t.Errorf("%d columns, not %d: %s", n, width, line)
		}
	}
}

func TestAnyRunIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { sound(t, anyRun(t), rapid.IntRange(-1, 300).Draw(t, "width")) })
}

func TestSampleHasNoCollisions(t *testing.T) { sound(t, sample(), 80) }

// anyRun draws a run that need not make sense: out of order, negative, of odd texts.
func anyRun(t *rapid.T) *Run {
	scale := rapid.SampledFrom([]time.Duration{1, time.Microsecond, ms, time.Second, time.Hour}).Draw(t, "scale")
	at := rapid.Map(rapid.Int64Range(-2, 1000), func(n int64) time.Duration { return time.Duration(n) * scale })
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "lb1", "lb2", "client", "MASTER", "BACKUP", "FAULT", "vrrp", "arp", "crash lb1", "日本語 <b>", strings.Repeat("long ", 80)}), rapid.StringN(0, 60, -1))
	addr := rapid.SampledFrom([]netip.Addr{{}, vip, netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678")})
	span := rapid.Custom(func(t *rapid.T) Gap { return Gap{at.Draw(t, "from"), at.Draw(t, "to")} })
	r := rapid.Custom(func(t *rapid.T) Run {
		return Run{Scenario: text.Draw(t, "scenario"), Drawing: rapid.SliceOfN(text, 0, 3).Draw(t, "drawing"), Failure: text.Draw(t, "failure"), Capture: text.Draw(t, "capture"), Elapsed: at.Draw(t, "elapsed")}
	}).Draw(t, "run")
	r.Hosts = some(t, "hosts", func(t *rapid.T) Host { return Host{text.Draw(t, "name"), text.Draw(t, "kind")} })
	r.States = some(t, "states", func(t *rapid.T) State {
		return State{at.Draw(t, "at"), text.Draw(t, "node"), text.Draw(t, "instance"), rapid.Uint8().Draw(t, "vrid"), text.Draw(t, "name"), rapid.Uint8().Draw(t, "priority"), text.Draw(t, "cause")}
	})
	r.Timers = some(t, "timers", func(t *rapid.T) Timer {
		return Timer{at.Draw(t, "at"), at.Draw(t, "until"), text.Draw(t, "node"), text.Draw(t, "instance")}
	})
	r.Holdings = some(t, "holdings", func(t *rapid.T) Holding {
		return Holding{at.Draw(t, "at"), text.Draw(t, "node"), addr.Draw(t, "addr"), rapid.Bool().Draw(t, "present")}
	})
	r.Answers = some(t, "answers", func(t *rapid.T) Answer {
		return Answer{at.Draw(t, "at"), text.Draw(t, "node"), addr.Draw(t, "addr"), rapid.Bool().Draw(t, "gratuitous")}
	})
	r.Packets = some(t, "packets", func(t *rapid.T) Packet {
		return Packet{At: at.Draw(t, "at"), Number: rapid.IntRange(-1, 99).Draw(t, "number"), From: text.Draw(t, "from"), Kind: text.Draw(t, "kind"), Text: text.Draw(t, "text"), Sender: text.Draw(t, "sender"),
			To: some(t, "to", func(t *rapid.T) Delivery {
				return Delivery{text.Draw(t, "host"), text.Draw(t, "lost"), text.Draw(t, "verdict")}
			})}
	})
	r.Faults = some(t, "faults", func(t *rapid.T) Fault {
		g := span.Draw(t, "span")
		return Fault{g.From, g.To, text.Draw(t, "text"), nil}
	})
	r.Flows = some(t, "flows", func(t *rapid.T) Flow {
		g := span.Draw(t, "span")
		return Flow{text.Draw(t, "name"), text.Draw(t, "host"), text.Draw(t, "text"), g.From, g.To, 1, 2, rapid.SliceOfN(span, 0, 4).Draw(t, "gaps")}
	})
	r.Steps = some(t, "steps", func(t *rapid.T) Step { return Step{at.Draw(t, "at"), text.Draw(t, "text")} })
	r.Breaches = some(t, "breaches", func(t *rapid.T) Breach {
		return Breach{at.Draw(t, "at"), text.Draw(t, "invariant"), text.Draw(t, "text"), []int{rapid.IntRange(-1, 99).Draw(t, "packet")}}
	})
	r.Measures = some(t, "measures", func(t *rapid.T) Measure {
		return Measure{text.Draw(t, "text"), at.Draw(t, "got"), at.Draw(t, "low"), at.Draw(t, "high"), at.Draw(t, "late")}
	})
	return &r
}

func some[T any](t *rapid.T, name string, one func(*rapid.T) T) []T {
	return rapid.SliceOfN(rapid.Custom(one), 0, 8).Draw(t, name)
}

// label is a text of a drawing and the room that it takes.
type label struct {
	text                     string
	left, right, top, bottom float64
}

// collisions are the labels of the drawings in b that touch one another or are cut off.
func collisions(b []byte) []string {
	var faults []string
	for _, d := range drawings(b) {
		slices.SortFunc(d.labels, func(x, y label) int { return int(x.left - y.left) })
		for i, l := range d.labels {
			if l.left < 0 || l.right > d.width+1 || l.top < 0 || l.bottom > d.height {
				faults = append(faults, fmt.Sprintf("%q is cut off", l.text))
			}
			for _, o := range d.labels[i+1:] {
				if min(l.right, o.right)-max(l.left, o.left) > 1 && min(l.bottom, o.bottom)-max(l.top, o.top) > 1 {
					faults = append(faults, fmt.Sprintf("%q and %q overlap", l.text, o.text))
				}
			}
		}
	}
	return faults
}

type labelled struct {
	width, height float64
	labels        []label
}

// drawings finds the texts of each svg element.
func drawings(b []byte) []labelled {
	var list []labelled
	dec := xml.NewDecoder(bytes.NewReader(b))
	var text *xml.StartElement
	var inside, words string
	for {
		tok, err := dec.Token()
		if err != nil {
			return list
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			inside = tok.Name.Local
			switch inside {
			case "svg":
				box := strings.Fields(attr(tok, "viewBox") + " 0 0 0 0")
				list = append(list, labelled{width: number(box[2]), height: number(box[3])})
			case "text":
				e := tok.Copy()
				text, words = &e, ""
			}
		case xml.CharData:
			if text != nil && inside == "text" {
				words += string(tok)
			}
		case xml.EndElement:
			if tok.Name.Local == "text" {
				last := &list[len(list)-1]
				last.labels = append(last.labels, boxOf(*text, words))
				text = nil
			}
		}
	}
}

func boxOf(e xml.StartElement, words string) label {
	char, class := charWidth, strings.Fields(attr(e, "class"))
	if slices.Contains(class, "s") {
		char = smallWidth
	}
	x, y, wide := number(attr(e, "x")), number(attr(e, "y")), float64(cells(words))*char
	switch {
	case slices.Contains(class, "m"):
		x -= wide / 2
	case slices.Contains(class, "e"):
		x -= wide
	}
	return label{words, x, x + wide, y - 8, y + 2}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func number(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64) // 0 for what is no number
	return f
}
