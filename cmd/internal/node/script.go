package node

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// script is a tracking script with its result counter: good while the counter is
// at rise or above, as keepalived counts. The first result decides at once.
type script struct {
	cfg     *config.Script
	timer   int
	good    int // 0 .. rise+fall-1, -1 before the first result
	running bool
	began   time.Duration
	last    Tried
	users   []int // instances that track it
}

// startScript runs script i if an instance tracks it, and again after its
// interval, from start to start. A run that is still busy is skipped.
func (n *Node) startScript(now time.Duration, i int) {
	s := &n.scripts[i]
	if len(s.users) == 0 {
		return
	}
	n.timers.set(s.timer, now+s.cfg.Interval)
	if !s.running {
		s.running, s.began = true, now
		n.emit(RunScript{Script: i})
	}
}

func (n *Node) scriptDone(now time.Duration, ev ScriptDone) {
	s := &n.scripts[ev.Script]
	s.running = false
	s.last = Tried{At: now, Took: now - s.began, OK: ev.OK, Reason: ev.Reason}
	before, first := s.good >= s.cfg.Rise, s.good < 0
	s.count(ev.OK)
	after := s.good >= s.cfg.Rise
	if before == after && !first {
		return
	}
	n.emit(ScriptChanged{Script: s.cfg.Name, Up: after, Reason: ev.Reason})
	for _, user := range s.users {
		n.stepInstance(now, user, fsm.Tracked{Kind: "script", Name: s.cfg.Name, Up: after})
	}
}

// count takes one result into the counter.
func (s *script) count(ok bool) {
	top := s.cfg.Rise + s.cfg.Fall - 1
	switch {
	case ok && (s.good < 0 || s.good >= s.cfg.Rise-1):
		s.good = top
	case ok:
		s.good++
	case s.good > s.cfg.Rise:
		s.good--
	default:
		s.good = 0
	}
}
