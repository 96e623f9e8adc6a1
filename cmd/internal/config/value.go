package config

import (
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names is a block of words.
type Names []string

func (n *Names) line(_ *reader, words []token) {
	for _, w := range words {
		*n = append(*n, w.text)
	}
}

func (n Names) lines() [][]string {
	var list [][]string
	for _, name := range n {
		list = append(list, []string{name})
	}
	return list
}

// MailServer is where mail is handed in.
type MailServer struct {
	Host string // an address or a name; "" for none
	Port uint16
}

func (m *MailServer) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	m.Host, m.Port = t.text, 25
	if a.more() {
		n, ok := a.number(1, 65535)
		if !ok {
			return false
		}
		m.Port = uint16(n)
	}
	return true
}

func (m *MailServer) words() []string {
	if m.Host == "" {
		return nil
	}
	return []string{m.Host, strconv.Itoa(int(m.Port))}
}

// Switch is something that is on or off and may have a value when it is on.
type Switch struct {
	On    bool
	Value string
}

// Timeouts are those of the connection table; 0 leaves one as it is.
type Timeouts struct{ TCP, TCPFin, UDP time.Duration }

func (t *Timeouts) read(a *args) bool {
	if !a.more() {
		return a.wrong(a.keyword.pos, "%s: needs one of tcp, tcpfin and udp", a.keyword.text)
	}
	for a.more() {
		name, ok := a.oneOf([]string{"tcp", "tcpfin", "udp"}, false)
		if !ok {
			return false
		}
		n, ok := a.number(0, 2678400)
		if !ok {
			return false
		}
		*map[string]*time.Duration{"tcp": &t.TCP, "tcpfin": &t.TCPFin, "udp": &t.UDP}[name] = time.Duration(n) * time.Second
	}
	return true
}

func (t *Timeouts) words() []string {
	var words []string
	for _, one := range []struct {
		name string
		d    time.Duration
	}{{"tcp", t.TCP}, {"tcpfin", t.TCPFin}, {"udp", t.UDP}} {
		if one.d > 0 {
			words = append(words, one.name, strconv.Itoa(int(one.d/time.Second)))
		}
	}
	return words
}

// SyncDaemon is the synchronisation of connection tables.
type SyncDaemon struct {
	Interface, Instance string
	ID                  int // -1: the VRID of the instance
	MaxLen, Port, TTL   int // 0: the kernel's
	Group               netip.Addr
}

func (s *SyncDaemon) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	s.Interface, s.ID = t.text, -1
	ok = true
	for a.more() && ok {
		var n int
		switch word := a.next(); word.text {
		case "inst":
			s.Instance = a.next().text
		case "id":
			s.ID, ok = a.number(0, 255)
		case "maxlen":
			s.MaxLen, ok = a.number(1, 65507)
		case "port":
			s.Port, ok = a.number(1, 65535)
		case "ttl":
			s.TTL, ok = a.number(1, 255)
		case "group":
			s.Group, ok = a.addr()
		default:
			if n, _ = strconv.Atoi(word.text); n > 0 && n < 256 {
				s.ID = n
			} else {
				s.Instance = word.text
			}
		}
	}
	return ok
}

func (s *SyncDaemon) words() []string {
	words := []string{s.Interface}
	if s.Instance != "" {
		words = append(words, "inst", s.Instance)
	}
	for _, one := range []struct {
		name     string
		n, least int
	}{{"id", s.ID, 0}, {"maxlen", s.MaxLen, 1}, {"port", s.Port, 1}, {"ttl", s.TTL, 1}} {
		if one.n >= one.least {
			words = append(words, one.name, strconv.Itoa(one.n))
		}
	}
	if s.Group.IsValid() {
		words = append(words, "group", s.Group.String())
	}
	return words
}

// FIFO is a pipe that events are written to.
type FIFO struct {
	Path string
	Account
}

