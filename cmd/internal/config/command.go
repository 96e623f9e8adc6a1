package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Command is a script with its arguments and the user that it runs as ("" for the
// default). Without arguments it is none.
type Command struct {
	Pos
	Args []string
	Account
}

// Account is who a script runs as.
type Account struct {
	User, Group   string
	Supplementary bool // also the other groups of the user
}

func (c *Account) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	c.User = t.text
	if !a.more() {
		return true
	}
	group := a.next()
	c.Group, c.Supplementary = strings.CutPrefix(group.text, ":")
	return true
}

// GroupWord is the group as the file has it: with a colon before it where the other groups
// of the user count too.
func (c *Account) GroupWord() string {
	if c.Supplementary {
		return ":" + c.Group
	}
	return c.Group
}

func (c *Account) words() []string {
	switch {
	case c.User == "":
		return nil
	case c.Supplementary:
		return []string{c.User, ":" + c.Group}
	case c.Group == "":
		return []string{c.User}
	}
	return []string{c.User, c.Group}
}

// command takes the command, which is one word, and then its user and group.
func (a *args) command() (*Command, bool) {
	t, ok := a.value()
	if !ok {
		return nil, false
	}
	args, closed := splitCommand(t.text)
	c := &Command{Pos: t.pos, Args: args}
	if !closed {
		return nil, a.wrong(t.pos, "%s: a quote within the command is not closed", a.keyword.text)
	}
	if len(c.Args) == 0 {
		return nil, a.wrong(t.pos, "%s: the command is empty", a.keyword.text)
	}
	switch {
	case a.peek() == "|":
		a.r.say(Warning, a.next().pos, "| is pasted from a manual: choose one of the alternatives")
		a.words = nil
	case a.more():
		if strings.ContainsAny(a.peek(), "/.-") {
			a.r.say(Warning, a.words[0].pos, "%s: is taken for the user that runs %s: put the command and its arguments into one pair of quotes", a.peek(), c.Args[0])
		}
		c.Account.read(a)
	}
	return c, true
}

// words writes the command so that both splittings give it again.
func (c *Command) words() []string {
	if len(c.Args) == 0 {
		return []string{}
	}
	var parts []string
	for _, arg := range c.Args {
		parts = append(parts, quoteArgument(arg))
	}
	return append([]string{strings.Join(parts, " ")}, c.Account.words()...)
}

// quoteArgument prefers single quotes to escapes: keepalived 2.2.7 resolves escapes in
// both splittings, and would split at a blank that is written as one.
func quoteArgument(arg string) string {
	if arg == "" || strings.ContainsAny(arg, " #!{}~@$") && !strings.ContainsFunc(arg, func(c rune) bool {
		return c < ' ' || c >= 0x7f || c == '\'' || c == '\\'
	}) && !strings.Contains(arg, "$_") && !strings.Contains(arg, "${_") {
		return "'" + strings.ReplaceAll(arg, `"`, `\x22`) + "'"
	}
	var b strings.Builder
	for i := range len(arg) {
		if ch := arg[i]; ch <= ' ' || ch >= 0x7f || strings.IndexByte(`"'\${}#!~@`, ch) >= 0 {
			fmt.Fprintf(&b, `\x%02x`, ch)
		} else {
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// splitCommand splits a command into its words: quotes hold blanks, a backslash takes
// the next character or writes one that has a name, an octal or a hexadecimal number.
func splitCommand(s string) (words []string, closed bool) {
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
	return words, quote == 0
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
