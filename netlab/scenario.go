package netlab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
)

// Scenario is a parsed file.
type Scenario struct {
	Name       string // its file, and the values of its sweeps
	File       string
	Drawing    []string // the comment at its beginning, without the marks
	Statements []Statement
	Files      map[string][]byte
}

// Statement is one line: its words, and where each stands.
type Statement struct {
	Words   []string
	columns []int
	line    int
	file    string
}

func (s Statement) String() string { return strings.Join(s.Words, " ") }

// Errorf names the position of word i, counted from 0.
func (s Statement) Errorf(i int, format string, args ...any) error {
	column := s.columns[min(i, len(s.columns)-1)]
	return fmt.Errorf("%s:%d:%d: %s", s.file, s.line, column, fmt.Sprintf(format, args...))
}

// Load reads a scenario file. The error names the position of what is wrong.
func Load(path string) (*Scenario, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: name a scenario file", path, unwrapPath(err))
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("%s: is a binary file: name a scenario file", path)
	}
	return Parse(path, text)
}

func unwrapPath(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}

// Parse reads the text of a scenario. Every statement is checked before anything runs.
func Parse(name string, text []byte) (*Scenario, error) {
	for i, line := range strings.Split(string(text), "\n") {
		if strings.TrimRight(line, "\r") == "-- --" { // txtar panics at it
			return nil, fmt.Errorf("%s:%d:1: a file must have a name: -- NAME --", name, i+1)
		}
	}
	archive := txtar.Parse(text)
	s := &Scenario{Name: name, File: name, Files: map[string][]byte{}}
	for _, f := range archive.Files {
		s.Files[f.Name] = f.Data
	}
	for i, line := range strings.Split(string(archive.Comment), "\n") {
		if text, ok := strings.CutPrefix(line, "#"); ok && len(s.Statements) == 0 {
			s.Drawing = append(s.Drawing, strings.TrimPrefix(text, " "))
		}
		st := Statement{line: i + 1, file: name}
		st.split(line)
		if len(st.Words) > 0 {
			s.Statements = append(s.Statements, st.expand()...)
		}
	}
	if len(s.Statements) == 0 {
		return nil, fmt.Errorf("%s: has no statements: it must be a txtar archive with them at its beginning", name)
	}
	return s, s.Check()
}

// expand writes one statement as those that it stands for.
func (s Statement) expand() []Statement {
	part := func(from int, words ...string) Statement {
		one := s
		one.Words, one.columns = words, nil
		for i := range words {
			one.columns = append(one.columns, s.columns[min(from+i, len(s.columns)-1)])
		}
		return one
	}
	w := s.Words
	switch {
	case w[0] == "at" && len(w) > 2:
		return append([]Statement{part(0, w[:2]...)}, part(2, w[2:]...).expand()...)
	case w[0] == "flap" && len(w) >= forms["flap"].least:
		n, err := strconv.Atoi(w[2])
		if err != nil || n < 1 || n > mostFlaps {
			return []Statement{s} // Check says what is wrong
		}
		var list []Statement
		for range n {
			for _, state := range []string{"down", "up"} {
				link := part(0, append([]string{"link", w[1], state}, w[4:]...)...)
				list = append(list, link, part(2, "run", w[3]))
			}
		}
		return list
	}
	return []Statement{s}
}

// mostFlaps bounds what one flap statement becomes.
const mostFlaps = 1000

// Needs tells whether the scenario needs one of the back ends: because it says so,
// because of a node of kind frr, whose configuration only FRR reads, of a probe that a
// kernel answers, or of a command beside a node. Who needs ip_vs needs namespaces.
func (s *Scenario) Needs(what string) bool {
	return slices.ContainsFunc(s.Statements, func(st Statement) bool {
		w := st.Words
		return w[0] == "needs" && w[1] == what ||
			what == "namespaces" && (w[0] == "needs" || w[0] == "node" && w[2] == "frr" || w[0] == "probe" && w[3] == "icmp" || w[0] == "ringkeep")
	})
}

