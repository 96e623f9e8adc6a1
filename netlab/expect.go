package netlab

import (
	"fmt"
	"strconv"
	"time"
)

// expect judges what was measured.
func (l *lab) expect(w []string) error {
	switch w[1] {
	case "gap":
		f := l.flows[w[2]]
		if f == nil || len(w) != 5 {
			return fmt.Errorf("expect gap NAME LOW HIGH, of a probe that was started")
		}
		gap, late := f.longest()
		return l.between("gap of "+f.name, gap, w[3], w[4], late+l.moment(false).since(l.marked))
	case "silence":
		return l.expectSilence(w)
	case "even", "served", "share", "clean":
		f := l.flows[w[2]]
		if f == nil {
			return fmt.Errorf("no flow %s", w[2])
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		first := ""
		if f.failure != nil {
			first = f.failure.Error()
		}
		return JudgeFlow(w, f.served, f.failures, first)
	}
	return fmt.Errorf("%s: must be gap, silence, clean, even, share or served", w[1])
}

func (l *lab) expectSilence(w []string) error {
	vrid, err := strconv.Atoi(w[2])
	if err != nil || len(w) != 5 {
		return fmt.Errorf("expect silence VRID LOW HIGH")
	}
	least, err := parseTime(w[3])
	if err != nil {
		return err
	}
	silence, late, low, now := time.Duration(-1), time.Duration(0), w[3], l.moment(false)
	l.wire.with(func() {
		if e := ForVRID(uint8(vrid), l.observer.elections); e != nil {
			silence, late = e.silence, e.late+now.since(l.marked, e.last.from.name)
			if e.awaited {
				low = "0s"
			}
			if silence < least && e.earlier >= max(0, least-late) { // another came before the one that was late
				silence = e.earlier
			}
		}
	})
	if silence < 0 {
		return fmt.Errorf("nobody took VRID %d over since mark", vrid)
	}
	return l.between(fmt.Sprintf("silence of VRID %d", vrid), silence, low, w[4], late)
}

// between compares and prints a measured time. late is what of it the machine may have added.
func (l *lab) between(what string, got time.Duration, low, high string, late time.Duration) error {
	m, err := Between(what, got, low, high, late)
	if m.Text != "" {
		l.say("", "= %s", Found(m))
		l.measured = append(l.measured, m)
	}
	return err
}
