package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/ring/pcap"
)

// wireForm is one way in which the programs may speak VRRP: a row of the matrix.
type wireForm struct {
	name    string
	version int
	six     bool
	unicast bool
	lines   string // more of the block, in the words of keepalived.conf
	peers   string // the programs that speak it
}

const (
	bothPeers = "keepalived frr"
	pass      = "authentication {\n auth_type PASS\n auth_pass s3cret\n}"
	header    = "authentication {\n auth_type AH\n auth_pass s3cret\n}"
)

// wireForms are the rows. FRR has no authentication and no unicast.
var wireForms = []wireForm{
	{name: "v2", version: 2, peers: bothPeers},
	{name: "v2-pass", version: 2, lines: pass, peers: "keepalived"},
	{name: "v2-ah", version: 2, lines: header, peers: "keepalived"},
	{name: "v2-unicast", version: 2, unicast: true, peers: "keepalived"},
	{name: "v3", version: 3, peers: bothPeers},
	{name: "v3-ipv6", version: 3, six: true, peers: bothPeers},
	{name: "v3-unicast", version: 3, unicast: true, peers: "keepalived"},
	{name: "v3-ipv6-unicast", version: 3, six: true, unicast: true, peers: "keepalived"},
	{name: "v2-vmac", version: 2, lines: "use_vmac", peers: "keepalived"},
	{name: "v3-vmac", version: 3, lines: "use_vmac", peers: "keepalived"},
	{name: "v3-ipv6-vmac", version: 3, six: true, lines: "use_vmac", peers: "keepalived"},
}

// fleets are the three-way ones, the best node first.
var fleets = map[string][]string{
	"v2": {"ringkeep keepalived frr", "frr ringkeep keepalived", "ringkeep keepalived ringkeep"},
	"v3": {"ringkeep keepalived frr", "frr ringkeep keepalived", "keepalived frr ringkeep", "ringkeep keepalived ringkeep"},
}

// interop is one run: a form, and the programs of the nodes, the best first.
type interop struct {
	wireForm
	nodes []string
}

// matrix is every form with ours in every seat.
func matrix() (list []interop) {
	for _, f := range wireForms {
		for _, peer := range strings.Fields(f.peers) {
			list = append(list, interop{f, []string{"ringkeep", peer}}, interop{f, []string{peer, "ringkeep"}})
		}
		for _, fleet := range fleets[f.name] {
			list = append(list, interop{f, strings.Fields(fleet)})
		}
	}
	// The slow ones first: the others fit in beside them.
	slices.SortStableFunc(list, func(a, b interop) int { return int(b.interval()-a.interval()) + len(b.nodes) - len(a.nodes) })
	return list
}

func (c interop) String() string { return c.name + ":" + strings.Join(c.nodes, "-") }

// interval is the shortest that the version and two busy processors allow.
func (c interop) interval() time.Duration {
	if c.version == 2 {
		return time.Second
	}
	return 200 * time.Millisecond
}

// priorities of the nodes, the best first: so far apart that a busy machine does not turn
// their skews round.
var priorities = []int{240, 160, 20}

// skew of a node: (256 - priority) / 256 of an interval, of a second in version 2. FRR
// counts in hundredths of a second and drops the rest.
func (c interop) skew(node int) time.Duration {
	skew := time.Duration(256-priorities[node]) * c.interval() / 256
	if c.nodes[node] == "frr" {
		skew = skew.Truncate(10 * time.Millisecond)
	}
	return skew
}

func letter(node int) string { return string(rune('a' + node)) }

// address of a node (1, 2, 3) or of the virtual router (100).
func (c interop) address(n int) string {
	if c.six {
		return fmt.Sprintf("2001:db8:77::%d", n)
	}
	return fmt.Sprintf("10.77.0.%d", n)
}

func (c interop) prefix(n int) string {
	if c.six {
		return c.address(n) + "/64"
	}
	return c.address(n) + "/24"
}

// text is the run as a scenario: every MASTER but the last loses power, they return in
// turn, and the best is stopped and returns.
func (c interop) text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("lan lan\nhost client lan:eth0 %s", c.prefix(9))
	for i, kind := range c.nodes {
		p("node %s %s lan:eth0 %s\nserve %s http 80", letter(i), kind, c.prefix(i+1), letter(i))
	}
	p("needs namespaces")
	for i := range c.nodes {
		p("up %s\nwait 8s %s state %s", letter(i), letter(i), map[bool]string{true: "MASTER", false: "BACKUP"}[i == 0])
	}
	p("ask client http %s a", c.service()) // it has to know a MAC to learn another
	b.WriteString(c.serves(0))
	last := len(c.nodes) - 1
	for i := range last {
		b.WriteString(c.change("crash", i, i+1))
	}
	for i := last - 1; i >= 0; i-- {
		b.WriteString(c.returns(i))
	}
	b.WriteString(c.change("stop", 0, 1))
	b.WriteString(c.returns(0) + settled)
	for i := range c.nodes {
		p("-- %s.conf --\n%s", letter(i), c.conf(i))
	}
	return b.String()
}