// split cuts a line into words; # starts a comment, "…" holds blanks.
func (s *Statement) split(line string) {
	for at := 0; at < len(line); {
		switch c := line[at]; {
		case c == ' ' || c == '\t' || c == '\r':
			at++
			continue
		case c == '#':
			return
		}
		s.columns = append(s.columns, utf8.RuneCountInString(line[:at])+1)
		end, stop := at, " \t\r#"
		if line[at] == '"' {
			at++
			end, stop = at, `"`
		}
		for end < len(line) && !strings.ContainsRune(stop, rune(line[end])) {
			end++
		}
		s.Words = append(s.Words, line[at:end])
		at = end
		if stop == `"` {
			at++
		}
	}
}

// forms lists the statements: how many words each needs at least and at most.
var forms = map[string]struct {
	least, most int
	usage       string
}{
	"lan":        {2, 10, "lan NAME [delay TIME] [jitter TIME] [loss SHARE] [rate RATE], or lan NAME bridge"},
	"host":       {4, 99, "host NAME LAN:IFACE ADDR/LEN... [LAN:IFACE ...] [via ADDR] [forwarding]"},
	"router":     {6, 99, "router NAME LAN:IFACE ADDR/LEN LAN:IFACE ADDR/LEN..."},
	"realserver": {6, 99, "realserver NAME LAN:IFACE ADDR/LEN vip ADDR [via ADDR]"},
	"node":       {5, 99, "node NAME ringkeep|keepalived|frr LAN:IFACE ADDR/LEN... [LAN:IFACE ...] [via ADDR] [forwarding]"},
	"serve":      {4, 4, "serve HOST tcp|udp|http PORT, or serve HOST program PATH"},
	"unserve":    {4, 4, "unserve HOST tcp|udp|http PORT, or unserve HOST program PATH"},
	"addr":       {5, 5, "addr HOST add|del ADDR/LEN IFACE"},
	"up":         {2, 99, "up NODE..."},
	"stop":       {2, 2, "stop NODE"},
	"kill":       {2, 2, "kill NODE"},
	"crash":      {2, 2, "crash NODE"},
	"link":       {3, 4, "link HOST up|down [IFACE]"},
	"drop":       {2, 7, "drop HOST [to HOST] [vrrp|arp|tcp|udp|multicast|all] [SHARE | N frames]"},
	"duplicate":  {2, 7, "duplicate HOST [to HOST] [KIND] [SHARE | N frames]"},
	"corrupt":    {2, 7, "corrupt HOST [to HOST] [KIND] [SHARE | N frames]"},
	"delay":      {3, 8, "delay HOST [to HOST] [KIND] [SHARE] TIME [JITTER]"},
	"reorder":    {2, 8, "reorder HOST [to HOST] [KIND] [SHARE] [TIME]"},
	"partition":  {4, 99, "partition HOST... | HOST..."},
	"route":      {4, 99, "route HOST del TEXT"},
	"heal":       {1, 1, "heal"},
	"freeze":     {2, 2, "freeze NODE"},
	"thaw":       {2, 2, "thaw NODE"},
	"script":     {4, 4, "script NODE NAME ok|fail|hang"},
	"write":      {4, 4, "write NODE PATH TEXT"},
	"reload":     {3, 4, "reload NODE FILE [refused]"},
	"ringkeep":   {3, 99, "ringkeep NODE COMMAND..., as status -Ln"},
	"advert":     {6, 99, "advert HOST vrid N priority N [version N] [interval TIME] [src ADDR] [ttl N] [auth TEXT] [vip ADDR] [checksum bad]"},
	"frame":      {3, 999, "frame HOST HEX..."},
	"play":       {3, 5, "play HOST FILE [of INTERFACE]"},
	"run":        {2, 2, "run TIME"},
	"tolerate":   {2, 2, "tolerate two-masters, no-master, early or another invariant"},
	"wait":       {4, 99, "wait TIME CONDITION"},
	"stays":      {4, 99, "stays TIME CONDITION"},
	"flow":       {6, 6, "flow NAME HOST connect ADDR:PORT RATE, download or upload ADDR:PORT BYTES, datagrams ADDR:PORT BYTES, or syns ADDR:PORT RATE"},
	"probe":      {5, 5, "probe NAME HOST udp|http ADDR:PORT, or probe NAME HOST icmp ADDR"},
	"stopflow":   {2, 2, "stopflow NAME"},
	"mark":       {1, 1, "mark"},
	"expect":     {3, 99, "expect gap|silence|clean|even|share|served ..."},
	"ask":        {5, 5, "ask HOST http|udp|tcp ADDR:PORT NAME[|NAME]"},
	"say":        {2, 99, "say TEXT"},
	"needs":      {2, 2, "needs namespaces|ip_vs"},
	"at":         {2, 99, "at TIME [STATEMENT]"},
	"flap":       {4, 5, "flap HOST N TIME [IFACE]"},
	"iface":      {4, 4, "iface HOST IFACE delete|create"},
	"starve":     {3, 3, "starve NODE SHARE"},
	"repeat":     {2, 4, "repeat N [seed S]"},
	"sweep":      {3, 99, "sweep NAME VALUE..."},

	"decapsulate": {3, 4, "decapsulate HOST VIP [PORT]"},
	"mtu":         {4, 4, "mtu HOST IFACE BYTES"},
}

