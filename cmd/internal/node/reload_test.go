package node

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// machine drives one node alone, and knows what the kernel would have.
type machine struct {
	n       *Node
	now     time.Duration
	held    map[string]int // addresses, routes and rules
	actions []Action       // of the last step
	asked   []Action       // of the kernel's IPVS, and reported about it
	said    []string
	frames  int
}

func hostLinks() []Link {
	return []Link{
		{Name: "lo", Loopback: true, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Name: "eth0", MAC: macOf(0), Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}},
		{Name: "eth1", MAC: macOf(1), Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24")}},
	}
}

func newMachine(t testing.TB, c *config.Config) *machine {
	n, err := New(c, hostLinks(), 1)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{n: n, held: map[string]int{}}
	m.step(Start{})
	return m
}

func (m *machine) step(ev Event) { m.carry(m.n.Step(m.now, ev, nil)) }

func (m *machine) carry(actions []Action) {
	m.actions = actions
	var then []Event
	tell := func(a config.Address, present bool) {
		if p, err := m.n.portNamed(a.Pos, a.Device); err == nil {
			then = append(then, AddressChanged{Port: p, Prefix: a.Prefix, Present: present})
		}
	}
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			m.frames++
		case AddAddress:
			m.held[a.Device+" "+a.Prefix.String()] = 1
			tell(a.Address, true)
		case RemoveAddress:
			delete(m.held, a.Device+" "+a.Prefix.String())
			tell(a.Address, false)
		case AddRoute:
			m.held["route "+a.Route.String()]++
		case RemoveRoute:
			m.held["route "+a.Route.String()]--
		case AddRule:
			m.held["rule "+a.Rule.String()]++
		case RemoveRule:
			m.held["rule "+a.Rule.String()]--
		case Program, EndProgram, IPVSFailed, IPVSRestored:
			m.asked = append(m.asked, a)
		case RunCheck:
			then = append(then, CheckDone{Check: a.Check, OK: true})
		case RunScript:
			then = append(then, ScriptDone{Script: a.Script, OK: true})
		case Changed:
			m.said = append(m.said, fmt.Sprintf("%s %v", a.Instance, a.Changed))
		case Line:
			m.said = append(m.said, a.Text)
		}
	}
	for _, ev := range then {
		m.step(ev)
	}
}

func (m *machine) run(d time.Duration) {
	for end := m.now + d; ; m.step(Tick{}) {
		at, ok := m.n.Deadline()
		if !ok || at > end {
			m.now = end
			return
		}
		m.now = max(m.now, at)
	}
}

