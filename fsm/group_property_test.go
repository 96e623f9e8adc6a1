package fsm

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestGroupIsInOneState drives groups of random members with random events: after every
// step all are in one state, in FAULT while one has a fault and no longer, and every MASTER
// that leaves for another reason than a better one has said priority 0.
func TestGroupIsInOneState(t *testing.T) {
	seen := map[State]bool{}
	rapid.Check(t, func(t *rapid.T) {
		var members []*Instance
		for i := range rapid.IntRange(1, 3).Draw(t, "members") {
			c := drawConfig(t)
			c.Name = fmt.Sprintf("VI_%d", i+1)
			members = append(members, New(c))
		}
		g := NewGroup("VG_1", members)
		g.Start(0, nil)
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			who, ev := rapid.IntRange(0, len(members)-1).Draw(t, "member"), drawEvent(t)
			switch ev.(type) {
			case Startup, Shutdown:
				ev = Tick{}
			}
			if at, ok := members[who].Deadline(); ok && rapid.Bool().Draw(t, "wait") {
				now = max(now, at)
			}
			before := g.State()
			acts := g.Step(now, who, ev, nil)
			seen[g.State()] = true
			faulty, pending, resigned := false, false, map[int]bool{}
			for i, in := range members {
				if in.State() != g.State() {
					t.Fatalf("%s is %s in a group that is %s", in.cfg.Name, in.State(), g.State())
				}
				faulty, pending = faulty || in.faulty(), pending || in.pending()
				resigned[i] = in.linkDown
			}
			if faulty && g.State() != Fault || g.State() == Fault && !faulty && !pending {
				t.Fatalf("a fault: %v, and the group is %s", faulty, g.State())
			}
			for _, a := range acts {
				if adv, ok := a.Action.(SendAdvert); ok && adv.Priority == 0 {
					resigned[a.Member] = true
				}
			}
			for i := range members {
				if before == Master && g.State() == Fault && !resigned[i] {
					t.Fatalf("%s leaves without priority 0", members[i].cfg.Name)
				}
			}
		}
	})
	for _, s := range []State{Backup, Master, Fault} {
		if !seen[s] && !testing.Short() { // which draws a fifth
			t.Errorf("never %s", s)
		}
	}
}
