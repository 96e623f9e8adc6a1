package report

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	narrow   = 40 // columns; less is not written for
	rowsEach = 60 // lines of a list
)

// sheet is a page of characters. It has no escape codes: what it shows it shows by
// letters and shades.
type sheet struct {
	bytes.Buffer
	*view
	wide, label int           // columns: of all, and before the time line
	end         time.Duration // of the time line
	leave       detail        // what there is no room for
	used        map[rune]bool
}

func newSheet(r *Run, width int) *sheet {
	v := newView(r)
	wide := max(width, narrow)
	return &sheet{view: v, wide: wide, label: min(24, wide/4), end: v.Elapsed, used: map[rune]bool{}}
}

// Text writes the lanes and what was found, in lines of at most width columns; below 40
// it takes 40. Only the command for the capture may be longer.
func (r *Run) Text(w io.Writer, width int) error {
	s := newSheet(r, width)
	s.title()
	s.lanes()
	s.gaps()
	s.transitions()
	s.findings()
	_, err := w.Write(s.Bytes())
	return err
}

func (s *sheet) lanes() {
	s.axis()
	s.faultRows()
	s.routerRows()
	s.addressRows()
	s.clientRows()
	s.breachRow()
	s.key()
}

func (s *sheet) line(text string) {
	s.WriteString(strings.TrimRight(clip(text, s.wide), " ") + "\n")
}

// item writes text over as many lines as it needs, the others indented.
func (s *sheet) item(head, text string) {
	indent := min(cells(head), s.wide/2)
	for _, l := range wrap(text, s.wide-indent, 6) {
		s.line(head + l)
		head = strings.Repeat(" ", indent)
	}
}

func (s *sheet) section(name string) { s.WriteString("\n" + name + "\n") }

func (s *sheet) title() {
	s.item("", s.Scenario+": "+s.verdict())
	s.item("", strings.TrimPrefix(s.Clock+", ", ", ")+moment(s.Elapsed)+" long, "+many(len(s.Packets), "packet")+" of VRRP and ARP")
	if len(s.Drawing) > 0 {
		s.line("")
	}
	for _, l := range s.Drawing {
		s.line("  " + l)
	}
	s.line("")
}

// plot is a row of the time line.
type plot struct {
	scale
	row  []rune
	used map[rune]bool
}

func (s *sheet) plot() *plot {
	n := s.wide - s.label
	p := &plot{scale{0, s.end, 0, float64(n) - 0.001}, []rune(strings.Repeat(" ", n)), s.used}
	return p
}

func (p *plot) column(t time.Duration) int { return int(p.x(t)) }

// fill shades a stretch, of one column at least, and writes the first label that fits.
func (p *plot) fill(from, to time.Duration, shade rune, labels ...string) {
	a, b := p.column(from), p.column(to)
	if b <= a || to == p.to {
		b = max(b, a) + 1
	}
	for i := a; i < b; i++ {
		p.row[i] = shade
	}
	p.used[shade] = true
	if l := fitting(float64(b-a-4), 1, labels...); l != "" {
		p.write(a+(b-a-cells(l)-2)/2, " "+l+" ")
	}
}

// write puts s at a column; a wide character takes the next one too.
func (p *plot) write(at int, s string) {
	for _, r := range s {
		if at >= 0 && at < len(p.row) {
			p.row[at] = r
		}
		if at++; cell(r) == 2 && at < len(p.row) {
			p.row[at], at = 0, at+1
		}
	}
}

// free tells whether n columns from at on are blank.
func (p *plot) free(at, n int) bool {
	return at >= 0 && at+n <= len(p.row) && strings.Trim(string(p.row[at:at+n]), " ") == ""
}

// beside writes what a stretch from column a to b stands for: into it, behind it, before
// it, or where there is most room.
func (p *plot) beside(a, b int, text string) {
	n, after := cells(text), len(p.row)-b-2
	switch {
	case n+4 <= b-a:
		p.write(a+(b-a-n-2)/2, " "+text+" ")
	case n <= after || after >= a && after >= b-a:
		p.write(b+2, clip(text, after))
	case n < a || a >= b-a:
		text = clip(text, a-1)
		p.write(a-1-cells(text), text)
	default:
		p.write(a+1, " "+clip(text, b-a-4)+" ")
	}
}

