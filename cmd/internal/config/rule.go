package config

import (
	"strconv"
	"strings"
)

// Rule is a line of static_rules or virtual_rules, as of ip rule.
type Rule struct {
	Pos
	From, To             Prefix
	Table                string
	Not                  bool
	Preference           uint32
	TOS, Fwmark, Realms  string
	SuppressPrefixLength int // -1: not written
	SuppressIfGroup      string
	IIF, OIF             string
	TunnelID             uint64
	UIDRange             string
	L3mdev               bool
	Protocol, IPProto    string
	SPort, DPort         PortRange
	Goto                 uint32
	Nop                  bool
	Type                 string // blackhole, unreachable or prohibit
	Inet, Inet6, NoTrack bool
	TrackGroup           string
}

// firstPreference is what the first rule without one gets; the next get less.
const firstPreference = 16384

// Rules is a block of rules.
type Rules []Rule

func (list *Rules) line(r *reader, words []token) {
	one := Rule{Pos: words[0].pos, SuppressPrefixLength: -1}
	var rest []token
	for i, w := range words {
		if (w.text == "blackhole" || w.text == "unreachable" || w.text == "prohibit") && (i == 0 || words[i-1].text != "type") {
			one.Type = w.text
			continue
		}
		rest = append(rest, w)
	}
	if !r.lineOptions(tables()["rule"], "a rule", rest, valueOf(&one)) {
		r.say(Warning, words[0].pos, "the rule is ignored, as keepalived ignores one with an incomplete option")
		return
	}
	if _, err := strconv.ParseUint(one.Protocol, 0, 8); one.Protocol != "" && err != nil {
		r.say(Warning, words[0].pos, "protocol %s: must be a number up to 255; it is ignored", one.Protocol)
		one.Protocol = ""
	}
	actions := 0
	for _, has := range []bool{one.Table != "", one.Goto != 0, one.Nop, one.Type != "", one.L3mdev} {
		if has {
			actions++
		}
	}
	switch {
	case actions != 1:
		r.say(Warning, words[0].pos, "the rule has %d actions, must have one (table, goto, nop, blackhole, prohibit, unreachable or l3mdev); it is ignored", actions)
		return
	case one.Table == "0":
		r.say(Warning, words[0].pos, "table 0 does not exist; the rule is ignored")
		return
	case one.Goto != 0 && one.Goto <= one.Preference:
		r.say(Warning, words[0].pos, "goto %d must be above the preference %d; the rule is ignored", one.Goto, one.Preference)
		return
	case one.Preference == 0:
		side := 0
		if one.Inet6 || one.From.Addr().Is6() || one.To.Addr().Is6() {
			side = 1
		}
		one.Preference = firstPreference - r.preferences[side]
		r.preferences[side]++
		r.say(Warning, words[0].pos, "the rule has no preference: it gets %d", one.Preference)
	}
	*list = append(*list, one)
}

func (list Rules) lines() [][]string {
	var all [][]string
	for i := range list {
		one := list[i]
		if one.SuppressPrefixLength < 0 {
			one.SuppressPrefixLength = 0
		}
		words := optionWords(tables()["rule"], valueOf(&one))
		if list[i].SuppressPrefixLength == 0 {
			words = append(words, "suppress_prefixlength", "0")
		}
		all = append(all, words)
	}
	return all
}

// String is the rule as a line of the file.
func (one *Rule) String() string { return strings.Join(Rules{*one}.lines()[0], " ") }

// PortRange is the ports from the first to the last.
type PortRange struct{ From, To uint16 }

func (p *PortRange) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	lo, hi, ranged := strings.Cut(t.text, "-")
	if !ranged {
		hi = lo
		a.r.say(Warning, t.pos, "%s %s: keepalived wants a range: write %s-%s", a.keyword.text, t.text, lo, lo)
	}
	from, err := strconv.ParseUint(lo, 10, 16)
	to, err2 := strconv.ParseUint(hi, 10, 16)
	if err != nil || err2 != nil || from > to {
		return a.wrong(t.pos, "%s %s: must be a range of ports", a.keyword.text, t.text)
	}
	*p = PortRange{uint16(from), uint16(to)}
	return true
}

func (p *PortRange) words() []string {
	return []string{strconv.Itoa(int(p.From)) + "-" + strconv.Itoa(int(p.To))}
}
