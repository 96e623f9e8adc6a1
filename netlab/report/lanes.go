package report

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"time"
)

//go:embed drawing.css
var drawingStyle string

//go:embed patterns.svg
var patterns string

const (
	width    = 1232.0 // of a window of 1280 without the page's margins
	plotLeft = 206.0
	plotEnd  = 1214.0
	most     = 40 // lanes of a kind; a report of more helps nobody
)

// SVG writes the lanes as one picture that needs nothing else.
func (r *Run) SVG(w io.Writer) error {
	v := newView(r)
	_, err := w.Write(v.lanes(Gap{0, v.Elapsed}, true))
	return err
}

// drawing is the lanes of one window.
type drawing struct {
	markup
	words markup // drawn last, over all lines
	*view
	scale
	y     float64
	pitch float64 // bands that end closer together are not told apart
	seen  map[string]bool
}

// lanes draws the window; alone gives the picture a style and a background of its own.
func (v *view) lanes(window Gap, alone bool) []byte {
	d := &drawing{view: v, scale: scale{window.From, window.To, plotLeft, plotEnd}, seen: map[string]bool{}}
	n := min(len(v.instances), most) + min(len(v.addresses), most) + min(len(v.Flows), most)
	d.pitch = max(1.5, float64(n)*(plotEnd-plotLeft)/1500)
	d.y = 4
	d.steps()
	d.faultBars()
	d.breachMarks()
	d.y += 18
	d.axis(d.y - 6)
	top := d.y
	d.routerLanes()
	d.addressLanes()
	d.clientLanes()
	bottom := d.y
	d.axis(bottom + 14)
	d.y += 24
	if window == (Gap{0, v.Elapsed}) {
		d.legend()
	}
	return d.sheet(top, bottom, alone)
}

// sheet puts what lies behind the lanes, and what lies before them, around them.
func (d *drawing) sheet(top, bottom float64, alone bool) []byte {
	var m markup
	attrs := []any{"class", "lanes", "viewBox", "0 0 " + px(width) + " " + px(d.y), "role", "img",
		"aria-label", "time line from " + moment(d.from) + " to " + moment(d.to),
		"data-from", int64(d.from), "data-to", int64(d.to), "data-left", d.left, "data-right", d.right}
	if alone {
		attrs = append(attrs, "xmlns", "http://www.w3.org/2000/svg", "width", width, "height", d.y)
	}
	m.open("svg", attrs...)
	if alone {
		m.WriteString("<style>\n" + drawingStyle + "</style>\n" + patterns)
		m.mark("rect", "", "class", "paper", "width", width, "height", d.y)
	}
	for _, t := range d.ticks(11) {
		m.mark("path", "", "class", "grid", "d", path("M", d.x(t), top, "V", bottom))
	}
	d.shades(&m, top, bottom)
	m.Write(d.Bytes())
	for _, b := range d.Breaches[:min(len(d.Breaches), most)] {
		if d.sees(b.At, b.At) {
			m.mark("path", "", "class", "breach", "d", path("M", d.x(b.At), top, "V", bottom))
		}
	}
	m.Write(d.words.Bytes())
	m.close("svg")
	return m.Bytes()
}

func (d *drawing) text(x, y float64, class, s string) { d.words.text(x, y, class, s) }

func (d *drawing) titled(x, y float64, class, s, title string) { d.words.titled(x, y, class, s, title) }

func (d *drawing) axis(y float64) {
	row := make(shelves, 1)
	for _, t := range d.ticks(11) {
		x, half := d.x(t), float64(cells(short(t)))*charWidth/2
		if x = min(x, width-half-1); row.put(span{x - half - 6, x + half + 6}) == 0 {
			d.text(x, y, "dim m", short(t))
		}
	}
}

// lesser are statements that watch; those that act get the room first.
const lesser = " wait expect say run stays mark lan host node realserver router serve flow probe stopflow ask "

func acts(s Step) bool {
	verb, _, _ := strings.Cut(s.Text, " ")
	return !strings.Contains(lesser, " "+verb+" ")
}

// hung is a label of a statement and where it found room.
type hung struct {
	Step
	row   int
	at    float64
	class string
	label string
}