func (m *machine) reload(t testing.TB, c *config.Config) {
	actions, err := m.n.Reload(m.now, c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.carry(actions)
}

// describe is what the node is made of and what it does, without how it came there.
func (m *machine) describe() string {
	var b strings.Builder
	n := m.n
	for i := range n.instances {
		in := &n.instances[i]
		fmt.Fprintf(&b, "%s vrid %d on %s: %v priority %d source %v group %d:%d vips", in.cfg.Name, in.cfg.VRID, n.ports[in.port].link.Name,
			in.fsm.State(), in.fsm.Priority(), in.source, in.group, in.member)
		for _, a := range in.addresses() {
			fmt.Fprintf(&b, " %v@%s", a.Prefix, a.Device)
		}
		fmt.Fprintf(&b, " tracks %v advert %v timer %v\n", in.trackers, in.fsm.Advert(in.fsm.Priority()), n.timers.pos[in.timer] >= 0)
	}
	for i := range n.groups {
		fmt.Fprintf(&b, "group %s %v %v\n", n.groups[i].cfg.Name, n.groups[i].members, n.groups[i].fsm.State())
	}
	for _, s := range n.scripts {
		fmt.Fprintf(&b, "script %s good %v users %v\n", s.cfg.Name, s.good >= s.cfg.Rise, s.users)
	}
	for _, s := range n.services {
		fmt.Fprintf(&b, "service %v quorum %v sorry %v\n", s.name, s.quorum, s.sorry)
	}
	services := map[string]string{}
	for _, s := range n.fwd.Services() {
		line := fmt.Sprintf("local %v %+v:", s.Local, s.Service)
		var servers []string
		for _, rs := range s.Servers {
			servers = append(servers, fmt.Sprintf(" %+v", rs.Server))
		}
		slices.Sort(servers) // the list shows who came last
		services[s.Key.String()] = line + strings.Join(servers, "")
	}
	tcp, fin, udp := n.fwd.Timeouts()
	fmt.Fprintf(&b, "marks %v timeouts %v %v %v\n", n.Marks(), tcp, fin, udp)
	for _, k := range slices.Sorted(maps.Keys(services)) {
		fmt.Fprintf(&b, "forwards %s %s\n", k, services[k])
	}
	for _, k := range slices.Sorted(maps.Keys(m.held)) {
		if m.held[k] > 0 {
			fmt.Fprintf(&b, "holds %s\n", k)
		}
	}
	fmt.Fprintf(&b, "uses %v flows %v\n", n.Uses(), len(n.Flows()))
	n.programming.last.describe(&b)
	return b.String()
}

// drawFile makes a configuration of instances, groups, static and tracked things and services.
func drawFile(t *rapid.T, name string) *config.Config {
	pick := func(label string, list ...string) string { return rapid.SampledFrom(list).Draw(t, name+" "+label) }
	var b strings.Builder
	b.WriteString("vrrp_script S {\n script \"/bin/true\"\n interval 1\n}\n")
	if pick("static", "y", "n") == "y" {
		fmt.Fprintf(&b, "static_ipaddress {\n 10.9.0.%s/32 dev eth1\n}\nstatic_routes {\n 10.8.%s.0/24 via 10.0.0.2 dev eth0\n}\n", pick("static address", "1", "2"), pick("static route", "1", "2"))
	}
	var names []string
	for _, vrid := range []string{"51", "52", "53"} {
		if pick("has "+vrid, "y", "y", "n") == "n" {
			continue
		}
		names = append(names, "VI_"+vrid+pick("name", "", "", "", "x"))
		fmt.Fprintf(&b, "vrrp_instance %s {\n interface %s\n version %s\n virtual_router_id %s\n priority %s\n advert_int %s\n", names[len(names)-1],
			pick("interface", "eth0", "eth0", "eth1"), pick("version", "2", "2", "3"), vrid, pick("priority", "100", "150", "254"), pick("interval", "1", "2"))
		fmt.Fprintf(&b, " virtual_ipaddress {\n  10.0.0.1%s/%s%s\n  10.0.0.%s\n }\n", vrid, pick("length", "24", "32"), pick("device", "", " dev eth1"), pick("second", "201", "202", "203"))
		fmt.Fprintf(&b, " virtual_routes {\n  10.7.%s.0/24 via 10.0.0.2\n }\n", pick("route", vrid, "1"+vrid))
		if pick("tracks", "y", "n") == "y" {
			fmt.Fprintf(&b, " track_script {\n  S weight %s\n }\n", pick("weight", "0", "2"))
		}
		b.WriteString("}\n")
	}
	if len(names) > 1 && pick("group", "y", "n") == "y" {
		fmt.Fprintf(&b, "vrrp_sync_group G {\n group {\n%s\n }\n}\n", strings.Join(names[:rapid.IntRange(1, len(names)).Draw(t, name+" members")], "\n"))
	}
	b.WriteString(drawServices(pick))
	c, messages := config.Parse("test.conf", []byte(b.String()), config.Options{})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatalf("%v\n%s", m, b.String())
		}
	}
	return c
}

