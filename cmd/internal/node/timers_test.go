package node

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTimersAgainstAList holds the heap against the obvious list of deadlines.
func TestTimersAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tm timers
		want := map[int]time.Duration{}
		for i := range rapid.IntRange(1, 20).Draw(t, "owners") {
			if got := tm.add(); got != i {
				t.Fatalf("owner %d got number %d", i, got)
			}
		}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			owner := rapid.IntRange(0, len(tm.at)-1).Draw(t, "owner")
			if rapid.Bool().Draw(t, "set") {
				at := time.Duration(rapid.IntRange(0, 50).Draw(t, "at"))
				tm.set(owner, at)
				want[owner] = at
			} else {
				tm.clear(owner)
				delete(want, owner)
			}
			first, at, ok := tm.next()
			if ok != (len(want) > 0) {
				t.Fatalf("next says %v with %d armed", ok, len(want))
			}
			if ok && (at != want[first] || at != slices.Min(values(want))) {
				t.Fatalf("next is owner %d at %v, want %v", first, at, want)
			}
		}
	})
}

func values(m map[int]time.Duration) (v []time.Duration) {
	for _, d := range m {
		v = append(v, d)
	}
	return v
}
