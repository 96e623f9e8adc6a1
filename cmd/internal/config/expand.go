package config

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var definitionLine = regexp.MustCompile(`^\$([A-Za-z_][A-Za-z0-9_]*)=`)

// define reads $NAME=value, which goes on below a line that ends in a backslash. It
// tells whether the line is one.
func (s *source) define(l line) bool {
	if l.text == "" || l.text[0] != '$' {
		return false
	}
	m := definitionLine.FindStringSubmatch(l.text)
	if m == nil {
		return false
	}
	part := l.cut(len(m[0]))
	var d definition
	for {
		goesOn := strings.HasSuffix(part.text, "\\")
		part.text = strings.TrimSuffix(part.text, "\\")
		d.lines = append(d.lines, part.trim())
		if !goesOn {
			break
		}
		var ok bool
		if part, ok = s.raw(); !ok {
			break
		}
		part = part.withoutComment().trim()
	}
	s.defined[m[1]] = d
	return true
}

// parameter is what stands at text[i] == '$': its name, and where it ends. The bare
// form must end the word.
func parameter(text string, i int) (name string, end int) {
	if i+1 < len(text) && text[i+1] == '{' {
		if n := strings.IndexByte(text[i:], '}'); n > 2 {
			return text[i+2 : i+n], i + n + 1
		}
		return "", i + 1
	}
	end = i + 1
	for end < len(text) && (text[end] == '_' || text[end] >= '0' && text[end] <= '9' || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z') {
		end++
	}
	if end < len(text) && !strings.ContainsRune(" \t,)", rune(text[end])) {
		return "", i + 1
	}
	return text[i+1 : end], end
}

// expand replaces parameters. A parameter of several lines must end its line; the
// lines are then read one after the other.
func (s *source) expand(l line) (line, bool) {
	for l.depth <= deepestNest {
		i := strings.IndexByte(l.text, '$')
		if i < 0 {
			return l, true
		}
		next, lines, changed := s.substitute(l)
		if !changed {
			return l, true
		}
		if len(next.text) > longestExpand {
			s.r.say(Warning, l.pos, "the parameters of this line are longer than %d bytes; it is ignored", longestExpand)
			return l, false
		}
		if len(lines) > 0 {
			s.push(append([]line{next}, lines...))
			return l, false
		}
		l = next
		l.depth++
	}
	s.r.say(Warning, l.pos, "parameters of this line name each other in a circle; it is ignored")
	return l, false
}

// substitute replaces each known parameter once. lines is what a parameter of
// several lines puts below.
func (s *source) substitute(l line) (next line, lines []line, changed bool) {
	var e expanded
	last := 0
	for i := 0; i < len(l.text); i++ {
		if l.text[i] != '$' || len(lines) > 0 {
			continue
		}
		name, end := parameter(l.text, i)
		d, ok := s.value(l, name)
		if !ok {
			continue
		}
		p := l.at(i)
		e.copy(&l, last, i)
		e.put(d.lines[0].text, p)
		for _, below := range d.lines[1:] {
			var one expanded
			one.put(below.text, p)
			b := one.line(line{pos: p, vars: l.vars, depth: l.depth + 1})
			b.pos = p
			lines = append(lines, b)
		}
		changed = true
		last, i = end, end-1
	}
	if !changed {
		return l, nil, false
	}
	e.copy(&l, last, len(l.text))
	next = e.line(l)
	next.depth = l.depth + 1
	return next, lines, true
}

// value looks a parameter up: loop variables first, then definitions, then what
// keepalived predefines.
func (s *source) value(l line, name string) (definition, bool) {
	one := func(text string) (definition, bool) { return definition{[]line{{text: text}}}, true }
	if v, ok := l.vars.find(name); ok {
		return one(v)
	}
	if d, ok := s.defined[name]; ok {
		return d, true
	}
	word, rest, _ := strings.Cut(name, " ")
	switch word {
	case "_PWD":
		if dir, err := filepath.Abs(s.files[len(s.files)-1].dir); err == nil {
			return one(dir)
		}
	case "_INSTANCE":
		return one(s.r.options.ConfigID)
	case "_HASH":
		return one("#")
	case "_BANG":
		return one("!")
	case "_ENV":
		return one(os.Getenv(strings.TrimSpace(rest)))
	case "_RANDOM":
		lo, hi := 0, 32767
		fmt.Sscan(rest, &lo, &hi)
		if lo >= 0 && hi >= lo {
			return one(strconv.Itoa(lo + s.random().IntN(hi-lo+1)))
		}
	}
	return definition{}, false
}

