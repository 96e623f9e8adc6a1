package report

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func lines(w io.Writer, list []string) error {
	_, err := fmt.Fprintln(w, strings.Join(list, "\n"))
	return err
}

// TestSoFarFits draws runs of any age for windows of any size.
func TestSoFarFits(t *testing.T) {
	for name, r := range map[string]*Run{"sample": sample(), "empty": {}, "long": long(300)} {
		for _, age := range []time.Duration{0, time.Second, 9 * time.Second, time.Hour} {
			for height := -1; height < 40; height++ {
				run := *r
				run.Elapsed = age
				width := 40 + 3*max(height, 0)
				got := run.SoFar(width, height)
				if len(got) > max(height, 0) {
					t.Fatalf("%s after %v: %d lines, not %d", name, age, len(got), height)
				}
				for _, l := range got {
					if cells(l) > width {
						t.Fatalf("%s after %v: %d columns, not %d: %s", name, age, cells(l), width, l)
					}
				}
			}
		}
	}
}

// TestSoFarSaysWhatIsTheCase begins a run: behind lanes too short for a word stands the
// state, the owner, and how a client fares.
func TestSoFarSaysWhatIsTheCase(t *testing.T) {
	const now = 400 * ms
	r := &Run{
		Elapsed:  now,
		States:   []State{{0, "lb1", "VI_1", 51, "BACKUP", 150, ""}, {300 * ms, "lb1", "VI_1", 51, "MASTER", 150, ""}},
		Holdings: []Holding{{300 * ms, "lb1", vip, true}},
		Flows: []Flow{
			{Name: "asks", Host: "client", To: now, Gaps: []Gap{{300 * ms, now}}}, {Name: "gets", Host: "client", To: now, Answered: 1}, {Name: "over", Host: "client", To: 300 * ms},
		},
	}
	text := strings.Join(r.SoFar(100, 40), "\n")
	for _, want := range []string{"█ MASTER 150\n", "━ lb1\n", "× no answer\n", "─ 1 answer\n", "─\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
