package node

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// process is a tracked process. A change of the verdict is believed when it has lasted for
// the delay of its kind.
type process struct {
	cfg   *config.TrackProcess
	timer int
	count int // -1 before the first
	good  bool
	known bool // whether good is
	waits bool // for the delay, to change that
	users []int
}

// Processes lists the tracked processes by their number, nil for those that nobody tracks.
func (n *Node) Processes() []*config.TrackProcess {
	list := make([]*config.TrackProcess, len(n.processes))
	for i := range n.processes {
		if len(n.processes[i].users) > 0 {
			list[i] = n.processes[i].cfg
		}
	}
	return list
}

// fine is the verdict on the present count.
func (p *process) fine() bool {
	atMost := !p.cfg.Has("quorum_max") || p.count <= p.cfg.QuorumMax
	if p.cfg.Has("quorum_max") && p.cfg.QuorumMax == 0 { // it must not run (reference 3.7)
		return p.count == 0
	}
	return p.count >= p.cfg.Quorum && atMost
}

func (n *Node) processesCounted(now time.Duration, ev ProcessesCounted) {
	p := &n.processes[ev.Process]
	delay := p.cfg.TerminateDelay
	if ev.Count > p.count {
		delay = p.cfg.ForkDelay
	}
	p.count = ev.Count
	switch {
	case p.known && p.fine() == p.good:
		n.timers.clear(p.timer)
		p.waits = false
	case p.waits:
	case p.known && delay > 0:
		n.timers.set(p.timer, now+delay)
		p.waits = true
	default:
		n.judgeProcess(now, ev.Process)
	}
}

// judgeProcess tells the instances what the process is now.
func (n *Node) judgeProcess(now time.Duration, i int) {
	p := &n.processes[i]
	p.good, p.known, p.waits = p.fine(), true, false
	n.emit(QuorumOfProcess{p.cfg.Name, p.good, p.count})
	for _, user := range p.users {
		n.stepInstance(now, user, fsm.Tracked{Kind: "process", Name: p.cfg.Name, Up: p.good})
	}
}
