package netlab

import (
	"fmt"
	"slices"
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
	case "even", "served", "clean":
		f := l.flows[w[2]]
		if f == nil {
			return fmt.Errorf("no flow %s", w[2])
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.judge(w)
	}
	return fmt.Errorf("%s: must be gap, silence, clean, even or served", w[1])
}

func (f *flow) judge(w []string) error {
	switch {
	case w[1] == "clean" && f.failures > 0:
		return fmt.Errorf("%d connections failed, the first: %w", f.failures, f.failure)
	case w[1] == "clean":
		return nil
	case w[1] == "even" && len(w) == 4:
		return f.even(w[3])
	}
	return f.servedBy(w[3:])
}

func (l *lab) expectSilence(w []string) error {
	vrid, err := strconv.Atoi(w[2])
	if err != nil || len(w) != 5 {
		return fmt.Errorf("expect silence VRID LOW HIGH")
	}
	silence := time.Duration(-1)
	l.wire.with(func() {
		if e := l.observer.elections[uint8(vrid)]; e != nil {
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
	lo, err := time.ParseDuration(low)
	if err != nil {
		return fmt.Errorf("%s: must be a time", low)
	}
	hi, err := time.ParseDuration(high)
	if err != nil {
		return fmt.Errorf("%s: must be a time", high)
	}
	line := fmt.Sprintf("%s: %v (expected %v to %v)", what, got.Round(100*time.Microsecond), lo, hi)
	l.say("", "= %s", line)
	l.measured = append(l.measured, line)
	if got < lo || got > hi {
		return fmt.Errorf("%s was %v", what, got.Round(100*time.Microsecond))
	}
	return nil
}

// even compares the servers' shares of connections.
func (f *flow) even(most string) error {
	n, err := strconv.Atoi(most)
	if err != nil {
		return fmt.Errorf("%s: must be a number of connections", most)
	}
	var counts []int
	for _, c := range f.served {
		counts = append(counts, c)
	}
	if len(counts) < 2 {
		return fmt.Errorf("%d server(s) answered: %v", len(counts), f.served)
	}
	if slices.Max(counts)-slices.Min(counts) > n {
		return fmt.Errorf("shares are %v", f.served)
	}
	return nil
}

func (f *flow) servedBy(names []string) error {
	for _, name := range names {
		if f.served[name] == 0 {
			return fmt.Errorf("%s served nothing: %v", name, f.served)
		}
	}
	if len(names) != len(f.served) {
		return fmt.Errorf("served by %v", f.served)
	}
	return nil
}
