package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Route is a line of static_routes or virtual_routes, as of ip route. Names of tables,
// scopes, protocols, realms and tos stay as written.
type Route struct {
	Pos
	To                         netip.Prefix
	Type                       string // unicast, blackhole ...
	Family                     int    // 4, 6; 0 where nothing tells
	Src                        netip.Addr
	Via, Or                    Gateway
	NextHops                   NextHops
	Device, Table, VRF         string
	Scope, Protocol            string
	Metric                     uint32
	TOS                        string
	From                       Prefix
	As                         Gateway
	OnLink                     bool
	Encap                      Encap
	Expires                    time.Duration
	MTU, AdvMSS, Reordering    Lockable
	HopLimit                   uint8
	RTT, RTTVar, RTOMin        Lockable
	Window                     uint32
	CWnd, SSThresh             Lockable
	Realms                     string
	InitCWnd, InitRWnd         uint32
	Features                   string
	QuickAck, FastOpenNoCookie uint8
	CongCtl                    Lockable
	Pref, TTLPropagate         string
	Add, Prepend, Append       bool
	Inet, Inet6                bool
	NoTrack                    bool
	TrackGroup                 string
}

// Routes is a block of routes.
type Routes []Route

var routeTypes = []string{"unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat"}

func (list *Routes) line(r *reader, words []token) {
	one := Route{Pos: words[0].pos, Type: "unicast"}
	t := tables()["route"]
	var rest []token
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case slices.Contains(routeTypes, w.text):
			if one.Type = w.text; i == len(words)-1 {
				r.say(Error, w.pos, "%s needs a destination behind it: keepalived stops here", w.text)
				return
			}
		case w.text == "to":
		case !one.To.IsValid() && t.byName[w.text] == nil:
			p, err := parsePrefix(w.text)
			if err != nil {
				r.say(Warning, w.pos, "route to %v; the route is ignored", err)
				return
			}
			one.To = p
		case t.byName[w.text] != nil:
			n := optionLength(w.text, words[i+1:])
			rest = append(rest, words[i:i+1+n]...)
			i += n
		default:
			rest = append(rest, w)
		}
	}
	if !one.To.IsValid() && len(one.NextHops) == 0 {
		r.say(Warning, words[0].pos, "the route has no destination; it is ignored")
		return
	}
	if !r.lineOptions(t, "a route", rest, valueOf(&one)) {
		r.say(Warning, words[0].pos, "the route is ignored, as keepalived ignores one with an incomplete option")
		return
	}
	if one.check(r) {
		*list = append(*list, one)
	}
}

// optionLength says how many words after an option of a route are its own.
func optionLength(option string, words []token) int {
	t := tables()["route"]
	w := t.byName[option]
	switch {
	case w.kind.name == "flag":
		return 0
	case option == "nexthop":
		return len(words)
	case option == "encap":
		n := 0
		for n < len(words) && (n < 2 || t.byName[words[n].text] == nil || slices.Contains(encapOptions, words[n].text)) {
			n++
		}
		return n
	case len(words) > 0 && slices.Contains([]string{"lock", "inet", "inet6", "to"}, words[0].text):
		return min(2, len(words))
	}
	return min(1, len(words))
}

var encapOptions = []string{"id", "dst", "src", "tos", "ttl", "tc", "hoplimit", "flags"}

func (one *Route) check(r *reader) bool {
	legs := slices.ContainsFunc(one.NextHops, func(h NextHop) bool { return len(h.Encap) > 0 })
	if legs {
		r.say(Warning, one.Pos, "nexthop with encap: routes into light-weight tunnels are not made by this version; the route is ignored")
	}
	if legs || len(one.Encap) > 0 || one.As.Addr.IsValid() { // a route without it would lead elsewhere
		return false
	}
	six := one.To.Addr().Is6()
	gateways := []netip.Addr{one.Src, one.Via.Addr, one.Or.Addr}
	for _, h := range one.NextHops {
		gateways = append(gateways, h.Via.Addr)
	}
	gateways = slices.DeleteFunc(gateways, func(a netip.Addr) bool { return !a.IsValid() })
	for i, a := range gateways {
		if a.Is6() != six {
			if one.To.Bits() == 0 && !six && i == 0 { // "default" follows the family of what it is reached by
				one.To, six = netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
				continue
			}
			r.say(Warning, one.Pos, "the route to %v and %v are of two families; the route is ignored", one.To, a)
			return false
		}
	}
	if one.Inet6 && one.To.Bits() == 0 {
		one.To, six = netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
	}
	if one.Or.Addr.IsValid() {
		r.say(Notice, one.Pos, "\"or\" is an old spelling: write nexthop")
	}
	one.Family = 4
	if six {
		one.Family = 6
	}
	if one.Device == "" && !one.NoTrack {
		r.say(Warning, one.Pos, "the route to %v names no interface: its loss cannot be noticed (no_track)", one.To)
		one.NoTrack = true
	}
	if one.Protocol != "" && !one.NoTrack {
		r.say(Warning, one.Pos, "protocol %s needs no_track; the protocol is ignored", one.Protocol)
		one.Protocol = ""
	}
	return true
}

