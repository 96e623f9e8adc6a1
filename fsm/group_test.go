package fsm

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// groupRig is a sync group under a script. Its members are named by "m=".
type groupRig struct {
	t       *testing.T
	members []*Instance
	g       *Group
	now     time.Duration
}

// print writes the actions, equal lines that follow each other once.
func (r *groupRig) print(list []GroupAction, out *strings.Builder) {
	last, times := "", 0
	for i := 0; i <= len(list); i++ {
		line := ""
		if i < len(list) {
			line = r.line(list[i])
		}
		if line != last && times > 1 {
			last += fmt.Sprintf(" ×%d", times)
		}
		if line != last && times > 0 {
			fmt.Fprintln(out, last)
			times = 0
		}
		last, times = line, times+1
	}
}

func (r *groupRig) line(a GroupAction) string {
	who := "group"
	if a.Member != Whole {
		who = r.members[a.Member].cfg.Name
	}
	line := who + " " + a.Action.String()
	if c, ok := a.Action.(Changed); ok && a.Member != Whole {
		line += " (" + c.Cause.String() + ")"
	}
	return line
}

func (r *groupRig) step(member int, ev Event, out *strings.Builder) {
	r.print(r.g.Step(r.now, member, ev, nil), out)
	for _, in := range r.members {
		if r.g.started && in.State() != r.g.State() {
			r.t.Fatalf("%s is %s in a group that is %s", in.cfg.Name, in.State(), r.g.State())
		}
	}
}

// run lets time pass until end, with a tick of each member at its deadline.
func (r *groupRig) run(end time.Duration, out *strings.Builder) {
	for {
		next, who := end+1, -1
		for i, in := range r.members {
			if at, ok := in.Deadline(); ok && at < next {
				next, who = at, i
			}
		}
		if who < 0 {
			r.now = end
			return
		}
		r.now = next
		var said strings.Builder
		r.step(who, Tick{}, &said)
		if said.Len() > 0 {
			fmt.Fprintf(out, "at %s\n%s", next, said.String())
		}
	}
}

func (r *groupRig) command(t *testing.T, d *datadriven.TestData) string {
	a := newArgs(t, d)
	var out strings.Builder
	r.now = a.dur("at", r.now)
	m := a.num("m", 1) - 1
	if ev, ok := (&rig{}).event(a); ok && d.Cmd != "startup" {
		r.step(m, ev, &out)
		return out.String()
	}
	switch d.Cmd {
	case "new":
		*r = groupRig{t: r.t}
	case "member":
		c := a.config()
		c.Name = fmt.Sprintf("VI_%d", len(r.members)+1)
		c.GARPDelay = 0
		r.members = append(r.members, New(c))
	case "startup":
		r.g = NewGroup("VG_1", r.members)
		r.print(r.g.Start(r.now, nil), &out)
	case "run":
		r.run(a.dur("until", 0), &out)
	case "heard":
		r.step(m, Heard{Priority: uint8(a.num("priority", 200)), Interval: a.dur("interval", time.Second), Src: a.addr("src", ".2")}, &out)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return out.String()
}

// The traces in testdata/group are what keepalived's sync groups were measured to do.
func TestGroupTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/group/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			r := &groupRig{t: t}
			datadriven.RunTest(t, path, r.command)
		})
	}
}
