package checks

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// matchTime bounds one search: an expression may take for ever on the wrong text.
const matchTime = time.Second

// Regex is a regular expression in Perl's language that the answer of a web server must
// match somewhere, or nowhere.
type Regex struct {
	re       *regexp2.Regexp
	pattern  string
	no       bool
	utf      bool
	first    bool // firstline
	min, max int  // bytes; a max of 0 is none
}

// RegexOptions are the words beside a regex of HTTP_GET.
type RegexOptions struct {
	Words                []string // of regex_options, with the names of PCRE2; unknown ones say nothing
	NoMatch              bool     // regex_no_match
	MinOffset, MaxOffset int      // where a match must begin, in bytes of the answer with its head; a MaxOffset of 0 is none
}

// NewRegex compiles an expression. What PCRE knows and this matcher does not (recursion,
// possessive quantifiers, \K ...) is an error.
func NewRegex(pattern string, o RegexOptions) (*Regex, error) {
	has := func(word string) bool { return slices.Contains(o.Words, word) }
	r := &Regex{pattern: pattern, no: o.NoMatch, utf: has("utf"), first: has("firstline"), min: o.MinOffset, max: o.MaxOffset}
	options := regexp2.RegexOptions(regexp2.RE2) // \d, \s and \w mean ASCII, and [:alpha:] is known
	for word, option := range map[string]regexp2.RegexOptions{
		"caseless": regexp2.IgnoreCase, "dotall": regexp2.Singleline, "multiline": regexp2.Multiline,
		"extended": regexp2.IgnorePatternWhitespace, "no_auto_capture": regexp2.ExplicitCapture,
	} {
		if has(word) {
			options |= option
		}
	}
	t := translator{pattern: r.runes([]byte(pattern)), bytes: !r.utf, lazy: has("ungreedy"), dollar: "$"}
	if !has("multiline") {
		if t.dollar = `(?=\n?\z)`; has("dollar_endonly") {
			t.dollar = `\z`
		}
	}
	var err error
	if r.re, err = regexp2.Compile(t.translate(), options); err != nil {
		return nil, fmt.Errorf("regex %q: %w", pattern, err)
	}
	r.re.MatchTimeout = matchTime
	return r, nil
}

// high is where bytes beyond ASCII go without utf: a private character each, which is no
// letter and has no case, as they are for PCRE.
const high = 0xf700

// runes are the characters that the matcher sees: those of UTF-8, or one for each byte.
func (r *Regex) runes(b []byte) []rune {
	if r.utf {
		return []rune(string(b))
	}
	list := make([]rune, len(b))
	for i, c := range b {
		if list[i] = rune(c); c >= utf8.RuneSelf {
			list[i] += high
		}
	}
	return list
}

// judge searches an answer.
func (r *Regex) judge(text []byte) error {
	found, err := r.find(text)
	switch {
	case err != nil:
		return fmt.Errorf("regex %q: no result in %s", r.pattern, matchTime)
	case found && r.no:
		return fmt.Errorf("answer matches regex %q and must not", r.pattern)
	case !found && !r.no:
		return fmt.Errorf("answer does not match regex %q", r.pattern)
	}
	return nil
}

func (r *Regex) find(text []byte) (bool, error) {
	if r.min > len(text) {
		return false, nil
	}
	last := len(text) // where a match may begin
	if r.max > 0 {
		last = min(last, r.max)
	}
	if line := bytes.IndexByte(text, '\n'); r.first && line >= 0 {
		last = min(last, line)
	}
	m, err := r.re.FindRunesMatchStartingAt(r.runes(text), len(r.runes(text[:r.min])))
	if err != nil || m == nil {
		return false, err
	}
	return m.Index <= len(r.runes(text[:last])), nil
}

// translator writes a pattern of PCRE in the words of the matcher.
type translator struct {
	pattern []rune
	at      int
	bytes   bool   // the text is of bytes
	lazy    bool   // a quantifier without ? is lazy, one with it greedy
	dollar  string // what $ stands for
	out     strings.Builder
}

func (t *translator) translate() string {
	for t.at < len(t.pattern) {
		switch c := t.pattern[t.at]; {
		case c == '\\':
			t.escape(false)
		case c == '[':
			t.class()
		case c == '(' && t.at+1 < len(t.pattern) && t.pattern[t.at+1] == '?':
			t.group()
		case c == '$':
			t.out.WriteString(t.dollar)
			t.at++
		case strings.ContainsRune("*+?{", c):
			t.quantifier()
		default:
			t.out.WriteRune(c)
			t.at++
		}
	}
	return t.out.String()
}

