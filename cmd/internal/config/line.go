package config

import (
	"strings"
	"unicode/utf8"
)

// line is a line of the configuration. Where an expansion has put text into it, its
// characters keep the place of what was expanded.
type line struct {
	pos   Pos // of text[0]
	text  string
	cols  []int // the column of each byte; nil: they count up from pos
	vars  *binding
	depth int // of expansions and repetitions around it
}

// binding is a variable of a ~SEQ or ~LST around a line.
type binding struct {
	name, value string
	next        *binding
}

func (b *binding) find(name string) (string, bool) {
	for ; b != nil; b = b.next {
		if b.name == name {
			return b.value, true
		}
	}
	return "", false
}

// at is where byte i of the line stands in the file.
func (l *line) at(i int) Pos {
	p := l.pos
	switch {
	case l.cols == nil:
		p.Column += utf8.RuneCountInString(l.text[:i])
	case i < len(l.cols):
		p.Column = l.cols[i]
	case len(l.cols) > 0:
		p.Column = l.cols[len(l.cols)-1]
	}
	return p
}

// cut returns the line from byte i on.
func (l line) cut(i int) line {
	l.pos = l.at(i)
	l.text = l.text[i:]
	if l.cols != nil {
		l.cols = l.cols[min(i, len(l.cols)):]
	}
	return l
}

// trim cuts blanks at both ends.
func (l line) trim() line {
	l = l.cut(len(l.text) - len(strings.TrimLeft(l.text, " \t\r\f\v")))
	l.text = strings.TrimRight(l.text, " \t\r\f\v")
	return l
}

// withoutComment ends the line at # or ! outside double quotes, unless a backslash
// stands before it.
func (l line) withoutComment() line {
	if !strings.ContainsAny(l.text, "#!") {
		return l
	}
	quoted := false
	for i := 0; i < len(l.text); i++ {
		switch l.text[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '#', '!':
			if !quoted {
				l.text = l.text[:i]
				return l
			}
		}
	}
	return l
}

// expanded builds a line whose parts come from elsewhere.
type expanded struct {
	text strings.Builder
	cols []int
}

// copy appends bytes i to j of a line, with their places.
func (e *expanded) copy(l *line, i, j int) {
	p := l.at(i)
	for k := i; k < j; k++ {
		if l.cols != nil {
			p.Column = l.at(k).Column
		} else if k > i && utf8.RuneStart(l.text[k]) {
			p.Column++
		}
		e.cols = append(e.cols, p.Column)
	}
	e.text.WriteString(l.text[i:j])
}

// put appends text that stands for what is at p.
func (e *expanded) put(text string, p Pos) {
	e.text.WriteString(text)
	for range len(text) {
		e.cols = append(e.cols, p.Column)
	}
}

func (e *expanded) line(from line) line {
	from.text, from.cols = e.text.String(), e.cols
	if len(e.cols) > 0 {
		from.pos.Column = e.cols[0]
	}
	return from
}
