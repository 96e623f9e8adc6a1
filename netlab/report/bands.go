package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is a way to draw a band: a class, and a pattern over it, for eyes and printers
// that see no colours.
type kind struct {
	name, pattern, ink string
	legend             string
}

var kinds = []kind{
	{"master", "", "on", "MASTER"},
	{"backup", "hatch", "halo", "BACKUP"},
	{"init", "dots", "halo", "INIT"},
	{"faulty", "cross", "halo", "FAULT"},
	{"gone", "", "dim halo", "not running"},
	{"timer", "", "", "master down timer"},
	{"expiry", "", "", "ran out"},
	{"held", "", "on", "holds the address"},
	{"both", "cross", "halo", "held twice"},
	{"nobody", "dash", "halo", "held by nobody"},
	{"garp", "", "", "gratuitous ARP"},
	{"reply", "", "", "ARP reply"},
	{"answered", "", "halo", "answered"},
	{"gap", "dash", "halo", "no answer"},
}

func kindOf(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}

// band is a stretch of a lane.
type band struct {
	from, to time.Duration
	kind     string
	colour   string   // class of the node
	labels   []string // from the longest; the first that fits is written
	title    string
}

// bands draws list at y. Thin ones come last, or their neighbours would cover them; of
// those that lie on one another, the first is drawn.
func (d *drawing) bands(list []band, h float64) {
	last := d.left - d.pitch
	for _, thin := range []bool{false, true} {
		for _, b := range list {
			from, to := d.x(b.from), d.x(b.to)
			if !d.sees(b.from, b.to) || b.to == d.from && b.to > 0 || to-from < d.pitch != thin || thin && to < last+d.pitch {
				continue
			}
			if thin {
				last = to
			}
			k := kindOf(b.kind)
			d.seen[k.name] = true
			d.box(k, b.colour, span{from, max(to, from+1.5)}, d.y, h, b.title)
			d.text((from+to)/2, d.y+h/2+4, k.ink+" m "+b.colour, fitting(to-from-8, charWidth, b.labels...))
		}
	}
}

func (d *drawing) box(k kind, colour string, at span, y, h float64, title string) {
	d.mark("rect", title, "class", k.name+" "+colour, "x", at.from, "y", y, "width", at.to-at.from, "height", h)
	if k.pattern != "" {
		d.mark("rect", "", "class", "over", "fill", "url(#"+k.pattern+")", "x", at.from, "y", y, "width", at.to-at.from, "height", h)
	}
}

// colour is the class of a node: a router has one of its own.
func (v *view) colour(node string) string {
	if i := slices.Index(v.routers, node); i >= 0 {
		return fmt.Sprintf("c%d", i%6)
	}
	return "other"
}

// lane writes the name of a lane and up to two lines about it.
func (d *drawing) lane(name string, about ...string) {
	d.titled(14, d.y+12, "b ink", clip(name, 27), name)
	for i, s := range about {
		d.titled(14, d.y+26+float64(i)*13, "s dim", clip(s, 31), s)
	}
}

func (d *drawing) section(name string) {
	d.mark("path", "", "class", "grid", "d", path("M", 14.0, d.y, "H", plotEnd))
	d.text(14, d.y+13, "s dim", strings.ToUpper(name))
	d.y += 22
}

func (d *drawing) omitted(n int, what string) {
	if n > most {
		d.text(14, d.y+8, "s dim", "… and "+many(n-most, "more "+what))
		d.y += 18
	}
}

func (d *drawing) routerLanes() {
	if len(d.instances) == 0 {
		return
	}
	d.section("routers")
	for _, in := range d.instances[:min(len(d.instances), most)] {
		d.lane(in.node, fmt.Sprintf("%s, VRID %d", in.name, in.vrid))
		d.bands(d.stateBands(in), 24)
		d.y += 28
		d.sawtooth(in)
		d.y += 14
	}
	d.omitted(len(d.instances), "instance")
}

