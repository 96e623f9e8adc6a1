package netlab

import (
	"slices"
	"time"
)

// judgeMemory is how long ago the machine may have been late with what is judged now.
const judgeMemory = 3 * time.Second

// lateness is how late the machine was recently: what the nodes have waited for a processor
// and for the lock of interfaces, and the lab itself. A wait counts when it is over; meanwhile those of the other nodes stand for it.
// One goroutine uses it.
type lateness struct {
	last   moment
	looked time.Duration // when the nodes were last looked at
	ticked time.Duration
	own    time.Duration // since then
	list   []lapse
}

// lapse is what was late in the time up to at.
type lapse struct{ at, late time.Duration }

// lookEvery is how often the nodes are looked at.
const lookEvery = 200 * time.Millisecond

// look is to be called every judgeEvery: what comes later is the lab's own part.
func (t *lateness) look(l *lab, now time.Duration) {
	if t.ticked > 0 {
		t.own += max(0, now-t.ticked-judgeEvery)
	}
	if t.ticked = now; now-t.looked < lookEvery {
		return
	}
	m := l.moment(false)
	t.list = slices.DeleteFunc(append(t.list, lapse{now, m.since(t.last) + t.own}), func(one lapse) bool { return one.at < now-4*judgeMemory })
	t.last, t.looked, t.own = m, now, 0
}

// since is how late it was from a time on.
func (t *lateness) since(at time.Duration) (late time.Duration) {
	for _, one := range t.list {
		if one.at >= at {
			late += one.late
		}
	}
	return late
}
