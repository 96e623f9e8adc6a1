package config

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Track is a line of track_interface, track_script and the others. What the line does
// not give is that of the definition.
type Track struct {
	Pos
	Name    string
	Weight  int
	Reverse bool

	weighted, sensed bool // the line itself gives the weight, and whether it is reversed
	reversed         bool // the definition is
}

// Tracks is a track block.
type Tracks []Track

func (t *Tracks) line(r *reader, words []token) {
	one := Track{Pos: words[0].pos, Name: words[0].text}
	if !one.options(&args{r: r, keyword: words[0], words: words[1:], lost: "it is ignored"}) {
		return
	}
	if t.has(one.Name) {
		r.say(Warning, one.Pos, "%s is listed twice in this block; the line is ignored", one.Name)
		return
	}
	*t = append(*t, one)
}

func (t Tracks) has(name string) bool {
	return slices.ContainsFunc(t, func(o Track) bool { return o.Name == name })
}

// options reads weight N [reverse|noreverse], in this order. It returns false where
// keepalived ignores the whole line.
func (t *Track) options(a *args) bool {
	if !a.more() {
		return true
	}
	word := a.next()
	if word.text != "weight" || !a.more() {
		a.r.say(Warning, word.pos, "%s: must be weight N, then reverse or noreverse (one name a line); the line is ignored", word.text)
		return false
	}
	a.keyword = word
	if n, ok := a.number(-254, 254); ok {
		t.Weight, t.weighted = max(-253, min(253, n)), true
		if t.Weight != n {
			a.r.say(Warning, word.pos, "weight %d: becomes %d", n, t.Weight)
		}
	}
	if a.peek() == "reverse" || a.peek() == "noreverse" {
		t.Reverse, t.sensed = a.next().text == "reverse", true
	}
	for a.more() {
		w := a.next()
		a.r.say(Warning, w.pos, "%s: must be reverse or noreverse (one name a line); it is ignored", w.text)
	}
	return true
}

func (t Tracks) lines() [][]string {
	var list [][]string
	for _, one := range t {
		words := []string{one.Name, "weight", strconv.Itoa(one.Weight)}
		switch {
		case one.Reverse:
			words = append(words, "reverse")
		case one.reversed:
			words = append(words, "noreverse")
		}
		list = append(list, words)
	}
	return list
}

// Peer is a line of unicast_peer. The TTLs count with check_unicast_src, which is the default.
type Peer struct {
	Pos
	Addr           netip.Addr
	MinTTL, MaxTTL int // -1: not written
}

// Peers is unicast_peer.
type Peers []Peer

func (p *Peers) line(r *reader, words []token) {
	addr, err := netip.ParseAddr(words[0].text)
	if err != nil {
		r.say(Warning, words[0].pos, "unicast_peer %s: must be an IP address; the line is ignored", words[0].text)
		return
	}
	one := Peer{Pos: words[0].pos, Addr: addr, MinTTL: -1, MaxTTL: -1}
	a := args{r: r, keyword: words[0], words: words[1:], lost: "it is ignored"}
	for a.more() {
		word := a.next()
		field := map[string]*int{"min_ttl": &one.MinTTL, "max_ttl": &one.MaxTTL}[word.text]
		if field == nil {
			r.say(Warning, word.pos, "%s: must be min_ttl or max_ttl (one peer a line); it is ignored", word.text)
			continue
		}
		a.keyword = word
		if n, ok := a.number(0, 255); ok {
			*field = n
		}
	}
	if slices.ContainsFunc(*p, func(o Peer) bool { return o.Addr == addr }) {
		r.say(Warning, one.Pos, "unicast_peer %v is listed twice; the line is ignored", addr)
		return
	}
	*p = append(*p, one)
}

func (p Peers) lines() [][]string {
	var list [][]string
	for _, one := range p {
		words := []string{one.Addr.String()}
		if one.MinTTL >= 0 {
			words = append(words, "min_ttl", strconv.Itoa(one.MinTTL))
		}
		if one.MaxTTL >= 0 {
			words = append(words, "max_ttl", strconv.Itoa(one.MaxTTL))
		}
		list = append(list, words)
	}
	return list
}

// Addrs lists the addresses of the peers.
func (p Peers) Addrs() []netip.Addr {
	var list []netip.Addr
	for _, one := range p {
		list = append(list, one.Addr)
	}
	return list
}

// InterfaceDelay debounces the changes of an interface.
type InterfaceDelay struct {
	Pos
	Interface string
	Down, Up  time.Duration
}

// InterfaceDelays is interface_up_down_delays.
type InterfaceDelays []InterfaceDelay

func (d *InterfaceDelays) line(r *reader, words []token) {
	one := InterfaceDelay{Pos: words[0].pos, Interface: words[0].text}
	a := args{r: r, keyword: words[0], words: words[1:], lost: "the line is ignored"}
	k := parseKind("seconds 0..255")
	for _, field := range []*time.Duration{&one.Down, &one.Up} {
		if field == &one.Up && !a.more() {
			break
		}
		if !k.read(&a, valueOf(field)) {
			return
		}
	}
	*d = append(*d, one)
}

func (d InterfaceDelays) lines() [][]string {
	var list [][]string
	for _, one := range d {
		list = append(list, []string{one.Interface, seconds(one.Down), seconds(one.Up)})
	}
	return list
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
