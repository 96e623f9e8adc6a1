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
		return l.between("gap of "+f.name, f.longest(), w[3], w[4])
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
	silence := time.Duration(-1)
	l.wire.with(func() {
		if e := ForVRID(uint8(vrid), l.observer.elections); e != nil {
			silence = e.silence
		}
	})
	if silence < 0 {
		return fmt.Errorf("nobody took VRID %d over since mark", vrid)
	}
	return l.between(fmt.Sprintf("silence of VRID %d", vrid), silence, w[3], w[4])
}

// between compares and prints a measured time.
func (l *lab) between(what string, got time.Duration, low, high string) error {
	m, err := Between(what, got, low, high)
	if m.Text != "" {
		l.say("", "= %s", Found(m))
		l.measured = append(l.measured, m)
	}
	return err
}
