package bfd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/proto"
)

// rig is a session under a script: keepalived's defaults, discriminator 1, seed 1.
type rig struct {
	t   *testing.T
	d   *datadriven.TestData
	s   *Session
	cfg Config
}

func defaults() Config {
	return Config{MinTX: 10 * time.Millisecond, MinRX: 10 * time.Millisecond, IdleTX: time.Second, Multiplier: 5, Discriminator: 1, Seed: 1}
}

// TestTraces plays the files of testdata: new, startup, tick, heard, shutdown and
// reconfigure, each with what the session then does and its deadline.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, "testdata/traces", func(t *testing.T, path string) {
		r := &rig{t: t, cfg: defaults()}
		r.s = New(r.cfg)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			r.t, r.d = t, d
			return r.run()
		})
	})
}

func (r *rig) run() string {
	now := r.dur("at", 0)
	var acts []Action
	switch r.d.Cmd {
	case "new":
		r.cfg = r.config(defaults())
		r.s = New(r.cfg)
	case "reconfigure":
		r.cfg = r.config(r.cfg)
		acts = r.s.Reconfigure(now, r.cfg, nil)
	case "startup":
		acts = r.s.Step(now, Startup{}, nil)
	case "shutdown":
		acts = r.s.Step(now, Shutdown{Leaves: r.d.HasArg("leaves")}, nil)
	case "tick":
		acts = r.s.Step(now, Tick{}, nil)
	case "heard":
		return r.heard(now)
	default:
		r.d.Fatalf(r.t, "unknown command %s", r.d.Cmd)
	}
	return r.told(acts)
}

// heard gives the session a packet of discriminator 7 that goes with it, but for what the
// arguments say.
func (r *rig) heard(now time.Duration) string {
	states := map[string]proto.BFDState{"AdminDown": proto.BFDAdminDown, "Down": proto.BFDDown, "Init": proto.BFDInit, "Up": proto.BFDUp}
	m := proto.BFDMessage{
		State: states[r.word("state", "Up")], Diag: proto.BFDDiag(r.num("diag", 0)), Poll: r.d.HasArg("poll"), Final: r.d.HasArg("final"), Demand: r.d.HasArg("demand"),
		Multiplier: uint8(r.num("mult", 3)), Mine: uint32(r.num("my", 7)), Yours: uint32(r.num("your", 1)), MinTX: r.dur("tx", 100*time.Millisecond), MinRX: r.dur("rx", 100*time.Millisecond),
	}
	b := m.Append(nil)
	if r.d.HasArg("auth") {
		b[1], b[3] = b[1]|4, 26
		b = append(b, 1, 2)
	}
	p, err := proto.ParseBFD(b)
	if err != nil {
		return err.Error() + "\n"
	}
	if v := r.s.Check(p); v != Accepted {
		return "refused: " + v.String() + "\n"
	}
	return r.told(r.s.Step(now, Heard{p}, nil))
}

// told prints actions, and what the session waits for.
func (r *rig) told(acts []Action) string {
	var b strings.Builder
	for _, a := range acts {
		b.WriteString(a.String())
		if c, ok := a.(Changed); ok {
			fmt.Fprintf(&b, " (%v)", c.Cause)
		}
		b.WriteByte('\n')
	}
	if r.d.HasArg("verbose") {
		fmt.Fprintf(&b, "%v, sends every %v, detects in %v\n", r.s.State(), r.s.Interval(), r.s.DetectionTime())
	}
	if at, ok := r.s.Deadline(); ok {
		fmt.Fprintf(&b, "deadline %v\n", at)
	} else {
		b.WriteString("no deadline\n")
	}
	return b.String()
}

func (r *rig) config(c Config) Config {
	c.MinTX, c.MinRX, c.IdleTX = r.dur("tx", c.MinTX), r.dur("rx", c.MinRX), r.dur("idle", c.IdleTX)
	c.Multiplier, c.Passive = uint8(r.num("mult", int(c.Multiplier))), r.d.HasArg("passive")
	return c
}

func (r *rig) word(key, otherwise string) string {
	for _, a := range r.d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return otherwise
}

func (r *rig) dur(key string, otherwise time.Duration) time.Duration {
	v, err := time.ParseDuration(r.word(key, otherwise.String()))
	if err != nil {
		r.d.Fatalf(r.t, "%s: %v", key, err)
	}
	return v
}

func (r *rig) num(key string, otherwise int) int {
	n, err := strconv.Atoi(r.word(key, strconv.Itoa(otherwise)))
	if err != nil {
		r.d.Fatalf(r.t, "%s: %v", key, err)
	}
	return n
}
