package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
)

func valueOf[T any](p *T) reflect.Value { return reflect.ValueOf(p).Elem() }

// options reads the words behind the first one of a line by the table of its options.
// What is unknown is told and left out; ok is false where an option makes the line
// useless: one that lacks its value.
func (r *reader) lineOptions(t *table, what string, words []token, v reflect.Value) (ok bool) {
	for len(words) > 0 {
		word := words[0]
		w := t.byName[word.text]
		if w == nil || w.kind.name == "syntax" {
			near := nearest(word.text, t.names())
			if near != "" {
				near = " (did you mean " + near + "?)"
			}
			r.say(Warning, word.pos, "%s: no option of %s%s; it is ignored", word.text, what, near)
			words = words[1:]
			continue
		}
		a := args{r: r, row: w, keyword: word, words: words[1:], lost: "it is ignored"}
		before := len(r.messages)
		if field := w.field(v); w.kind.name == "value" || !w.kind.optional {
			ok := w.kind.read(&a, field)
			if !ok && len(words) == 1 && len(r.messages) > before { // the value is missing
				return false
			}
		}
		r.note(word.pos, w, what, v)
		r.remark(w, word.pos)
		words = a.words
	}
	return true
}

// optionWords writes the options of a line by their table.
func optionWords(t *table, v reflect.Value) []string {
	var words []string
	for _, w := range t.rows {
		if w.status == alias || w.kind.name == "syntax" || w.index == nil {
			continue
		}
		f := w.field(v)
		if f.IsZero() {
			continue
		}
		if values, ok := w.kind.words(f); ok {
			words = append(append(words, w.keyword), values...)
		}
	}
	return words
}

// Address is an address as it is put on an interface. Device is "" for the interface
// of the instance.
type Address struct {
	Pos           `json:",omitzero"`
	Prefix        netip.Prefix // the address, not masked; /32 or /128 if none is written
	Device, Label string       `json:",omitempty"`
	Scope         Scope
	Broadcast     Broadcast  `json:",omitzero"`
	Peer          netip.Addr `json:",omitzero"` // the far end of a point-to-point address
	Home, NoDAD   bool       `json:",omitempty"`
	MngTmpAddr    bool       `json:",omitempty"`
	NoPrefixRoute bool       `json:",omitempty"`
	AutoJoin      bool       `json:",omitempty"`
	NoTrack       bool       `json:",omitempty"`
	PreferredLft  Lifetime   `json:",omitzero"`
	UseVMAC       *VMAC      `json:",omitempty"`
	TrackGroup    string     `json:",omitempty"`
}

// Addresses is virtual_ipaddress, virtual_ipaddress_excluded or static_ipaddress.
type Addresses []Address

func (list *Addresses) line(r *reader, words []token) {
	one := Address{Pos: words[0].pos}
	var err error
	if one.Prefix, err = parseAddress(words[0].text); err != nil {
		r.say(Warning, words[0].pos, "%v; the address is ignored", err)
		return
	}
	if !r.lineOptions(tables()["address"], "an address", words[1:], valueOf(&one)) {
		r.say(Warning, words[0].pos, "%v: is ignored, as keepalived ignores an address with an incomplete option", one.Prefix)
		return
	}
	six := one.Prefix.Addr().Is6()
	one.resolvePeer(r)
	switch {
	case six && one.Broadcast != Broadcast{}:
		r.say(Warning, words[0].pos, "%v: IPv6 has no broadcast; the address is ignored", one.Prefix)
		return
	case len(one.Label) > 15:
		r.say(Warning, words[0].pos, "label %s: 15 characters at most; the address is ignored", one.Label)
		return
	case six && (one.Label != "" || one.Scope != 0):
		r.say(Warning, words[0].pos, "%v: an IPv6 address has neither label nor scope; they are ignored", one.Prefix)
		one.Label, one.Scope = "", 0
	}
	if one.Broadcast.Host != 0 && one.Prefix.Bits() > 30 {
		r.say(Warning, words[0].pos, "%v: brd %c needs a prefix of /30 or shorter; there will be no broadcast address", one.Prefix, one.Broadcast.Host)
		one.Broadcast = Broadcast{}
	}
	one.Broadcast.resolve(one.Prefix)
	*list = append(*list, one)
}