func (f *FIFO) read(a *args) bool {
	t, ok := a.value()
	if ok && a.more() {
		f.Account.read(a)
	}
	f.Path = t.text
	return ok
}

func (f *FIFO) words() []string { return append([]string{f.Path}, f.Account.words()...) }

// IncludeCheck says which failures of an include are told as such.
type IncludeCheck struct{ Read, Match, WildcardMatch, Braces bool }

var includeWords = map[string]IncludeCheck{
	"include": {}, "includer": {Read: true}, "includem": {Read: true, Match: true},
	"includew": {Read: true, Match: true, WildcardMatch: true},
	"includeb": {Read: true, Match: true, Braces: true}, "includea": {true, true, true, true},
}

func (c *IncludeCheck) options() map[string]*bool {
	return map[string]*bool{"read": &c.Read, "readable": &c.Read, "match": &c.Match, "wildcard_match": &c.WildcardMatch, "brace_match": &c.Braces}
}

func (c *IncludeCheck) read(a *args) bool {
	if !a.more() {
		*c = includeWords["includea"]
	}
	fresh := true
	for a.more() {
		t := a.next()
		name, on := strings.TrimPrefix(strings.TrimPrefix(t.text, "+"), "-"), !strings.HasPrefix(t.text, "-")
		if fresh && name == t.text {
			*c = IncludeCheck{}
		}
		fresh = false
		option := c.options()[name]
		if option == nil {
			return a.wrong(t.pos, "%s %s: must be read, match, wildcard_match or brace_match", a.keyword.text, t.text)
		}
		*option = on
	}
	a.r.src.check = *c
	return true
}

func (c *IncludeCheck) words() []string {
	var words []string
	for _, name := range []string{"read", "match", "wildcard_match", "brace_match"} {
		if *c.options()[name] {
			words = append(words, name)
		}
	}
	return words
}

// InitFile creates a tracked file at the start.
type InitFile struct {
	Value     int
	Overwrite bool
}

func (f *InitFile) read(a *args) bool {
	for a.more() {
		if a.peek() == "overwrite" {
			a.next()
			f.Overwrite = true
			continue
		}
		n, ok := a.number(-1<<31, 1<<31-1)
		if !ok {
			return false
		}
		if f.Value = n; n < -254 || n > 254 {
			a.r.say(Warning, a.keyword.pos, "init_file %d: counts as no more than 254 in a priority", n)
		}
	}
	return true
}

func (f *InitFile) words() []string {
	words := []string{strconv.Itoa(f.Value)}
	if f.Overwrite {
		words = append(words, "overwrite")
	}
	return words
}

// VMAC is use_vmac: an interface of its own with the virtual MAC.
type VMAC struct {
	Name, MAC, Group string
	NotifyMsg        bool
}

func (m *VMAC) read(a *args) bool {
	for a.more() {
		switch t := a.next(); {
		case t.text == "name":
			if m.Name = a.peek(); len(m.Name) > 15 || strings.Count(m.Name, ":") >= 4 {
				return a.wrong(t.pos, "%s name %s: must have 15 characters at most", a.keyword.text, m.Name)
			}
			a.next()
		case t.text == "netlink_notify_msg":
			m.NotifyMsg = true
		case t.text == "group":
			m.Group = a.next().text
		case strings.Count(t.text, ":") >= 4:
			m.MAC = t.text
		case m.Name == "" && len(t.text) < 16:
			m.Name = t.text
		default:
			return a.wrong(t.pos, "%s %s: must be the name of an interface (15 characters) or a MAC", a.keyword.text, t.text)
		}
	}
	return true
}

func (m *VMAC) words() []string {
	words := []string{}
	switch m.Name { // keepalived 2.2.7 does not know the word name
	case "":
	case "name", "group", "netlink_notify_msg":
		words = append(words, "name", m.Name)
	default:
		words = append(words, m.Name)
	}
	if m.MAC != "" {
		words = append(words, m.MAC)
	}
	if m.NotifyMsg {
		words = append(words, "netlink_notify_msg")
	}
	if m.Group != "" {
		words = append(words, "group", m.Group)
	}
	return words
}

