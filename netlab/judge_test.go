package netlab

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A MASTER gives way to a better one, also to one that resigned before it got there.
func TestYields(t *testing.T) {
	for _, tt := range []struct {
		name   string
		heard  []uint8
		after  time.Duration
		broken []string
	}{
		{"better", []uint8{150}, 0, nil},
		{"better, and resigned", []uint8{150, 0, 0}, 10 * time.Millisecond, nil},
		{"resigned long ago", []uint8{150, 0}, 100 * time.Millisecond, []string{"yield"}},
		{"worse", []uint8{20}, 0, []string{"yield"}},
		{"resigned only", []uint8{0}, 0, []string{"yield"}},
	} {
		var broken []string
		a := Router{Node: "a", LAN: "lan", VRID: 51, Priority: 150, Interval: time.Second, Addr: netip.MustParseAddr("10.0.0.1")}
		c := a
		c.Node, c.Priority, c.Addr = "c", 50, netip.MustParseAddr("10.0.0.3")
		j := NewJudge([]Router{a, c}, &Network{}, func(_ time.Duration, invariant, _ string) { broken = append(broken, invariant) })
		at := time.Second
		j.Up(at, "c", true)
		j.State(at, "c", "", "MASTER", "timer")
		for _, priority := range tt.heard {
			at += time.Millisecond
			j.Heard(at, "a", "c", "lan", a.id(), priority)
		}
		j.State(at+tt.after, "c", "", "BACKUP", "advert")
		if !slices.Equal(broken, tt.broken) {
			t.Errorf("%s: %v, want %v", tt.name, broken, tt.broken)
		}
	}
}