// Check finds what can be found before the lab is built: unknown statements, wrong
// numbers of words, names that nothing declares, nodes without a configuration.
func (s *Scenario) Check() error {
	known := map[string]string{} // name to what declared it
	for _, st := range s.Statements {
		form, ok := forms[st.Words[0]]
		if !ok {
			return st.Errorf(0, "unknown statement %q", st.Words[0])
		}
		if len(st.Words) < form.least || len(st.Words) > form.most {
			return st.Errorf(0, "wrong number of words: %s", form.usage)
		}
		if err := s.checkNames(st, known); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scenario) checkNames(st Statement, known map[string]string) error {
	w := st.Words
	switch w[0] {
	case "lan", "host", "router", "realserver", "node":
		if known[w[1]] != "" {
			return st.Errorf(1, "%s is declared twice", w[1])
		}
		known[w[1]] = w[0]
		if w[0] == "lan" {
			if err := new(Network).SetLan(w); err != nil {
				return st.Errorf(2, "%v", err)
			}
		} else {
			return s.checkHost(st, known)
		}
	case "up":
		for i := 1; i < len(w); i++ {
			if known[w[i]] != "node" {
				return st.Errorf(i, "no node %s is declared above", w[i])
			}
		}
	case "flap":
		return st.Errorf(2, "%s: must be a number from 1 to %d", w[2], mostFlaps)
	case "repeat":
		if _, _, err := repeat(w); err != nil {
			return st.Errorf(1, "%v", err)
		}
	case "stop", "kill", "crash", "freeze", "thaw", "starve", "script", "write", "reload", "ringkeep":
		if known[w[1]] != "node" {
			return st.Errorf(1, "no node %s is declared above", w[1])
		}
		if w[0] == "starve" {
			if p, err := percent(w[2]); err != nil || p > 95 {
				return st.Errorf(2, "%s: must be a share such as 80%%, up to 95%%", w[2])
			}
		}
		if w[0] == "reload" {
			if _, ok := s.Files[w[2]]; !ok {
				return st.Errorf(2, "the archive has no file %s", w[2])
			}
			if len(w) > 3 && w[3] != "refused" {
				return st.Errorf(3, "%s: must be refused, or nothing", w[3])
			}
		}
		if w[0] == "write" && !strings.HasPrefix(w[2], "/") {
			return st.Errorf(2, "%s: must be an absolute path", w[2])
		}
		if w[0] == "script" && !slices.Contains([]string{"ok", "fail", "hang"}, w[3]) {
			return st.Errorf(3, "%s: must be ok, fail or hang", w[3])
		}
	case "advert":
		if _, err := ParseCraft(w); err != nil {
			return st.Errorf(2, "%v", err)
		}
		return st.host(known, 1)
	case "drop", "duplicate", "corrupt", "delay", "reorder":
		if err := s.checkBridged(st, known); err != nil {
			return err
		}
		if i := slices.Index(w, "to") + 1; i > 0 && i < len(w) {
			if err := st.host(known, i); err != nil {
				return err
			}
		}
		if err := new(Network).Add(w); err != nil {
			return st.Errorf(2, "%v", err)
		}
		return st.host(known, 1)
	case "frame":
		if _, err := RawFrame(w); err != nil {
			return st.Errorf(2, "%v", err)
		}
		return st.host(known, 1)
	case "play":
		if _, err := s.Recording(w); err != nil {
			return st.Errorf(2, "%v", err)
		}
		return st.host(known, 1)
	case "partition":
		for i := 1; i < len(w); i++ {
			if err := st.host(known, i); err != nil && w[i] != "|" {
				return err
			}
		}
		return s.checkBridged(st, known)
	case "run", "at":
		if d, err := time.ParseDuration(w[1]); err != nil || d < 0 {
			return st.Errorf(1, "%s: must be a time such as 4s", w[1])
		}
	case "needs":
		if !slices.Contains(backEnds, w[1]) {
			return st.Errorf(1, "%s: must be %s", w[1], strings.Join(backEnds, " or "))
		}
	case "tolerate":
		if !slices.Contains(Invariants, w[1]) {
			return st.Errorf(1, "%s: must be an invariant: %s", w[1], strings.Join(Invariants, ", "))
		}
	case "link":
		if w[2] != "up" && w[2] != "down" {
			return st.Errorf(2, "%s: must be up or down", w[2])
		}
		return st.host(known, 1)
	case "iface":
		if w[3] != "delete" && w[3] != "create" {
			return st.Errorf(3, "%s: must be delete or create", w[3])
		}
		return st.host(known, 1)
	case "route":
		if w[2] != "del" {
			return st.Errorf(2, "%s: must be del", w[2])
		}
		return st.host(known, 1)
	case "decapsulate":
		if _, err := netip.ParseAddr(w[2]); err != nil {
			return st.Errorf(2, "%s: must be an address", w[2])
		}
		if len(w) > 3 {
			if _, err := strconv.ParseUint(w[3], 10, 16); err != nil {
				return st.Errorf(3, "%s: must be a port", w[3])
			}
		}
		return st.host(known, 1)
	case "serve", "unserve", "addr", "ask", "mtu":
		return st.host(known, 1)
	case "flow":
		return st.host(known, 2)
	case "probe":
		if _, err := netip.ParseAddr(w[4]); w[3] == "icmp" && err != nil {
			return st.Errorf(4, "%s: must be an address", w[4])
		}
		if !slices.Contains([]string{"udp", "http", "icmp"}, w[3]) {
			return st.Errorf(3, "%s: must be udp, http or icmp", w[3])
		}
		return st.host(known, 2)
	}
	return nil
}

// host tells that word i must be a host.
func (s Statement) host(known map[string]string, i int) error {
	if k := known[s.Words[i]]; k == "" || k == "lan" {
		return s.Errorf(i, "no host %s is declared above", s.Words[i])
	}
	return nil
}

func (s *Scenario) checkHost(st Statement, known map[string]string) error {
	m, wrong, err := ParseMachine(st.Words)
	if err != nil {
		return st.Errorf(wrong, "%v", err)
	}
	if st.Words[0] == "node" {
		if _, ok := s.Files[m.Name+".conf"]; !ok {
			return st.Errorf(1, "node %s: the archive has no file %s.conf", m.Name, m.Name)
		}
	}
	if m.Kind == "frr" {
		if _, err := parseFRR(s.Files[m.Name+".conf"]); err != nil {
			return st.Errorf(1, "%s.conf: %v", m.Name, err)
		}
	}
	for _, n := range m.NICs {
		if known[n.LAN] != "lan" {
			return st.Errorf(slices.Index(st.Words, n.LAN+":"+n.Iface), "no lan %s is declared above", n.LAN)
		}
	}
	return nil
}
