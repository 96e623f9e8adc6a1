package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/ringkeep/ringkeep/netlab"
	labreport "github.com/ringkeep/ringkeep/netlab/report"
)

// playOne plays a scenario: on a terminal with a view of it, unless plain. which says
// which run of how many it is, "" if it is the only one; interrupt ends it.
func playOne(ctx context.Context, s *netlab.Scenario, o netlab.Options, which string, plain bool, interrupt func()) (*netlab.Result, error) {
	if out, ok := terminal(o.Out); !plain && ok && commands(out) {
		v := &live{out: out, which: which, interrupt: interrupt}
		defer v.close()
		o.Out, o.Columns, o.Show = &v.lines, columns(out), v.show
	}
	if which != "" {
		fmt.Fprintf(o.Out, "%s: ", which)
	}
	return netlab.Run(ctx, s, o)
}

// live is the view of a run while it plays. What the lab prints meanwhile is kept, and
// printed when the view is gone.
type live struct {
	out       *os.File
	which     string
	interrupt func()
	lines     kept
	program   *tea.Program
	gone      chan struct{} // closed when the terminal is as it was

	soFar         func() *labreport.Run
	run           *labreport.Run // as it was when it was looked at last
	width, height int
	ending        bool
}

// show begins the view.
func (v *live) show(soFar func() *labreport.Run) {
	v.soFar, v.gone = soFar, make(chan struct{})
	v.program = tea.NewProgram(v, tea.WithOutput(v.out), tea.WithoutSignalHandler(), tea.WithFPS(30))
	go func() {
		defer close(v.gone)
		v.program.Run() // what it cannot draw is printed in the end
	}()
}

// close ends the view and prints what was kept.
func (v *live) close() {
	if v.program != nil {
		v.program.Quit()
		<-v.gone
	}
	v.out.Write(v.lines.text.Bytes())
}

// lookEvery is how often the run is looked at.
const lookEvery = 200 * time.Millisecond

// looked is the run as it was at a moment.
type looked struct{ run *labreport.Run }

func (v *live) look() tea.Msg { return looked{v.soFar()} }

func (v *live) Init() tea.Cmd { return v.look }

func (v *live) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case looked:
		v.run = m.run
		return v, tea.Tick(lookEvery, func(time.Time) tea.Msg { return v.look() })
	case tea.WindowSizeMsg:
		v.width, v.height = m.Width, m.Height
	case tea.KeyPressMsg:
		if k := m.String(); k == "q" || k == "ctrl+c" {
			v.ending = true
			v.interrupt()
		}
	}
	return v, nil
}

func (v *live) View() tea.View {
	view := tea.NewView("")
	if v.run != nil && v.width > 0 && v.height > 0 {
		view.Content = strings.Join(v.screen(), "\n")
	}
	view.AltScreen = true
	return view
}

// Lines of the screen: above and below the lanes, and of the time line at least.
const (
	aroundLanes = 5
	leastTail   = 4
)

// screen is the head, the lanes, and as much of the time line's end as there is room for.
func (v *live) screen() []string {
	lanes := paint(v.run.SoFar(v.width, v.height-aroundLanes-leastTail))
	tail := v.lines.tail(v.height - aroundLanes - len(lanes))
	lines := append(v.head(), lanes...)
	lines = append(append(lines, ""), tail...)
	for len(lines) < v.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, v.foot())
	lines = lines[max(0, len(lines)-v.height):]
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, v.width, "…")
	}
	return lines
}

// head is the scenario and the time, and the statement that is carried out.
func (v *live) head() []string {
	which := v.which
	if which != "" {
		which += "   "
	}
	lines := []string{
		bar.Styled(v.justify(" "+printable(v.run.Scenario), which+fmt.Sprintf("%.1f s ", v.run.Elapsed.Seconds()))), "", "",
	}
	if n := len(v.run.Steps); n > 0 {
		s := v.run.Steps[n-1]
		lines[1] = strong.Styled(v.justify(" "+printable(s.Text), fmt.Sprintf("for %.1f s ", (v.run.Elapsed-s.At).Seconds())))
	}
	return lines
}

func (v *live) foot() string {
	if v.ending {
		return faint.Styled(" the run ends")
	}
	return faint.Styled(" q ends the run")
}

// justify puts left and right at the ends of a line.
func (v *live) justify(left, right string) string {
	left = ansi.Truncate(left, max(v.width-ansi.StringWidth(right)-1, 0), "…")
	return left + strings.Repeat(" ", max(v.width-ansi.StringWidth(left+right), 0)) + right
}

// printable is text without what a terminal would take for an order.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

var (
	bar    = ansi.NewStyle().Reverse(true)
	strong = ansi.NewStyle().Bold()
	faint  = ansi.NewStyle().Faint()
	red    = ansi.NewStyle().ForegroundColor(ansi.Red)
	shades = map[rune]ansi.Style{
		'█': ansi.NewStyle().ForegroundColor(ansi.Green), '━': ansi.NewStyle().ForegroundColor(ansi.Cyan),
		'▓': ansi.NewStyle().ForegroundColor(ansi.Yellow), '░': faint, '·': faint, '╳': red, '×': red, '∙': red, '✗': red,
	}
)

// axisLines are the first lines of the lanes.
const axisLines = 2

// paint gives the shades of the lanes a colour. The axis and the rows below a lane, which
// are indented, stand back.
func paint(lanes []string) []string {
	for i, l := range lanes {
		if i < axisLines || strings.HasPrefix(l, "  ") {
			lanes[i] = faint.Styled(l)
			continue
		}
		lanes[i] = paintLane(l)
	}
	return lanes
}

func paintLane(l string) string {
	var b strings.Builder
	var last ansi.Style
	for _, r := range l {
		if s := shades[r]; s.String() != last.String() {
			b.WriteString(ansi.ResetStyle + s.String())
			last = s
		}
		b.WriteRune(r)
	}
	return b.String() + ansi.ResetStyle
}

// kept is what was written, and can be read from its end.
type kept struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(b)
}

// tail is the last n lines.
func (k *kept) tail(n int) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	text := bytes.TrimRight(k.text.Bytes(), "\n")
	var lines []string
	for n > len(lines) && len(text) > 0 {
		at := bytes.LastIndexByte(text, '\n')
		lines = append([]string{printable(string(text[at+1:]))}, lines...)
		text = text[:max(at, 0)]
	}
	return lines
}
