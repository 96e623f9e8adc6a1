package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// args is what follows a keyword, to be read word by word.
type args struct {
	r       *reader
	row     *row
	keyword token
	words   []token
	lost    string // what becomes of it if it is wrong
}

// next takes the next word; past the end it is empty and stands where the keyword does.
func (a *args) next() token {
	if len(a.words) == 0 {
		return token{pos: a.keyword.pos}
	}
	t := a.words[0]
	a.words = a.words[1:]
	return t
}

func (a *args) more() bool { return len(a.words) > 0 }

// peek is the next word, which stays.
func (a *args) peek() string {
	if len(a.words) == 0 {
		return ""
	}
	return a.words[0].text
}

// wrong tells what is wrong with the word at p; it returns false.
func (a *args) wrong(p Pos, format string, values ...any) bool {
	if !a.r.told[p] {
		a.r.say(Warning, p, format+"; "+a.lost, values...)
	}
	return false
}

// value takes the next word, which must be there.
func (a *args) value() (token, bool) {
	t := a.next()
	if t.text != "" || t.pos != a.keyword.pos && !t.bare {
		return t, true
	}
	if a.row != nil && a.row.mandatory {
		a.r.say(Error, a.keyword.pos, "%s needs a value, %s: keepalived stops at the bare word", a.keyword.text, a.row.arguments)
		return t, false
	}
	return t, a.wrong(a.keyword.pos, "%s: needs a value", a.keyword.text)
}

// number takes the next word as a whole number.
func (a *args) number(lo, hi float64) (int, bool) {
	t, ok := a.value()
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimLeft(t.text, " \t"), 10, 64)
	if err != nil || float64(n) < lo || float64(n) > hi {
		return 0, a.wrong(t.pos, "%s %s: must be a whole number from %.0f to %.0f", a.keyword.text, t.text, lo, hi)
	}
	return int(n), true
}

func (a *args) addr() (netip.Addr, bool) {
	t, ok := a.value()
	if !ok {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(t.text)
	if err != nil {
		return addr, a.wrong(t.pos, "%s %q: must be an IP address", a.keyword.text, t.text)
	}
	return addr, true
}

// oneOf takes the next word, which must be among the choices.
func (a *args) oneOf(choices []string, anyCase bool) (string, bool) {
	t, ok := a.value()
	if !ok {
		return "", false
	}
	for _, c := range choices {
		if c == t.text || anyCase && strings.EqualFold(c, t.text) {
			return c, true
		}
	}
	if strings.Contains(t.text, "|") {
		return "", a.wrong(t.pos, "%s %s: alternatives pasted from a manual: choose one", a.keyword.text, t.text)
	}
	hint := ""
	if near := nearest(strings.ToLower(t.text), lower(choices)); near != "" {
		hint = " (did you mean " + choices[slices.Index(lower(choices), near)] + "?)"
	}
	return "", a.wrong(t.pos, "%s %s: must be %s%s", a.keyword.text, t.text, alternatives(choices), hint)
}

func lower(list []string) []string {
	var l []string
	for _, s := range list {
		l = append(l, strings.ToLower(s))
	}
	return l
}

func alternatives(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}
