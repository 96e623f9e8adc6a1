package loop

import "time"

// spin decides whether the loop looks at the rings again or sleeps. Waking up costs a frame
// more than everything else here; looking costs the processor. So the loop looks on for a
// while after service frames, but only while they come so close together that it sees the
// next one: where the frames that woke it came later than that, it goes to sleep at once
// next time. A node at rest never spins.
type spin struct {
	most  time.Duration
	on    bool
	asked bool          // the loop slept: the next frames tell whether that was right
	woke  time.Duration // when it did
	last  time.Duration // when there were service frames
}

// woken is told when the loop wakes up.
func (s *spin) woken(now time.Duration) { s.asked, s.woke = true, now }

// more tells whether to look again: now, after a round that was busy or found nothing.
func (s *spin) more(now time.Duration, busy bool) bool {
	if !busy {
		return s.on && now-s.last < s.most
	}
	if s.asked {
		s.on = s.woke-s.last < s.most
		s.asked = false
	}
	s.last = now
	return true
}
