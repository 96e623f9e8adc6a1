package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"moment": moment, "seconds": seconds}).Parse(pageText))
)

// page is what the template asks for. Its markup comes from this package, which escapes
// what it is given.
type page struct {
	*view
	Policy         string
	Style, Script  template.HTML
	Patterns       template.HTML
	Lanes          template.HTML
	Closer         []closeUp
	Head, Rows     template.HTML
	Big            []bigNumber
	More           int // gaps that have no big number
	Verdict        string
	Good           bool
	Measured, Hurt []finding
	MoreHurt       int
	Hint           string
	Packets        string
}

type closeUp struct {
	Title string
	Lanes template.HTML
}

type bigNumber struct{ Number, Text, When string }

// finding is a measure or a breach.
type finding struct {
	Good    bool
	Text    string
	At      string
	Bounds  string
	Bar     template.HTML
	Name    string
	Packets []packetLink
}

type packetLink struct {
	Number int
	Shown  bool // in the ladder
}

const (
	roomForAll   = 1_500_000 // bytes of drawings
	shownHurt    = 100
	shownMeasure = 100
)

// HTML writes the run as one page that loads nothing: its policy forbids all but the style
// and the script that are in it.
func (r *Run) HTML(w io.Writer) error {
	v := newView(r)
	style, script := drawingStyle+pageStyle, pageScript
	p := page{
		view:     v,
		Policy:   fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", digest(style), digest(script)),
		Style:    template.HTML("<style>" + style + "</style>"),
		Script:   template.HTML("<script>" + script + "</script>"),
		Patterns: template.HTML(patterns),
		Lanes:    template.HTML(v.lanes(Gap{0, v.Elapsed}, false)),
		Verdict:  v.verdict(),
		Good:     v.Failure == "" && len(v.Breaches) == 0,
		Hint:     hint(v.Capture),
		Packets:  many(len(v.Run.Packets), "packet"),
	}
	head, rows, shown := v.ladder()
	p.Head, p.Rows = template.HTML(head), template.HTML(rows)
	p.closeUps(roomForAll - len(p.Lanes) - len(rows))
	p.numbers()
	p.findings(shown)
	return pageTemplate.Execute(w, p)
}

// closeUps draws windows as far as there is room.
func (p *page) closeUps(room int) {
	for _, g := range p.closer(4) {
		c := closeUp{moment(g.From) + " to " + moment(g.To), template.HTML(p.lanes(g, false))}
		if room -= len(c.Lanes); room < 0 {
			return
		}
		p.Closer = append(p.Closer, c)
	}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// hint is a command that finds in the capture what was not taken.
func hint(capture string) string {
	if capture == "" {
		return ""
	}
	if strings.ContainsFunc(capture, func(r rune) bool { return !strings.ContainsRune("/._-+=:@%,", r) && !alnum(r) }) {
		capture = "'" + strings.ReplaceAll(capture, "'", `'\''`) + "'"
	}
	return "tshark -r " + capture + ` -Y 'frame.comment contains "ignored"'`
}

func alnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func (p *page) numbers() {
	list := p.silences()
	for i, s := range list {
		if i == 4 {
			p.More = len(list) - i
			break
		}
		p.Big = append(p.Big, bigNumber{millis(s.To - s.From), s.of, "from " + moment(s.From) + " to " + moment(s.To)})
	}
}

func (p *page) findings(shown map[int]bool) {
	for _, m := range p.Measures[:min(len(p.Measures), shownMeasure)] {
		p.Measured = append(p.Measured, finding{Good: m.met(), Text: m.Text, At: short(m.Got), Bounds: bounds(m), Bar: bar(m)})
	}
	for _, b := range p.Breaches[:min(len(p.Breaches), shownHurt)] {
		f := finding{Name: b.Invariant, Text: b.Text, At: seconds(b.At)}
		for _, n := range b.Packets[:min(len(b.Packets), 12)] {
			f.Packets = append(f.Packets, packetLink{n, shown[n]})
		}
		p.Hurt = append(p.Hurt, f)
	}
	p.MoreHurt = len(p.Breaches) - len(p.Hurt)
}

func bounds(m Measure) string {
	if m.Low == 0 && m.High == 0 {
		return ""
	}
	if m.Late > 0 {
		return short(m.Low) + " to " + short(m.High) + ", and " + short(m.Late) + " for the machine, on which processes had to wait"
	}
	return short(m.Low) + " to " + short(m.High)
}

// bar shows a measure on a line with its bounds.
func bar(m Measure) template.HTML {
	if bounds(m) == "" || m.High < m.Low {
		return ""
	}
	low, high := min(m.Low, m.Got), max(m.High, m.Got)
	margin := max((high-low)/4, time.Microsecond)
	s := scale{low - margin, high + margin, 4, 216}
	var b markup
	b.open("svg", "class", "range", "viewBox", "0 0 220 22", "width", 220.0, "height", 22.0, "role", "img", "aria-label", "within or without its bounds")
	b.mark("path", "", "class", "thread", "d", "M4 11H216")
	b.mark("rect", "", "class", "bounds", "x", s.x(m.Low), "y", 5.0, "width", math.Max(s.x(m.High)-s.x(m.Low), 1.5), "height", 12.0)
	class := "good"
	if !m.met() {
		class = "expiry"
	}
	b.mark("path", "", "class", class, "d", diamond(s.x(m.Got), 11))
	b.close("svg")
	return template.HTML(b.String())
}
