package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Packets to the addresses are dropped with no_accept, and under vrrp_strict without accept;
// never for the owner, and version 2 cannot accept. Each row as keepalived 2.2.7 did.
func TestNoAccept(t *testing.T) {
	for _, tt := range []struct {
		global, lines string
		dropped       bool
		message       string
	}{
		{"", "", false, ""},
		{"", "accept", false, ""},
		{"", "no_accept", true, ""},
		{"", "no_accept\naccept", false, ""},
		{"", "accept\nno_accept", true, ""},
		{"", "no_accept\npriority 255", false, ""},
		{"vrrp_strict", "", true, "they cannot be pinged"},
		{"vrrp_strict", "no_accept", true, ""},
		{"vrrp_strict", "accept", true, "version 2 has no accept mode"},
		{"vrrp_strict\nvrrp_version 3", "accept", false, ""},
		{"vrrp_strict\nvrrp_version 3", "", true, "they cannot be pinged"},
		{"vrrp_strict", "priority 255\nstate MASTER", false, ""},
		{"vrrp_strict", "priority 255\nstate MASTER\nno_accept", false, ""},
		{"", "strict_mode", true, "they cannot be pinged"},
		{"vrrp_strict", "strict_mode off", false, ""},
	} {
		text := fmt.Sprintf("global_defs {\n%s\n}\nvrrp_instance A {\ninterface eth0\nvirtual_router_id 51\n%s\nvirtual_ipaddress {\n10.0.0.100/24\n}\n}\n", tt.global, tt.lines)
		cfg, messages := Parse("a.conf", []byte(text), Options{})
		if got := cfg.Instances[0].NoAccept; got != tt.dropped {
			t.Errorf("%q %q: dropped %v, want %v", tt.global, tt.lines, got, tt.dropped)
		}
		said := slices.ContainsFunc(messages, func(m Message) bool { return tt.message != "" && strings.Contains(m.Text, tt.message) })
		if said == (tt.message == "") || tt.message == "" && len(messages) > 0 {
			t.Errorf("%q %q: want %q in %v", tt.global, tt.lines, tt.message, messages)
		}
	}
}

// A track_group gives its instances the interfaces of the static entries that name it. What
// keepalived 2.2.7 complains about is complained about.
func TestTrackGroups(t *testing.T) {
	cfg, messages := Parse("a.conf", []byte(`track_group g {
group {
A
nosuch
}
}
track_group g {
}
static_ipaddress {
10.1.0.1/24 dev eth1 track_group g
10.1.0.2/24 dev eth2 track_group g no_track
10.1.0.3/24 dev eth3 track_group missing
10.1.0.4/24 dev eth4 track_group below
10.1.0.5/24 track_group g
10.1.0.6/24 dev eth1 track_group g
}
static_routes {
192.0.2.0/24 dev eth5 track_group g
blackhole 192.0.3.0/24 track_group g
}
static_rules {
from 192.0.2.0/24 iif eth6 table 100 preference 10 track_group g
from 192.0.2.0/24 table 100 preference 11 track_group g
}
vrrp_instance A {
interface eth9
virtual_router_id 51
virtual_ipaddress {
10.0.0.100/24
}
}
track_group below {
group {
A
}
}
`), Options{})
	if got := fmt.Sprint(cfg.Instances[0].Needs()); got != "[eth1 eth0 eth5 eth6]" {
		t.Errorf("tracks %s", got)
	}
	var got []string
	for _, m := range messages {
		got = append(got, fmt.Sprintf("%d %s", m.Pos.Line, m.Text))
	}
	for _, want := range []string{
		"2 track_group g: there is no vrrp_instance nosuch; it is ignored",
		"7 track_group g stands at a.conf:1:1 already; this one is ignored",
		"12 track_group missing: there is no such track_group above; it is ignored",
		"13 track_group below: there is no such track_group above; it is ignored",
		"19 track_group g: the line has no dev, so there is no interface to track; it is ignored",
		"23 track_group g: the line has no iif, so there is no interface to track; it is ignored",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// Without a configured source, track_src_ip has nothing to do.
func TestTrackSrcIPWithoutSource(t *testing.T) {
	for source, want := range map[string]bool{"": false, "mcast_src_ip 10.0.0.5": true, "unicast_src_ip 10.0.0.5\nunicast_peer {\n10.0.0.6\n}": true} {
		cfg, messages := Parse("a.conf", []byte("vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\ntrack_src_ip\n"+source+"\nvirtual_ipaddress {\n10.0.0.100/24\n}\n}\n"), Options{})
		if got := cfg.Instances[0].TrackSrcIP; got != want || want == (len(messages) > 0) {
			t.Errorf("%q: %v, %v", source, got, messages)
		}
	}
}

// What keepalived 2.2.7 makes of track_interface: the own interface is left out whatever is
// written behind it, and one that the instance needs anyway has no weight.
func TestTrackInterfaceCorrections(t *testing.T) {
	cfg, messages := Parse("a.conf", []byte(`vrrp_instance A {
interface eth0
virtual_router_id 51
dont_track_primary
track_interface {
eth0 weight 10
eth1 weight 10
eth2 weight 10 reverse
eth3
}
virtual_ipaddress {
10.0.0.100/24
10.1.0.100/24 dev eth1
}
virtual_routes {
192.0.2.0/24 dev eth2 no_track
192.0.3.0/24 dev eth3
}
}
`), Options{})
	var got []string
	for _, track := range cfg.Instances[0].TrackInterfaces {
		got = append(got, fmt.Sprintf("%s %d %v", track.Name, track.Weight, track.Reverse))
	}
	if want := []string{"eth1 0 false", "eth2 10 true", "eth3 0 false"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(messages) != 2 || messages[0].Pos.Line != 6 || messages[1].Pos.Line != 7 {
		t.Errorf("%v", messages)
	}
}