func (s *source) random() *rand.Rand {
	if s.r.random == nil {
		seed := uint64(s.r.cfg.Global.RandomSeed)
		if seed == 0 {
			seed = rand.Uint64()
		}
		s.r.random = rand.New(rand.NewPCG(seed, 0))
	}
	return s.r.random
}

// push puts lines before what is read next.
func (s *source) push(lines []line) {
	for i := len(lines) - 1; i >= 0; i-- {
		s.pending = append(s.pending, lines[i])
	}
}

var repetition = regexp.MustCompile(`^~(SEQx?|LST)\s*\(`)

// repeat reads ~SEQ(...) and ~LST(...) and puts the rest of the line once for each
// value before what is read next. It tells whether the line is one.
func (s *source) repeat(l line) bool {
	m := repetition.FindStringSubmatch(l.text)
	if m == nil {
		return false
	}
	end := strings.IndexByte(l.text, ')')
	if end < 0 {
		s.r.say(Warning, l.pos, "~%s: ) is missing; the line is ignored", m[1])
		return true
	}
	inner, ok := s.expand(line{pos: l.at(len(m[0])), text: l.text[len(m[0]):end], vars: l.vars})
	if !ok {
		return true
	}
	rest := l.cut(end + 1).trim()
	rest.depth++
	var lines []line
	var err error
	if m[1] == "LST" {
		lines, err = overList(rest, inner.text)
	} else {
		lines, err = overSequence(rest, inner.text, m[1] == "SEQx")
	}
	if err != nil {
		s.r.say(Warning, l.pos, "~%s(%s): %v; the line is ignored", m[1], inner.text, err)
		return true
	}
	s.push(lines)
	return true
}

const mostTurns = 100000

// overSequence counts from start by step to end, both included.
func overSequence(rest line, spec string, hex bool) ([]line, error) {
	parts := strings.Split(spec, ",")
	name := strings.TrimSpace(parts[0])
	var n []int
	for _, p := range parts[1:] {
		v, err := strconv.ParseInt(strings.TrimSpace(p), 0, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: must be a number", strings.TrimSpace(p))
		}
		n = append(n, int(v))
	}
	start, step, end := 1, 1, 0
	switch len(n) {
	case 1:
		if end = n[0]; end < 0 {
			start, step = -1, -1
		}
	case 2:
		if start, end = n[0], n[1]; end < start {
			step = -1
		}
	case 3:
		start, step, end = n[0], n[1], n[2]
	default:
		return nil, fmt.Errorf("must be (variable, end), (variable, start, end) or (variable, start, step, end)")
	}
	if step == 0 || (end-start)*step < 0 {
		return nil, fmt.Errorf("the steps do not lead from %d to %d", start, end)
	}
	if hex && (start < 0 || end < 0) {
		return nil, fmt.Errorf("hexadecimal values cannot be negative")
	}
	if (end-start)/step >= mostTurns {
		return nil, fmt.Errorf("%d turns are too many", (end-start)/step+1)
	}
	var lines []line
	for v := start; (end-v)*step >= 0; v += step {
		text := strconv.Itoa(v)
		if hex {
			text = strconv.FormatInt(int64(v), 16)
		}
		l := rest
		l.vars = &binding{name, text, rest.vars}
		lines = append(lines, l)
	}
	return lines, nil
}

// overList goes over values, or over tuples in braces.
func overList(rest line, spec string) ([]line, error) {
	items := tuples(spec)
	if len(items) < 2 {
		return nil, fmt.Errorf("must be (variable, value, ...) or ({variables}, {values}, ...)")
	}
	names := items[0]
	var lines []line
	for _, values := range items[1:] {
		if len(values) > len(names) {
			return nil, fmt.Errorf("%d values for %d variables", len(values), len(names))
		}
		l := rest
		for i, name := range names {
			value := ""
			if i < len(values) {
				value = values[i]
			}
			l.vars = &binding{name, value, l.vars}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// tuples splits a, {b, c} into [a] [b c].
func tuples(s string) [][]string {
	var list [][]string
	for s != "" {
		var part string
		if t := strings.TrimSpace(s); strings.HasPrefix(t, "{") {
			part, s, _ = strings.Cut(t[1:], "}")
			_, s, _ = strings.Cut(s, ",")
		} else {
			part, s, _ = strings.Cut(s, ",")
			list = append(list, []string{strings.TrimSpace(part)})
			continue
		}
		var tuple []string
		for _, v := range strings.Split(part, ",") {
			tuple = append(tuple, strings.TrimSpace(v))
		}
		list = append(list, tuple)
	}
	return list
}
