package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// fifos are the pipes that the configuration wants event lines in, with their readers.
type fifos struct {
	all, vrrp, lvs *checks.FIFO // nil for none
	global         *config.Global
	readers        sync.WaitGroup
	log            *slog.Logger
}

// openFIFOs makes the pipes and starts their scripts, which are told to end with ctx and
// then have until the pipes are closed. A pipe that cannot be had is told and left out, as
// keepalived does.
func openFIFOs(ctx context.Context, g *config.Global, log *slog.Logger) *fifos {
	f := &fifos{log: log, global: g}
	f.all = f.open(ctx, g.NotifyFIFO, g.NotifyFIFOScript)
	f.vrrp = f.open(ctx, g.VRRPNotifyFIFO, g.VRRPNotifyFIFOScript)
	f.lvs = f.open(ctx, g.LVSNotifyFIFO, g.LVSNotifyFIFOScript)
	return f
}

// follow opens the pipes of another configuration. One that is the same stays open, and
// its script runs on.
func (f *fifos) follow(ctx context.Context, g *config.Global) {
	old := f.global
	f.global = g
	for _, p := range []struct {
		pipe              **checks.FIFO
		was, now          *config.FIFO
		wasScript, script *config.Command
	}{
		{&f.all, old.NotifyFIFO, g.NotifyFIFO, old.NotifyFIFOScript, g.NotifyFIFOScript},
		{&f.vrrp, old.VRRPNotifyFIFO, g.VRRPNotifyFIFO, old.VRRPNotifyFIFOScript, g.VRRPNotifyFIFOScript},
		{&f.lvs, old.LVSNotifyFIFO, g.LVSNotifyFIFO, old.LVSNotifyFIFOScript, g.LVSNotifyFIFOScript},
	} {
		if *p.pipe != nil && p.now != nil && *p.was == *p.now && sameCommand(p.wasScript, p.script) {
			continue
		}
		f.end(*p.pipe)
		*p.pipe = f.open(ctx, p.now, p.script)
	}
}

func sameCommand(a, b *config.Command) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Args, b.Args) && a.Account == b.Account
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
		f.end(pipe)
	}
	f.readers.Wait()
}

// end closes one pipe, if it is open.
func (f *fifos) end(pipe *checks.FIFO) {
	if pipe == nil {
		return
	}
	if lost := pipe.Close(); lost > 0 {
		f.log.Warn("lines lost, the FIFO was full", "fifo", pipe.Path(), "lost", lost)
	}
}