// drawServices makes virtual servers of addresses, groups and marks, with and without real
// servers, some of them on this host.
func drawServices(pick func(label string, list ...string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n lvs_timeouts tcp %s\n @ringkeep packet_mark 7 iif eth0 tcp dport %s\n @ringkeep packet_mark 8 ip daddr 10.0.0.0/24\n%s}\n",
		pick("tcp", "0", "60"), pick("marked", "80", "81-82"), pick("policy", "", " @ringkeep midstream drop\n"))
	fmt.Fprintf(&b, "virtual_server_group V {\n 10.0.0.1%s\n %s\n %s\n}\n", pick("range", "", "-3", "-9"), pick("entry", "10.0.5.0/30 81", "10.0.5.0/29 81", "2001:db8::1-2 80"), pick("mark", "fwmark 7", "fwmark 8", "fwmark 8 inet6"))
	for _, head := range []string{"10.0.0.1 80", "10.0.0.1 81", "group V", "group V", "fwmark 7"} {
		if pick("has "+head, "y", "n") == "n" {
			continue
		}
		fmt.Fprintf(&b, "virtual_server %s {\n lb_algo %s\n lb_kind %s\n protocol %s\n persistence_timeout %s\n quorum %s\n%s%s%s", head, pick("algo", "rr", "wlc"),
			pick("method", "DR", "NAT", "TUN type gue port 6080"), pick("protocol", "TCP", "UDP"), pick("persistence", "50", "60"), pick("quorum", "1", "3"),
			pick("ops", "", " ops\n"), pick("policy", "", " @ringkeep conn_reuse_mode 2\n", " @ringkeep expire_nodest_conn\n"), pick("dataplane", "", "", " @ringkeep dataplane ipvs\n"))
		if pick("sorry", "y", "n") == "y" {
			fmt.Fprintf(&b, " sorry_server 10.0.0.%s 80\n%s%s", pick("sorry server", "7", "9", "1"), pick("sorry inhibit", "", " sorry_server_inhibit\n"), pick("sorry method", "", " sorry_server_lvs_method TUN\n"))
		}
		for _, rs := range []string{"10.0.0.7", "10.0.0.8", "10.0.0.1", "127.0.0.1"} {
			if pick("has server", "y", "n") == "y" {
				fmt.Fprintf(&b, " real_server %s %s {\n  weight %s\n%s%s  TCP_CHECK {\n   connect_timeout %s\n%s  }\n }\n", rs, pick("port", "80", "8080"), pick("weight", "1", "3"),
					pick("inhibit", "", "  inhibit_on_failure\n"), pick("limit", "", "  uthreshold 7\n"), pick("timeout", "2", "3"), pick("alpha", "", "   alpha\n"))
			}
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// TestReloadEndsWhereAFreshStartDoes goes from one random configuration to another, and
// then a third: what is there in the end is what a node that was started with it has.
func TestReloadEndsWhereAFreshStartDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b, c := drawFile(rt, "a"), drawFile(rt, "b"), drawFile(rt, "c")
		m := newMachine(t, a)
		m.run(time.Duration(rapid.IntRange(0, 20).Draw(rt, "first")) * time.Second)
		m.reload(t, b)
		m.run(time.Duration(rapid.IntRange(0, 20).Draw(rt, "second")) * time.Second)
		m.reload(t, c)
		m.run(time.Minute)
		fresh := newMachine(t, c)
		fresh.run(time.Minute)
		if got, want := m.describe(), fresh.describe(); got != want {
			rt.Fatalf("after two reloads\n%s\nfresh\n%s", got, want)
		}
		m.step(Stop{})
		for k, count := range m.held {
			if count > 0 {
				rt.Fatalf("keeps %s after the stop", k)
			}
		}
	})
}

// TestReloadOfTheSameDoesNothing reads the same configuration again: no difference, no
// action, no timer that moves.
func TestReloadOfTheSameDoesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := drawFile(rt, "a")
		if diff := config.Diff(a, a); len(diff) > 0 {
			rt.Fatalf("differs from itself: %v", diff)
		}
		m := newMachine(t, a)
		m.run(time.Duration(rapid.IntRange(0, 20000).Draw(rt, "time")) * time.Millisecond)
		before, said, at := m.describe(), len(m.said), deadline(m)
		m.reload(t, a)
		if len(m.actions) > 0 || m.describe() != before || len(m.said) > said || deadline(m) != at {
			rt.Fatalf("a reload of the same: %v\nbefore\n%s\nafter\n%s", m.actions, before, m.describe())
		}
	})
}

func deadline(m *machine) time.Duration {
	at, _ := m.n.Deadline()
	return at
}

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, messages := config.Parse("test.conf", []byte(text), config.Options{})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	return c
}

func instanceText(name, extra string, vrid int) string {
	return fmt.Sprintf("vrrp_instance %s {\n interface eth0\n virtual_router_id %d\n priority 100\n advert_int 1\n virtual_ipaddress {\n  10.0.0.%d/24\n }\n%s\n}\n", name, vrid, vrid, extra)
}