// Keys are the signing keys of auth_hmac by their number.
type Keys map[uint8]string

func (k *Keys) read(a *args) bool {
	id, ok := a.number(1, 255)
	if !ok {
		return false
	}
	t, ok := a.value()
	if !ok {
		return false
	}
	if n := len(t.text); !strings.HasPrefix(t.text, "hex:") && !strings.HasPrefix(t.text, "file:") && (n < 32 || n > 64) {
		return a.wrong(t.pos, "key %d: has %d bytes, must have 32 to 64", id, n)
	}
	if *k == nil {
		*k = Keys{}
	}
	(*k)[uint8(id)] = t.text
	return true
}

func (k *Keys) words() []string { return nil } // written one a line, by print

// State is the state that an instance is wanted in: MASTER or BACKUP.
type State string

func (s *State) read(a *args) bool {
	t, ok := a.oneOf([]string{"MASTER", "BACKUP"}, false)
	if ok && *s == "MASTER" && t == "BACKUP" {
		return a.wrong(a.keyword.pos, "state BACKUP: the state is MASTER already")
	}
	if ok {
		*s = State(t)
	}
	return ok
}

func (s *State) words() []string { return []string{string(*s)} }

// Protocol is an IP protocol number: 6 TCP, 17 UDP, 132 SCTP; 0 if it is not written.
type Protocol uint8

var protocols = []string{"TCP", "UDP", "SCTP"}
var protocolNumbers = []Protocol{6, 17, 132}

func (p *Protocol) read(a *args) bool {
	t, ok := a.oneOf(protocols, true)
	if ok {
		*p = protocolNumbers[slices.Index(protocols, t)]
	}
	return ok
}

// String is the name in capitals.
func (p Protocol) String() string {
	if i := slices.Index(protocolNumbers, p); i >= 0 {
		return protocols[i]
	}
	return ""
}

func (p *Protocol) words() []string {
	if *p == 0 {
		return nil
	}
	return []string{p.String()}
}

// Scheduler is the name of a scheduling algorithm, in lower case.
type Scheduler string

var schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"}

func (s *Scheduler) read(a *args) bool {
	t, ok := a.oneOf(schedulers, true)
	if ok {
		*s = Scheduler(t)
	}
	return ok
}

func (s *Scheduler) words() []string {
	if *s == "" {
		return nil
	}
	return []string{string(*s)}
}

// PersistenceTimeout is how long a client stays on its server; 0 for no persistence.
type PersistenceTimeout time.Duration

const defaultPersistence = PersistenceTimeout(360 * time.Second)

func (p *PersistenceTimeout) read(a *args) bool {
	*p = defaultPersistence
	if !a.more() {
		return true
	}
	n, ok := a.number(1, 2678400)
	*p = PersistenceTimeout(time.Duration(n) * time.Second)
	return ok
}

func (p *PersistenceTimeout) words() []string {
	if *p == 0 {
		return nil
	}
	return []string{strconv.Itoa(int(time.Duration(*p) / time.Second))}
}

// MaskLength is a prefix length, which may be written as a netmask.
type MaskLength int

func (m *MaskLength) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	if addr, err := netip.ParseAddr(t.text); err == nil && addr.Is4() {
		b := addr.As4()
		n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		if *m = MaskLength(bits.LeadingZeros32(^n)); n<<*m == 0 && n != 0 {
			return true
		}
	}
	if n, err := strconv.Atoi(t.text); err == nil && n >= 1 && n <= 128 {
		*m = MaskLength(n)
		return true
	}
	return a.wrong(t.pos, "%s %s: must be a netmask or its length", a.keyword.text, t.text)
}

func (m *MaskLength) words() []string {
	if *m == 0 {
		return nil
	}
	return []string{strconv.Itoa(int(*m))}
}
