package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PacketMark is a line of packet_mark: packets that match all that is written get the mark.
type PacketMark struct {
	Pos
	Mark                          uint32 // 0: they get none, whatever the lines below say
	Interface                     string // by which they came in, "" for any
	Family                        int    // 4 or 6, 0 for both
	Sources, Destinations         []netip.Prefix
	Protocol                      Protocol // 0 for any
	SourcePorts, DestinationPorts []PortRange
}

// String is the range, or its only port.
func (p PortRange) String() string {
	if p.From == p.To {
		return strconv.Itoa(int(p.From))
	}
	return strconv.Itoa(int(p.From)) + "-" + strconv.Itoa(int(p.To))
}

// PacketMarks are the lines of packet_mark in their order: the first that matches counts.
type PacketMarks []PacketMark

func (m *PacketMarks) read(a *args) bool {
	one := PacketMark{Pos: a.keyword.pos}
	n, ok := a.number(0, 1<<32-1)
	one.Mark = uint32(n)
	for ok && a.more() {
		ok = one.part(a)
	}
	if ok {
		*m = append(*m, one)
	}
	return ok
}

func (m *PacketMarks) words() []string { return nil } // written one a line, by print

// text is all lines, to be compared.
func (m PacketMarks) text() string {
	var b strings.Builder
	for i := range m {
		b.WriteString(strings.Join(m[i].line(), " ") + "\n")
	}
	return b.String()
}

// part reads one part of a line: iif NAME, ip saddr, tcp dport and their like.
func (m *PacketMark) part(a *args) bool {
	switch t := a.next(); t.text {
	case "iif", "iifname":
		if m.Interface != "" {
			return a.wrong(t.pos, "%s: stands twice", t.text)
		}
		if m.Interface = a.next().text; m.Interface == "" {
			return a.wrong(t.pos, "%s: needs the name of an interface", t.text)
		}
		return true
	case "ip", "ip6":
		return m.addresses(a, t)
	case "tcp", "udp", "sctp":
		return m.ports(a, t)
	case "saddr", "daddr":
		return a.wrong(t.pos, "%s: must be ip %s or ip6 %s", t.text, t.text, t.text)
	case "sport", "dport":
		return a.wrong(t.pos, "%s: must be tcp %s, udp %s or sctp %s", t.text, t.text, t.text, t.text)
	default:
		words := []string{"iif", "ip", "ip6", "tcp", "udp", "sctp"}
		return a.wrong(t.pos, "%s: must be %s%s", t.text, alternatives(words), meant(t.text, words))
	}
}

func meant(word string, words []string) string {
	if near := nearest(word, words); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}

// addresses reads what follows ip or ip6: nothing, or saddr or daddr with prefixes, or both.
func (m *PacketMark) addresses(a *args, version token) bool {
	family := map[string]int{"ip": 4, "ip6": 6}[version.text]
	if m.Family != 0 && m.Family != family {
		return a.wrong(version.pos, "%s: no packet is of both families", version.text)
	}
	m.Family = family
	for {
		list := map[string]*[]netip.Prefix{"saddr": &m.Sources, "daddr": &m.Destinations}[a.peek()]
		if list == nil {
			return true
		}
		t := a.next()
		if len(*list) > 0 {
			return a.wrong(t.pos, "%s: stands twice: write its prefixes with commas between them", t.text)
		}
		read := func(word string) string {
			p, why := parseNetwork(word, family)
			*list = append(*list, p)
			return why
		}
		if !a.list(t, read) {
			return false
		}
	}
}

// parseNetwork reads an address or a prefix of a family; why says what is wrong.
func parseNetwork(word string, family int) (p netip.Prefix, why string) {
	p, err := netip.ParsePrefix(word)
	if addr, wrong := netip.ParseAddr(word); wrong == nil {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return p, "must be an address or a prefix such as 192.0.2.0/24"
	case familyOf(p.Addr()) != family:
		return p, map[int]string{4: "is no IPv4 address", 6: "is no IPv6 address"}[family]
	case p.Masked() != p:
		return p, "has bits set behind its prefix: did you mean " + p.Masked().String() + "?"
	}
	return p, ""
}