func (s *sheet) lane(name string, p *plot) {
	row := strings.ReplaceAll(string(p.row), "\x00", "")
	name = clip(name, s.label-1)
	s.line(name + strings.Repeat(" ", s.label-cells(name)) + row)
}

func (s *sheet) axis() {
	names, marks := s.plot(), s.plot()
	for i := range marks.row {
		marks.row[i] = '─'
	}
	for _, t := range names.ticks(max(len(names.row)/9, 2)) {
		at := names.column(t)
		marks.row[at] = '┼'
		if l := short(t); names.free(at, len(l)) {
			names.write(at, l)
		}
	}
	s.lane("", names)
	s.lane("", marks)
}

func (s *sheet) faultRows() {
	for i, f := range s.Faults {
		if i == 12 {
			s.line("… and " + many(len(s.Faults)-i, "more fault"))
			return
		}
		if s.leave >= pastFaults && f.To < s.Elapsed {
			continue
		}
		p := s.plot()
		p.fill(f.From, f.To, '▓')
		p.beside(p.column(f.From), p.column(f.To), f.Text)
		s.lane("fault", p)
	}
}

var shades = map[string]rune{"MASTER": '█', "BACKUP": '░', "INIT": '·', "FAULT": '╳'}

func (s *sheet) routerRows() {
	for i, in := range s.instances {
		if i == most {
			s.line("… and " + many(len(s.instances)-i, "more instance"))
			return
		}
		p := s.plot()
		for i, st := range in.states {
			shade, labels := ' ', []string{"not running"}
			if shades[st.Name] != 0 {
				shade, labels = shades[st.Name], []string{fmt.Sprintf("%s %d", st.Name, st.Priority), st.Name}
			}
			s.stretch(p, st.At, in.until(i, s.Elapsed), i == len(in.states)-1, shade, labels...)
		}
		s.lane(in.node+" "+in.name, p)
		s.timerRow(in)
	}
}

// timerRow draws the master down timer as bars of falling height.
func (s *sheet) timerRow(in *instance) {
	teeth := in.teeth(s.Elapsed)
	if len(teeth) == 0 || s.leave >= timers {
		return
	}
	full := time.Duration(1)
	for _, t := range teeth {
		full = max(full, t.full)
	}
	p, heights := s.plot(), []rune("▁▂▃▄▅▆▇█")
	at := func(column int) time.Duration { return time.Duration(float64(s.end) * float64(column) / p.right) }
	for _, t := range teeth {
		for c := p.column(t.from); c <= p.column(t.to); c++ {
			left := min(max(t.full-max(at(c)-t.from, 0), t.left), t.full)
			p.row[c] = heights[int(7*float64(left)/float64(full))]
		}
	}
	s.lane("  timer "+moment(full), p)
}

func (s *sheet) addressRows() {
	for i, a := range s.addresses {
		if i == most {
			s.line("… and " + many(len(s.addresses)-i, "more address"))
			return
		}
		p := s.plot()
		for i, h := range a.holders {
			last, who := i == len(a.holders)-1, strings.Join(h.nodes, " + ")
			switch len(h.nodes) {
			case 0:
				s.stretch(p, h.from, h.to, last, '∙', "nobody "+millis(h.to-h.from), "nobody")
			case 1:
				s.stretch(p, h.from, h.to, last, '━', who)
			default:
				s.stretch(p, h.from, h.to, last, '╳', who)
			}
		}
		s.lane(a.addr.String(), p)
		s.arpRow(a, "  announced by", '▲', true)
		s.arpRow(a, "  ARP answered by", '○', false)
	}
}

func (s *sheet) arpRow(a *address, name string, sign rune, gratuitous bool) {
	if s.leave >= arp {
		return
	}
	p, who := s.plot(), map[int][]string{} // by column
	for _, o := range a.answers {
		if at := p.column(o.At); o.Gratuitous == gratuitous {
			p.row[at] = sign
			if !slices.Contains(who[at], o.Node) {
				who[at] = append(who[at], o.Node)
			}
		}
	}
	last := ""
	for _, at := range slices.Sorted(maps.Keys(who)) {
		name := strings.Join(who[at], "+")
		if name != last && p.free(at+1, cells(name)+1) {
			p.write(at+1, name)
			last = name
		}
	}
	if len(who) > 0 {
		s.lane(name, p)
	}
}

