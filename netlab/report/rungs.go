package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	gutter  = 164.0 // of the ladder, for time and number
	columns = 24    // at most; of the other hosts the packet's title tells
)

// ladder draws each row as a picture of its own, so that a filter can hide it and a long
// one stays quick to show.
type ladder struct {
	*view
	markup
	x     map[string]float64 // of the hosts
	order []string
	step  float64 // from host to host
	width float64
}

// ladder returns the head, which stays in sight, the rows, and the numbers of the packets in them.
func (v *view) ladder() (head, rows string, shown map[int]bool) {
	list := v.fold(v.rungs())
	l := &ladder{view: v, x: map[string]float64{}}
	l.place(list)
	l.head()
	head = l.String()
	l.Reset()
	shown = map[int]bool{}
	for _, r := range list {
		id := ""
		if r.pack != nil && r.pack.Number > 0 && !shown[r.pack.Number] {
			shown[r.pack.Number] = true
			id = fmt.Sprintf("p%d", r.pack.Number)
		}
		l.row(r, id)
	}
	return head, l.String(), shown
}

// place gives a column to each host that sends, receives or changes its state.
func (l *ladder) place(list []rung) {
	takes := map[string]bool{}
	for _, r := range list {
		takes[r.host] = true
		if r.pack != nil {
			takes[r.pack.From] = true
			for _, d := range r.pack.To {
				takes[d.Host] = true
			}
		}
	}
	for _, h := range l.hosts {
		if takes[h] && h != "" && len(l.order) < columns {
			l.order = append(l.order, h)
		}
	}
	l.step = max(math.Floor((width-gutter)/float64(max(len(l.order), 1))), 104)
	l.width = max(gutter+l.step*float64(len(l.order)), width)
	for i, h := range l.order {
		l.x[h] = gutter + l.step*(float64(i)+0.5)
	}
}

func (l *ladder) head() {
	l.open("svg", "class", "row", "viewBox", "0 0 "+px(l.width)+" 40", "width", l.width, "height", 40.0)
	l.open("defs")
	var lines []any
	for _, h := range l.order {
		lines = append(lines, "M", l.x[h], 0.0, "V", 200.0)
	}
	l.mark("path", "", "id", "life", "class", "life", "d", path(lines...))
	l.close("defs")
	l.text(88, 28, "s dim e", "seconds")
	l.text(150, 28, "s dim e", "packet")
	kinds := map[string]string{}
	for _, h := range l.Hosts {
		kinds[h.Name] = h.Kind
	}
	fit := int(l.step/charWidth) - 1
	for _, h := range l.order {
		l.titled(l.x[h], 17, "b ink m", clip(h, fit), h)
		l.text(l.x[h], 31, "s dim m", clip(kinds[h], fit))
	}
	l.close("svg")
}

// row draws r; id is where a link to its packet leads.
func (l *ladder) row(r rung, id string) {
	inner := *l
	inner.markup = markup{}
	class, h := "row k-"+r.kind, 0.0
	switch r.kind {
	case "packet":
		class = "row k-arp"
		if r.pack.Kind == "vrrp" {
			class = "row k-vrrp"
		}
		if odd(r.pack) {
			class += " odd"
		}
		h = inner.packet(r)
	case "state":
		h = inner.state(r)
	default:
		h = inner.line(r)
	}
	attrs := []any{"class", class, "viewBox", "0 0 " + px(l.width) + " " + px(h), "width", l.width, "height", h}
	if id != "" {
		attrs = append(attrs, "id", id)
	}
	l.open("svg", attrs...)
	across := map[string]string{"fault": "bar", "breach": "bar trouble"}[r.kind]
	if r.named {
		across = "named"
	}
	if across != "" {
		wide := l.width
		if r.named {
			wide = gutter - 8
		}
		l.mark("rect", "", "class", across, "y", 1.0, "width", wide, "height", h-2)
	}
	if across == "" || r.named {
		l.mark("use", "", "href", "#life")
	}
	l.Write(inner.Bytes())
	l.close("svg")
}

// odd tells whether something did not arrive, or was not taken.
func odd(p *Packet) bool {
	return slices.ContainsFunc(p.To, func(d Delivery) bool { return d.Lost != "" || refused(d.Verdict) })
}

func refused(verdict string) bool {
	return slices.ContainsFunc([]string{"ignored", "refused", "dropped", "discarded"}, func(word string) bool { return strings.HasPrefix(verdict, word) })
}

func (l *ladder) time(r rung, y float64) {
	l.text(88, y, "s dim e", seconds(r.at))
}

// line is a row without a packet: a statement, a fault, a fold, a silence, a breach.
func (l *ladder) line(r rung) float64 {
	mark := map[string]string{"step": "▸ ", "fault": "⚡ ", "breach": "✗ ", "silence": "⋮ "}[r.kind]
	class := map[string]string{"step": "s dim halo", "fault": "ink", "breach": "bad", "fold": "s dim halo", "silence": "ink halo"}[r.kind]
	if class == "" { // of a host without a column
		class = "s ink halo"
	}
	lines := wrap(mark+r.text, int((l.width-gutter-20)/charWidth), 3)
	y := 14.0
	if r.kind == "silence" {
		y = 20
	}
	if r.kind != "fold" && r.kind != "silence" {
		l.time(r, y)
	}
	for i, s := range lines {
		l.text(gutter, y+float64(i)*13, class, s)
	}
	return y + float64(len(lines)-1)*13 + y - 8
}

