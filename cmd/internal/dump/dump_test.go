package dump

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/proto"
)

const captures = "../../../proto/testdata/captures"

// follow prints a capture with a director of the configuration beside.
func follow(t *testing.T, path, conf, own string, filter Filter) string {
	t.Helper()
	cfg, messages := config.Parse("lb3.conf", []byte(conf), config.Options{ConfigID: "lb3"})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	seat, err := model.Find(cfg, model.Place{Own: []netip.Addr{netip.MustParseAddr(own)}}, path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Follow(cfg, seat.Links, seat.Way)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := NewPrinter(&out, filter, f).File(path); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The files show what a director would do that listens beside real ones: the command
// names the recording and the address it listens with, its configuration follows.
func TestFollow(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var capture, own, kind string
			d.ScanArgs(t, "capture", &capture)
			d.ScanArgs(t, "own", &own)
			d.MaybeScanArgs(t, "kind", &kind)
			return follow(t, filepath.Join(captures, capture+".pcap"), d.Input, own, Filter{Kind: kind})
		})
	})
}

func TestFilter(t *testing.T) {
	vip, host, peer := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.5")
	msg := proto.Advert{Version: 2, VRID: 51, Priority: 100, Addrs: []netip.Addr{vip}}.Append(nil)
	eth := func(typ uint16) []byte { return proto.AppendEthernet(nil, proto.Broadcast, proto.MAC{2}, typ) }
	advert := append(proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: peer, Dst: netip.MustParseAddr("224.0.0.18")}.Append(eth(proto.EtherTypeIPv4), len(msg)), msg...)
	garp := proto.AppendGratuitousARP(nil, proto.MAC{2}, vip)
	web := proto.TCPHeader{SrcPort: 80, DstPort: 4711}.Append(proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: vip, Dst: host}.Append(eth(proto.EtherTypeIPv4), 20))
	frames := map[string][]byte{"advert": advert, "garp": garp, "web": web, "short": {1, 2}}
	addr := func(a netip.Addr) []netip.Addr { return []netip.Addr{a} }
	flow := []netip.AddrPort{netip.AddrPortFrom(vip, 80)}
	for _, c := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"none", Filter{}, "advert garp short web"},
		{"kind", Filter{Kind: "tcp"}, "web"},
		{"VRID", Filter{VRID: 51}, "advert"},
		{"another VRID", Filter{VRID: 52}, ""},
		{"VIP", Filter{VIPs: addr(vip)}, "advert garp"},
		{"VIP of a VRID", Filter{VIPs: addr(vip), VRID: 51}, "advert"},
		{"flow", Filter{Flows: flow}, "web"},
		{"flow of the other end", Filter{Flows: []netip.AddrPort{netip.AddrPortFrom(host, 4711)}}, "web"},
		{"ends mixed up", Filter{Flows: []netip.AddrPort{netip.AddrPortFrom(host, 80)}}, ""},
		{"VIP and flow", Filter{VIPs: addr(vip), Flows: flow}, "advert garp web"},
		{"host of all", Filter{Addrs: addr(vip)}, "advert garp web"},
		{"host", Filter{Addrs: addr(host)}, "web"},
		{"host of a kind", Filter{Addrs: addr(vip), Kind: "arp"}, "garp"},
	} {
		var got []string
		for _, name := range []string{"advert", "garp", "short", "web"} {
			if c.filter.Passes(frames[name]) {
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q passes, want %q", c.name, s, c.want)
		}
	}
}

// Over IPv6 the same is asked and remarked; neighbour discovery is its ARP.
func TestFilterAndRemark6(t *testing.T) {
	src, group, vip := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::12"), netip.MustParseAddr("2001:db8::100")
	advert := func(hopLimit, priority uint8) []byte {
		msg := proto.Advert{Version: 3, VRID: 51, Priority: priority, Addrs: []netip.Addr{vip}}.Append(nil)
		proto.SealVRRP(msg, src, group, proto.ChecksumPseudo)
		f := proto.AppendEthernet(nil, proto.GroupMAC6(group), proto.MAC{2}, proto.EtherTypeIPv6)
		return append(proto.IPv6Header{HopLimit: hopLimit, NextHeader: proto.ProtocolVRRP, Src: src, Dst: group}.Append(f, len(msg)), msg...)
	}
	damaged := advert(255, 100)
	damaged[len(damaged)-1] ^= 1
	for want, frame := range map[string][]byte{
		"": advert(255, 100), "the MASTER leaves": advert(255, 0), "refused: TTL 254, it came through a router": advert(254, 100), "refused: wrong checksum": damaged,
	} {
		if got := Remark(frame); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	na := proto.AppendUnsolicitedNA(nil, proto.MAC{2}, vip, false)
	both := Filter{VIPs: []netip.Addr{vip}}
	if !both.Passes(advert(255, 100)) || !both.Passes(na) || !(Filter{Kind: "arp"}).Passes(na) || (Filter{VRID: 52}).Passes(advert(255, 100)) {
		t.Error("the filter does not find the virtual address")
	}
}
