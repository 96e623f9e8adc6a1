package loop

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
)

var names = kernel.Names{
	kernel.TableNames: {"wan": 7}, kernel.RealmNames: {"inside": 3}, kernel.GroupNames: {"uplinks": 9},
	kernel.ProtocolNames: {"bird": 12}, kernel.ScopeNames: {"link": 253}, kernel.TOSNames: {"EF": 0xb8},
}

// parsed reads the block of an instance.
func parsed(t *testing.T, block string) *config.Instance {
	t.Helper()
	text := "vrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n virtual_ipaddress {\n 10.0.0.100\n }\n" + block + "\n}\n"
	cfg, _ := config.Parse("x.conf", []byte(text), config.Options{ConfigID: "x"})
	return cfg.Instances[0]
}

func TestNamesOfRoutesAndRules(t *testing.T) {
	in := parsed(t, `virtual_routes {
192.0.2.0/24 dev eth0 table wan realms inside/4 tos EF scope link protocol bird no_track ttl-propagate disabled
192.0.2.0/24 dev eth0 via 10.0.0.1 or 10.0.0.2
192.0.2.0/24 dev eth0 table nosuch
}
virtual_rules {
from 192.0.2.0/24 table wan suppress_ifgroup uplinks ipproto tcp preference 1
from 192.0.2.0/24 table 7 fwmark 0x10/0xff uidrange 5-9 preference 2
from 192.0.2.0/24 table 7 ipproto nosuch preference 3
}`)
	to := netip.MustParsePrefix("192.0.2.0/24")
	want := []kernel.Route{
		{
			To: to, Type: unix.RTN_UNICAST, Table: 7, Scope: 253, Protocol: 12, TOS: 0xb8, Realms: 3<<16 | 4, Propagate: -1,
			Hop: kernel.Hop{Interface: "eth0"},
		},
		{
			To: to, Type: unix.RTN_UNICAST, Protocol: kernel.ProtocolKeepalived,
			Hops: []kernel.Hop{{Via: netip.MustParseAddr("10.0.0.1"), Interface: "eth0"}, {Via: netip.MustParseAddr("10.0.0.2"), Interface: "eth0"}},
		},
	}
	for i := range want {
		if got, err := routeOf(names, &in.Routes[i]); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%v:\ngot  %+v, %v\nwant %+v", &in.Routes[i], got, err, want[i])
		}
	}
	if _, err := routeOf(names, &in.Routes[2]); err == nil || err.Error() != "nosuch: neither a number up to 4294967295 nor a name of /etc/iproute2/rt_tables" {
		t.Errorf("table nosuch: %v", err)
	}
	group, mark, mask := uint32(9), uint32(16), uint32(255)
	rules := []kernel.Rule{
		{From: to, Action: kernel.RuleTable, Table: 7, SuppressGroup: &group, IPProto: 6, Preference: 1, Protocol: kernel.ProtocolKeepalived},
		{From: to, Action: kernel.RuleTable, Table: 7, Mark: &mark, Mask: &mask, UIDs: &[2]uint32{5, 9}, Preference: 2, Protocol: kernel.ProtocolKeepalived},
	}
	for i := range rules {
		if got, err := ruleOf(names, &in.Rules[i]); err != nil || !reflect.DeepEqual(got, rules[i]) {
			t.Errorf("%v:\ngot  %+v, %v\nwant %+v", &in.Rules[i], got, err, rules[i])
		}
	}
	if _, err := ruleOf(names, &in.Rules[2]); err == nil {
		t.Error("ipproto nosuch was taken")
	}
}

// TestWhatBecameOfARouteIsLogged: an addition is no news, an error is, and so is a route
// that had gone.
func TestWhatBecameOfARouteIsLogged(t *testing.T) {
	var out bytes.Buffer
	l := &Loop{Config: Config{Log: slog.New(slog.NewTextHandler(&out, nil))}}
	for _, tt := range []struct {
		again, fresh bool
		err          error
		want         string
	}{
		{false, true, nil, ""},
		{true, false, nil, ""},
		{true, true, nil, `level=WARN msg="route was gone, put back" route=R instance=VI_1`},
		{true, false, errors.New("E"), `level=WARN msg="route is gone, and cannot be put back" route=R instance=VI_1 err=E`},
		{false, false, errors.New("E"), `level=ERROR msg="route not added" route=R instance=VI_1 err=E`},
	} {
		out.Reset()
		l.added("route", "R", "VI_1", tt.again, tt.fresh, tt.err)
		if got := out.String(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