// escape writes \ and what follows it.
func (t *translator) escape(inClass bool) {
	next := rune(0)
	if t.at++; t.at < len(t.pattern) {
		next = t.pattern[t.at]
		t.at++
	}
	switch {
	case next == 'h' && inClass:
		t.out.WriteString(` \t`)
	case next == 'h':
		t.out.WriteString(`[ \t]`)
	case next == 'R' && !inClass:
		t.out.WriteString(`(?>\r\n|[\n\v\f\r])`)
	case next == 'N' && !inClass:
		t.out.WriteString(`[^\n]`)
	case next == 'Q':
		t.literal()
	case next == 'x' && t.bytes && t.byte():
	case next == 'E':
	case next == 0:
		t.out.WriteRune('\\')
	default:
		t.out.WriteRune('\\')
		t.out.WriteRune(next)
	}
}

// group writes the beginning of a group, (?P=name) in the other spelling.
func (t *translator) group() {
	if name, _, ok := strings.Cut(string(t.pattern[t.at:min(len(t.pattern), t.at+64)]), ")"); ok && strings.HasPrefix(name, "(?P=") {
		t.out.WriteString(`\k<` + name[4:] + ">")
		t.at += utf8.RuneCountInString(name) + 1
		return
	}
	t.out.WriteString("(?")
	t.at += 2
}

// byte writes what follows \x, if it is a byte beyond ASCII.
func (t *translator) byte() bool {
	digits, n := string(t.pattern[t.at:min(len(t.pattern), t.at+2)]), 2
	if inner, _, ok := strings.Cut(string(t.pattern[t.at:min(len(t.pattern), t.at+8)]), "}"); ok && strings.HasPrefix(inner, "{") {
		digits, n = inner[1:], len(inner)+1
	}
	v, err := strconv.ParseUint(digits, 16, 8)
	if err != nil || v < utf8.RuneSelf {
		return false
	}
	t.out.WriteRune(rune(v) + high)
	t.at += n
	return true
}

// literal writes what stands between \Q and \E.
func (t *translator) literal() {
	rest := string(t.pattern[t.at:])
	text, _, closed := strings.Cut(rest, `\E`)
	t.out.WriteString(regexp2.Escape(text))
	if t.at += utf8.RuneCountInString(text); closed {
		t.at += 2
	}
}

// class writes what stands in brackets.
func (t *translator) class() {
	start := t.at
	for t.at < len(t.pattern) {
		c := t.pattern[t.at]
		first := t.at == start+1 || t.at == start+2 && t.pattern[start+1] == '^'
		switch {
		case c == '\\':
			t.escape(true)
			continue
		case c == ']' && first && t.at > start:
			t.out.WriteString(`\]`)
			t.at++
			continue
		case c == '[' && t.at > start:
			if name, _, ok := strings.Cut(string(t.pattern[t.at:min(len(t.pattern), t.at+12)]), ":]"); ok && strings.HasPrefix(name, "[:") {
				t.out.WriteString(name + ":]")
				t.at += utf8.RuneCountInString(name) + 2
				continue
			}
			t.out.WriteString(`\[`)
			t.at++
			continue
		}
		t.out.WriteRune(c)
		t.at++
		if c == ']' {
			return
		}
	}
}

// quantifier writes *, +, ? or {n,m} with the greed that is meant. A brace that begins
// none is a character.
func (t *translator) quantifier() {
	if t.pattern[t.at] != '{' {
		t.out.WriteRune(t.pattern[t.at])
		t.at++
	} else {
		end := slices.Index(t.pattern[t.at:], '}')
		inner := ""
		if end > 0 {
			inner = string(t.pattern[t.at+1 : t.at+end])
		}
		if inner == "" || strings.Trim(inner, "0123456789,") != "" || inner[0] == ',' || strings.Count(inner, ",") > 1 {
			t.out.WriteString(`\{`)
			t.at++
			return
		}
		t.out.WriteString("{" + inner + "}")
		t.at += end + 1
	}
	asked := t.at < len(t.pattern) && t.pattern[t.at] == '?'
	if asked {
		t.at++
	}
	if asked != t.lazy {
		t.out.WriteByte('?')
	}
}
