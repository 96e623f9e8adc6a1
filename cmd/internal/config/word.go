package config

import "strings"

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
// next. Quoted stretches, double or single, may hold blanks and glue to what they adjoin.
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
			w, end, ok := word(&l, i)
			if !ok {
				s.r.say(Warning, w.pos, "the quote %s is not closed on this line; the line is ignored", w.text)
				return nil
			}
			s.examine(w)
			words, i = append(words, w), end
		}
	}
	return words
}

func (s *source) keep(l line, i int) {
	if rest := l.cut(i).trim(); rest.text != "" {
		s.rest = &rest
	}
}

// word reads the word that begins at byte i. Where a quote is not closed, ok is false
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