func (s *sheet) clientRows() {
	for i, f := range s.Flows {
		if i == most {
			s.line("… and " + many(len(s.Flows)-i, "more flow"))
			return
		}
		p := s.plot()
		s.stretch(p, f.From, f.To, f.To == s.Elapsed, '─', s.doing(f))
		for _, g := range f.Gaps {
			p.fill(g.From, g.To, '×', millis(g.To-g.From))
		}
		s.lane(f.Host+" "+f.Name, p)
	}
}

func (s *sheet) breachRow() {
	if len(s.Breaches) == 0 {
		return
	}
	p := s.plot()
	for _, b := range s.Breaches {
		p.row[p.column(b.At)] = '✗'
	}
	s.lane("hurt invariants", p)
}

func (s *sheet) key() {
	if s.leave >= key {
		return
	}
	var words []string
	for _, k := range []struct {
		shade rune
		means string
	}{
		{'█', "MASTER"}, {'░', "BACKUP"}, {'·', "INIT"}, {'╳', "FAULT, or held twice"}, {'━', "held"},
		{'∙', "held by nobody"}, {'─', "answered"}, {'×', "no answer"}, {'▓', "fault"},
	} {
		if s.used[k.shade] {
			words = append(words, string(k.shade)+" "+k.means)
		}
	}
	if len(words) == 0 {
		return
	}
	row := ""
	s.line("")
	for _, w := range words {
		if row != "" && s.label+cells(row+"  "+w) > s.wide {
			s.line(strings.Repeat(" ", s.label) + row)
			row = ""
		}
		row = strings.TrimLeft(row+"  "+w, " ")
	}
	s.line(strings.Repeat(" ", s.label) + row)
}

func (s *sheet) gaps() {
	list := s.silences()
	if len(list) > 0 {
		s.section("gaps")
	}
	for i, g := range list {
		if i == rowsEach {
			s.line(fmt.Sprintf("  … and %d shorter ones", len(list)-i))
			break
		}
		s.item(fmt.Sprintf("%10s  ", millis(g.To-g.From)), g.of+" from "+moment(g.From)+" to "+moment(g.To))
	}
	for i, f := range s.Flows {
		if i < rowsEach && len(f.Gaps) == 0 {
			s.item("    no gap  ", f.Name+" of "+f.Host+": "+f.Text)
		}
	}
}

func (s *sheet) transitions() {
	n := 0
	for _, r := range s.events() {
		if n++; n == 1 {
			s.section("events")
		}
		if n > rowsEach {
			s.line("  …")
			return
		}
		text := r.text
		if r.kind == "state" {
			text = r.host + " " + r.from + ", " + r.text
		}
		s.item(fmt.Sprintf("%12s  ", seconds(r.at)), text)
	}
}

func (s *sheet) findings() {
	if len(s.Measures) > 0 {
		s.section("measured")
	}
	for i, m := range s.Measures {
		if i == rowsEach {
			s.line("  …")
			break
		}
		text := m.Text + ": " + short(m.Got)
		if b := bounds(m); b != "" {
			text += " (expected " + b + ")"
		}
		if m.met() {
			s.item("  ✓ ", text)
		} else {
			s.item("  ✗ ", text)
		}
	}
	if len(s.Breaches) > 0 {
		s.section("hurt invariants")
	}
	for i, b := range s.Breaches {
		if i == rowsEach {
			s.line("  …")
			break
		}
		text := b.Invariant + ": " + b.Text
		if n := len(b.Packets); n > 0 {
			text += ", packets " + strings.Trim(fmt.Sprint(b.Packets[:min(n, 12)]), "[]")
		}
		s.item(fmt.Sprintf("%12s  ", seconds(b.At)), text)
	}
	if s.Capture != "" {
		s.section("capture")
		s.WriteString("  " + hint(s.Capture) + "\n") // whole, to be copied
	}
}