// TestReloadRefusedChangesNothing names an interface that is not there: the error has the
// line, and the node goes on.
func TestReloadRefusedChangesNothing(t *testing.T) {
	m := newMachine(t, parse(t, instanceText("A", "", 51)))
	m.run(5 * time.Second)
	before := m.describe()
	broken := strings.Replace(instanceText("A", "", 51)+instanceText("B", "", 52), "eth0\n virtual_router_id 52", "eth7\n virtual_router_id 52", 1)
	actions, err := m.n.Reload(m.now, parse(t, broken), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "test.conf:12:") || !strings.Contains(err.Error(), "eth7") {
		t.Errorf("error %v", err)
	}
	if len(actions) > 0 || m.describe() != before {
		t.Errorf("%v\n%s\n%s", actions, before, m.describe())
	}
	next := append(hostLinks(), Link{Name: "eth7", MAC: macOf(7), Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.7.1/24")}})
	actions, err = m.n.Reload(m.now, parse(t, broken), next, nil) // it was plugged in meanwhile
	if err != nil {
		t.Fatal(err)
	}
	m.carry(actions)
	m.run(5 * time.Second)
	if m.held["eth7 10.0.0.52/24"] != 1 {
		t.Errorf("the instance on the new interface holds nothing: %v", m.held)
	}
}

// TestRemovedInstanceSaysGoodbye: priority 0, the address goes, and the scripts hear FAULT,
// or DELETED where notify_deleted is written (reference 4.2); one in FAULT says it no more.
func TestRemovedInstanceSaysGoodbye(t *testing.T) {
	for _, c := range []struct {
		extra string
		down  bool
		want  []string
	}{
		{"", false, []string{"A MASTER -> INIT", `INSTANCE "A" FAULT 100`}},
		{" notify_deleted", false, []string{"A MASTER -> INIT", `INSTANCE "A" DELETED 100`}},
		{"", true, []string{"A FAULT -> INIT"}},
		{" notify_deleted", true, []string{"A FAULT -> INIT", `INSTANCE "A" DELETED 100`}},
	} {
		m := newMachine(t, parse(t, instanceText("A", c.extra, 51)))
		m.run(5 * time.Second)
		if c.down {
			m.step(LinkChanged{Port: 1})
		}
		m.said = nil
		m.reload(t, parse(t, instanceText("B", "", 52)))
		got := slices.DeleteFunc(m.said, func(s string) bool { return strings.Contains(s, "B ") || strings.Contains(s, `"B"`) })
		if !slices.Equal(got, c.want) || m.held["eth0 10.0.0.51/24"] != 0 {
			t.Errorf("%q, down %v: %q, holds %v", c.extra, c.down, got, m.held)
		}
	}
}

// TestAddressMovesBetweenInstances in one reload: it is there afterwards. keepalived may
// lose it and needs two reloads (reference 5.3).
func TestAddressMovesBetweenInstances(t *testing.T) {
	file := func(first, second string) *config.Config {
		one := strings.Replace(instanceText("A", "", 51), "10.0.0.51/24", "10.0.0.51/24\n"+first, 1)
		return parse(t, one+strings.Replace(instanceText("B", "", 52), "10.0.0.52/24", "10.0.0.52/24\n"+second, 1))
	}
	for _, c := range [][2]string{{"10.0.0.99/24", ""}, {"", "10.0.0.99/24"}} {
		m := newMachine(t, file(c[0], c[1]))
		m.run(5 * time.Second)
		m.reload(t, file(c[1], c[0]))
		m.run(5 * time.Second)
		if m.held["eth0 10.0.0.99/24"] != 1 {
			t.Errorf("from %q: %v", c, m.held)
		}
	}
}

// TestStatesAreToldOnReload with fifo_write_vrrp_states_on_reload.
func TestStatesAreToldOnReload(t *testing.T) {
	text := "global_defs {\n fifo_write_vrrp_states_on_reload\n}\n" + instanceText("A", "", 51)
	m := newMachine(t, parse(t, text))
	m.run(5 * time.Second)
	m.said = nil
	m.reload(t, parse(t, text))
	if !slices.Equal(m.said, []string{`INSTANCE "A" MASTER 100`}) {
		t.Errorf("%q", m.said)
	}
}

// TestRoutesMoveWithAGroup: the routes of a member come and go with its addresses, as those
// of an instance that is alone.
func TestRoutesMoveWithAGroup(t *testing.T) {
	const route = "route 10.7.0.0/24 via 10.0.0.2 no_track"
	m := newMachine(t, parse(t, "vrrp_sync_group G {\n group {\n A\n }\n}\n"+instanceText("A", " virtual_routes {\n  10.7.0.0/24 via 10.0.0.2\n }", 51)))
	m.run(5 * time.Second)
	if m.held[route] != 1 {
		t.Errorf("MASTER without its route: %v", m.held)
	}
	m.step(LinkChanged{Port: 1})
	if m.held[route] > 0 {
		t.Errorf("keeps its route in FAULT: %v", m.held)
	}
}

// TestServersAfterAReload: what is known of servers stays, a weight takes effect in the
// pool, and one that is gone counts as down for its scripts.
func TestServersAfterAReload(t *testing.T) {
	file := func(servers string) *config.Config {
		return parse(t, "virtual_server 10.0.0.1 80 {\n lb_algo rr\n lb_kind DR\n protocol TCP\n"+servers+"}\n")
	}
	server := func(last, weight int) string {
		return fmt.Sprintf(" real_server 10.0.0.%d 80 {\n  weight %d\n  TCP_CHECK {\n   connect_timeout 1\n  }\n }\n", last, weight)
	}
	m := newMachine(t, file(server(7, 1)+server(8, 1)))
	m.step(CheckDone{Check: 0}) // the first result decides: 10.0.0.7 is down
	m.said = nil
	at := deadline(m)
	m.reload(t, file(server(7, 5)+server(9, 2)))
	if !slices.Equal(m.said, []string{"RS [10.0.0.8]:tcp:80 [10.0.0.1]:tcp:80 DOWN"}) {
		t.Errorf("%q", m.said)
	}
	if deadline(m) != at {
		t.Errorf("the neighbours and checks wait until %v, not %v", deadline(m), at)
	}
	pool := func() string {
		var list []string
		for _, s := range m.n.fwd.Services()[0].Servers {
			list = append(list, fmt.Sprint(s.Addr, s.Weight))
		}
		return strings.Join(list, " ")
	}
	if pool() != "10.0.0.9:80 2" {
		t.Errorf("a server that failed is back: %s", pool())
	}
	m.step(CheckDone{Check: 0, OK: true})
	if !strings.Contains(pool(), "10.0.0.7:80 5") {
		t.Errorf("it comes with its old weight: %s", pool())
	}
}

// TestGroupOfTwoProtocols: where the service of one protocol goes, that of the other keeps what is
// known of it, though it is the first of its group now.
func TestGroupOfTwoProtocols(t *testing.T) {
	service := func(protocol string) string {
		return "virtual_server group G {\n lb_algo rr\n lb_kind DR\n protocol " + protocol +
			"\n real_server 10.0.0.7 80 {\n  TCP_CHECK {\n  }\n }\n real_server 10.0.0.8 80 {\n  TCP_CHECK {\n  }\n }\n}\n"
	}
	const group = "virtual_server_group G {\n 10.0.0.1 80\n}\n"
	m := newMachine(t, parse(t, group+service("TCP")+service("UDP")))
	for check := range 4 {
		m.step(CheckDone{Check: check, OK: check != 3}) // 10.0.0.8 is down by UDP
	}
	m.said = nil
	m.reload(t, parse(t, group+service("UDP")))
	want := "RS [10.0.0.7]:tcp:80 [G]:0 DOWN, RS [10.0.0.8]:tcp:80 [G]:0 DOWN, VS [G]:0 DOWN"
	if got := strings.Join(m.said, ", "); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if got, want := m.pools(), "UDP 10.0.0.1:80 | 10.0.0.7:80 DR 1\n"; got != want {
		t.Errorf("pools %q, want %q", got, want)
	}
}

// TestReloadKeepsEachOfTwoChecks that are the same but for what they say: the one that fails still
// does, and both go on when it is their time.
func TestReloadKeepsEachOfTwoChecks(t *testing.T) {
	const check = "  UDP_CHECK {\n   retry 0\n   delay_loop 10\n   payload %s\n  }\n"
	cfg := func() *config.Config {
		return parse(t, "virtual_server 10.0.0.1 53 {\n lb_algo rr\n lb_kind DR\n protocol UDP\n real_server 10.0.0.7 53 {\n"+fmt.Sprintf(check, "aa")+fmt.Sprintf(check, "bb")+" }\n}\n")
	}
	m := newMachine(t, cfg())
	m.step(CheckDone{Check: 0})
	m.now = time.Second
	m.step(CheckDone{Check: 1, OK: true})
	before := []CheckView{m.n.checkView(&m.n.checks[0]), m.n.checkView(&m.n.checks[1])}
	m.said = nil
	m.reload(t, cfg())
	for i, was := range before {
		is := m.n.checkView(&m.n.checks[i])
		if is.Up != was.Up || is.Next != was.Next {
			t.Errorf("check %d: up %v, next %v, was up %v, next %v", i, is.Up, is.Next, was.Up, was.Next)
		}
	}
	if len(m.said) > 0 || m.n.services[0].servers[0].alive {
		t.Errorf("alive %v, said %q", m.n.services[0].servers[0].alive, m.said)
	}
}
