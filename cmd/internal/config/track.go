package config

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Track is a line of track_interface, track_script and the others. A weight that the
// line does not give is that of the definition.
type Track struct {
	Pos
	Name    string
	Weight  int
	Reverse bool
	Written bool `json:"-"` // the line itself gives the weight
}

// Tracks is a track block.
type Tracks []Track

func (t *Tracks) line(r *reader, words []token) {
	one := Track{Pos: words[0].pos, Name: words[0].text}
	a := args{r: r, keyword: words[0], words: words[1:], lost: "it is ignored"}
	for a.more() {
		switch word := a.next(); word.text {
		case "weight":
			a.keyword = word
			n, ok := a.number(-254, 254)
			if !ok {
				continue
			}
			one.Weight, one.Written = max(-253, min(253, n)), true
			if one.Weight != n {
				r.say(Warning, word.pos, "weight %d: becomes %d", n, one.Weight)
			}
		case "reverse", "noreverse":
			one.Reverse = word.text == "reverse"
		default:
			r.say(Warning, word.pos, "%s: must be weight, reverse or noreverse (one name a line); it is ignored", word.text)
		}
	}
	if slices.ContainsFunc(*t, func(o Track) bool { return o.Name == one.Name }) {
		r.say(Warning, one.Pos, "%s is listed twice in this block; the line is ignored", one.Name)
		return
	}
	*t = append(*t, one)
}

func (t Tracks) lines() [][]string {
	var list [][]string
	for _, one := range t {
		words := []string{one.Name, "weight", strconv.Itoa(one.Weight)}
		if one.Reverse {
			words = append(words, "reverse")
		}
		list = append(list, words)
	}
	return list
}

// Peer is a line of unicast_peer. The TTLs count with check_unicast_src.
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
