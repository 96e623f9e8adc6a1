package node

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// moved lists what a step does to addresses, routes and rules.
func moved(actions []Action) []string {
	var list []string
	again := map[bool]string{true: " again"}
	for _, a := range actions {
		switch a := a.(type) {
		case AddAddress:
			list = append(list, "add "+a.Prefix.String())
		case RemoveAddress:
			list = append(list, "remove "+a.Prefix.String())
		case AddRoute:
			list = append(list, fmt.Sprintf("add route %d%s", a.Number, again[a.Again]))
		case RemoveRoute:
			list = append(list, fmt.Sprintf("remove route %d", a.Number))
		case AddRule:
			list = append(list, fmt.Sprintf("add rule %d%s", a.Preference, again[a.Again]))
		case RemoveRule:
			list = append(list, fmt.Sprintf("remove rule %d", a.Preference))
		case Restored:
			list = append(list, "restored "+a.Addr.String())
		}
	}
	return list
}

// routed is an owner with routes and rules, and static ones: the static routes have the
// numbers 0 and 1, the virtual ones 2 to 4.
func routed(t *testing.T) (*Node, func(Event, ...string)) {
	t.Helper()
	to := func(s, device string) config.Route { return config.Route{To: netip.MustParsePrefix(s), Device: device} }
	c := instanceConf(255)
	c.Addresses = append(c.Addresses, config.Address{Prefix: netip.MustParsePrefix("10.0.0.101/32"), NoTrack: true})
	free, sourced := to("192.0.3.0/24", "eth0"), to("192.0.4.0/24", "eth1")
	free.NoTrack, free.Protocol, sourced.Src = true, "static", netip.MustParseAddr("10.0.0.100")
	c.Routes = config.Routes{to("192.0.2.0/24", "eth0"), free, sourced}
	c.Rules = config.Rules{{Preference: 7, Table: "100"}, {Preference: 8, Table: "100", NoTrack: true}}
	cfg := with(c)
	cfg.StaticAddresses = config.Addresses{{Prefix: netip.MustParsePrefix("10.1.0.1/24"), Device: "eth1"}}
	cfg.StaticRoutes = config.Routes{to("198.51.100.0/24", "eth1"), {To: netip.MustParsePrefix("198.51.101.0/24"), NoTrack: true}}
	cfg.StaticRules = config.Rules{{Preference: 9, Table: "100"}}
	n, err := New(cfg, []Link{
		{Name: "eth0", MAC: proto.MAC{2}, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}},
		{Name: "eth1", MAC: proto.MAC{4}, Up: true},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return n, func(ev Event, want ...string) {
		t.Helper()
		if got := moved(n.Step(0, ev, nil)); !slices.Equal(got, want) {
			t.Errorf("%T%v:\ngot  %q\nwant %q", ev, ev, got, want)
		}
	}
}

// started is what an owner does at its start: what has no mark is removed first.
var started = []string{
	"remove rule 8", "remove route 3", "add 10.1.0.1/24", "add route 0", "add route 1", "add rule 9",
	"add 10.0.0.100/32", "add 10.0.0.101/32", "add route 2", "add route 3", "add route 4", "add rule 7", "add rule 8",
}

func TestRoutesMoveWithMastership(t *testing.T) {
	_, step := routed(t)
	step(Start{}, started...)
	leave := []string{"remove rule 7", "remove rule 8", "remove route 2", "remove route 3", "remove route 4", "remove 10.0.0.100/32", "remove 10.0.0.101/32"}
	step(LinkChanged{Port: 0}, leave...)
	step(LinkChanged{Port: 0, Up: true}, slices.Concat([]string{"add route 1 again"}, started[6:])...)
	step(LinkChanged{Port: 1}, leave...) // route 4 needs eth1
	step(LinkChanged{Port: 1, Up: true}, slices.Concat([]string{"add route 0 again", "add route 1 again"}, started[6:])...)
	step(Stop{}, slices.Concat(leave, []string{"remove rule 9", "remove route 0", "remove route 1", "remove 10.1.0.1/24"})...)
}

// TestLostRoutesAreRestored: but those that nobody tracks, and those that should not be
// there.
func TestLostRoutesAreRestored(t *testing.T) {
	_, step := routed(t)
	step(RouteLost{0})
	step(Start{}, started...)
	step(RouteLost{0}, "add route 0 again")
	step(RouteLost{1})
	step(RouteLost{2}, "add route 2 again")
	step(RouteLost{3})
	step(RulesChanged{}, "add rule 9 again", "add rule 7 again")
}

// TestLostAddressesTakeRoutesAlong: the kernel drops routes with their source address, and
// with the last address of an interface, and says nothing.
func TestLostAddressesTakeRoutesAlong(t *testing.T) {
	_, step := routed(t)
	step(Start{}, started...)
	change := func(port int, prefix string, present bool) AddressChanged {
		return AddressChanged{Port: port, Prefix: netip.MustParsePrefix(prefix), Present: present}
	}
	for _, vip := range []string{"10.0.0.100/32", "10.0.0.101/32"} {
		step(change(0, vip, true))
	}
	step(change(0, "10.0.0.101/32", false)) // not tracked
	step(change(0, "10.0.0.100/32", false), "restored 10.0.0.100", "add 10.0.0.100/32", "add route 4 again")
	step(change(1, "10.1.0.1/24", false), "restored 10.1.0.1", "add 10.1.0.1/24", "add route 0 again", "add route 1 again", "add route 4 again")
	step(change(1, "10.1.0.1/24", true))
	step(LinkChanged{Port: 1}, "remove rule 7", "remove rule 8", "remove route 2", "remove route 3", "remove route 4", "remove 10.0.0.100/32", "remove 10.0.0.101/32")
	step(change(1, "10.1.0.1/24", false), "add route 0 again", "add route 1 again") // gone with its interface
}
