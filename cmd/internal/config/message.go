package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file; lines and columns count from 1, columns in characters.
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String writes file:line:column.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Level is how bad a finding is.
type Level uint8

// The levels.
const (
	Error   Level = iota // the daemon would not run with this file
	Warning              // it runs, but hardly as meant: the line is ignored, altered or cut
	Notice               // it runs; something has no effect, or a habit is out of date
)

// String names the level.
func (l Level) String() string { return [...]string{"error", "warning", "notice"}[l] }

// MarshalText writes the name of the level.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Class sorts messages for the exit codes of keepalived -t.
type Class uint8

// The classes.
const (
	General   Class = iota
	Interface       // an interface does not exist on this machine
	Security        // scripts could be changed by others than root, or an include is missing
)

// Message is one finding.
type Message struct {
	Pos    Pos    `json:"pos"`
	Level  Level  `json:"level"`
	Class  Class  `json:"-"`
	Text   string `json:"text"`
	Source string `json:"source,omitempty"` // the line that Pos names, without its end
}

// String writes file:line:column: level: text.
func (m Message) String() string { return fmt.Sprintf("%v: %v: %s", m.Pos, m.Level, m.Text) }

// Excerpt writes the line of the message and below it a caret, both indented, with
// their line ends; "" if there is no such line.
func (m Message) Excerpt() string {
	if strings.TrimSpace(m.Source) == "" {
		return ""
	}
	line := []rune(m.Source)
	at := min(m.Pos.Column-1, len(line))
	from := max(0, at-60)
	to := min(len(line), from+120)
	var under strings.Builder
	for _, c := range line[from:at] {
		if c != '\t' {
			c = ' '
		}
		under.WriteRune(c)
	}
	return "    " + printable(line[from:to]) + "\n    " + under.String() + "^\n"
}

// printable keeps a damaged file from reaching the terminal as it is.
func printable(line []rune) string {
	return strings.Map(func(c rune) rune {
		if c != '\t' && (c < ' ' || c == 0x7f) {
			return '\uFFFD'
		}
		return c
	}, string(line))
}

// mostMessages is where a list stops to be of use.
const mostMessages = 1000

func (r *reader) say(l Level, p Pos, format string, args ...any) {
	r.sayClass(l, General, p, format, args...)
}

func (r *reader) sayClass(l Level, c Class, p Pos, format string, args ...any) {
	if len(r.messages) > mostMessages {
		return
	}
	if len(r.messages) == mostMessages {
		l, format, args = Warning, "more than %d messages: what follows is not listed", []any{mostMessages}
	}
	r.messages = append(r.messages, Message{Pos: p, Level: l, Class: c, Text: fmt.Sprintf(format, args...)})
}

// quote gives every message the line that it is about.
func (r *reader) quote() {
	lines := map[string][]string{}
	for i := range r.messages {
		m := &r.messages[i]
		name, line := m.Pos.File, m.Pos.Line
		if have := len(lines[name]); have < line {
			last := 0 // the last line that anything is said of
			for _, other := range r.messages {
				if other.Pos.File == name {
					last = max(last, other.Pos.Line)
				}
			}
			lines[name] = strings.SplitN(r.src.texts[name], "\n", last+1)
		}
		if have := lines[name]; line >= 1 && line <= len(have) {
			m.Source = strings.TrimSuffix(have[line-1], "\r")
		}
	}
}

func (r *reader) sorted() []Message {
	r.quote()
	slices.SortStableFunc(r.messages, func(a, b Message) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return slices.Compact(r.messages)
}