func (list Routes) lines() [][]string {
	var all [][]string
	for i := range list {
		one := &list[i]
		words := []string{}
		if one.Type != "unicast" {
			words = append(words, one.Type)
		}
		all = append(all, append(append(words, one.To.String()), optionWords(tables()["route"], valueOf(one))...))
	}
	return all
}

// String is the route as a line of the file.
func (one *Route) String() string { return strings.Join(Routes{*one}.lines()[0], " ") }

// Gateway is the address of a next hop.
type Gateway struct{ Addr netip.Addr }

func (g *Gateway) read(a *args) bool {
	if slices.Contains([]string{"inet", "inet6", "to"}, a.peek()) {
		a.next()
	}
	var ok bool
	g.Addr, ok = a.addr()
	return ok
}

func (g *Gateway) words() []string {
	if !g.Addr.IsValid() {
		return nil
	}
	return []string{g.Addr.String()}
}

// Prefix is an address with or without a length.
type Prefix netip.Prefix

func (p *Prefix) read(a *args) bool {
	prefix, ok := a.prefix()
	*p = Prefix(prefix)
	return ok
}

// Prefix is the prefix itself.
func (p Prefix) Prefix() netip.Prefix { return netip.Prefix(p) }

// Addr is the prefix's address, invalid for none.
func (p Prefix) Addr() netip.Addr { return netip.Prefix(p).Addr() }

func (p *Prefix) words() []string { return []string{netip.Prefix(*p).String()} }

// MarshalText writes the prefix, "" for none.
func (p Prefix) MarshalText() ([]byte, error) { return netip.Prefix(p).MarshalText() }

// Lockable is a metric of a route that the kernel may be told to keep.
type Lockable struct {
	Lock  bool
	Value string
}

func (l *Lockable) read(a *args) bool {
	if a.peek() == "lock" {
		a.next()
		l.Lock = true
	}
	t, ok := a.value()
	l.Value = t.text
	if number := strings.TrimSuffix(strings.TrimSuffix(t.text, "s"), "m"); ok && a.keyword.text != "congctl" {
		if _, err := strconv.ParseFloat(number, 64); err != nil {
			return a.wrong(t.pos, "%s %s: must be a number", a.keyword.text, t.text)
		}
	}
	return ok
}

func (l *Lockable) words() []string {
	if l.Lock {
		return []string{"lock", l.Value}
	}
	return []string{l.Value}
}

// Encap is a lightweight tunnel, in the words of ip route.
type Encap []string

func (e *Encap) read(a *args) bool {
	kind, ok := a.oneOf([]string{"ip", "ip6", "mpls", "ila"}, false)
	*e = Encap{kind}
	t := tables()["route"]
	for ok && a.more() && (t.byName[a.peek()] == nil || slices.Contains(encapOptions, a.peek())) {
		*e = append(*e, a.next().text)
	}
	return ok
}

func (e *Encap) words() []string { return *e }

// NextHop is one leg of a multipath route.
type NextHop struct {
	Via    Gateway
	Device string
	Weight int
	OnLink bool
	Realms string
	Encap  Encap
}

// NextHops are the legs of a multipath route; they end its line.
type NextHops []NextHop

func (list *NextHops) read(a *args) bool {
	for more := true; more; {
		one := NextHop{Weight: 1}
		ok := true
		more = false
		for ok && a.more() && !more {
			word := a.next()
			inner := args{r: a.r, keyword: word, words: a.words, lost: a.lost}
			switch word.text {
			case "via", "gw":
				ok = one.Via.read(&inner)
			case "dev", "oif":
				one.Device = inner.next().text
			case "weight":
				one.Weight, ok = inner.number(1, 256)
			case "onlink":
				one.OnLink = true
			case "realms":
				one.Realms = inner.next().text
			case "encap":
				ok = one.Encap.read(&inner)
			case "nexthop":
				more = true
			default:
				ok = a.wrong(word.pos, "%s: no option of nexthop", word.text)
			}
			a.words = inner.words
		}
		if !ok {
			return false
		}
		*list = append(*list, one)
	}
	return true
}

func (list *NextHops) words() []string {
	var words []string
	for i, h := range *list {
		if i > 0 {
			words = append(words, "nexthop")
		}
		if w := h.Via.words(); w != nil {
			words = append(append(words, "via"), w...)
		}
		if h.Device != "" {
			words = append(words, "dev", h.Device)
		}
		words = append(words, "weight", strconv.Itoa(h.Weight))
		if h.OnLink {
			words = append(words, "onlink")
		}
		if h.Realms != "" {
			words = append(words, "realms", h.Realms)
		}
		if len(h.Encap) > 0 {
			words = append(append(words, "encap"), h.Encap...)
		}
	}
	return words
}