// settled is how long a client believes no other gratuitous ARP of an address: at the
// interval of version 3 what comes next has to wait for that.
const settled = "run 1100ms\n"

// slack is for whatever the kernel does not count as waiting for a processor.
const slack = 500 * time.Millisecond

// change takes the MASTER away and holds the silence against its bound.
func (c interop) change(how string, from, to int) string {
	theory, before := c.skew(to), settled
	if how == "crash" {
		theory += 3 * c.interval()
	}
	if how == "crash" && c.version == 2 {
		before = ""
	}
	speaks := ""
	if c.six { // FRR announces the address before it advertises
		speaks = "wait 2s advert " + letter(to) + "\n"
	}
	return fmt.Sprintf("say %s of %s\n%swait 4s advert %s\nmark\n%s %s\nwait 8s %s state MASTER\n", how, letter(from), before, letter(from), how, letter(from), letter(to)) + speaks + c.serves(to) +
		fmt.Sprintf("expect silence 51 %v %v\n", theory-time.Millisecond, theory+slack)
}

// returns starts a node that is better than the present MASTER, the next one.
func (c interop) returns(node int) string {
	a, b, before := letter(node), letter(node+1), settled
	if c.version == 2 {
		before = ""
	}
	return fmt.Sprintf("say return of %s\n%sup %s\nwait 10s %s state MASTER\nwait 2s %s state BACKUP\nwait 2s %s lacks %s\n", a, before, a, a, b, b, c.address(100)) + c.serves(node)
}

// serves has the client reach a MASTER.
func (c interop) serves(node int) string {
	n := letter(node)
	return fmt.Sprintf("wait 2s %s holds %s\nwait 2s client sees %s at %s\nask client http %s %s\n", n, c.address(100), c.address(100), n, c.service(), n)
}

func (c interop) service() string {
	if c.six {
		return "[" + c.address(100) + "]:80"
	}
	return c.address(100) + ":80"
}

func (c interop) conf(node int) string {
	family, local := "ip", ""
	if c.six {
		family, local = "ipv6", "fe80::77:100"
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if c.nodes[node] == "frr" {
		p("interface eth0\n vrrp 51 version %d\n vrrp 51 priority %d\n vrrp 51 advertisement-interval %d", c.version, priorities[node], c.interval().Milliseconds())
		if local != "" {
			p(" vrrp 51 %s %s", family, local)
		}
		p(" vrrp 51 %s %s", family, c.address(100))
		return b.String()
	}
	p("vrrp_instance VI_1 {\nversion %d\nstate BACKUP\ninterface eth0\nvirtual_router_id 51\npriority %d\nadvert_int %v", c.version, priorities[node], c.interval().Seconds())
	// The second announcement of keepalived outlives its term: one just before the node gives
	// way would hide that of the next, as a client believes one change of a MAC a second.
	p("garp_master_delay 0")
	if c.unicast {
		p("unicast_src_ip %s\nunicast_peer {", c.address(node+1))
		for i := range c.nodes {
			if i != node {
				p("%s", c.address(i+1))
			}
		}
		p("}")
	}
	if c.lines != "" {
		p("%s", c.lines)
	}
	p("virtual_ipaddress {")
	if local != "" {
		p("%s/64 dev eth0", local)
	}
	p("%s\n}\n}", c.prefix(100))
	return b.String()
}

// atATime is how many runs of the matrix go on beside each other: they mostly wait.
const atATime = 8

// TestInterop plays ours against keepalived and FRR, in every seat, over every form that
// both speak.
func TestInterop(t *testing.T) {
	needs(t, "keepalived", "vrrpd", "tshark")
	if testing.Short() {
		t.Skip("the matrix takes a minute")
	}
	room := make(chan struct{}, atATime)
	var all sync.WaitGroup
	for _, c := range matrix() {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			t.Run(c.String(), c.run)
		})
	}
	all.Wait()
}

// run plays one run, and counts in its capture who was MASTER when.
func (c interop) run(t *testing.T) {
	file := filepath.Join(t.TempDir(), "interop.txtar")
	if err := os.WriteFile(file, []byte(c.text()), 0o644); err != nil {
		t.Fatal(err)
	}
	capture, told := command(t, file)
	c.log(t, told)
	witness(t, capture)
	list := terms(t, capture, c.interval())
	if masters := 2*len(c.nodes) + 1; len(list) < masters {
		t.Errorf("%d terms of a MASTER, want %d: %v", len(list), masters, list)
	}
	double, more := together(list)
	t.Logf("matrix|%s|%s|both|0|%.1f", c.name, strings.Join(c.nodes, " / "), ms(double))
	const busy = 20 * time.Millisecond // what two processors with as many labs add
	// Of two that are further apart than an interval one at least is no latecomer.
	if double > c.interval()+busy && more > 1 {
		t.Errorf("two MASTERs for %v, longer than one interval: %v", double, list)
	}
}

