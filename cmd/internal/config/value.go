package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The readers of values tell what is wrong and return ok false: the line is ignored,
// as keepalived ignores it.

func (r *reader) text(s *stmt) (string, bool) {
	if s.arg(0) == "" {
		r.say(Warning, s.pos(), "%s: needs a value; the line is ignored", s.keyword())
		return "", false
	}
	return s.arg(0), true
}

func (r *reader) number(s *stmt, lo, hi int) (int, bool) {
	t, ok := r.text(s)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(t)
	if err != nil || n < lo || n > hi {
		r.say(Warning, s.argPos(0), "%s %s: must be a number from %d to %d; the line is ignored", s.keyword(), t, lo, hi)
		return 0, false
	}
	return n, true
}

// seconds reads a time in seconds with decimals.
func (r *reader) seconds(s *stmt, lo, hi float64) (time.Duration, bool) {
	t, ok := r.text(s)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil || math.IsNaN(f) || f < lo || f > hi {
		r.say(Warning, s.argPos(0), "%s %s: must be %g to %g seconds; the line is ignored", s.keyword(), t, lo, hi)
		return 0, false
	}
	return time.Duration(math.Round(f*1e6)) * time.Microsecond, true
}

// flag reads an optional on/off; the keyword alone means on.
func (r *reader) flag(s *stmt) (on, ok bool) {
	switch strings.ToLower(s.arg(0)) {
	case "", "on", "true", "yes":
		return true, true
	case "off", "false", "no":
		return false, true
	}
	r.say(Warning, s.argPos(0), "%s %s: must be on or off; the line is ignored", s.keyword(), s.arg(0))
	return false, false
}

func (r *reader) addr(s *stmt, i int) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s.arg(i))
	if err != nil {
		if !placeholder(s.arg(i)) {
			r.say(Warning, s.argPos(i), "%s %q: must be an IP address; the line is ignored", s.keyword(), s.arg(i))
		}
		return netip.Addr{}, false
	}
	return a, true
}

// command reads a script line: the quoted command as one word, then user and group.
func (r *reader) command(s *stmt) *Command {
	t, ok := r.text(s)
	if !ok {
		return nil
	}
	args := splitCommand(t)
	if len(args) == 0 {
		r.say(Warning, s.argPos(0), "%s: the command is empty; the line is ignored", s.keyword())
		return nil
	}
	user := s.arg(1)
	if user == "|" {
		r.say(Warning, s.argPos(1), "| is pasted from a manual: choose one of the alternatives")
		user = ""
	}
	return &Command{Pos: s.argPos(0), Args: args, User: user, Group: strings.TrimPrefix(s.arg(2), ":")}
}

// splitCommand splits a command into its words: quotes hold blanks, a backslash takes
// the next character or writes one that has a name, an octal or a hexadecimal number.
func splitCommand(s string) []string {
	var words []string
	var b strings.Builder
	inside := false
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			text, used := unescape(s[i+1:])
			b.WriteString(text)
			i += used
			inside = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inside = c, true
		case c == ' ' || c == '\t':
			if inside {
				words = append(words, b.String())
				b.Reset()
			}
			inside = false
		default:
			b.WriteByte(c)
			inside = true
		}
	}
	if inside {
		words = append(words, b.String())
	}
	return words
}

// unescape reads what follows a backslash and says how many bytes that was.
func unescape(s string) (text string, used int) {
	if i := strings.IndexByte("abEfnrtv", s[0]); i >= 0 {
		return string("\a\b\x1b\f\n\r\t\v"[i]), 1
	}
	digits := func(set string, most int) (n int) {
		for n < most && n < len(s) && strings.IndexByte(set, s[n]) >= 0 {
			n++
		}
		return n
	}
	if n := digits("01234567", 3); n > 0 {
		v, _ := strconv.ParseUint(s[:n], 8, 16)
		return string([]byte{byte(v)}), n
	}
	if s[0] == 'x' && len(s) > 1 {
		s = s[1:]
		if n := digits("0123456789abcdefABCDEF", 2); n > 0 {
			v, _ := strconv.ParseUint(s[:n], 16, 8)
			return string([]byte{byte(v)}), n + 1
		}
		return "x", 1
	}
	if s[0] == 'c' && len(s) > 1 {
		return string([]byte{s[1] & 0x1f}), 2
	}
	return s[:1], 1
}
