package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ServerGroup is a virtual_server_group: addresses, ranges and marks that share one
// pool of real servers.
type ServerGroup struct {
	Block
	Name    string
	Entries []GroupEntry
}

// GroupEntry is a line of a virtual_server_group: the addresses from From to To with
// the ports from Port to LastPort, or a firewall mark.
type GroupEntry struct {
	Pos
	From, To netip.Addr
	Port     uint16 // 0: any
	LastPort uint16
	ByMark   bool
	Fwmark   uint32
	IPFamily string // of a mark: "", inet or inet6
}

func (g *ServerGroup) line(r *reader, words []token) {
	a := args{r: r, keyword: words[0], words: words[1:], lost: "the line is ignored"}
	one := GroupEntry{Pos: words[0].pos}
	if words[0].text == "fwmark" {
		a.row = tables()["virtual_server_group"].byName["fwmark"]
		n, ok := a.number(0, 1<<32-1)
		if one.ByMark, one.Fwmark = true, uint32(n); ok && a.more() {
			one.IPFamily, ok = a.oneOf([]string{"inet", "inet6"}, false)
		}
		if ok {
			g.Entries = append(g.Entries, one)
		}
		return
	}
	var err error
	if one.From, one.To, err = parseRange(words[0].text); err != nil {
		a.wrong(words[0].pos, "%v", err)
		return
	}
	if a.more() {
		t := a.next()
		p, why := parsePorts(t.text)
		if why != "" {
			a.wrong(t.pos, "port %s: %s", t.text, why)
			return
		}
		if p.From != p.To {
			r.onlyHere(t, "a range of ports")
		}
		one.Port, one.LastPort = p.From, p.To
	}
	if a.more() {
		r.say(Warning, a.words[0].pos, "%s: too many words for an entry of a group; they are ignored", a.words[0].text)
	}
	g.Entries = append(g.Entries, one)
}

// parseRange reads an address, ADDR-LAST, ADDR-ADDR or ADDR/LENGTH with no host bits.
func parseRange(s string) (from, to netip.Addr, err error) {
	wrong := fmt.Errorf("%s: must be an address, a range such as 192.0.2.1-9, or a prefix", s)
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Masked() != p {
			return from, to, fmt.Errorf("%s: has bits set behind its prefix: did you mean %v?", s, p.Masked())
		}
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		to, _ = netip.AddrFromSlice(last)
		return p.Addr(), to, nil
	}
	first, last, ranged := strings.Cut(s, "-")
	if from, err = netip.ParseAddr(first); err != nil {
		return from, to, wrong
	}
	if !ranged {
		return from, from, nil
	}
	if to, err = netip.ParseAddr(last); err == nil {
		if to.Is4() != from.Is4() || to.Less(from) {
			return from, to, wrong
		}
		return from, to, nil
	}
	bytes := from.AsSlice()
	if from.Is4() {
		n, err := strconv.ParseUint(last, 10, 8)
		if err != nil || byte(n) < bytes[3] {
			return from, to, wrong
		}
		bytes[3] = byte(n)
	} else {
		n, err := strconv.ParseUint(last, 16, 16)
		if err != nil {
			return from, to, wrong
		}
		bytes[14], bytes[15] = byte(n>>8), byte(n)
	}
	to, _ = netip.AddrFromSlice(bytes)
	return from, to, nil
}

func (g *ServerGroup) lines() [][]string {
	var list [][]string
	for _, one := range g.Entries {
		switch {
		case one.ByMark && one.IPFamily != "":
			list = append(list, []string{"fwmark", strconv.FormatUint(uint64(one.Fwmark), 10), one.IPFamily})
			continue
		case one.ByMark:
			list = append(list, []string{"fwmark", strconv.FormatUint(uint64(one.Fwmark), 10)})
			continue
		}
		words := []string{one.From.String()}
		if one.To != one.From {
			words[0] += "-" + one.To.String()
		}
		if one.Port != 0 {
			words = append(words, PortRange{one.Port, one.LastPort}.String())
		}
		if one.Port != one.LastPort {
			words = append([]string{ours}, words...)
		}
		list = append(list, words)
	}
	return list
}

func (g *ServerGroup) close(r *reader) bool {
	if len(g.Entries) == 0 {
		r.say(Warning, g.Pos, "virtual_server_group %s has no entries; it is ignored", g.Name)
		return false
	}
	return true
}
