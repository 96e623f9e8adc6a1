package netlab

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/netlab/report"
)

// soFar is the run while it plays, for a view of it.
func (l *lab) soFar() *report.Run {
	l.mu.Lock()
	flows := slices.Collect(maps.Values(l.flows))
	l.mu.Unlock()
	now := l.live.now()
	run := l.record.SoFar(now)
	for _, f := range flows {
		run.Flows = append(run.Flows, f.report(l, now))
	}
	slices.SortFunc(run.Flows, func(a, b report.Flow) int { return strings.Compare(a.Name, b.Name) })
	return run
}

// SoFar is a copy of what was collected until elapsed, without the packets: they are most
// of it, and no lane is drawn from them.
func (r *Record) SoFar(elapsed time.Duration) *report.Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.copy()
	run.Elapsed, run.Packets = elapsed, nil
	return run
}

// copy shares only the packets with what is still collected, which are not changed any more.
func (r *Record) copy() *report.Run {
	run := r.run
	run.Hosts = slices.Clone(run.Hosts)
	run.States = slices.Clone(run.States)
	run.Timers = slices.Clone(run.Timers)
	run.Holdings = slices.Clone(run.Holdings)
	run.Answers = slices.Clone(run.Answers)
	run.Faults = slices.Clone(run.Faults)
	run.Steps = slices.Clone(run.Steps)
	run.Breaches = slices.Clone(run.Breaches)
	return &run
}
