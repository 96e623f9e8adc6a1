package ring_test

import (
	"bytes"
	"testing"

	"github.com/ringkeep/ringkeep/ring"
)

// source opens a source on an interface of the space, or skips without the privilege.
func (s *space) source(tb testing.TB, cfg ring.SourceConfig) (src *ring.Source) {
	tb.Helper()
	var err error
	s.in(func() { src, err = ring.OpenSource(cfg) })
	if err != nil {
		unable(tb, err.Error())
	}
	tb.Cleanup(src.Close)
	return src
}

// TestSourceSendsEveryFlow: one after the other, as PutFlow writes them.
func TestSourceSendsEveryFlow(t *testing.T) {
	_, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Slots: 4096, Filter: onlyTest(t)})
	const flows = 2100 // of three hosts
	pattern := broadcast(0, 50)[ring.VNetLen:]
	src := right.source(t, ring.SourceConfig{Interface: "v1", Frame: bytes.Clone(pattern), Flows: flows})
	var err error
	right.in(func() { err = src.Run(flows + 1) })
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range receive(t, in, flows+1) {
		want := bytes.Clone(pattern)
		ring.PutFlow(want, i%flows)
		if !bytes.Equal(got[ring.VNetLen:], want) {
			t.Fatalf("frame %d:\n got %x\nwant %x", i, got, want)
		}
	}
}

// TestSourceDrawsFlows: at random, all of them before long.
func TestSourceDrawsFlows(t *testing.T) {
	_, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Slots: 4096, Filter: onlyTest(t)})
	src := right.source(t, ring.SourceConfig{Interface: "v1", Frame: broadcast(0, 50)[ring.VNetLen:], Flows: 10, Random: true})
	var err error
	right.in(func() { err = src.Run(1000) })
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, f := range receive(t, in, 1000) {
		seen[string(f)]++
	}
	if len(seen) != 10 {
		t.Errorf("%d flows, not 10", len(seen))
	}
}

// TestSourceRefuses what the program could not do.
func TestSourceRefuses(t *testing.T) {
	frame := make([]byte, 60)
	for name, cfg := range map[string]ring.SourceConfig{
		"a short pattern": {Interface: "lo", Frame: frame[:53], Flows: 1},
		"no flow":         {Interface: "lo", Frame: frame},
		"too many flows":  {Interface: "lo", Frame: frame, Flows: ring.MaxFlows + 1},
		"no interface":    {Interface: "none", Frame: frame, Flows: 1},
	} {
		if s, err := ring.OpenSource(cfg); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
