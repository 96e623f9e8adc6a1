package kernel

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tables is what ip shows of routes that the kernel did not make itself.
func tables(t *testing.T, args ...string) string {
	t.Helper()
	var list []string
	for line := range strings.Lines(output(t, "ip", append(args, "-d", "route", "show", "table", "all")...)) {
		if !strings.Contains(line, "proto kernel") {
			list = append(list, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(list, "\n")
}

// ground is an interface with addresses of both families.
func ground(t *testing.T) {
	t.Helper()
	namespace(t)
	d := link(t, "d0")
	link(t, "d1")
	for _, p := range []string{"10.1.0.1/24", "2001:db8::1/64"} {
		a, err := netlink.ParseAddr(p)
		must(t, err)
		a.Flags = unix.IFA_F_NODAD
		must(t, netlink.AddrAdd(d, a))
	}
}

func to(s string) Route {
	return Route{To: netip.MustParsePrefix(s), Protocol: ProtocolKeepalived}
}

func hop(via string) Hop {
	h := Hop{Interface: "d0"}
	if via != "" {
		h.Via = netip.MustParseAddr(via)
	}
	return h
}

// routeTable is routes, and how ip shows them (what keepalived adds for the same line is
// shown so, too).
func routeTable() []struct {
	add  Route
	want string
} {
	var list []struct {
		add  Route
		want string
	}
	row := func(want, prefix string, change func(*Route)) {
		r := to(prefix)
		r.Hop = hop("10.1.0.254")
		if r.To.Addr().Is6() {
			r.Hop = hop("2001:db8::254")
		}
		change(&r)
		list = append(list, struct {
			add  Route
			want string
		}{r, want})
	}
	row("unicast 192.0.2.0/24 via 10.1.0.254 dev d0 proto keepalived scope global", "192.0.2.0/24", func(*Route) {})
	row("unicast default via 10.1.0.254 dev d0 table 100 proto keepalived scope global src 10.1.0.1 metric 7", "0.0.0.0/0", func(r *Route) {
		r.Table, r.Metric, r.Source = 100, 7, netip.MustParseAddr("10.1.0.1")
	})
	row("unicast 192.0.3.0/24 tos 0x10 dev d0 proto static scope link", "192.0.3.0/24", func(r *Route) {
		r.Hop, r.Protocol, r.Scope, r.TOS = hop(""), unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, 16
	})
	row("blackhole 192.0.4.0/24 proto keepalived scope global", "192.0.4.0/24", func(r *Route) { r.Hop, r.Type = Hop{}, unix.RTN_BLACKHOLE })
	row("unicast 192.0.5.0/24 proto keepalived scope global\nnexthop via 10.1.0.253 dev d0 weight 1 onlink\nnexthop via 10.1.0.254 dev d0 weight 3", "192.0.5.0/24", func(r *Route) {
		far := hop("10.1.0.253")
		far.OnLink = true
		near := hop("10.1.0.254")
		near.Weight = 3
		r.Hop, r.Hops = Hop{}, []Hop{far, near}
	})
	row("unicast 192.0.6.0/24 via 10.1.0.254 dev d0 proto keepalived scope global realms 1/2 mtu lock 1400 initcwnd 20 congctl lock reno", "192.0.6.0/24", func(r *Route) {
		r.Realms, r.CongCtl, r.Lock = 1<<16|2, "reno", 1<<unix.RTAX_MTU|1<<unix.RTAX_CC_ALGO
		r.Metrics = []Metric{{unix.RTAX_MTU, 1400}, {unix.RTAX_INITCWND, 20}}
	})
	row("unicast 192.0.7.0/24 via 10.9.9.9 dev d0 proto keepalived scope global onlink", "192.0.7.0/24", func(r *Route) {
		r.Via, r.OnLink = netip.MustParseAddr("10.9.9.9"), true
	})
	row("unicast 192.0.8.0/24 via inet6 2001:db8::254 dev d0 proto keepalived scope global", "192.0.8.0/24", func(r *Route) { r.Via = netip.MustParseAddr("2001:db8::254") })
	row("unicast 2001:db8:1::/48 via 2001:db8::254 dev d0 proto keepalived scope global metric 1024 pref high", "2001:db8:1::/48", func(r *Route) { r.Pref = 1 })
	row("unicast 2001:db8:2::/48 from 2001:db8::/64 via 2001:db8::254 dev d0 table 100 proto keepalived scope global metric 1024 hoplimit 9 pref medium", "2001:db8:2::/48", func(r *Route) {
		r.From, r.Table, r.Metrics = netip.MustParsePrefix("2001:db8::/64"), 100, []Metric{{unix.RTAX_HOPLIMIT, 9}}
	})
	return list
}

func TestRouteAppearsAsWritten(t *testing.T) {
	ground(t)
	k := open(t)
	before := tables(t) + tables(t, "-6")
	for _, tt := range routeTable() {
		fresh, err := k.AddRoute(tt.add)
		must(t, err)
		if !fresh {
			t.Errorf("%v: was there", tt.add.To)
		}
		got := strings.ReplaceAll(tables(t)+"\n"+tables(t, "-6"), " table main", "")
		if !strings.Contains(got+"\n", tt.want+"\n") {
			t.Errorf("ip shows\n%s\nwant\n%s", got, tt.want)
		}
		if fresh, err := k.AddRoute(tt.add); fresh || err != nil {
			t.Errorf("%v again: %v %v", tt.add.To, fresh, err)
		}
		must(t, k.RemoveRoute(tt.add))
		must(t, k.RemoveRoute(tt.add)) // absent is success
	}
	if after := tables(t) + tables(t, "-6"); after != before {
		t.Errorf("left over:\n%s", after)
	}
}

func TestRouteInsertion(t *testing.T) {
	ground(t)
	k := open(t)
	add := func(via string, where Insert) error {
		r := to("192.0.2.0/24")
		r.Hop, r.Insert = hop(via), where
		_, err := k.AddRoute(r)
		return err
	}
	must(t, add("10.1.0.2", Prepend))
	must(t, add("10.1.0.3", Prepend))
	must(t, add("10.1.0.4", Append))
	if err := add("10.1.0.5", Only); err == nil || err.Error() != "add the route to 192.0.2.0/24: file exists" {
		t.Errorf("add beside another: %v", err)
	}
	want := "192.0.2.0/24 via 10.1.0.3 dev d0 proto keepalived \n192.0.2.0/24 via 10.1.0.2 dev d0 proto keepalived \n192.0.2.0/24 via 10.1.0.4 dev d0 proto keepalived \n"
	if got := output(t, "ip", "route", "show", "192.0.2.0/24"); got != want {
		t.Errorf("ip shows\n%s\nwant\n%s", got, want)
	}
	if err := func() error { r := to("192.0.9.0/24"); r.Interface = "nosuch0"; _, err := k.AddRoute(r); return err }(); err == nil ||
		err.Error() != "add the route to 192.0.9.0/24: interface nosuch0: does not exist" {
		t.Errorf("no interface: %v", err)
	}
}

func u32(v uint32) *uint32 { return &v }

func TestRuleAppearsAsWritten(t *testing.T) {
	namespace(t)
	k := open(t)
	before := output(t, "ip", "-d", "rule") + output(t, "ip", "-6", "-d", "rule")
	prefix := netip.MustParsePrefix
	for _, tt := range []struct {
		add  Rule
		want string
	}{
		{Rule{From: prefix("192.0.2.0/24"), Action: RuleTable, Table: 100, Preference: 1000, Protocol: 18}, "1000: from 192.0.2.0/24 lookup 100 proto keepalived"},
		{Rule{Not: true, To: prefix("192.0.2.1/32"), IIF: "lo", OIF: "d0", Action: RuleTable, Table: 300, Preference: 1}, "1: not from all to 192.0.2.1 iif lo oif d0 [detached] lookup 300 proto unspec"},
		{Rule{Mark: u32(7), Mask: u32(255), TOS: 16, Action: RuleBlackhole, Preference: 900, Protocol: 18}, "900: from all tos 0x10 fwmark 0x7/0xff blackhole proto keepalived"},
		{Rule{From: prefix("0.0.0.0/0"), Action: RuleGoto, Goto: 2000, Preference: 950, Protocol: 18}, "950: from all goto 2000 [unresolved] proto keepalived"},
		{Rule{Action: RuleNop, Preference: 951, Protocol: 18}, "951: from all nop proto keepalived"},
		{
			Rule{IPProto: 6, SrcPort: &[2]uint16{1000, 1000}, DstPort: &[2]uint16{80, 90}, Action: RuleTable, Table: 254, SuppressPrefix: u32(0), Realms: 3<<16 | 4, Preference: 960, Protocol: 18},
			"960: from all ipproto tcp sport 1000 dport 80-90 lookup main suppress_prefixlength 0 realms 3/4 proto keepalived",
		},
		{Rule{UIDs: &[2]uint32{0, 20}, Action: RuleProhibit, Preference: 961, Protocol: 18}, "961: from all uidrange 0-20 prohibit proto keepalived"},
		{Rule{Six: true, From: prefix("2001:db8::/32"), Action: RuleUnreachable, Preference: 5, Protocol: 18}, "5: from 2001:db8::/32 unreachable proto keepalived"},
	} {
		fresh, err := k.AddRule(tt.add)
		must(t, err)
		if !fresh {
			t.Errorf("%s: was there", tt.want)
		}
		got := strings.ReplaceAll(output(t, "ip", "-d", "rule")+output(t, "ip", "-6", "-d", "rule"), "\t", " ")
		if !strings.Contains(got, tt.want+"\n") {
			t.Errorf("ip shows\n%s\nwant\n%s", got, tt.want)
		}
		if fresh, err := k.AddRule(tt.add); fresh || err != nil {
			t.Errorf("%s again: %v %v", tt.want, fresh, err)
		}
		must(t, k.RemoveRule(tt.add))
		must(t, k.RemoveRule(tt.add))
	}
	if after := output(t, "ip", "-d", "rule") + output(t, "ip", "-6", "-d", "rule"); after != before {
		t.Errorf("left over:\n%s", after)
	}
}

// TestSweepRemovesRoutesOfAKilledRun leaves what others have added.
func TestSweepRemovesRoutesOfAKilledRun(t *testing.T) {
	ground(t)
	output(t, "ip", "route", "add", "198.51.100.0/24", "via", "10.1.0.254")
	output(t, "ip", "rule", "add", "from", "198.51.100.0/24", "table", "9", "pref", "77")
	routes, rules := tables(t)+tables(t, "-6"), output(t, "ip", "rule")
	k := open(t)
	n := 0
	for _, tt := range routeTable() {
		if tt.add.Protocol == ProtocolKeepalived {
			_, err := k.AddRoute(tt.add)
			must(t, err)
			n++
		}
	}
	for _, r := range []Rule{{Action: RuleNop, Preference: 10, Protocol: 18}, {Six: true, From: netip.MustParsePrefix("2001:db8::/32"), Action: RuleTable, Table: 9, Preference: 11, Protocol: 18}} {
		_, err := k.AddRule(r)
		must(t, err)
	}
	must(t, k.Close())
	gone, preferences, err := open(t).SweepRoutes()
	must(t, err)
	if len(gone) != n || !strings.Contains(strings.Join(gone, ", "), "default table 100") || len(preferences) != 2 || preferences[1] != 11 {
		t.Errorf("swept %v, rules %v", gone, preferences)
	}
	if got := tables(t) + tables(t, "-6"); got != routes {
		t.Errorf("ip shows\n%s\nwant\n%s", got, routes)
	}
	if got := output(t, "ip", "rule"); got != rules {
		t.Errorf("ip shows\n%s\nwant\n%s", got, rules)
	}
}

// TestWatchTellsOfOwnRoutesOnly has another program remove and replace routes: what is
// ours is told, by its number, our own changes and those of others are not.
func TestWatchTellsOfOwnRoutesOnly(t *testing.T) {
	ground(t)
	k := open(t)
	var mu sync.Mutex
	var lost []int
	rules := 0
	must(t, k.Watch(context.Background(), func(ev Event) {
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case RouteRemoved:
			lost = append(lost, ev.Number)
		case RulesChanged:
			rules++
		}
	}))
	told := func(want ...int) {
		t.Helper()
		eventually(t, "the loss is told", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(lost) >= len(want)
		})
		mu.Lock()
		defer mu.Unlock()
		if len(lost) != len(want) || len(want) > 0 && lost[0] != want[0] {
			t.Errorf("told %v, want %v", lost, want)
		}
		lost = nil
	}
	for i, tt := range routeTable() {
		tt.add.Number = i
		_, err := k.AddRoute(tt.add)
		must(t, err)
	}
	_, err := k.AddRule(Rule{Action: RuleNop, Preference: 10, Protocol: 18})
	must(t, err)
	must(t, k.RemoveRule(Rule{Action: RuleNop, Preference: 10, Protocol: 18})) // our own
	must(t, k.RemoveRoute(routeTable()[0].add))
	output(t, "ip", "route", "add", "192.0.2.0/24", "dev", "d1") // a stranger's, to where ours led
	output(t, "ip", "route", "del", "192.0.2.0/24", "dev", "d1")
	output(t, "ip", "route", "add", "192.0.2.128/25", "dev", "d1")
	output(t, "ip", "route", "del", "default", "table", "100")
	told(1)
	output(t, "ip", "-6", "route", "del", "2001:db8:1::/48")
	told(8)
	output(t, "ip", "route", "replace", "192.0.6.0/24", "dev", "d1")
	told(5)
	output(t, "ip", "route", "del", "192.0.2.128/25", "dev", "d1")
	output(t, "ip", "rule", "add", "pref", "5", "table", "9")
	output(t, "ip", "rule", "del", "pref", "5")
	eventually(t, "the change of the rules is told", func() bool { mu.Lock(); defer mu.Unlock(); return rules == 1 })
	told()
}

// TestForeignRoutesCostNothing looks at a change of a full table: it allocates nothing.
func TestForeignRoutesCostNothing(t *testing.T) {
	var o owned
	r := to("192.0.2.0/24")
	r.Table = unix.RT_TABLE_MAIN
	o.put(r)
	for _, s := range []struct {
		prefix string
		length uint8
	}{{"198.51.100.0", 24}, {"198.51.0.0", 16}} {
		a := netip.MustParseAddr(s.prefix).As4()
		m := append([]byte{unix.AF_INET, s.length, 0, 0, unix.RT_TABLE_MAIN, 186, 0, 1, 0, 0, 0, 0, 8, 0, unix.RTA_DST, 0}, a[:]...)
		if n := testing.AllocsPerRun(100, func() {
			if o.hurt(m) != nil {
				t.Fatal("a stranger's route was taken for ours")
			}
		}); n != 0 {
			t.Errorf("%s/%d: %v allocations", s.prefix, s.length, n)
		}
	}
	k := Kernel{asked: []netip.Addr{netip.MustParseAddr("10.9.9.9")}}
	a := netip.MustParseAddr("192.0.2.0").As4()
	stranger := append([]byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, 186, 0, 1, 0, 0, 0, 0, 8, 0, unix.RTA_DST, 0}, a[:]...)
	if n := testing.AllocsPerRun(100, func() {
		if k.leads(stranger) {
			t.Fatal("a stranger's route leads to our peer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := o.hurt(append([]byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, 186, 0, 1, 0, 0, 0, 0, 8, 0, unix.RTA_DST, 0}, a[:]...)); len(got) != 1 {
		t.Errorf("ours: %v", got)
	}
}