// state is a transition, on the line of its host, with its cause beside it.
func (l *ladder) state(r rung) float64 {
	x, ok := l.x[r.host]
	if !ok {
		r.text = r.host + " " + r.from + ", " + r.text
		return l.line(r)
	}
	l.time(r, 16)
	label := clip(r.from, 40)
	wide := float64(cells(label))*charWidth + 30
	from := min(max(x-wide/2, gutter), l.width-wide-2)
	l.mark("rect", "", "class", "plate", "x", from, "y", 3.0, "width", wide, "height", 19.0, "rx", 9.0)
	l.mark("circle", "", "class", "mark "+l.colour(r.host), "cx", from+11, "cy", 12.5, "r", 4.0)
	l.text(from+wide/2+5, 16.5, "ink m", label)
	at, class, room := from+wide+8, "s ink halo", l.width-from-wide-14
	if left := from - gutter - 14; left > room {
		at, class, room = from-8, "s ink e halo", left
	}
	lines := wrap(r.text, int(room/smallWidth), 3)
	for i, s := range lines {
		l.text(at, 16+float64(i)*12, class, s)
	}
	return 26 + float64(max(len(lines)-1, 0))*12
}

// packet draws what was said over the wire and what became of it under the heads.
func (l *ladder) packet(r rung) float64 {
	p := r.pack
	x, ok := l.x[p.From]
	if !ok {
		r.text = p.From + ": " + p.Text
		return l.line(r)
	}
	y := l.say(p, x)
	l.time(r, y+3)
	if p.Number > 0 {
		l.text(150, y+3, "s dim e", fmt.Sprintf("#%d", p.Number))
	}
	l.wire(p, x, y)
	under, lines := 0, map[string]int{} // a host may get it twice
	for _, d := range p.To {
		if to, ok := l.x[d.Host]; ok && d.Host != p.From {
			lines[d.Host] += l.arrive(d, x, to, y, lines[d.Host])
			under = max(under, lines[d.Host])
		}
	}
	return y + 11 + float64(under)*12
}

// say writes the packet's text where there is more room, and returns the wire's place.
func (l *ladder) say(p *Packet, x float64) float64 {
	text := p.Text
	if p.Sender != "" {
		text = p.Sender + ": " + text
	}
	at, class, room := x+8, "s ink halo", l.width-x-12
	if left := x - gutter - 12; left > room {
		at, class, room = x-8, "s ink halo e", left
	}
	lines := wrap(text, int(room/smallWidth), 2)
	for i, s := range lines {
		l.titled(at, 12+float64(i)*12, class, s, whole(s, text))
	}
	return 6 + float64(len(lines))*12
}

// wire is solid as far as somebody got the packet, broken beyond.
func (l *ladder) wire(p *Packet, x, y float64) {
	got, lost := span{x, x}, span{x, x}
	for _, d := range p.To {
		to, ok := l.x[d.Host]
		if !ok {
			continue
		}
		reach := &got
		if d.Lost != "" {
			reach = &lost
			to -= math.Copysign(16, to-x)
		}
		reach.from, reach.to = min(reach.from, to), max(reach.to, to)
	}
	var whole, broken []any
	if got.to > got.from {
		whole = append(whole, "M", got.from, y, "H", got.to)
	}
	if lost.to > got.to {
		broken = append(broken, "M", got.to, y, "H", lost.to)
	}
	if lost.from < got.from {
		broken = append(broken, "M", got.from, y, "H", lost.from)
	}
	if len(whole) > 0 {
		l.mark("path", "", "class", "wire", "d", path(whole...))
	}
	if len(broken) > 0 {
		l.mark("path", "", "class", "wire lost", "d", path(broken...))
	}
	l.mark("circle", "", "class", "head", "cx", x, "cy", y, "r", 3.5)
}

// arrive draws the end of a packet at a host, with what became of it from a line on, and
// returns how many lines that took.
func (l *ladder) arrive(d Delivery, from, to, y float64, line int) int {
	side := math.Copysign(1, to-from)
	text, class := d.Verdict, "s dim halo"
	switch {
	case d.Lost != "":
		text, class = "lost: "+d.Lost, "s bad halo"
	case d.Verdict == "":
		l.mark("circle", "", "class", "pass", "cx", to, "cy", y, "r", 3.0)
	default:
		if refused(d.Verdict) {
			class = "s bad halo"
		}
		l.mark("path", "", "class", "head", "d", path("M", to, y, "l", -side*9, -4.5, "v", 9.0, "z"))
	}
	if side > 0 {
		class += " e"
	}
	lines := wrap(text, int((l.step-18)/smallWidth), 3)
	for i, s := range lines {
		l.titled(to-side*9, y+14+float64(line+i)*12, class, s, whole(s, text))
	}
	if d.Lost != "" { // above the words, whose edge is wide
		l.mark("path", "", "class", "miss", "d", path("M", to-side*16-5, y-5, "l", 10.0, 10.0, "m", 0.0, -10.0, "l", -10.0, 10.0))
	}
	return len(lines)
}

// whole is what a line that was cut stands for.
func whole(line, text string) string {
	if strings.HasSuffix(line, "…") {
		return text
	}
	return ""
}

// wrap breaks s at spaces into at most n lines of so many cells; what is left over is cut.
func wrap(s string, wide, n int) []string {
	var lines []string
	for s = strings.TrimSpace(s); s != "" && wide > 1; {
		if cells(s) <= wide || len(lines) == n-1 {
			return append(lines, clip(s, wide))
		}
		cut, end, used := 0, 0, 0
		for i, r := range s {
			if r == ' ' {
				cut = i
			}
			if used += cell(r); used > wide {
				break
			}
			end = i + len(string(r))
		}
		if cut == 0 || cut > end {
			cut = end
		}
		if cut == 0 {
			return append(lines, "…")
		}
		lines = append(lines, strings.TrimSpace(s[:cut]))
		s = strings.TrimSpace(s[cut:])
	}
	return lines
}
