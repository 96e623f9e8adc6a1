package config

import "strings"

// stmt is a statement: its words, and the block behind it if there is one.
type stmt struct {
	words  []token
	block  []stmt
	braced bool // has a block, maybe an empty one
}

func (s *stmt) keyword() string { return s.words[0].text }
func (s *stmt) pos() Pos        { return s.words[0].pos }

// arg returns word i behind the keyword, "" if there is none.
func (s *stmt) arg(i int) string {
	if i+1 < len(s.words) {
		return s.words[i+1].text
	}
	return ""
}

// argPos is where word i behind the keyword stands, or the keyword itself.
func (s *stmt) argPos(i int) Pos {
	if i+1 < len(s.words) {
		return s.words[i+1].pos
	}
	return s.pos()
}

type treeReader struct {
	r      *reader
	tokens []token
	at     int
}

// parse makes a tree of tokens. Every brace that is out of place is told.
func parse(r *reader, tokens []token) []stmt {
	t := &treeReader{r: r, tokens: tokens}
	var list []stmt
	for t.at < len(t.tokens) {
		list = append(list, t.block()...)
		if t.at < len(t.tokens) { // a brace that closes nothing
			r.say(Error, t.tokens[t.at].pos, "extra } closes no block")
			t.at++
		}
	}
	return list
}

// block reads statements up to a closing brace, which it leaves, or to the end.
func (t *treeReader) block() []stmt {
	var list []stmt
	var words []token
	end := func() {
		if len(words) > 0 {
			list = append(list, stmt{words: words})
			words = nil
		}
	}
	for ; t.at < len(t.tokens); t.at++ {
		switch tok := t.tokens[t.at]; tok.kind {
		case word:
			t.examine(tok)
			words = append(words, tok)
		case newline:
			end()
		case closing:
			end()
			return list
		case open:
			end()
			t.at++
			body := t.block()
			if t.at >= len(t.tokens) {
				t.r.say(Error, tok.pos, "{ is not closed by the end of the file")
			}
			// The brace may stand on a line below its keyword.
			if len(list) == 0 || list[len(list)-1].braced {
				t.r.say(Error, tok.pos, "{ has no keyword in front of it")
				continue
			}
			list[len(list)-1].block, list[len(list)-1].braced = body, true
		}
	}
	end()
	return list
}

// examine tells what was pasted from a manual or a web page.
func (t *treeReader) examine(tok token) {
	if i := strings.IndexAny(tok.text, "“”‘’„"); i >= 0 {
		p := tok.pos
		p.Column += len([]rune(tok.text[:i]))
		t.r.say(Warning, p, "curly quote %s is not a quote to keepalived: write \" instead", string([]rune(tok.text[i:])[0]))
	}
	if placeholder(tok.text) {
		t.r.say(Warning, tok.pos, "%s is a placeholder from a manual: put your own value there", tok.text)
	}
}

func placeholder(s string) bool {
	return len(s) > 2 && strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") && !strings.Contains(s, "/")
}
