package config

import (
	"os"
	"path/filepath"
	"strings"
)

const (
	longestLine   = 1023   // keepalived's buffer, in bytes
	mostLines     = 500000 // after repetition
	deepestNest   = 64     // of includes, and of expansions within each other
	longestExpand = 1 << 16
)

// source hands out the lines of a file and of those that it includes, in order, with
// definitions, conditions and repetitions resolved.
type source struct {
	r       *reader
	files   []*file
	pending []line // to be read before the file goes on, last first
	rest    *line  // what follows a brace on the same line
	defined map[string]definition
	texts   map[string]string // of every file, for messages
	count   int
	check   IncludeCheck
}

type file struct {
	name, dir string
	text      string // what is still to be read
	line      int    // that was read last
}

// definition is the value of $NAME: one line, or several.
type definition struct{ lines []line }

func (s *source) open(name, dir, text string) {
	s.files = append(s.files, &file{name: name, dir: dir, text: text})
	s.texts[name] = text
}

// raw returns the next line as it stands in the file.
func (s *source) raw() (line, bool) {
	for len(s.files) > 0 {
		f := s.files[len(s.files)-1]
		if f.text != "" {
			var text string
			text, f.text, _ = strings.Cut(f.text, "\n")
			f.line++
			return line{pos: Pos{f.name, f.line, 1}, text: strings.TrimSuffix(text, "\r")}, true
		}
		if len(s.files) == 1 {
			return line{}, false
		}
		s.files = s.files[:len(s.files)-1]
	}
	return line{}, false
}

// next returns the next line that is neither empty nor one of the language's own.
func (s *source) next() (line, bool) {
	for {
		var l line
		if n := len(s.pending); n > 0 {
			l, s.pending = s.pending[n-1], s.pending[:n-1]
		} else {
			var ok bool
			if l, ok = s.raw(); !ok {
				return line{}, false
			}
		}
		most := s.r.options.lines
		if s.count++; s.count == most {
			s.r.say(Warning, l.pos, "more than %d lines after repetition: what follows is not read", most)
		}
		if s.count >= most {
			return line{}, false
		}
		if l, ok := s.process(l); ok {
			return l, true
		}
	}
}

// process resolves one line; ok is false where nothing of it is left.
func (s *source) process(l line) (line, bool) {
	l = l.withoutComment().trim()
	l, ok := s.condition(l)
	if !ok || l.text == "" || s.define(l) {
		return l, false
	}
	if l.text[0] == '~' && l.depth < deepestNest {
		if known := s.repeat(l); known {
			return l, false
		}
	}
	if strings.HasPrefix(l.text, "include") && s.include(l) {
		return l, false
	}
	l = s.join(l)
	if l, ok = s.expand(l); !ok {
		return l, false
	}
	if len(l.text) > longestLine {
		s.r.say(Warning, l.pos, "the line has %d bytes; keepalived takes %d: it is ignored", len(l.text), longestLine)
		return l, false
	}
	return l, l.text != ""
}

// ours begins the lines that keepalived skips and that are for this program.
const ours = "@ringkeep"

// condition drops a line behind an @ID that is not ours, and the ID of one that is. Lines
// behind @ringkeep are always ours: keepalived skips them.
func (s *source) condition(l line) (line, bool) {
	for strings.HasPrefix(l.text, "@") {
		word, _, _ := strings.Cut(strings.ReplaceAll(l.text[1:], "\t", " "), " ")
		name, not := strings.CutPrefix(word, "^")
		if mine := name == s.r.options.ConfigID || name == ours[1:]; mine == not {
			return l, false
		}
		if name == ours[1:] {
			s.r.hidden[Pos{l.pos.File, l.pos.Line, 0}] = true
		}
		l = l.cut(1 + len(word)).trim()
	}
	return l, true
}

// join adds the line below to one that ends in a backslash.
func (s *source) join(l line) line {
	for strings.HasSuffix(l.text, "\\") && !strings.HasSuffix(l.text, "\\\\") {
		below, ok := s.raw()
		if !ok {
			break
		}
		s.r.say(Warning, l.at(len(l.text)-1), "the line goes on below; keepalived joins lines in definitions only")
		below = below.withoutComment().trim()
		var e expanded
		e.copy(&l, 0, len(l.text)-1)
		e.put(" "+below.text, l.at(len(l.text)-1))
		l = e.line(l)
	}
	return l
}

// include opens the files that an include line names. It tells whether it is one.
func (s *source) include(l line) bool {
	word, pattern, _ := strings.Cut(strings.ReplaceAll(l.text, "\t", " "), " ")
	check, ok := includeWords[word]
	if pattern = strings.Trim(strings.TrimSpace(pattern), `"`); !ok || pattern == "" {
		return false
	}
	p := l.at(strings.LastIndex(l.text, pattern))
	if word == "include" {
		check = s.check
	}
	if len(s.files) >= deepestNest {
		s.r.say(Warning, p, "%s: includes are nested more than %d deep (in a circle?); it is ignored", pattern, deepestNest)
		return true
	}
	dir := s.files[len(s.files)-1].dir
	var paths []string
	for _, part := range braces(pattern) {
		if !filepath.IsAbs(part) {
			part = filepath.Join(dir, part)
		}
		found, _ := s.r.options.glob(part)
		if len(found) == 0 && check.Braces && part != pattern {
			s.r.sayClass(Warning, Security, p, "%s: no file matches %s", word, part)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		s.missing(p, word, pattern, check)
	}
	for i := len(paths) - 1; i >= 0; i-- { // the last opened is read first
		s.openIncluded(p, word, paths[i], check)
	}
	return true
}

func (s *source) missing(p Pos, word, pattern string, check IncludeCheck) {
	wild := strings.ContainsAny(pattern, "*?[{")
	if check.WildcardMatch || check.Match && !wild {
		s.r.sayClass(Warning, Security, p, "%s %s: no such file", word, pattern)
		return
	}
	s.r.say(Notice, p, "%s %s: no such file; nothing is included", word, pattern)
}

func (s *source) openIncluded(p Pos, word, path string, check IncludeCheck) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		s.r.say(Warning, p, "%s: not a regular file; it is not included", path)
		return
	case err == nil && info.Mode()&0o111 != 0:
		s.r.say(Warning, p, "%s: is executable, which keepalived takes for no configuration; it is not included", path)
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		level := Notice
		if check.Read {
			level = Warning
		}
		s.r.sayClass(level, Security, p, "%s: %v", word, err)
		return
	}
	s.open(path, filepath.Dir(path), string(text))
}

// braces writes out the alternatives in a{b,c}d, nested ones too.
func braces(s string) []string {
	from := strings.IndexByte(s, '{')
	if from < 0 {
		return []string{s}
	}
	depth, start := 0, from+1
	var parts []string
	for i := from; i < len(s); i++ {
		switch {
		case s[i] == '{':
			depth++
		case s[i] == ',' && depth == 1:
			parts, start = append(parts, s[start:i]), i+1
		case s[i] == '}':
			if depth--; depth > 0 {
				continue
			}
			var list []string
			for _, part := range append(parts, s[start:i]) {
				for _, one := range braces(part + s[i+1:]) {
					if list = append(list, s[:from]+one); len(list) > 1000 {
						return list
					}
				}
			}
			return list
		}
	}
	return []string{s}
}
