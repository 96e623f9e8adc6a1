package config

import (
	"strings"
	"sync"
)

// token is a word, or a brace.
type token struct {
	text string
	pos  Pos
	bare bool // not quoted: a brace outside quotes is one
}

func (t token) is(brace string) bool { return t.bare && t.text == brace }

// statement returns the words of the next statement: a line up to its {, a } by itself,
// or what stands between braces. The line end ends it.
func (s *source) statement() ([]token, bool) {
	for {
		var l line
		if s.rest != nil {
			l, s.rest = *s.rest, nil
		} else {
			var ok bool
			if l, ok = s.next(); !ok {
				return nil, false
			}
		}
		if words := s.split(l); len(words) > 0 {
			return words, true
		}
	}
}

// split cuts a line into the words of its first statement and keeps the rest for the
// next. A quote that is not closed ends the line: as for keepalived, the words before it
// count, unless they are a command.
func (s *source) split(l line) []token {
	var words []token
	for i := 0; i < len(l.text); {
		switch c := l.text[i]; c {
		case ' ', '\t', '\r', '\f', '\v':
			i++
		case '{':
			words = append(words, token{"{", l.at(i), true})
			s.keep(l, i+1)
			return words
		case '}':
			if len(words) == 0 {
				words, i = append(words, token{"}", l.at(i), true}), i+1
			}
			s.keep(l, i)
			return words
		default:
			command := len(words) > 0 && escaped()[words[0].text]
			read := plain
			if command {
				read = word
			}
			w, end, ok := read(&l, i)
			switch {
			case !ok && command:
				s.r.say(Warning, w.pos, "the quote %s is not closed on this line; the line is ignored", w.text)
				return nil
			case !ok:
				s.r.say(Warning, w.pos, "the quote %s is not closed on this line; it and what follows are ignored", w.text)
				return words
			case !command && strings.HasPrefix(w.text, "'"):
				s.r.say(Notice, w.pos, "%s: single quotes belong to the value; only double quotes and those of commands do not", w.text)
			}
			s.examine(w)
			words, i = append(words, w), end
		}
	}
	return words
}

// escaped are the keywords behind which keepalived knows single quotes and backslashes:
// commands and patterns. Elsewhere, as in passwords, these are characters.
var escaped = sync.OnceValue(func() map[string]bool {
	of := map[string]bool{}
	for _, t := range tables() {
		for _, w := range t.rows {
			if w.kind.name == "command" || w.keyword == "regex" {
				of[w.keyword] = true
			}
		}
	}
	return of
})

// plain reads the word that begins at byte i: a stretch in double quotes, or up to the
// next blank, brace or quote.
func plain(l *line, i int) (w token, end int, ok bool) {
	text := l.text[i:]
	if text[0] != '"' {
		n := len(text)
		if at := strings.IndexAny(text, " \t\r\f\v{}\""); at >= 0 {
			n = at
		}
		return token{text[:n], l.at(i), true}, i + n, true
	}
	n := strings.IndexByte(text[1:], '"')
	if n < 0 {
		return token{text: `"`, pos: l.at(i)}, 0, false
	}
	return token{text: text[1 : 1+n], pos: l.at(i)}, i + n + 2, true
}

func (s *source) keep(l line, i int) {
	if rest := l.cut(i).trim(); rest.text != "" {
		s.rest = &rest
	}
}

// word reads the word that begins at byte i, in which quoted stretches, double or single,
// may hold blanks and glue to what they adjoin. Where a quote is not closed, ok is false
// and the token is the quote.
func word(l *line, i int) (w token, end int, ok bool) {
	w = token{pos: l.at(i), bare: true}
	start := i
	plain := true
	var b strings.Builder
	for i < len(l.text) && strings.IndexByte(" \t\r\f\v{}", l.text[i]) < 0 {
		switch c := l.text[i]; c {
		case '"', '\'':
			if plain {
				b.WriteString(l.text[start:i])
				plain = false
			}
			w.bare = false
			n, closed := quoted(&b, l.text[i:])
			if !closed {
				return token{text: string(c), pos: l.at(i)}, 0, false
			}
			i += n
		case '\\':
			if plain {
				b.WriteString(l.text[start:i])
				plain = false
			}
			if i++; i < len(l.text) {
				b.WriteByte(l.text[i])
				i++
			}
		default:
			if !plain {
				b.WriteByte(c)
			}
			i++
		}
	}
	if plain {
		w.text = l.text[start:i]
	} else {
		w.text = b.String()
	}
	return w, i, true
}

// quoted reads from an opening quote to its closing one and says how many bytes that
// was. A backslash stays, for the second splitting that commands get, except before
// the quote.
func quoted(b *strings.Builder, s string) (n int, closed bool) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return i + 1, true
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == s[0]:
			i++
		case s[i] == '\\' && i+1 < len(s):
			b.WriteByte(s[i])
			i++
		}
		b.WriteByte(s[i])
	}
	return 0, false
}

// examine tells what was pasted from a manual or a web page.
func (s *source) examine(w token) {
	if w.text[:min(1, len(w.text))] == "<" && placeholder(w.text) {
		s.r.say(Warning, w.pos, "%s is a placeholder from a manual: put your own value there", w.text)
		s.r.told[w.pos] = true
	}
	if i := strings.IndexAny(w.text, "“”‘’„"); i >= 0 {
		p := w.pos
		p.Column += len([]rune(w.text[:i]))
		s.r.say(Warning, p, "curly quote %s is not a quote to keepalived: write \" instead", string([]rune(w.text[i:])[0]))
	}
}

func placeholder(s string) bool {
	return len(s) > 2 && strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") && !strings.Contains(s, "/")
}
