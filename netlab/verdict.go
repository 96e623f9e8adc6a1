package netlab

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ringkeep/ringkeep/netlab/report"
)

// Between judges a measured time, which may be longer by late: that is for a machine where
// processes have waited for a processor. The measure has no text if a bound is no time.
func Between(what string, got time.Duration, low, high string, late time.Duration) (m report.Measure, err error) {
	lo, err := parseTime(low)
	if err != nil {
		return m, err
	}
	hi, err := parseTime(high)
	if err != nil {
		return m, err
	}
	got = got.Round(10 * time.Microsecond)
	m = report.Measure{Text: what, Got: got, Low: lo, High: hi}
	if got > hi {
		m.Late = late.Round(10 * time.Microsecond)
	}
	if got < lo || got > hi+m.Late {
		err = fmt.Errorf("%s was %v", what, got)
	}
	return m, err
}

// Found is a measure in one line, with what was expected.
func Found(m report.Measure) string {
	late := ""
	if m.Late > 0 {
		late = fmt.Sprintf(", and %v for the machine, on which processes had to wait", m.Late)
	}
	return fmt.Sprintf("%s: %v (expected %v to %v%s)", m.Text, m.Got, m.Low, m.High, late)
}

// JudgeFlow carries out expect clean, even, share and served: served counts the connections by
// server, failure is the first that failed, if there is one.
func JudgeFlow(w []string, served map[string]int, failures int, failure string) error {
	switch {
	case w[1] == "clean" && failures > 0:
		return fmt.Errorf("%d connections failed, the first: %s", failures, failure)
	case w[1] == "clean":
		return nil
	case w[1] == "even" && len(w) == 4:
		return even(served, w[3])
	case w[1] == "share" && len(w) == 6:
		return share(served, w[3], w[4], w[5])
	}
	for _, name := range w[3:] {
		if served[name] == 0 {
			return fmt.Errorf("%s served nothing: %v", name, served)
		}
	}
	if len(w)-3 != len(served) {
		return fmt.Errorf("served by %v", served)
	}
	return nil
}

// share holds what one server got against two bounds.
func share(served map[string]int, name, low, high string) error {
	from, err := strconv.Atoi(low)
	to, err2 := strconv.Atoi(high)
	if err != nil || err2 != nil {
		return fmt.Errorf("%s %s: must be two numbers of connections", low, high)
	}
	if n := served[name]; n < from || n > to {
		return fmt.Errorf("%s served %d: %v", name, n, served)
	}
	return nil
}

// even compares the servers' shares of connections.
func even(served map[string]int, most string) error {
	n, err := strconv.Atoi(most)
	if err != nil {
		return fmt.Errorf("%s: must be a number of connections", most)
	}
	low, high := -1, 0
	for _, c := range served {
		if high = max(high, c); low < 0 || c < low {
			low = c
		}
	}
	if len(served) < 2 || high-low > n {
		return fmt.Errorf("shares are %v", served)
	}
	return nil
}
