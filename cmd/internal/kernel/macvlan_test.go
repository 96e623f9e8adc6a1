package kernel

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

var virtualMAC = [6]byte{0, 0, 0x5e, 0, 1, 51}

func macvlanOn(base string) Macvlan {
	return Macvlan{Name: "vrrp.51", Base: base, MAC: virtualMAC, Group: 9, Instance: "VI_1"}
}

// shownLink is a link as the program ip shows it.
type shownLink struct {
	Ifname, Link, Address, Group, Ifalias, Inet6_addr_gen_mode string
	Linkinfo                                                   struct {
		Info_kind string
		Info_data struct{ Mode string }
	}
}

func links(t *testing.T) map[string]shownLink {
	t.Helper()
	var list []shownLink
	must(t, json.Unmarshal([]byte(output(t, "ip", "-d", "-j", "link")), &list))
	m := map[string]shownLink{}
	for _, l := range list {
		m[l.Ifname] = l
	}
	return m
}

func TestMacvlanAppearsAndGoes(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	before := output(t, "sysctl", "net.ipv4.conf.d0.arp_ignore", "net.ipv4.conf.d0.arp_filter", "net.ipv4.conf.d0.arp_announce")
	must(t, k.AddMacvlan(macvlanOn("d0")))
	must(t, k.AddMacvlan(macvlanOn("d0"))) // and again, taken over
	six := Macvlan{Name: "vrrp6.51", Base: "d0", MAC: [6]byte{0, 0, 0x5e, 0, 2, 51}, Instance: "VI_6", IPv6: true, Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1:2345")}}
	must(t, k.AddMacvlan(six))
	l := links(t)["vrrp.51"]
	if l.Link != "d0" || l.Address != "00:00:5e:00:01:33" || l.Group != "9" || l.Ifalias != "ringkeep use_vmac VI_1" ||
		l.Inet6_addr_gen_mode != "none" || l.Linkinfo.Info_kind != "macvlan" || l.Linkinfo.Info_data.Mode != "private" {
		t.Errorf("made %+v", l)
	}
	if got := output(t, "ip", "-6", "route", "show", "dev", "vrrp6.51"); !strings.Contains(got, "fe80::/64") {
		t.Errorf("routes %q", got)
	}
	if got := output(t, "ip", "-6", "maddr", "show", "dev", "d0"); !strings.Contains(got, "ff02::1:ff01:2345") {
		t.Errorf("d0 is no member of the solicited-node group: %s", got)
	}
	rules := output(t, "nft", "list", "ruleset")
	for _, want := range []string{`iifname "vrrp.51" arp saddr ether 00:00:5e:00:01:33 drop`, `oifname "vrrp6.51" icmpv6 type mld2-listener-report drop`} {
		if !strings.Contains(rules, want) {
			t.Errorf("no rule %s in\n%s", want, rules)
		}
	}
	list, err := k.Links()
	must(t, err)
	for _, l := range list {
		if want := map[string]string{"vrrp.51": "d0", "vrrp6.51": "d0"}[l.Name]; l.Base != want {
			t.Errorf("%s is on %q, want %q", l.Name, l.Base, want)
		}
	}
	must(t, k.Close())
	if _, left := links(t)["vrrp.51"]; left || strings.Contains(output(t, "nft", "list", "tables"), "ringkeep") {
		t.Error("something is left after Close")
	}
	if after := output(t, "sysctl", "net.ipv4.conf.d0.arp_ignore", "net.ipv4.conf.d0.arp_filter", "net.ipv4.conf.d0.arp_announce"); after != before {
		t.Errorf("switches were\n%s and are\n%s", before, after)
	}
}

// No address comes of the virtual MAC (RFC 9568 §7.4).
func TestNoAddressOfTheVirtualMAC(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	six := Macvlan{Name: "vrrp.51", Base: "d0", MAC: [6]byte{0, 0, 0x5e, 0, 2, 51}, Instance: "VI_6", IPv6: true}
	must(t, k.AddMacvlan(six))
	eventually(t, "d0 has its own link-local address", func() bool { return len(witness(t, "d0")) > 0 })
	if got := witness(t, "vrrp.51"); len(got) > 0 {
		t.Errorf("the macvlan has %v", got)
	}
	if got := output(t, "sysctl", "-n", "net.ipv6.conf.vrrp/51.accept_ra"); got != "0\n" {
		t.Errorf("accept_ra %s", got)
	}
}

func TestMacvlanErrorsNameInstanceAndInterface(t *testing.T) {
	namespace(t)
	link(t, "d0")
	link(t, "port")
	output(t, "ip", "link", "add", "br0", "type", "bridge")
	output(t, "ip", "link", "set", "port", "master", "br0")
	k := open(t)
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "taken"}, PeerName: "takenx"}))
	output(t, "ip", "link", "add", "other", "link", "d0", "address", "00:00:5e:00:01:33", "type", "macvlan", "mode", "bridge")
	output(t, "ip", "link", "set", "other", "up")
	taken := macvlanOn("d0")
	taken.Name = "taken"
	for _, tt := range []struct {
		m    Macvlan
		want string
	}{
		{macvlanOn("gone"), "vrrp_instance VI_1: use_vmac: interface vrrp.51 on gone: interface gone: does not exist"},
		{taken, "vrrp_instance VI_1: use_vmac: interface taken on d0: there is another interface of that name"},
		{macvlanOn("port"), "vrrp_instance VI_1: use_vmac: interface vrrp.51 on port: the interface takes no macvlan: device or resource busy: it may be a port of a bridge or a bond, or a loopback"},
		{macvlanOn("d0"), "vrrp_instance VI_1: use_vmac: interface vrrp.51 on d0: another macvlan there has the MAC 00:00:5e:00:01:33: address already in use"},
	} {
		if err := k.AddMacvlan(tt.m); err == nil || err.Error() != tt.want {
			t.Errorf("on %s:\ngot  %v\nwant %s", tt.m.Base, err, tt.want)
		}
	}
	if _, left := links(t)["vrrp.51"]; left {
		t.Error("a macvlan that could not be set up is left")
	}
}

// What a killed run left goes at the next start; macvlans of others stay, also of the same
// name and mode.
func TestSweepRemovesOwnMacvlansOnly(t *testing.T) {
	namespace(t)
	link(t, "d0")
	must(t, open(t).AddMacvlan(macvlanOn("d0"))) // of a run that is never closed before the next
	output(t, "ip", "link", "add", "vrrp.52", "link", "d0", "address", "00:00:5e:00:01:34", "type", "macvlan", "mode", "private")
	output(t, "ip", "link", "add", "bridged", "link", "d0", "type", "macvlan", "mode", "bridge")
	output(t, "ip", "link", "set", "bridged", "alias", "ringkeep use_vmac VI_1")
	gone, err := open(t).SweepMacvlans()
	must(t, err)
	if strings.Join(gone, " ") != "vrrp.51" {
		t.Errorf("swept %q", gone)
	}
	left := links(t)
	if _, ours := left["vrrp.51"]; ours || left["vrrp.52"].Ifname == "" || left["bridged"].Ifname == "" {
		t.Errorf("left %v", left)
	}
	if got := output(t, "nft", "list", "tables"); strings.Contains(got, "ringkeep") {
		t.Errorf("tables left: %s", got)
	}
}
