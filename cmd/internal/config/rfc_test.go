package config

import (
	"strings"
	"testing"
	"time"
)

// The ranges and defaults of RFC 9568 §5.2.3, §5.2.4, §5.2.9, §6.1 and RFC 3768 §5.3.7:
// inside is taken as it stands, outside is told and corrected.
func TestLimitsOfTheRFC(t *testing.T) {
	for _, c := range []struct {
		rule, lines, told string
		right             func(in *Instance) bool
	}{
		{"§5.2.3", "virtual_router_id 255", "", func(in *Instance) bool { return in.VRID == 255 && in.Disabled == "" }},
		{"§5.2.3", "virtual_router_id 0", "virtual_router_id 0", func(in *Instance) bool { return in.Disabled != "" }},
		{"§5.2.3", "virtual_router_id 256", "virtual_router_id 256", func(in *Instance) bool { return in.Disabled != "" }},
		{"§5.2.3, no default", "", "has no virtual_router_id", func(in *Instance) bool { return in.Disabled != "" }},
		{"§5.2.4, default", "virtual_router_id 1", "", func(in *Instance) bool { return in.Priority == 100 }},
		{"§5.2.4", "virtual_router_id 1\npriority 254", "", func(in *Instance) bool { return in.Priority == 254 }},
		{"§5.2.4", "virtual_router_id 1\npriority 0", "priority 0", func(in *Instance) bool { return in.Priority == 100 }},
		{"§5.2.4", "virtual_router_id 1\npriority 256", "priority 256", func(in *Instance) bool { return in.Priority == 100 }},
		{"§5.2.9", "virtual_router_id 1\nvirtual_ipaddress {\n2001:db8::1\n}", "of one family", func(in *Instance) bool { return len(in.Addresses) == 1 }},
		{"§6.1, default", "virtual_router_id 1\nversion 3", "", func(in *Instance) bool { return in.AdvertInterval == time.Second }},
		{"§6.1", "virtual_router_id 1\nversion 3\nadvert_int 0.01", "", func(in *Instance) bool { return in.AdvertInterval == 10*time.Millisecond }},
		{"§6.1", "virtual_router_id 1\nversion 3\nadvert_int 40.95", "", func(in *Instance) bool { return in.AdvertInterval == 40950*time.Millisecond }},
		{"§6.1", "virtual_router_id 1\nversion 3\nadvert_int 41", "advert_int 41", func(in *Instance) bool { return in.AdvertInterval == 40950*time.Millisecond }},
		{"§6.1", "virtual_router_id 1\nversion 3\nadvert_int 0", "advert_int 0", func(in *Instance) bool { return in.AdvertInterval > 0 }},
		{"RFC 3768 §5.3.7, default", "virtual_router_id 1", "", func(in *Instance) bool { return in.AdvertInterval == time.Second }},
		{"RFC 3768 §5.3.7", "virtual_router_id 1\nadvert_int 255", "", func(in *Instance) bool { return in.AdvertInterval == 255*time.Second }},
		{"RFC 3768 §5.3.7", "virtual_router_id 1\nadvert_int 0.5", "advert_int 500ms", func(in *Instance) bool { return in.AdvertInterval == time.Second }},
	} {
		text := "vrrp_instance A {\ninterface eth0\nvirtual_ipaddress {\n10.0.0.1\n}\n" + c.lines + "\n}\n"
		cfg, messages := Parse("a.conf", []byte(text), Options{ConfigID: "here"})
		var told []string
		for _, m := range messages {
			if m.Level >= Warning {
				told = append(told, m.Text)
			}
		}
		all := strings.Join(told, "\n")
		if (c.told == "") != (all == "") || !strings.Contains(all, c.told) {
			t.Errorf("%s: %q: told %q, want %q", c.rule, c.lines, all, c.told)
		}
		if len(cfg.Instances) != 1 || !c.right(cfg.Instances[0]) {
			t.Errorf("%s: %q: %+v", c.rule, c.lines, cfg.Instances)
		}
	}
}
