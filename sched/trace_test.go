package sched

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestTraces plays testdata: `use NAME [fallback] [port]` starts a scheduler, `servers A:4
// B:3` sets the list (a weight, or 4/10+3 for 10 active and 3 inactive connections, 4! for
// overloaded), `at TIME` moves the clock, `pick N [from=ADDR:PORT] [to=ADDR]` asks N times.
// For mh the server A is 10.0.0.1:80, B is 10.0.0.2:80.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s Scheduler
		var list []Server
		var flow Flow
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var err error
			switch d.Cmd {
			case "use":
				list, flow = nil, Flow{Src: netip.MustParseAddrPort("192.0.2.1:51822"), Dst: netip.MustParseAddrPort("198.51.100.1:80")}
				if s, err = New(d.CmdArgs[0].Key, Options{Fallback: d.HasArg("fallback"), Port: d.HasArg("port")}); err != nil {
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
			case "at":
				if flow.At, err = time.ParseDuration(d.CmdArgs[0].Key); err != nil {
					t.Fatal(err)
				}
			case "pick":
				for _, a := range d.CmdArgs[1:] {
					switch a.Key {
					case "from":
						flow.Src = netip.MustParseAddrPort(a.Vals[0])
					case "to":
						flow.Dst = netip.AddrPortFrom(netip.MustParseAddr(a.Vals[0]), 80)
					}
				}
				n, err := strconv.Atoi(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				return picks(s, list, flow, n) + "\n"
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

func id(name string) int32 { return int32(name[0]) }

// sum is of the server 10.0.0.N:80.
func sum(n int) uint32 { return Fold(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})) + 80 }

func parseServer(t *testing.T, text string) Server {
	name, rest, ok := strings.Cut(text, ":")
	if !ok || len(name) != 1 {
		t.Fatalf("server %q: must be NAME:WEIGHT", text)
	}
	s := Server{ID: id(name), Sum: sum(int(name[0]-'A') + 1)}
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

func picks(s Scheduler, list []Server, f Flow, n int) string {
	var b strings.Builder
	for range n {
		if i := s.Pick(list, f); i < 0 {
			b.WriteByte('-')
		} else {
			b.WriteRune(rune(list[i].ID))
		}
	}
	return b.String()
}

func drawFlow(t *rapid.T) Flow {
	src := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "client")))
	dst := netip.AddrFrom4([4]byte{198, 51, 100, rapid.Byte().Draw(t, "destination")})
	return Flow{Src: netip.AddrPortFrom(src, rapid.Uint16().Draw(t, "port")), Dst: netip.AddrPortFrom(dst, 80)}
}

// drawServers makes a list with weights, loads and overload flags.
func drawServers(t *rapid.T) []Server {
	n := rapid.IntRange(0, 12).Draw(t, "servers")
	list := make([]Server, n)
	for i := range list {
		list[i] = Server{
			ID: int32(i), Sum: sum(i), Weight: rapid.Int32Range(0, 9).Draw(t, "weight"), Overload: rapid.IntRange(0, 9).Draw(t, "overload") == 0,
			Active: rapid.Uint32Range(0, 1000).Draw(t, "active"), Inactive: rapid.Uint32Range(0, 1000).Draw(t, "inactive"),
		}
	}
	return list
}

// refuses are schedulers that find none where another server could take the flow.
var refuses = map[string]bool{"ovf": true, "dh": true, "sh": true, "mh": true}

// TestOnlyEligibleServersArePicked: never weight 0, never overloaded, and always one
// where one is eligible, but as the scheduler is made.
func TestOnlyEligibleServersArePicked(t *testing.T) {
	for _, name := range Names {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			s, err := New(name, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				list := drawServers(t)
				for i := range list { // lblc and lblcr keep a destination where it is, overloaded or not
					list[i].Overload = list[i].Overload && !strings.HasPrefix(name, "lblc")
				}
				s.Changed(list)
				any := false
				for i := range list {
					any = any || list[i].eligible()
				}
				for range 20 {
					i := s.Pick(list, drawFlow(t))
					if i < 0 && any && !refuses[name] || i >= 0 && !any || i >= 0 && !list[i].eligible() {
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
	_, err := New("wrrr", Options{})
	if want := `unknown scheduler "wrrr": this version has rr, wrr, lc, wlc, sed, nq, fo, ovf, twos, dh, sh, mh, lblc, lblcr`; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	flow := Flow{Src: netip.MustParseAddrPort("192.0.2.1:51822"), Dst: netip.MustParseAddrPort("198.51.100.1:80")}
	list := []Server{{ID: 1, Weight: 4}, {ID: 2, Weight: 3}, {ID: 3, Weight: 2}}
	for _, name := range Names {
		s, err := New(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.Changed(list)
		if n := testing.AllocsPerRun(100, func() { s.Pick(list, flow) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	flow := Flow{Src: netip.MustParseAddrPort("192.0.2.1:51822"), Dst: netip.MustParseAddrPort("198.51.100.1:80")}
	for _, name := range Names {
		for _, n := range []int{2, 100} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s, err := New(name, Options{})
				if err != nil {
					b.Fatal(err)
				}
				list := make([]Server, n)
				for i := range list {
					list[i] = Server{ID: int32(i), Sum: sum(i), Weight: int32(1 + i%3)}
				}
				s.Changed(list)
				b.ReportAllocs()
				for b.Loop() {
					s.Pick(list, flow)
				}
			})
		}
	}
}
