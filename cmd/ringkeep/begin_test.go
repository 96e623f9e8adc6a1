package main

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
)

// TestDelayAfterBoot: a host that has run for long enough starts at once, but for its
// startup delay; the later of the two counts.
func TestDelayAfterBoot(t *testing.T) {
	for _, tt := range []struct{ startup, boot, up, want time.Duration }{
		{0, 60 * time.Second, 20 * time.Second, 40 * time.Second},
		{0, 60 * time.Second, 2 * time.Hour, 0},
		{5 * time.Second, 60 * time.Second, 2 * time.Hour, 5 * time.Second},
		{5 * time.Second, 60 * time.Second, 58 * time.Second, 5 * time.Second},
		{5 * time.Second, 60 * time.Second, 0, 60 * time.Second},
		{5 * time.Second, 0, 0, 5 * time.Second},
	} {
		g := config.Global{StartupDelay: tt.startup, DelayAfterBoot: tt.boot}
		if got := startupDelay(&g, tt.up); got != tt.want {
			t.Errorf("vrrp_startup_delay %v, vrrp_delay_after_boot %v, %v after the boot: %v, want %v", tt.startup, tt.boot, tt.up, got, tt.want)
		}
	}
}

// TestMissingInterfaces are known by name with dynamic_interfaces, and none without.
func TestMissingInterfaces(t *testing.T) {
	const text = `
static_ipaddress {
    10.1.0.1/24 dev eth3
}
vrrp_instance VI_1 {
    interface eth1
    virtual_router_id 51
    priority 100
    track_interface {
        eth2
        eth0
    }
    virtual_ipaddress {
        10.0.0.1/24 dev eth4
        10.0.0.2/24 dev lo
    }
}
`
	for head, want := range map[string][]string{"": nil, "global_defs {\n    dynamic_interfaces\n}": {"eth3", "eth1", "eth4", "eth2"}} {
		cfg, _ := config.Parse("a.conf", []byte(head+text), config.Options{})
		var got []string
		for _, l := range missing(cfg, []kernel.Link{{Index: 2, Name: "eth0"}}, slog.New(slog.NewTextHandler(io.Discard, nil))) {
			got = append(got, l.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", head, got, want)
		}
	}
}