// ports reads what follows tcp, udp or sctp: nothing, or sport or dport with ports, or both.
func (m *PacketMark) ports(a *args, name token) bool {
	protocol := protocolNumbers[slices.Index(protocols, strings.ToUpper(name.text))]
	if m.Protocol != 0 && m.Protocol != protocol {
		return a.wrong(name.pos, "%s: no packet is of both protocols: write a line for each", name.text)
	}
	m.Protocol = protocol
	for {
		list := map[string]*[]PortRange{"sport": &m.SourcePorts, "dport": &m.DestinationPorts}[a.peek()]
		if list == nil {
			return true
		}
		t := a.next()
		if len(*list) > 0 {
			return a.wrong(t.pos, "%s: stands twice: write its ports with commas between them", t.text)
		}
		read := func(word string) string {
			p, why := parsePorts(word)
			*list = append(*list, p)
			return why
		}
		if !a.list(t, read) {
			return false
		}
	}
}

// parsePorts reads a port, or FIRST-LAST; why says what is wrong.
func parsePorts(word string) (p PortRange, why string) {
	first, last, ranged := strings.Cut(word, "-")
	from, err := strconv.ParseUint(first, 10, 16)
	to := from
	if ranged && err == nil {
		to, err = strconv.ParseUint(last, 10, 16)
	}
	switch {
	case err != nil || from == 0:
		return p, "must be a port from 1 to 65535, or a range such as 8000-8100"
	case to < from:
		return p, "ends before it begins"
	}
	return PortRange{uint16(from), uint16(to)}, ""
}

// list takes the next word, whose parts stand between commas; each tells what is wrong
// with one, "" for nothing.
func (a *args) list(keyword token, each func(word string) string) bool {
	t := a.next()
	if t.text == "" {
		return a.wrong(keyword.pos, "%s: needs a value", keyword.text)
	}
	at := t.pos
	for i, word := range strings.Split(t.text, ",") {
		if i > 0 {
			at.Column++
		}
		if why := each(word); why != "" {
			if word == "" {
				why = "stands beside a comma: write the values without blanks between them"
			}
			return a.wrong(at, "%s %q: %s", keyword.text, word, why)
		}
		at.Column += len(word)
	}
	return true
}

// line writes it as it is read.
func (m *PacketMark) line() []string {
	words := []string{strconv.FormatUint(uint64(m.Mark), 10)}
	if m.Interface != "" {
		words = append(words, "iif", m.Interface)
	}
	ip := map[int]string{4: "ip", 6: "ip6"}[m.Family]
	if len(m.Sources) > 0 {
		words = append(words, ip, "saddr", commas(m.Sources))
	}
	if len(m.Destinations) > 0 {
		words = append(words, ip, "daddr", commas(m.Destinations))
	}
	if m.Family != 0 && len(m.Sources)+len(m.Destinations) == 0 {
		words = append(words, ip)
	}
	name := strings.ToLower(m.Protocol.String())
	if len(m.SourcePorts) > 0 {
		words = append(words, name, "sport", commas(m.SourcePorts))
	}
	if len(m.DestinationPorts) > 0 {
		words = append(words, name, "dport", commas(m.DestinationPorts))
	}
	if m.Protocol != 0 && len(m.SourcePorts)+len(m.DestinationPorts) == 0 {
		words = append(words, name)
	}
	return words
}

func commas[T interface{ String() string }](list []T) string {
	var words []string
	for _, one := range list {
		words = append(words, one.String())
	}
	return strings.Join(words, ",")
}

// ConnectionTable bounds the connections and templates together.
type ConnectionTable struct {
	Size    int
	Recycle bool // a full table lets the oldest half-open connection go, not the new one
}

func (c *ConnectionTable) read(a *args) bool {
	n, ok := a.number(1024, 1<<26)
	if !ok {
		return false
	}
	c.Size, c.Recycle = n, false
	if a.more() {
		if _, ok = a.oneOf([]string{"full"}, false); !ok {
			return false
		}
		var how string
		how, ok = a.oneOf([]string{"refuse", "recycle"}, false)
		c.Recycle = how == "recycle"
	}
	return ok
}

func (c *ConnectionTable) words() []string {
	return []string{strconv.Itoa(c.Size), "full", map[bool]string{false: "refuse", true: "recycle"}[c.Recycle]}
}
