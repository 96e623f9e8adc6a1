package loop

import (
	"testing"
	"time"
)

// TestOffsetOfAThreadThatWaits: what a thread has to wait for a processor between the readings
// of two clocks is no part of how far they are apart; else an advertisement counts from
// before it came.
func TestOffsetOfAThreadThatWaits(t *testing.T) {
	const apart = 1000 * time.Hour
	for waits := range 8 {
		now, reading := time.Duration(0), 0
		read := func() time.Duration {
			if reading++; reading == waits {
				now += 30 * time.Millisecond
			}
			now += time.Microsecond
			return now
		}
		l := &Loop{Config: Config{Clock: read, Wall: func() time.Duration { return apart + read() }}}
		if got := l.offset(); (got - apart).Abs() > time.Microsecond {
			t.Errorf("waiting before reading %d: %v too far apart", waits, got-apart)
		}
	}
}
