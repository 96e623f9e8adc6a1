package sim

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/reading"
	"github.com/ringkeep/ringkeep/netlab"
)

// both are scenarios that are played in namespaces as well.
var both = []string{
	"partition", "freeze-master", "wrong-ttl", "script-fails", "script-moves", "three-adverts-lost", "duplicated", "spoofed-255",
	"fast", "load-sharing", "garp-lost", "unicast", "ipv6", "unicast-ipv6", "dual-stack", "nopreempt-stays", "restart", "07-cross-subnet", "address-removed", "interface-recreated", "starved", "vmac",
}

// drift is what the starts of processes, scripts and the polling of conditions may add
// between two transitions, beside what they wait for a processor.
const drift = 400 * time.Millisecond

// TestBothBackEndsAgree plays scenarios in virtual time and with real processes: they
// end alike, with the same transitions of every node in the same order, at the same times.
func TestBothBackEndsAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time")
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	binary := filepath.Join(t.TempDir(), "ringkeep")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/ringkeep/ringkeep/cmd/ringkeep").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	room := make(chan struct{}, 7)
	t.Run("scenarios", func(t *testing.T) {
		for _, name := range both {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
				s, err := netlab.Load(filepath.Join(library, name+".txtar"))
				if err != nil {
					t.Fatal(err)
				}
				virtual := Run(s, Options{Seed: 1})
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				out, err := os.Create(filepath.Join(t.TempDir(), "out"))
				if err != nil {
					t.Fatal(err)
				}
				real, err := netlab.Run(ctx, s, netlab.Options{Binary: binary, Out: out, Dir: t.TempDir(), Read: reading.Read})
				if err != nil {
					t.Fatal(err)
				}
				if !real.Passed || virtual.Failure != nil {
					text, _ := os.ReadFile(out.Name())
					t.Fatalf("virtual: %v, real: %v\n%s", virtual.Failure, real.Failure, text)
				}
				agree(t, virtual.Transitions, real.Transitions)
			})
		}
	})
}

// lastWord finds the FAULT of a process that sees its link cut before it is killed: a
// power loss takes a moment here, and none in virtual time.
func lastWord(virtual []Transition, real []netlab.Transition) func(netlab.Transition) bool {
	extra := len(real) - len(virtual)
	return func(one netlab.Transition) bool {
		if one.State == "FAULT" && extra > 0 {
			extra--
			return true
		}
		return false
	}
}

// agree compares node by node: between nodes, what happens within the same moment has
// no order.
func agree(t *testing.T, virtual []Transition, real []netlab.Transition) {
	t.Helper()
	v, r := map[string][]Transition{}, map[string][]netlab.Transition{}
	for _, one := range virtual {
		if one.State != "INIT" { // the log has no line for it
			v[one.Node] = append(v[one.Node], one)
		}
	}
	for _, one := range real {
		r[one.Node] = append(r[one.Node], one)
	}
	for node, list := range v {
		r[node] = slices.DeleteFunc(r[node], lastWord(list, r[node]))
		if len(list) != len(r[node]) {
			t.Errorf("%s: virtual %v, real %v", node, list, r[node])
			continue
		}
		for i, one := range list {
			other := r[node][i]
			if fmt.Sprint(one.Instance, one.State) != fmt.Sprint(other.Instance, other.State) {
				t.Errorf("%s: transition %d is %s %s in virtual time, %s %s in real time", node, i, one.Instance, one.State, other.Instance, other.State)
			}
			if i == 0 {
				continue
			}
			a, b := one.At-list[i-1].At, other.At-r[node][i-1].At
			busy := other.Waited // what was late with this one, or with the one before
			if i > 1 {
				busy -= r[node][i-2].Waited
			}
			if d := a - b; d.Abs() > drift+busy {
				t.Errorf("%s: %s %s comes %v after the one before in virtual time, %v in real time (%v for processors)", node, one.Instance, one.State, a, b, busy)
			}
		}
	}
}