// steps hang the scenario's statements over their time, as far as there is room.
func (d *drawing) steps() {
	var list []Step
	for _, s := range d.Steps {
		if d.sees(s.At, s.At) && len(list) < 2000 {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return
	}
	labels := d.hang(list)
	rows := 0
	for _, h := range labels {
		rows = max(rows, h.row+1)
	}
	foot := d.y + float64(rows)*14
	for _, h := range labels {
		y := d.y + float64(h.row)*14
		d.titled(h.at, y+10, h.class, h.label, seconds(h.At)+" s: "+h.Text)
		d.mark("path", "", "class", "thread", "d", path("M", d.x(h.At), y+2, "V", foot-2))
	}
	d.heading(foot+6, "steps")
	last := -1.0
	for _, s := range list {
		if x := d.x(s.At); x > last+d.pitch {
			d.mark("path", seconds(s.At)+" s: "+s.Text, "class", "step", "d", path("M", x, foot-2, "v", 8.0))
			last = x
		}
	}
	d.y = foot + 10
}

func (d *drawing) hang(list []Step) []hung {
	var labels []hung
	shelf := make(shelves, 4)
	for _, first := range []bool{true, false} {
		for _, s := range list {
			if acts(s) != first {
				continue
			}
			x, h := d.x(s.At), hung{Step: s, label: clip(s.Text, 30), class: "s dim"}
			if first {
				h.class = "s ink"
			}
			wide := float64(cells(h.label)) * smallWidth
			want := span{x - 2, x + wide + 10}
			h.at = x + 4
			if want.to > width {
				want, h.class, h.at = span{x - wide - 10, x + 2}, h.class+" e", x-4
			}
			if h.row = shelf.hang(want, x); h.row >= 0 {
				labels = append(labels, h)
			}
		}
	}
	return labels
}

// faultBars shows when each fault was in force; see also [drawing.shades].
func (d *drawing) faultBars() {
	shelf := make(shelves, 8)
	rows := 0
	for _, f := range d.Faults {
		if !d.sees(f.From, f.To) {
			continue
		}
		from, to := d.x(f.From), max(d.x(f.To), d.x(f.From)+3)
		label, at, class, room := d.placeFault(f, from, to)
		row := shelf.put(room)
		if row < 0 {
			continue
		}
		rows = max(rows, row+1)
		y := d.y + 4 + float64(row)*18
		d.mark("rect", faultTitle(f), "class", "fault", "x", from, "y", y, "width", to-from, "height", 15.0)
		d.titled(at, y+11, class, label, faultTitle(f))
	}
	if rows > 0 {
		d.heading(d.y+15, "faults")
		d.y += 6 + float64(rows)*18
	}
}

func faultTitle(f Fault) string {
	return fmt.Sprintf("%s: %s s to %s s", f.Text, seconds(f.From), seconds(f.To))
}

// placeFault finds room for the words: in the bar, behind it, before it.
func (d *drawing) placeFault(f Fault, from, to float64) (label string, at float64, class string, room span) {
	label = clip(f.Text, 40)
	wide := float64(cells(label))*smallWidth + 12
	switch {
	case wide <= to-from:
		return label, from + 6, "s onfault", span{from, to + 2}
	case to+wide < width:
		return label, to + 5, "s ink", span{from, to + wide}
	}
	return label, from - 5, "s ink e", span{from - wide, to + 2}
}

// shades lets the faults shine through the lanes.
func (d *drawing) shades(m *markup, top, bottom float64) {
	for _, f := range d.Faults[:min(len(d.Faults), most)] {
		if d.sees(f.From, f.To) {
			from, to := d.x(f.From), d.x(f.To)
			m.mark("rect", "", "class", "shade", "x", from, "y", top, "width", max(to-from, 1), "height", bottom-top)
			m.mark("path", "", "class", "edge", "d", path("M", from, top, "V", bottom, "M", to, top, "V", bottom))
		}
	}
}

// breachMarks names the invariants over the lines that [drawing.sheet] draws for them.
func (d *drawing) breachMarks() {
	shelf := make(shelves, 3)
	rows := 0
	for _, b := range d.Breaches[:min(len(d.Breaches), most)] {
		if !d.sees(b.At, b.At) {
			continue
		}
		x, label := d.x(b.At), "✗ "+clip(b.Invariant, 30)
		wide := float64(cells(label))*smallWidth + 6
		room, at, class := span{x - 3, x + wide}, x-2, "s bad"
		if room.to > width {
			room, at, class = span{x - wide, x + 3}, x+2, "s bad e"
		}
		if row := shelf.hang(room, x); row >= 0 {
			rows = max(rows, row+1)
			d.titled(at, d.y+14+float64(row)*14, class, label, seconds(b.At)+" s: "+b.Text)
		}
	}
	if rows > 0 {
		d.heading(d.y+14, "hurt invariants")
		d.y += 4 + float64(rows)*14
	}
}

func (d *drawing) heading(y float64, s string) { d.text(plotLeft-14, y, "s dim e", s) }

// legend explains the patterns that the drawing has used, in a line or two.
func (d *drawing) legend() {
	x := plotLeft
	for _, k := range kinds {
		if !d.seen[k.name] {
			continue
		}
		wide := 34 + float64(cells(k.legend))*smallWidth + 18
		if x+wide > width {
			x, d.y = plotLeft, d.y+18
		}
		d.sample(k, x)
		d.text(x+34, d.y+10, "s dim", k.legend)
		x += wide
	}
	d.y += 18
}

func (d *drawing) sample(k kind, x float64) {
	switch k.name {
	case "garp":
		d.mark("path", "", "class", "c0 mark", "d", triangle(x+14, d.y+11))
	case "reply":
		d.mark("circle", "", "class", "c0 ring", "cx", x+14, "cy", d.y+6, "r", 3.5)
	case "timer":
		d.mark("path", "", "class", "c0 saw", "d", path("M", x, d.y+12, "V", d.y, "L", x+13, d.y+9, "V", d.y, "L", x+26, d.y+12, "Z"))
	case "expiry":
		d.mark("path", "", "class", "expiry", "d", diamond(x+14, d.y+6))
	default:
		d.box(k, "c0", span{x, x + 26}, d.y, 12, "")
	}
}

func triangle(x, y float64) string { return path("M", x-4, y, "h", 8.0, "l", -4.0, -8.0, "z") }

func diamond(x, y float64) string {
	return path("M", x-4, y, "l", 4.0, -4.0, 4.0, 4.0, -4.0, 4.0, "z")
}

func (d *drawing) since(from, to time.Duration) string {
	return seconds(from) + " s to " + seconds(to) + " s, " + millis(to-from)
}
