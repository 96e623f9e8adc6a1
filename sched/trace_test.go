package sched

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestTraces plays testdata: `use NAME` starts a scheduler, `servers A:4 B:3` sets the
// list (a weight, or 4/10+3 for 10 active and 3 inactive connections, 4! for
// overloaded), `pick N` asks N times.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s Scheduler
		var list []Server
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var err error
			switch d.Cmd {
			case "use":
				list = nil
				if s, err = New(d.CmdArgs[0].Key); err != nil {
					return err.Error() + "\n"
				}
			case "servers":
				list = nil
				for _, a := range d.CmdArgs {
					list = append(list, parseServer(t, a.Key))
				}
				s.Changed(list)
			case "remove":
				at := place(list, id(d.CmdArgs[0].Key))
				s.Removed(list, at)
				list = append(list[:at:at], list[at+1:]...)
				s.Changed(list)
			case "pick":
				n, err := strconv.Atoi(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				return picks(s, list, n) + "\n"
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

func id(name string) int32 { return int32(name[0]) }

func parseServer(t *testing.T, text string) Server {
	name, rest, ok := strings.Cut(text, ":")
	if !ok || len(name) != 1 {
		t.Fatalf("server %q: must be NAME:WEIGHT", text)
	}
	s := Server{ID: id(name)}
	rest, s.Overload = strings.CutSuffix(rest, "!")
	weight, load, _ := strings.Cut(rest, "/")
	active, inactive, _ := strings.Cut(load, "+")
	for _, f := range []struct {
		text string
		set  func(int)
	}{{weight, func(n int) { s.Weight = int32(n) }}, {active, func(n int) { s.Active = uint32(n) }}, {inactive, func(n int) { s.Inactive = uint32(n) }}} {
		if n, err := strconv.Atoi(f.text); err == nil {
			f.set(n)
		} else if f.text != "" {
			t.Fatal(err)
		}
	}
	return s
}

func picks(s Scheduler, list []Server, n int) string {
	var b strings.Builder
	for range n {
		if i := s.Pick(list, Flow{}); i < 0 {
			b.WriteByte('-')
		} else {
			b.WriteRune(rune(list[i].ID))
		}
	}
	return b.String()
}

// drawServers makes a list with weights, loads and overload flags.
func drawServers(t *rapid.T) []Server {
	n := rapid.IntRange(0, 12).Draw(t, "servers")
	list := make([]Server, n)
	for i := range list {
		list[i] = Server{
			ID: int32(i), Weight: rapid.Int32Range(0, 9).Draw(t, "weight"), Overload: rapid.IntRange(0, 9).Draw(t, "overload") == 0,
			Active: rapid.Uint32Range(0, 1000).Draw(t, "active"), Inactive: rapid.Uint32Range(0, 1000).Draw(t, "inactive"),
		}
	}
	return list
}

// TestOnlyEligibleServersArePicked: never weight 0, never overloaded, and always one
// where one is eligible.
func TestOnlyEligibleServersArePicked(t *testing.T) {
	for _, name := range Names {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			s, err := New(name)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				list := drawServers(t)
				s.Changed(list)
				any := false
				for i := range list {
					any = any || list[i].eligible()
				}
				for range 20 {
					i := s.Pick(list, Flow{})
					if (i >= 0) != any || i >= 0 && !list[i].eligible() {
						t.Fatalf("picked %d of %+v", i, list)
					}
				}
			}
		}))
	}
}

// TestSharesMatchWeights: over one period wrr gives every server its weight divided by
// the greatest common divisor, and rr gives every server the same.
func TestSharesMatchWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawServers(t)
		var sum, step int32
		for i := range list {
			list[i].Overload = false
			sum += list[i].Weight
			step = gcd(list[i].Weight, step)
		}
		if sum == 0 {
			return
		}
		count := map[int]int32{}
		w := &wrr{}
		w.Changed(list)
		for range sum / step {
			count[w.Pick(list, Flow{})]++
		}
		for i := range list {
			if count[i] != list[i].Weight/step {
				t.Fatalf("wrr: %v for %+v", count, list)
			}
		}
	})
}

// TestLeastLoadedWins holds lc and wlc against the definition by division.
func TestLeastLoadedWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawServers(t)
		if i := (wlc{}).Pick(list, Flow{}); i >= 0 {
			for j := range list {
				if list[j].eligible() && float64(overhead(&list[j]))/float64(list[j].Weight) < float64(overhead(&list[i]))/float64(list[i].Weight)-1e-9 {
					t.Fatalf("wlc picked %d, %d is less loaded: %+v", i, j, list)
				}
			}
		}
		if i := (lc{}).Pick(list, Flow{}); i >= 0 {
			for j := range list {
				if list[j].eligible() && overhead(&list[j]) < overhead(&list[i]) {
					t.Fatalf("lc picked %d, %d is less loaded: %+v", i, j, list)
				}
			}
		}
	})
}

func TestUnknownSchedulerIsNamed(t *testing.T) {
	_, err := New("wrrr")
	if want := `unknown scheduler "wrrr": this version has rr, wrr, lc, wlc`; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	list := []Server{{ID: 1, Weight: 4}, {ID: 2, Weight: 3}, {ID: 3, Weight: 2}}
	for _, name := range Names {
		s, err := New(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Changed(list)
		if n := testing.AllocsPerRun(100, func() { s.Pick(list, Flow{}) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range Names {
		for _, n := range []int{2, 100} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s, err := New(name)
				if err != nil {
					b.Fatal(err)
				}
				list := make([]Server, n)
				for i := range list {
					list[i] = Server{ID: int32(i), Weight: int32(1 + i%3)}
				}
				s.Changed(list)
				b.ReportAllocs()
				for b.Loop() {
					s.Pick(list, Flow{})
				}
			})
		}
	}
}
