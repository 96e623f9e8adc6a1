package sched

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPeekIsTheNextPick plays random flows with every scheduler, and with a second one that
// is looked at before each pick: the look tells what the pick is, and changes no later one.
func TestPeekIsTheNextPick(t *testing.T) {
	for _, name := range Names {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				o := Options{Fallback: rapid.Bool().Draw(t, "fallback"), Seed: rapid.Uint64().Draw(t, "seed")}
				var watched, alone Scheduler
				for _, s := range []*Scheduler{&watched, &alone} {
					var err error
					if *s, err = New(name, o); err != nil {
						t.Fatal(err)
					}
				}
				var servers []Server
				for id := range rapid.Int32Range(1, 5).Draw(t, "servers") {
					servers = append(servers, Server{ID: id, Weight: rapid.Int32Range(0, 4).Draw(t, "weight"), Sum: uint32(id) * 7919})
				}
				watched.Changed(servers)
				alone.Changed(servers)
				var f Flow
				for range rapid.IntRange(1, 60).Draw(t, "flows") {
					s := &servers[rapid.IntRange(0, len(servers)-1).Draw(t, "server")]
					s.Active, s.Overload = rapid.Uint32Range(0, 9).Draw(t, "active"), rapid.IntRange(0, 9).Draw(t, "overload") == 0
					f.At += time.Duration(rapid.IntRange(0, 10).Draw(t, "hours")) * time.Hour
					f.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "src")}), 1000)
					f.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "dst") % 4}), 80)
					seen := Peek(watched, servers, f)
					if again := Peek(watched, servers, f); again != seen {
						t.Fatalf("two looks tell %d and %d", seen, again)
					}
					got, want := watched.Pick(servers, f), alone.Pick(servers, f)
					if got != want || seen != got {
						t.Fatalf("peek %d, pick %d, without a look %d", seen, got, want)
					}
				}
			})
		})
	}
}
