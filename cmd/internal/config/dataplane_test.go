package config

import (
	"slices"
	"strings"
	"testing"
)

// TestDataplane: the line of a service counts more than what the director was told, and what
// only one of the two has is told where it is of no use.
func TestDataplane(t *testing.T) {
	const text = "global_defs {\nlvs_sync_daemon eth0\n}\n" +
		"virtual_server 10.0.0.1 80 {\nlvs_sched rr\nlvs_method DR\nprotocol TCP\nLINE\npersistence_engine sip\npersistence_timeout 9\nreal_server 10.0.0.5 80 {\n}\n}\n" +
		"virtual_server fwmark 7 {\nlvs_sched rr\nlvs_method DR\nreal_server 10.0.0.5 {\n}\n}\n"
	const (
		engine = "a.conf:9:20: notice: virtual_server 10.0.0.1:80: a persistence_engine is the kernel's"
		sync   = "a.conf:2:17: notice: lvs_sync_daemon: is for the kernel's IPVS"
		mark   = "a.conf:14:1: warning: virtual_server fwmark 7: no packet gets mark 7"
	)
	for _, tt := range []struct {
		line   string
		ipvs   bool
		kernel [2]bool
		uses   bool
		told   []string
	}{
		{"", false, [2]bool{}, false, []string{engine, sync, mark}},
		{"", true, [2]bool{true, true}, true, nil},
		{"@ringkeep dataplane ipvs", false, [2]bool{true, false}, true, []string{mark}},
		{"@ringkeep dataplane ring", true, [2]bool{false, true}, true, []string{engine}},
	} {
		cfg, messages := Parse("a.conf", []byte(strings.Replace(text, "LINE", tt.line, 1)), Options{IPVS: tt.ipvs})
		if got := [2]bool{cfg.VirtualServers[0].InKernel(), cfg.VirtualServers[1].InKernel()}; got != tt.kernel || cfg.UsesIPVS() != tt.uses {
			t.Errorf("%q with %v: %v, uses %v", tt.line, tt.ipvs, got, cfg.UsesIPVS())
		}
		for _, one := range []string{engine, sync, mark} {
			told, want := false, false
			for _, m := range messages {
				told = told || strings.HasPrefix(m.String(), one)
			}
			for _, w := range tt.told {
				want = want || w == one
			}
			if told != want {
				t.Errorf("%q with %v: told %v, want %v: %s in %v", tt.line, tt.ipvs, told, want, one, messages)
			}
		}
	}
	_, messages := Parse("a.conf", []byte(strings.Replace(text, "LINE", "@ringkeep dataplane kernel", 1)), Options{})
	if !slices.ContainsFunc(messages, func(m Message) bool {
		return m.Level == Warning && strings.Contains(m.Text, "dataplane kernel: must be")
	}) {
		t.Errorf("%v", messages)
	}
}

// TestSyncInItsOldPlace follows the instance, with id 0 as in keepalived; the global line
// counts.
func TestSyncInItsOldPlace(t *testing.T) {
	const text = "GLOBALvrrp_instance A {\ninterface eth0\nvirtual_router_id 51\nlvs_sync_daemon_interface eth1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n"
	for global, want := range map[string]SyncDaemon{
		"": {Interface: "eth1", Instance: "A"},
		"global_defs {\nlvs_sync_daemon eth0 inst A id 9\n}\n": {Interface: "eth0", Instance: "A", ID: 9},
	} {
		text := strings.Replace(text, "GLOBAL", global, 1)
		cfg, _ := Parse("a.conf", []byte(text), Options{IPVS: true})
		if s := cfg.Global.LVSSyncDaemon; s == nil || *s != want {
			t.Errorf("%q: %+v", global, s)
		}
		printsTheSame(t, "sync", []byte(text))
	}
}

// TestSyncOfNobody is no synchronization.
func TestSyncOfNobody(t *testing.T) {
	cfg, messages := Parse("a.conf", []byte("global_defs {\nlvs_sync_daemon eth0 inst NOPE\n}\n"), Options{IPVS: true})
	if cfg.Global.LVSSyncDaemon != nil || len(messages) != 1 || !strings.Contains(messages[0].Text, "there is no vrrp_instance NOPE") {
		t.Errorf("%v", messages)
	}
}
