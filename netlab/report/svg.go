package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The width of a character of the drawings' font, which is of fixed width so that one
// can tell what fits.
const (
	charWidth  = 6.65 // at 11 px
	smallWidth = 6.05 // at 10 px: class "s"
)

// markup is SVG in the making. Every value is escaped.
type markup struct{ bytes.Buffer }

// open writes a start tag; attrs are names and values in turn.
func (m *markup) open(name string, attrs ...any) {
	m.start(name, attrs)
	m.WriteString(">\n")
}

func (m *markup) close(name string) { m.WriteString("</" + name + ">\n") }

// mark writes an element; title, if there is one, shows when the pointer rests on it.
func (m *markup) mark(name, title string, attrs ...any) {
	m.start(name, attrs)
	if title == "" {
		m.WriteString("/>\n")
		return
	}
	m.WriteString(">")
	m.title(title)
	m.WriteString("</" + name + ">\n")
}

// text writes s; class e ends it at x, m centres it there.
func (m *markup) text(x, y float64, class, s string) {
	m.titled(x, y, class, s, "")
}

func (m *markup) titled(x, y float64, class, s, title string) {
	if s == "" {
		return
	}
	m.start("text", []any{"class", class, "x", x, "y", y})
	m.WriteString(">")
	m.escape(s)
	if title != "" {
		m.title(title)
	}
	m.WriteString("</text>\n")
}

func (m *markup) title(s string) {
	m.WriteString("<title>")
	m.escape(clip(s, 160))
	m.WriteString("</title>")
}

func (m *markup) start(name string, attrs []any) {
	m.WriteString("<" + name)
	for i := 0; i+1 < len(attrs); i += 2 {
		fmt.Fprintf(m, ` %s="`, attrs[i])
		switch v := attrs[i+1].(type) {
		case float64:
			m.WriteString(px(v))
		default:
			m.escape(fmt.Sprint(v))
		}
		m.WriteString(`"`)
	}
}

func (m *markup) escape(s string) {
	_ = xml.EscapeText(m, []byte(s)) // a buffer takes everything
}

func px(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// path is the text of an SVG path: letters and numbers.
func path(parts ...any) string {
	var b strings.Builder
	for i, p := range parts {
		if f, ok := p.(float64); ok {
			if _, after := parts[i-1].(float64); after {
				b.WriteByte(' ')
			}
			b.WriteString(px(f))
		} else {
			fmt.Fprint(&b, p)
		}
	}
	return b.String()
}

// span is room on a line.
type span struct{ from, to float64 }

// shelves are lines that labels are put on without touching one another.
type shelves [][]span

func (s shelves) free(row int, want span) bool {
	return !slices.ContainsFunc(s[row], func(o span) bool { return want.from < o.to && o.from < want.to })
}

// put takes the first line that is free at want, -1 if there is none.
func (s shelves) put(want span) int {
	for row := range s {
		if s.free(row, want) {
			s[row] = append(s[row], want)
			return row
		}
	}
	return -1
}

// hang takes the first line that is free at want, and below which a thread down at x
// crosses nothing.
func (s shelves) hang(want span, x float64) int {
	thread := span{x - 2, x + 2}
	for row := range s {
		ok := s.free(row, want)
		for below := row + 1; below < len(s); below++ {
			ok = ok && s.free(below, thread)
		}
		if ok {
			s[row] = append(s[row], want)
			for below := row + 1; below < len(s); below++ {
				s[below] = append(s[below], thread)
			}
			return row
		}
	}
	return -1
}

// fitting is the first of labels that fits into width at a character's width.
func fitting(width, char float64, labels ...string) string {
	for _, l := range labels {
		if float64(cells(l))*char <= width {
			return l
		}
	}
	return ""
}
