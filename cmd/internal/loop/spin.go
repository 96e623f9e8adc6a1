package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// spin decides whether the loop looks at the rings again or sleeps. Waking up costs a frame
// more than everything else here; looking costs the processor. So the loop looks on for a
// while after service frames, but only while they come so close together that it sees the
// next one: where the frames that woke it came later than that, it goes to sleep at once
// next time. A node at rest never spins.
//
// Super-frames are further apart, by what it takes to copy them, and mostly of a stream whose
// two ends need a processor, too: the loop looks for them longerForBulk times as long, and yields
// between two looks. Small ones would wait then for whoever uses up its share.
type spin struct {
	most  time.Duration // after small frames; 0 for never
	bulk  bool          // there were super-frames in the last round that had any
	on    bool
	asked bool          // the loop slept: the next frames tell whether that was right
	woke  time.Duration // when it did
	last  time.Duration // when there were service frames
}

const longerForBulk = 10

// woken is told when the loop wakes up.
func (s *spin) woken(now time.Duration) { s.asked, s.woke = true, now }

// more tells whether to look again: now, after a round that was busy or found nothing.
func (s *spin) more(now time.Duration, busy, bulk bool) bool {
	most := s.most
	if s.bulk {
		most *= longerForBulk
	}
	if !busy {
		again := s.on && now-s.last < most
		if again && s.bulk {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
		return again
	}
	if s.asked {
		s.on = s.woke-s.last < most
		s.asked = false
	}
	s.last, s.bulk = now, bulk
	return true
}
