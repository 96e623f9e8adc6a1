package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// startup runs startup_script, and returns what runs shutdown_script. Both are waited for,
// and neither decides anything: a failure is told.
func startup(ctx context.Context, cfg *config.Config, log *slog.Logger) (shutdown func()) {
	g := &cfg.Global
	s := newSecurer(g, log)
	s.command("startup_script", &g.StartupScript)
	s.command("shutdown_script", &g.ShutdownScript)
	cfg.Refused = s.refused
	once := func(ctx context.Context, what string, c *config.Command, timeout time.Duration) {
		if c == nil {
			return
		}
		script := scriptOf(c)
		script.Timeout = timeout
		if e := script.Run(ctx); !e.OK() {
			log.Warn(what+" failed", "script", strings.Join(c.Args, " "), "reason", e.String())
		}
	}
	once(ctx, "startup script", g.StartupScript, g.StartupScriptTimeout)
	return func() {
		once(context.WithoutCancel(ctx), "shutdown script", g.ShutdownScript, g.ShutdownScriptTimeout)
	}
}

// scriptOf is a command as it is run.
func scriptOf(c *config.Command, extra ...string) checks.Script {
	return checks.Script{Args: append(c.Args[:len(c.Args):len(c.Args)], extra...), User: c.User, Group: c.GroupWord()}
}