func (d *drawing) stateBands(in *instance) []band {
	var list []band
	for i, s := range in.states {
		name, kind := s.Name, map[string]string{"MASTER": "master", "BACKUP": "backup", "INIT": "init", "FAULT": "faulty"}[s.Name]
		labels := []string{fmt.Sprintf("%s, priority %d", name, s.Priority), fmt.Sprintf("%s %d", name, s.Priority), name, name[:min(1, len(name))]}
		if kind == "" {
			kind = "gone"
			labels = []string{"not running"}
		}
		to := in.until(i, d.Elapsed)
		title := fmt.Sprintf("%s, priority %d, %s", name, s.Priority, d.since(s.At, to))
		if s.Cause != "" {
			title += ": " + s.Cause
		}
		list = append(list, band{s.At, to, kind, d.colour(in.node), labels, title})
	}
	return list
}

// sawtooth draws how long the master down timer has yet to run.
func (d *drawing) sawtooth(in *instance) {
	const h = 22.0
	teeth := in.teeth(d.Elapsed)
	full := time.Duration(1)
	for _, t := range teeth {
		full = max(full, t.full)
	}
	height := func(left time.Duration) float64 { return d.y + h - h*float64(left)/float64(full) }
	var line []any
	last, dots := d.left-d.pitch, []tooth{}
	for _, t := range teeth {
		if !d.sees(t.from, t.to) || d.x(t.to) < last+d.pitch {
			continue
		}
		from := max(t.from, d.from)
		to := min(t.to, d.to)
		line = append(line, "M", d.x(from), d.y+h, "V", height(t.full-(from-t.from)), "L", d.x(to), height(t.left+t.to-to), "V", d.y+h)
		last = d.x(to)
		if t.ranOut() && to == t.to {
			dots = append(dots, t)
		}
	}
	if len(line) == 0 {
		return
	}
	d.heading(d.y+9, "timer "+moment(full))
	d.seen["timer"] = true
	d.mark("path", "", "class", "saw "+d.colour(in.node), "d", path(line...))
	for _, t := range dots {
		d.seen["expiry"] = true
		d.mark("path", "ran out at "+seconds(t.to)+" s, after "+moment(t.full), "class", "expiry", "d", diamond(d.x(t.to), d.y+h))
	}
	d.y += h
}

func (d *drawing) addressLanes() {
	if len(d.addresses) == 0 {
		return
	}
	d.section("virtual addresses")
	for _, a := range d.addresses[:min(len(d.addresses), most)] {
		d.lane(a.addr.String())
		if len(a.holders) > 0 {
			d.bands(d.holderBands(a), 20)
		}
		d.y += 24
		d.arp(a.answers, true)
		d.arp(a.answers, false)
		d.y += 10
	}
	d.omitted(len(d.addresses), "address")
}

func (d *drawing) holderBands(a *address) []band {
	var list []band
	for i, h := range a.holders {
		who := strings.Join(h.nodes, " + ")
		b := band{h.from, h.to, "held", "", []string{who}, "held by " + who + ", " + d.since(h.from, h.to)}
		switch {
		case len(h.nodes) == 0:
			b.kind, b.title = "nobody", "held by nobody, "+d.since(h.from, h.to)
			b.labels = []string{"nobody, " + millis(h.to-h.from), "nobody"}
			if i == len(a.holders)-1 {
				b.labels = b.labels[1:]
			}
		case len(h.nodes) == 1:
			b.colour = d.colour(h.nodes[0])
			b.labels = append(b.labels, clip(who, 4))
		default:
			b.kind = "both"
		}
		list = append(list, b)
	}
	return list
}

// voice is a run of answers that lie on one another.
type voice struct {
	at       time.Duration
	nodes    []string
	n        int
	from, to float64
}

