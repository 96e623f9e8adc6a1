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
	t := translator{pattern: r.runes([]byte(pattern)), bytes: !r.utf, lazy: has("ungreedy"), explicit: has("no_auto_capture"), names: map[string]int{}, dollar: "$"}
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
	pattern  []rune
	at       int
	bytes    bool // the text is of bytes
	explicit bool // groups without a name capture nothing
	groups   int
	names    map[string]int
	lazy     bool   // a quantifier without ? is lazy, one with it greedy
	dollar   string // what $ stands for
	out      strings.Builder
}

func (t *translator) translate() string {
	for t.at < len(t.pattern) {
		switch c := t.pattern[t.at]; {
		case c == '\\':
			t.escape(false)
		case c == '[':
			t.class()
		case c == '(':
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
	case next == 'Z' && !inClass:
		t.out.WriteString(`(?=\n?\z)`)
	case next == 'N' && !inClass:
		t.out.WriteString(`[^\n]`)
	case next == 'Q':
		t.literal()
	case (next == 'k' || next == 'g') && !inClass && t.named():
	case next == 'x' && t.char():
	case next == 'E':
	case next == 0:
		t.out.WriteRune('\\')
	default:
		t.out.WriteRune('\\')
		t.out.WriteRune(next)
	}
}

// group writes the beginning of a group. Every one that captures gets its number, as PCRE
// counts them all and the matcher those without a name first.
func (t *translator) group() {
	rest := string(t.pattern[t.at:min(len(t.pattern), t.at+64)])
	for _, open := range []string{"(?P<", "(?<", "(?'"} {
		name, ok := strings.CutPrefix(rest, open)
		if end := strings.IndexAny(name, ">'"); ok && end > 0 && name[0] != '=' && name[0] != '!' {
			t.groups++
			t.names[name[:end]] = t.groups
			fmt.Fprintf(&t.out, "(?<%d>", t.groups)
			t.at += utf8.RuneCountInString(open + name[:end+1])
			return
		}
	}
	name, ok := strings.CutPrefix(rest, "(?P=")
	switch end := strings.IndexByte(name, ')'); {
	case ok && end > 0:
		t.refer(name[:end])
		t.at += utf8.RuneCountInString("(?P=" + name[:end+1])
	case strings.HasPrefix(rest, "(?"):
		t.out.WriteString("(?")
		t.at += 2
	case t.explicit || strings.HasPrefix(rest, "(*"):
		t.out.WriteByte('(')
		t.at++
	default:
		t.groups++
		fmt.Fprintf(&t.out, "(?<%d>", t.groups)
		t.at++
	}
}

// refer writes what stands for what a group has captured.
func (t *translator) refer(name string) {
	if n, ok := t.names[name]; ok {
		name = strconv.Itoa(n)
	}
	fmt.Fprintf(&t.out, `\k<%s>`, name)
}

// named writes a reference behind \k or \g, by name or number.
func (t *translator) named() bool {
	rest := string(t.pattern[t.at:min(len(t.pattern), t.at+64)])
	for _, marks := range []string{"<>", "{}", "''"} {
		if end := strings.IndexByte(rest[min(1, len(rest)):], marks[1]) + 1; end > 1 && rest[0] == marks[0] {
			t.refer(rest[1:end])
			t.at += utf8.RuneCountInString(rest[:end+1])
			return true
		}
	}
	return false
}

// char writes what follows \x, if it is more than the two digits that the matcher takes.
func (t *translator) char() bool {
	digits, n, most := string(t.pattern[t.at:min(len(t.pattern), t.at+2)]), 2, uint64(0xff)
	if inner, _, ok := strings.Cut(string(t.pattern[t.at:min(len(t.pattern), t.at+8)]), "}"); ok && strings.HasPrefix(inner, "{") {
		digits, n = inner[1:], len(inner)+1
		if !t.bytes {
			most = utf8.MaxRune
		}
	}
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || v > most {
		return false
	}
	switch t.at += n; {
	case v < utf8.RuneSelf:
		fmt.Fprintf(&t.out, `\x%02x`, v)
	case t.bytes:
		t.out.WriteRune(rune(v) + high)
	default:
		t.out.WriteRune(rune(v))
	}
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
