package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// fifos are the pipes that the configuration wants event lines in, with their readers.
type fifos struct {
	all, vrrp, lvs *checks.FIFO // nil for none
	readers        sync.WaitGroup
	log            *slog.Logger
}

// openFIFOs makes the pipes and starts their scripts, which are told to end with ctx and
// then have until the pipes are closed. A pipe that cannot be had is told and left out, as
// keepalived does.
func openFIFOs(ctx context.Context, g *config.Global, log *slog.Logger) *fifos {
	f := &fifos{log: log}
	f.all = f.open(ctx, g.NotifyFIFO, g.NotifyFIFOScript)
	f.vrrp = f.open(ctx, g.VRRPNotifyFIFO, g.VRRPNotifyFIFOScript)
	f.lvs = f.open(ctx, g.LVSNotifyFIFO, g.LVSNotifyFIFOScript)
	return f
}

func (f *fifos) open(ctx context.Context, c *config.FIFO, script *config.Command) *checks.FIFO {
	if c == nil || f.all != nil && f.all.Path() == c.Path {
		return nil
	}
	pipe, err := checks.OpenFIFO(c.Path, c.User, c.Group)
	if err != nil {
		f.log.Error("no notification FIFO", "err", err)
		return nil
	}
	if script != nil {
		s := scriptOf(script, c.Path)
		f.readers.Go(func() {
			if e := s.Run(ctx); e.Err != nil && ctx.Err() == nil {
				f.log.Warn("FIFO script failed", "script", s.Args[0], "reason", e.String())
			}
		})
	}
	return pipe
}

// tell writes a line where it belongs.
func (f *fifos) tell(vrrp bool, line string) {
	special := f.lvs
	if vrrp {
		special = f.vrrp
	}
	for _, pipe := range []*checks.FIFO{f.all, special} {
		if pipe != nil {
			pipe.WriteLine(line)
		}
	}
}

// close ends the pipes, and waits for their readers to end.
func (f *fifos) close() {
	for _, pipe := range []*checks.FIFO{f.all, f.vrrp, f.lvs} {
		if pipe == nil {
			continue
		}
		if lost := pipe.Close(); lost > 0 {
			f.log.Warn("lines lost, the FIFO was full", "fifo", pipe.Path(), "lost", lost)
		}
	}
	f.readers.Wait()
}
