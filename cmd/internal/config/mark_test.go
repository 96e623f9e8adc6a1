package config

import (
	"slices"
	"strings"
	"testing"
)

// TestPacketMark has lines and how they are written again.
func TestPacketMark(t *testing.T) {
	for line, want := range map[string]string{
		"7":           "7",
		"0 ip":        "0 ip",
		"7 iif eth0":  "7 iif eth0",
		"7 ip6 udp":   "7 ip6 udp",
		"4294967295 ": "4294967295",
		"7 ip daddr 10.0.0.0/24 tcp dport 80,443,8000-8100":                                            "",
		"7 tcp sport 1-1023 dport 22 iifname eth1 ip saddr 192.0.2.1":                                  "7 iif eth1 ip saddr 192.0.2.1/32 tcp sport 1-1023 tcp dport 22",
		"7 tcp sport 1-1023 tcp dport 22 iifname eth1 ip saddr 192.0.2.1":                              "7 iif eth1 ip saddr 192.0.2.1/32 tcp sport 1-1023 tcp dport 22",
		"7 ip6 saddr 2001:db8::/32,fe80::1 ip6 daddr ::/0 sctp dport 5":                                "7 ip6 saddr 2001:db8::/32,fe80::1/128 ip6 daddr ::/0 sctp dport 5",
		"7 ip saddr 10.0.0.0/8,172.16.0.0/12 ip daddr 10.0.0.0/24,10.0.1.7 udp sport 53 udp dport 4-4": "7 ip saddr 10.0.0.0/8,172.16.0.0/12 ip daddr 10.0.0.0/24,10.0.1.7/32 udp sport 53 udp dport 4",
	} {
		if want == "" {
			want = line
		}
		cfg, messages := Parse("a.conf", []byte("global_defs {\n@ringkeep packet_mark "+line+"\n}\n"), Options{})
		got := "nothing"
		if len(cfg.Global.PacketMarks) == 1 {
			got = strings.Join(cfg.Global.PacketMarks[0].line(), " ")
		}
		if got != want {
			t.Errorf("%s: got %s, want %s; %v", line, got, want, messages)
		}
	}
}

// TestPacketMarkMistakes has a line, and the message on it.
func TestPacketMarkMistakes(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"packet_mark", "2:11: warning: packet_mark: needs a value; the line is ignored"},
		{"packet_mark web", "2:23: warning: packet_mark web: must be a whole number from 0 to 4294967295; the line is ignored"},
		{"packet_mark 7 tpc dport 80", "2:25: warning: tpc: must be iif, ip, ip6, tcp, udp or sctp (did you mean tcp?); the line is ignored"},
		{"packet_mark 7 dport 80", "2:25: warning: dport: must be tcp dport, udp dport or sctp dport; the line is ignored"},
		{"packet_mark 7 saddr 10.0.0.1", "2:25: warning: saddr: must be ip saddr or ip6 saddr; the line is ignored"},
		{"packet_mark 7 tcp dport", "2:29: warning: dport: needs a value; the line is ignored"},
		{"packet_mark 7 tcp dport 80, 443", "2:38: warning: dport \"\": stands beside a comma: write the values without blanks between them; the line is ignored"},
		{"packet_mark 7 tcp dport 80,http", "2:38: warning: dport \"http\": must be a port from 1 to 65535, or a range such as 8000-8100; the line is ignored"},
		{"packet_mark 7 tcp dport 0", "2:35: warning: dport \"0\": must be a port from 1 to 65535, or a range such as 8000-8100; the line is ignored"},
		{"packet_mark 7 tcp dport 90-80", "2:35: warning: dport \"90-80\": ends before it begins; the line is ignored"},
		{"packet_mark 7 tcp dport 65536", "2:35: warning: dport \"65536\": must be a port from 1 to 65535, or a range such as 8000-8100; the line is ignored"},
		{"packet_mark 7 tcp dport 80 tcp dport 81", "2:42: warning: dport: stands twice: write its ports with commas between them; the line is ignored"},
		{"packet_mark 7 tcp dport 80 udp dport 53", "2:38: warning: udp: no packet is of both protocols: write a line for each; the line is ignored"},
		{"packet_mark 7 ip daddr 10.0.0.1 ip6 saddr ::1", "2:43: warning: ip6: no packet is of both families; the line is ignored"},
		{"packet_mark 7 ip daddr 10.0.0.1/24", "2:34: warning: daddr \"10.0.0.1/24\": has bits set behind its prefix: did you mean 10.0.0.0/24?; the line is ignored"},
		{"packet_mark 7 ip daddr 10.0.0.1,2001:db8::1", "2:43: warning: daddr \"2001:db8::1\": is no IPv4 address; the line is ignored"},
		{"packet_mark 7 ip daddr 10.0.0.1-9", "2:34: warning: daddr \"10.0.0.1-9\": must be an address or a prefix such as 192.0.2.0/24; the line is ignored"},
		{"packet_mark 7 ip saddr 10.0.0.1 ip saddr 10.0.0.2", "2:46: warning: saddr: stands twice: write its prefixes with commas between them; the line is ignored"},
		{"packet_mark 7 iif", "2:25: warning: iif: needs the name of an interface; the line is ignored"},
		{"packet_mark 7 iif eth0 iif eth1", "2:34: warning: iif: stands twice; the line is ignored"},
		{"packet_mark 7", "2:11: notice: packet_mark 7: there is no virtual_server of that mark"},
		{"connection_table 7", "2:28: warning: connection_table 7: must be a whole number from 1024 to 67108864; the line is ignored"},
		{"connection_table 4096 full drop", "2:38: warning: connection_table drop: must be refuse or recycle; the line is ignored"},
		{"connection_table 4096 recycle", "2:33: warning: connection_table recycle: must be full; the line is ignored"},
		{"midstream rst", "2:21: warning: midstream rst: must be reset, drop or schedule; the line is ignored"},
		{"conn_reuse_mode 3", "2:27: warning: conn_reuse_mode 3: must be a whole number from 0 to 2; the line is ignored"},
	} {
		_, messages := Parse("a.conf", []byte("global_defs {\n@ringkeep "+tt.line+"\n}\n"), Options{})
		var got []string
		for _, m := range messages {
			got = append(got, m.String())
		}
		if !slices.Equal(got, []string{"a.conf:" + tt.want}) {
			t.Errorf("%s\ngot  %q\nwant %q", tt.line, got, tt.want)
		}
	}
}

