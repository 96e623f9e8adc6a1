package config

import (
	"cmp"
	"fmt"
	"slices"
)

// Pos is a place in a file; lines and columns count from 1, columns in characters.
type Pos struct {
	File         string
	Line, Column int
}

// String writes file:line:column.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Level is how bad a finding is.
type Level uint8

// The levels.
const (
	Error   Level = iota // the daemon would not run with this file
	Warning              // it runs, but hardly as meant: the line is ignored, altered or cut
	Notice               // it runs; something has no effect in this version
)

// String names the level.
func (l Level) String() string { return [...]string{"error", "warning", "notice"}[l] }

// Message is one finding.
type Message struct {
	Pos   Pos
	Level Level
	Text  string
}

// String writes file:line:column: level: text.
func (m Message) String() string { return fmt.Sprintf("%v: %v: %s", m.Pos, m.Level, m.Text) }

// reader collects what is found while the tree is read.
type reader struct {
	cfg      *Config
	messages []Message
}

func (r *reader) say(l Level, p Pos, format string, args ...any) {
	r.messages = append(r.messages, Message{p, l, fmt.Sprintf(format, args...)})
}

func (r *reader) sorted() []Message {
	slices.SortStableFunc(r.messages, func(a, b Message) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return slices.Compact(r.messages)
}
