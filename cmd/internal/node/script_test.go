package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// With rise 2 and fall 3 the third failure in a row lowers the priority, and the second
// success raises it (conformance 55); the first result decides at once.
func TestScriptCounter(t *testing.T) {
	c := instanceConf(100)
	c.TrackScripts = config.Tracks{{Name: "chk", Weight: -60}}
	cfg := with(c)
	cfg.Scripts = []*config.Script{{Name: "chk", Interval: time.Second, Rise: 2, Fall: 3}}
	n := newWorld(t, cfg).nodes[0]
	n.Step(0, Start{}, nil)
	var got []string
	for i, ok := range []bool{true, false, false, true, false, false, false, true, false, true, true} {
		for _, a := range n.Step(time.Duration(i)*time.Second, ScriptDone{OK: ok}, nil) {
			if p, changed := a.(PriorityChanged); changed {
				got = append(got, fmt.Sprintf("%d: %d", i, p.To))
			}
		}
	}
	if want := []string{"6: 40", "10: 100"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