// arp marks who said to have an address, with a name wherever that changes.
func (d *drawing) arp(list []Answer, gratuitous bool) {
	voices := d.voices(list, gratuitous)
	if len(voices) == 0 {
		return
	}
	kind, about := "reply", "ARP answered by"
	if gratuitous {
		kind, about = "garp", "announced by"
	}
	d.seen[kind] = true
	d.text(14, d.y+9, "s dim", about)
	named, end := "", 0.0
	for i, o := range voices {
		next := plotEnd + 16
		if i+1 < len(voices) {
			next = voices[i+1].from - 6
		}
		who := strings.Join(o.nodes, " + ")
		d.voice(o, who, gratuitous)
		if who == named && o.from < end+240 {
			continue
		}
		if label := fitting(next-o.to-7, smallWidth, who); label != "" {
			d.text(o.to+7, d.y+9, "s halo", label)
			named, end = who, o.to
		}
	}
	d.y += 14
}

func (d *drawing) voice(o voice, who string, gratuitous bool) {
	class, x := d.colour(o.nodes[0]), (o.from+o.to)/2
	if len(o.nodes) > 1 {
		class = "several"
	}
	title := fmt.Sprintf("%s at %s s, %d×", who, seconds(o.at), o.n)
	if gratuitous {
		d.mark("path", "gratuitous ARP of "+title, "class", "mark "+class, "d", triangle(x, d.y+9))
	} else {
		d.mark("circle", "ARP reply of "+title, "class", "ring "+class, "cx", x, "cy", d.y+5, "r", 3.5)
	}
}

func (d *drawing) voices(list []Answer, gratuitous bool) []voice {
	var voices []voice
	for _, a := range list {
		if !d.sees(a.At, a.At) || a.Gratuitous != gratuitous {
			continue
		}
		x := d.x(a.At)
		n := len(voices) - 1
		if n < 0 || x > voices[n].from+max(7, 3*d.pitch) {
			voices = append(voices, voice{a.At, []string{a.Node}, 1, x, x})
			continue
		}
		o := &voices[n]
		o.n, o.to = o.n+1, x
		if !slices.Contains(o.nodes, a.Node) {
			o.nodes = append(o.nodes, a.Node)
		}
	}
	return voices
}

func (d *drawing) clientLanes() {
	if len(d.Flows) == 0 {
		return
	}
	d.section("clients")
	for _, f := range d.Flows[:min(len(d.Flows), most)] {
		if !d.sees(f.From, f.To) {
			continue
		}
		d.lane(f.Name, f.Host+": "+f.Text, grouped(f.Answered)+" answered, "+grouped(f.Failed)+" failed")
		d.bands(flowBands(f, d.since), 24)
		d.gapLabels(f)
		d.y += 52
	}
	d.omitted(len(d.Flows), "flow")
}

// flowBands is a flow cut where it had no answer.
func flowBands(f Flow, since func(from, to time.Duration) string) []band {
	var list []band
	at := f.From
	for _, g := range f.Gaps {
		if g.From > at {
			list = append(list, band{from: at, to: g.From, kind: "answered", labels: []string{"answered"}, title: "answered, " + since(at, g.From)})
		}
		list = append(list, band{from: g.From, to: g.To, kind: "gap", labels: []string{millis(g.To - g.From)}, title: "no answer, " + since(g.From, g.To)})
		at = max(at, g.To)
	}
	if f.To > at {
		list = append(list, band{from: at, to: f.To, kind: "answered", labels: []string{"answered"}, title: "answered, " + since(at, f.To)})
	}
	return list
}

// gapLabels writes under a gap how long it was where that does not fit into it.
func (d *drawing) gapLabels(f Flow) {
	row := make(shelves, 1)
	for _, g := range f.Gaps[:min(len(f.Gaps), 500)] {
		label := millis(g.To - g.From)
		wide := float64(cells(label)) * charWidth
		if !d.sees(g.From, g.To) || wide <= d.x(g.To)-d.x(g.From)-8 {
			continue
		}
		x := max(min((d.x(g.From)+d.x(g.To))/2, width-wide/2-2), plotLeft+wide/2)
		if row.put(span{x - wide/2 - 5, x + wide/2 + 5}) == 0 {
			d.text(x, d.y+37, "bad m halo", label)
		}
	}
}