// TestOnlyHere: keywords of our own stand behind @ringkeep, and are printed so; those of
// global_defs hold where a service says nothing.
func TestOnlyHere(t *testing.T) {
	const text = "global_defs {\n%packet_mark 7 ip daddr 10.0.0.0/24 tcp dport 80\n%packet_mark 0 tcp\n%connection_table 4096 full recycle\n%midstream drop\n%expire_nodest_conn\n}\n" +
		"virtual_server 10.0.0.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\n%midstream schedule\n%conn_reuse_mode 0\n%expire_quiescent_template on\nreal_server 10.0.0.5 80 {\n}\n}\n" +
		"virtual_server fwmark 7 {\nlvs_sched rr\nlvs_method DR\n%cache_bypass\n%expire_nodest_conn off\nreal_server 10.0.0.5 {\n}\n}\n"
	hidden := strings.ReplaceAll(text, "%", "@ringkeep ")
	cfg, messages := Parse("a.conf", []byte(hidden), Options{})
	for _, m := range messages {
		if m.Level != Notice {
			t.Error(m)
		}
	}
	g := cfg.Global
	if len(g.PacketMarks) != 2 || g.ConnectionTable != (ConnectionTable{4096, true}) {
		t.Errorf("%+v", g)
	}
	if got, want := cfg.VirtualServers[0].Policy, (Policy{Midstream: "schedule", ExpireNodestConn: true, ExpireQuiescentTemplate: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := cfg.VirtualServers[1].Policy, (Policy{Midstream: "drop", ConnReuseMode: 1, CacheBypass: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	printsTheSame(t, "only here", []byte(hidden))
	var b strings.Builder
	if err := cfg.Print(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "@ringkeep"); n != strings.Count(text, "%") {
		t.Errorf("%d lines of ours in\n%s", n, b.String())
	}
	_, messages = Parse("a.conf", []byte(strings.ReplaceAll(text, "%", "")), Options{})
	seen := 0
	for _, m := range messages {
		if strings.Contains(m.Text, "is nothing that keepalived knows: put @ringkeep in front") {
			seen++
		}
	}
	if seen != strings.Count(text, "%") {
		t.Errorf("%d of %d lines told of", seen, strings.Count(text, "%"))
	}
	other, _ := Parse("b.conf", []byte(strings.Replace(hidden, "packet_mark 0 tcp", "packet_mark 0 udp", 1)), Options{})
	if d := Diff(cfg, other); len(d) != 1 || d[0].String() != "global_defs changed: packet_mark 0 tcp -> 0 udp" {
		t.Errorf("%v", d)
	}
}
