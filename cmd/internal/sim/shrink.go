package sim

import (
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/netlab"
)

const shrinkTime = 10 * time.Second

// Shrink leaves out statements as long as the run with the same seed still fails in the
// same way, and returns those that are left, one a line.
func Shrink(s *netlab.Scenario, failed *Result) string {
	small := *s
	small.Statements = append([]netlab.Statement(nil), s.Statements...)
	want := kindOf(failed.Failure)
	limit := time.Now().Add(shrinkTime)
	done := make(chan struct{})
	defer time.AfterFunc(shrinkTime, func() { close(done) }).Stop()
	for size := max(1, len(small.Statements)/2); ; size = max(1, size/2) {
		removed := false
		for i := 0; i+size <= len(small.Statements); {
			try := small
			try.Statements = append(append([]netlab.Statement(nil), small.Statements[:i]...), small.Statements[i+size:]...)
			if try.Check() == nil && kindOf(Run(&try, Options{Seed: failed.Seed, Done: done}).Failure) == want {
				small, removed = try, true
				continue
			}
			i += size
		}
		if size == 1 && !removed || time.Now().After(limit) {
			break
		}
	}
	var b strings.Builder
	for _, st := range small.Statements {
		b.WriteString("    " + st.String() + "\n")
	}
	return b.String()
}

// kindOf is what a failure says without its place and its times: the kind of an
// invariant, or the statement that failed.
func kindOf(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for _, kind := range []string{"two-masters", "no-master", "nopreempt", "preempt", "early", "announce", "interval", "priority", "resign", "address", "arp", "advert", "cause", "timer", "yield", "fault", "owner"} {
		if strings.Contains(text, ": "+kind+": ") {
			return kind
		}
	}
	_, text, _ = strings.Cut(text, ": ")
	statement, _, _ := strings.Cut(text, ": ")
	return statement
}