func (a *Address) resolvePeer(r *reader) {
	if !a.Peer.IsValid() {
		return
	}
	addr := a.Prefix.Addr()
	if a.Peer.Is6() != addr.Is6() {
		r.say(Warning, a.Pos, "%v: the peer %v is of another family; it is ignored", addr, a.Peer)
		a.Peer = netip.Addr{}
		return
	}
	if a.Prefix.Bits() != addr.BitLen() {
		r.say(Warning, a.Pos, "%v: an address with a peer has no prefix; it becomes %v", a.Prefix, addr)
		a.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if addr.Is4() && a.Broadcast != (Broadcast{}) {
		r.say(Warning, a.Pos, "%v: an address with a peer has no broadcast address; it is ignored", addr)
		a.Broadcast = Broadcast{}
	}
}

func (list Addresses) lines() [][]string {
	var all [][]string
	for i := range list {
		one := &list[i]
		all = append(all, append([]string{one.Prefix.String()}, optionWords(tables()["address"], valueOf(one))...))
	}
	return all
}

// Scope is a number of rt_scopes: 0 global, 200 site, 253 link, 254 host, 255 nowhere.
type Scope uint8

var scopes = map[string]Scope{"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}

func (s *Scope) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	if n, err := strconv.ParseUint(t.text, 0, 8); err == nil {
		*s = Scope(n)
		return true
	}
	n, ok := scopes[t.text]
	if !ok {
		return a.wrong(t.pos, "scope %s: must be global, site, link, host, nowhere or a number", t.text)
	}
	*s = n
	return true
}

func (s *Scope) words() []string { return []string{strconv.Itoa(int(*s))} }

// Broadcast is a broadcast address, if there is one; + and - (host bits one or zero)
// are resolved.
type Broadcast struct {
	Addr netip.Addr
	Host byte `json:"-"` // '+' or '-' until then
}

func (b *Broadcast) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	if t.text == "+" || t.text == "-" {
		*b = Broadcast{Host: t.text[0]}
		return true
	}
	addr, err := netip.ParseAddr(t.text)
	if err != nil {
		return a.wrong(t.pos, "%s %s: must be an address, + or -", a.keyword.text, t.text)
	}
	*b = Broadcast{Addr: addr}
	return true
}

func (b *Broadcast) words() []string { return []string{b.Addr.String()} }

func (b *Broadcast) resolve(p netip.Prefix) {
	if b.Host == 0 {
		return
	}
	a := p.Masked().Addr().As4()
	for i := range a {
		if b.Host == '+' {
			a[i] |= byte(1<<max(0, min(8, 8*(i+1)-p.Bits())) - 1)
		}
	}
	*b = Broadcast{Addr: netip.AddrFrom4(a)}
}

// prefix takes the next word as an address with or without a length.
func (a *args) prefix() (netip.Prefix, bool) {
	t, ok := a.value()
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := parsePrefix(t.text)
	if err != nil {
		return p, a.wrong(t.pos, "%s %v", a.keyword.text, err)
	}
	return p, true
}

// Lifetime is a preferred lifetime in seconds.
type Lifetime struct {
	Written, Forever bool
	Seconds          uint32
}

func (l *Lifetime) read(a *args) bool {
	if a.peek() == "forever" {
		a.next()
		*l = Lifetime{Written: true, Forever: true}
		return true
	}
	n, ok := a.number(0, 1<<32-1)
	*l = Lifetime{Written: true, Seconds: uint32(n)}
	return ok
}

func (l *Lifetime) words() []string {
	if l.Forever {
		return []string{"forever"}
	}
	return []string{strconv.Itoa(int(l.Seconds))}
}

// parseAddress reads what can be put on an interface.
func parseAddress(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err == nil && p.Addr().IsUnspecified() {
		err = fmt.Errorf("%s: is no address of an interface", s)
	}
	return p, err
}

func parsePrefix(s string) (netip.Prefix, error) {
	switch s {
	case "default", "any", "all":
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	case "default6":
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%s: must be an address such as 192.0.2.1 or 192.0.2.1/24", s)
	}
	return p, nil
}
