package config

import (
	"fmt"
	"strings"
)

// Explain says what each keyword of a line does, what it is set to, and what its
// default would be: one paragraph a keyword. The line counts from 1 in the named file.
func Explain(name string, text []byte, line int, o Options) ([]string, error) {
	if n := strings.Count(strings.TrimSuffix(string(text), "\n"), "\n") + 1; line < 1 || line > n {
		return nil, fmt.Errorf("%s has no line %d, it has %d", name, line, n)
	}
	o.Explain = line
	r := read(name, text, o)
	var list []string
	for _, s := range r.record {
		if s.at.File == name && s.at.Line == line {
			list = append(list, s.explain())
		}
	}
	for _, m := range r.sorted() {
		if m.Pos.File == name && m.Pos.Line == line {
			list = append(list, m.Level.String()+": "+m.Text)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s:%d: holds no keyword", name, line)
	}
	return list, nil
}

func (s *setting) explain() string {
	w := s.row
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", w.keyword, strings.TrimPrefix(w.arguments, "-"))
	fmt.Fprintf(&b, "    %s.\n", w.meaning)
	if t := w.kind.text(); t != "" {
		fmt.Fprintf(&b, "    Range: %s.\n", t)
	}
	if w.kind.name == "block" {
		fmt.Fprintf(&b, "    Here: %s.", w.statusText())
		return b.String()
	}
	if f := w.field(s.value); f.IsValid() {
		if words, ok := w.kind.words(f); ok {
			fmt.Fprintf(&b, "    In effect in %s: %s\n", s.block, strings.Join(append([]string{w.keyword}, words...), " "))
		}
	}
	fmt.Fprintf(&b, "    Default: %s.\n", w.defaultText())
	fmt.Fprintf(&b, "    Here: %s.", w.statusText())
	return b.String()
}

// defaultText writes the default of a keyword for people.
func (w *row) defaultText() string {
	switch f := w.fallback; {
	case f == "" || f == "-":
		return "none"
	case f == "global":
		return "what global_defs says"
	case f == "^":
		return "what the block around says"
	case f[0] == '^':
		return "what the block around says, else " + f[2:]
	case f[0] == '(':
		return strings.Trim(f, "()")
	default:
		return f
	}
}

// statusText says for people what this version does with a keyword.
func (w *row) statusText() string {
	note := ""
	if w.note != "" {
		note = ": " + w.note
	}
	switch w.status {
	case done:
		return "done" + note
	case later:
		return "read and checked, without effect so far" + note
	case alias:
		return "another spelling of " + w.kind.target
	}
	return string(w.status) + note
}
