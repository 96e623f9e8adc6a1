package config

import (
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	word tokenKind = iota
	open
	closing
	newline
)

type token struct {
	kind tokenKind
	text string
	pos  Pos
}

// lexer cuts text into words, braces and line ends. A word is what stands between
// blanks; quoted stretches, double or single, may hold blanks and glue to what they
// adjoin. # and ! start a comment anywhere outside quotes.
type lexer struct {
	text string
	at   int
	pos  Pos
	r    *reader
}

func lex(r *reader, name, text string) []token {
	l := &lexer{text: text, pos: Pos{name, 1, 1}, r: r}
	var list []token
	for l.at < len(l.text) {
		start := l.pos
		switch c := l.text[l.at]; c {
		case ' ', '\t', '\r':
			l.advance()
		case '\n':
			list = append(list, token{newline, "", start})
			l.advance()
		case '#', '!':
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.advance()
			}
		case '{', '}':
			kind := open
			if c == '}' {
				kind = closing
			}
			list = append(list, token{kind, string(c), start})
			l.advance()
		default:
			list = append(list, token{word, l.word(), start})
		}
	}
	return append(list, token{newline, "", l.pos})
}

// advance goes one character on.
func (l *lexer) advance() {
	r, n := utf8.DecodeRuneInString(l.text[l.at:])
	l.at += n
	l.pos.Column++
	if r == '\n' {
		l.pos.Line++
		l.pos.Column = 1
	}
}

func (l *lexer) word() string {
	var b strings.Builder
	for l.at < len(l.text) && !strings.ContainsRune(" \t\r\n#!{}", rune(l.text[l.at])) {
		switch c := l.text[l.at]; c {
		case '"', '\'':
			l.quoted(&b, c)
		case '\\':
			l.escape(&b)
		default:
			l.copy(&b)
		}
	}
	return b.String()
}

func (l *lexer) copy(b *strings.Builder) {
	from := l.at
	l.advance()
	b.WriteString(l.text[from:l.at])
}

// escape takes the next character as it is, outside quotes.
func (l *lexer) escape(b *strings.Builder) {
	l.advance()
	if l.at < len(l.text) && l.text[l.at] != '\n' {
		l.copy(b)
	}
}

// quoted reads up to the closing quote. A backslash stays, for the second splitting
// that commands get, except before a quote.
func (l *lexer) quoted(b *strings.Builder, quote byte) {
	start := l.pos
	l.advance()
	for l.at < len(l.text) && l.text[l.at] != quote {
		if l.text[l.at] == '\n' {
			break
		}
		if l.text[l.at] == '\\' && l.at+1 < len(l.text) && l.text[l.at+1] == quote {
			l.advance()
		}
		l.copy(b)
	}
	if l.at >= len(l.text) || l.text[l.at] != quote {
		l.r.say(Error, start, "quote %c is not closed on this line", quote)
		return
	}
	l.advance()
}