// log prints the silences of a run, for bench/interop.sh: the event, its theory and what it
// was, in ms.
func (c interop) log(t *testing.T, told string) {
	for i, m := range silences.FindAllStringSubmatch(told, -1) {
		got, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		event, theory := fmt.Sprintf("crash%d", i+1), time.Duration(0)
		if i < len(c.nodes)-1 {
			theory = 3*c.interval() + c.skew(i+1)
		} else {
			event, theory = "stop", c.skew(1)
		}
		t.Logf("matrix|%s|%s|%s|%.1f|%.1f", c.name, strings.Join(c.nodes, " / "), event, ms(theory), ms(got))
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// silences finds what expect silence measured.
var silences = regexp.MustCompile(`= silence of VRID 51: (\S+)`)

// term is how long a host advertised without a pause.
type term struct {
	host     string
	from, to time.Duration
	adverts  []time.Duration // all of them
}

// terms reads in a capture who was MASTER when.
func terms(t *testing.T, capture string, interval time.Duration) (list []term) {
	t.Helper()
	var seen []sent
	err := pcap.Each(capture, func(p pcap.Packet, _ []pcap.Interface) {
		_, v, err := ParseVRRP(p.Data)
		if err == nil {
			seen = append(seen, sent{strings.TrimSuffix(p.Interface, ":eth0"), time.Duration(p.At.UnixNano()), v.Priority()})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := len(seen) - 1; i >= 0; i-- {
		seen[i].at -= seen[0].at
	}
	return termsOf(seen, interval)
}

// sent is an advertisement.
type sent struct {
	host     string
	at       time.Duration
	priority uint8
}

// termsOf finds the terms of MASTERs: from the first advertisement to the last one before priority
// 0, before two intervals of silence, or before a silence in which another advertised twice.
func termsOf(seen []sent, interval time.Duration) (list []term) {
	open := map[string]int{} // by host, the place in the list
	others := map[string]int{}
	for _, a := range seen {
		i, ok := open[a.host]
		silence := time.Duration(0)
		if ok {
			silence = a.at - list[i].to
		}
		switch {
		case a.priority == 0:
			delete(open, a.host)
			continue
		case ok && silence <= 2*interval && (others[a.host] < 2 || silence <= interval*5/4):
			list[i].to, list[i].adverts = a.at, append(list[i].adverts, a.at)
		default:
			open[a.host] = len(list)
			list = append(list, term{a.host, a.at, a.at, []time.Duration{a.at}})
		}
		for host := range open {
			others[host]++
		}
		others[a.host] = 0
	}
	return list
}

// together is the longest time in which two were MASTER, and how often the former said so
// in it: who waits for a processor is late with what its timer has it send, once.
func together(list []term) (longest time.Duration, more int) {
	for i, a := range list {
		for _, b := range list[:i] {
			if both := min(a.to, b.to) - max(a.from, b.from); a.host != b.host && both > longest {
				longest, more = both, 0
				for _, at := range b.adverts { // the list is in the order of the first ones
					if at > a.from {
						more++
					}
				}
			}
		}
	}
	return longest, more
}

// The longest time of two MASTERs is counted as the capture has it.
func TestTogether(t *testing.T) {
	for _, tt := range []struct {
		list []term
		want time.Duration
		more int
	}{
		{[]term{{"a", 0, 10, nil}, {"b", 13, 20, nil}, {"a", 20, 30, nil}}, 0, 0},
		{[]term{{"a", 0, 10, []time.Duration{0, 5, 10}}, {"b", 8, 20, []time.Duration{8, 20}}, {"c", 19, 30, nil}}, 2, 1},
		{[]term{{"a", 0, 30, []time.Duration{0, 10, 20, 30}}, {"b", 8, 20, nil}}, 12, 3},
	} {
		if got, more := together(tt.list); got != tt.want || more != tt.more {
			t.Errorf("%v: %d with %d, want %d with %d", tt.list, got, more, tt.want, tt.more)
		}
	}
}

// A MASTER that gives way for less than two intervals has two terms.
func TestTerms(t *testing.T) {
	const ms = time.Millisecond
	var seen []sent
	says := func(host string, priority uint8, at ...time.Duration) {
		for _, at := range at {
			seen = append(seen, sent{host, at * ms, priority})
		}
	}
	says("b", 160, 0, 1000)
	says("a", 240, 1015, 1510, 2510)
	says("a", 0, 2511)
	says("b", 160, 2890, 3890)
	got := termsOf(seen, time.Second)
	if want := []term{{"b", 0, 1000 * ms, nil}, {"a", 1015 * ms, 2510 * ms, nil}, {"b", 2890 * ms, 3890 * ms, nil}}; len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	} else {
		for i, w := range want {
			if g := got[i]; g.host != w.host || g.from != w.from || g.to != w.to {
				t.Errorf("%v, want %v", g, w)
			}
		}
	}
	seen = nil
	for at := time.Duration(0); at < 5000; at += 1000 { // beside each other, one of them late now and then
		says("a", 240, at)
		says("b", 160, at+100+at/25)
	}
	if got := termsOf(seen, time.Second); len(got) != 2 {
		t.Errorf("%v, want two", got)
	}
}
