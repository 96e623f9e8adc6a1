package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestAddressAppearsAsWritten(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	for _, tt := range []struct {
		add  Address
		want shown
	}{
		{
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("10.1.0.100/32")},
			shown{Local: "10.1.0.100", Prefixlen: 32, Scope: "global", Label: "d0"},
		},
		{ // no broadcast address unless one is asked for
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("10.1.1.100/24"), Label: "d0:vip", Scope: 253},
			shown{Local: "10.1.1.100", Prefixlen: 24, Scope: "link", Label: "d0:vip"},
		},
		{
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("10.1.2.100/24"), Broadcast: netip.MustParseAddr("10.1.2.255")},
			shown{Local: "10.1.2.100", Prefixlen: 24, Scope: "global", Label: "d0", Broadcast: "10.1.2.255"},
		},
		{
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("10.1.3.100/32"), Peer: netip.MustParseAddr("10.1.3.1")},
			shown{Local: "10.1.3.100", Address: "10.1.3.1", Prefixlen: 32, Scope: "global", Label: "d0"},
		},
		{
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("2001:db8::102/128"), Preferred: u32(Forever)},
			shown{Local: "2001:db8::102", Prefixlen: 128, Scope: "global", Nodad: true},
		},
		{
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("2001:db8::100/128")},
			shown{Local: "2001:db8::100", Prefixlen: 128, Scope: "global", Deprecated: true, Nodad: true},
		},
		{
			Address{Interface: "d0", Prefix: netip.MustParsePrefix("2001:db8::101/64")},
			shown{Local: "2001:db8::101", Prefixlen: 64, Scope: "global", Nodad: true},
		},
	} {
		must(t, k.AddAddress(tt.add))
		found := false
		for _, got := range witness(t, "d0") {
			if got.Local != tt.want.Local {
				continue
			}
			found = true
			if got != tt.want {
				t.Errorf("ip shows %+v, want %+v", got, tt.want)
			}
		}
		if !found {
			t.Errorf("%s is not there", tt.add.Prefix)
		}
		if p := protocol(t, k, tt.add.Prefix); p != ownProtocol {
			t.Errorf("%s has protocol %d", tt.add.Prefix, p)
		}
		must(t, k.RemoveAddress(tt.add))
		must(t, k.RemoveAddress(tt.add)) // absent is success
	}
	if got := prefixes(t, "d0"); got != "" {
		t.Errorf("left over: %s", got)
	}
}

// protocol is who added an address; the program ip of many distributions is older
// than that.
func protocol(t *testing.T, k *Kernel, p netip.Prefix) uint8 {
	t.Helper()
	entries, err := k.addresses()
	must(t, err)
	for _, e := range entries {
		if e.prefix == p {
			return e.protocol
		}
	}
	return 0
}

func TestAddressTakenOver(t *testing.T) {
	namespace(t)
	d := link(t, "d0")
	k := open(t)
	for _, p := range []string{"10.1.0.1/24", "2001:db8::1/64"} {
		foreign, err := netlink.ParseAddr(p)
		must(t, err)
		must(t, netlink.AddrAdd(d, foreign))
		must(t, k.AddAddress(vip("d0", p)))
		must(t, k.AddAddress(vip("d0", p)))
		if got := protocol(t, k, netip.MustParsePrefix(p)); got != ownProtocol {
			t.Errorf("%s has protocol %d", p, got)
		}
	}
	if got := prefixes(t, "d0"); got != "10.1.0.1/24 2001:db8::1/64" {
		t.Errorf("ip shows %s", got)
	}
}

func TestAddressErrorsNameTheObject(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	err := k.AddAddress(vip("nosuch0", "10.1.0.1/32"))
	if err == nil || err.Error() != "add 10.1.0.1/32 to nosuch0: interface nosuch0: does not exist" {
		t.Errorf("got %v", err)
	}
	must(t, k.RemoveAddress(vip("nosuch0", "10.1.0.1/32")))
	if err := k.AddAddress(Address{Interface: "d0"}); err == nil {
		t.Error("an address without address was taken")
	}
}

func TestSweepRemovesWhatAKilledRunLeft(t *testing.T) {
	namespace(t)
	d := link(t, "d0")
	foreign, err := netlink.ParseAddr("10.1.0.1/24")
	must(t, err)
	must(t, netlink.AddrAdd(d, foreign))
	killVictim(t, func() {
		if got := output(t, "nft", "list", "tables"); !strings.Contains(got, "netdev ringkeep") {
			t.Errorf("no table while it runs: %q", got)
		}
		_, err := open(t).Sweep(netip.MustParsePrefix("10.1.0.100/24"), netip.MustParsePrefix("2001:db8::100/128"))
		if err == nil || !strings.Contains(err.Error(), "another ringkeep") {
			t.Errorf("sweeping beside a living run: %v", err)
		}
	})
	eventually(t, "the owned table goes with the killed process", func() bool {
		return !strings.Contains(output(t, "nft", "list", "tables"), "ringkeep")
	})
	if got := prefixes(t, "d0"); got != "10.1.0.1/24 10.1.0.100/24 2001:db8::100/128" {
		t.Fatalf("after the kill: %s", got)
	}
	output(t, "nft", "add", "table", "netdev", "ringkeep") // as on a kernel without owned tables
	k := open(t)
	gone, err := k.Sweep()
	must(t, err)
	if len(gone) != 2 || gone[0].Interface != "d0" || gone[0].Prefix.String() != "10.1.0.100/24" {
		t.Errorf("swept %v", gone)
	}
	if got := prefixes(t, "d0"); got != "10.1.0.1/24" {
		t.Errorf("after the sweep: %s", got)
	}
	if got := output(t, "nft", "list", "tables"); strings.Contains(got, "ringkeep") {
		t.Errorf("table left: %s", got)
	}
}
