package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
)

// Options say what is measured, and how long.
type Options struct {
	Binary  string         // the daemon's program
	Limits  string         // folder of the bare forwarders' sources; "" to do without
	Workers int            // threads of the daemon that forward; 0 for one
	Methods []string       // of the daemon: DR, NAT, TUN; at least one
	Rounds  int            // by turns; 5, or 1 where it has to be quick
	Quick   bool           // fewer cases, and shorter
	Only    *regexp.Regexp // cases by their names; nil for all
	Version string         // of the daemon, for the report
	Command string         // by which one makes the same again
	Out     io.Writer      // gets the lines as they come
}

// The time of one measurement.
const (
	fullMeasure  = 600 * time.Millisecond
	quickMeasure = 250 * time.Millisecond
)

// run is a run of the plan.
type run struct {
	Options
	tools tools
	time  time.Duration
	rates map[string]float64 // frames a second of the source
	best  float64            // frames a second that the daemon forwarded in this run
}

// Run measures what the options ask for, round by round, until ctx ends. What cannot be
// measured is in the report with the reason; the error is of the run as a whole. It needs
// root in the initial user namespace.
func Run(ctx context.Context, o Options) (*Report, error) {
	dir, err := os.MkdirTemp("", "ringkeep-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &run{Options: o, tools: tools{ringkeep: o.Binary, workers: max(1, o.Workers), dir: dir}, time: fullMeasure, rates: map[string]float64{}}
	if o.Quick {
		r.time = quickMeasure
	}
	if r.Rounds == 0 {
		r.Rounds = 5
		if o.Quick {
			r.Rounds = 1
		}
	}
	report := newReport(o)
	if err := report.head(o.Out); err != nil {
		return nil, err
	}
	r.tools.build(ctx, o.Limits, report.remark)
	cases := r.possible(plan(o), report)
	for round := range r.Rounds {
		for _, c := range cases {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if round >= mostRounds(c.Kind) || report.failed(c) {
				continue
			}
			if err := r.measure(c, report); err != nil {
				return nil, err
			}
		}
	}
	report.finish()
	return report, nil
}

// mostRounds bounds the rounds of what takes long.
func mostRounds(k Kind) int {
	switch k {
	case NewConnections:
		return 3
	case HalfLoad:
		return 2
	case Rest:
		return 1
	}
	return 1 << 30
}

// possible leaves out what a program is missing for.
func (r *run) possible(cases []Case, report *Report) []Case {
	var list []Case
	for _, c := range cases {
		if r.tools.has(c.Forwarder) {
			list = append(list, c)
			report.add(c)
		}
	}
	return list
}

// measure adds one round of a case to the report.
func (r *run) measure(c Case, report *Report) error {
	n, v, err := r.one(c)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s: %w: root in the initial user namespace is needed", c.Name(), err)
	}
	if err == nil && c.Kind == Forward && c.Forwarder == Ringkeep && c.Frame == 64 {
		r.best = v[Packets]
	}
	return report.take(r.Out, c, n, v, err)
}

func (r *run) one(c Case) (int, Values, error) {
	switch c.Kind {
	case Forward:
		return r.forward(c)
	case NewConnections:
		return r.connections(c)
	case PingPong:
		return r.pingPong(c)
	case HalfLoad:
		return r.halfLoad(c)
	case Bulk:
		return r.bulk(c)
	default:
		return r.rest(c)
	}
}
