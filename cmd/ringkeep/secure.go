package main

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// securer gives every script its user and takes out what must not run, as keepalived
// does at the start.
type securer struct {
	global      *config.Global
	defaultUser string
	log         *slog.Logger
}

func newSecurer(g *config.Global, log *slog.Logger) *securer {
	return &securer{global: g, defaultUser: checks.DefaultUser(), log: log}
}

// secure judges every script of the configuration and drops those that may not run.
func secure(cfg *config.Config, log *slog.Logger) {
	s := newSecurer(&cfg.Global, log)
	for _, sc := range cfg.Scripts {
		if s.allow(sc.Pos, sc.Script.Args, &sc.Account) {
			continue
		}
		this := func(t config.Track) bool { return t.Name == sc.Name }
		for _, in := range cfg.Instances {
			in.TrackScripts = slices.DeleteFunc(in.TrackScripts, this)
		}
		for _, g := range cfg.SyncGroups {
			g.TrackScripts = slices.DeleteFunc(g.TrackScripts, this)
		}
	}
	for _, g := range cfg.SyncGroups {
		s.commands(&g.NotifyMaster, &g.NotifyBackup, &g.NotifyFault, &g.NotifyStop, &g.Notify)
	}
	s.commands(&cfg.Global.NotifyFIFOScript, &cfg.Global.VRRPNotifyFIFOScript, &cfg.Global.LVSNotifyFIFOScript)
	for _, in := range cfg.Instances {
		s.commands(&in.NotifyMaster, &in.NotifyBackup, &in.NotifyFault, &in.NotifyStop, &in.Notify, &in.NotifyMasterRxLowerPri)
		if in.NotifyDeleted != nil && len(in.NotifyDeleted.Args) > 0 && !s.allow(in.NotifyDeleted.Pos, in.NotifyDeleted.Args, &in.NotifyDeleted.Account) {
			in.NotifyDeleted.Args = nil
		}
	}
	for _, vs := range cfg.VirtualServers {
		s.commands(&vs.QuorumUp, &vs.QuorumDown)
		for _, rs := range vs.RealServers {
			s.commands(&rs.NotifyUp, &rs.NotifyDown)
			rs.Checks = slices.DeleteFunc(rs.Checks, func(c *config.Check) bool {
				return c.MiscPath != nil && !s.allow(c.MiscPath.Pos, c.MiscPath.Args, &c.Account)
			})
		}
	}
}

func (s *securer) commands(list ...**config.Command) {
	for _, c := range list {
		if *c != nil && !s.allow((*c).Pos, (*c).Args, &(*c).Account) {
			*c = nil
		}
	}
}

// allow fills in the user and tells whether the script may run.
func (s *securer) allow(pos config.Pos, args []string, who *config.Account) bool {
	if who.User == "" {
		*who = s.global.ScriptUser
	}
	who.Supplementary = who.Supplementary || s.global.SetSupplementaryGroups
	v, err := judge(args, who, s.defaultUser, s.global.EnableScriptSecurity)
	switch {
	case err != nil:
		s.log.Warn("script disabled", "at", pos.String(), "script", args[0], "reason", err)
	case !v.Run:
		s.log.Warn("script disabled", "at", pos.String(), "script", args[0], "reason", v.String())
	case v.Reason != checks.Safe:
		s.log.Warn("script is not safe: enable_script_security would disable it", "at", pos.String(), "script", args[0], "reason", v.String())
	case v.Bare:
		s.log.Warn("script found in PATH: write its full path", "at", pos.String(), "script", args[0], "reason", v.Path)
	}
	return v.Run
}

// judge looks at a script as its user would run it, and names the default user where
// none is given.
func judge(args []string, who *config.Account, defaultUser string, security bool) (checks.Verdict, error) {
	if who.User == "" {
		who.User = defaultUser
	}
	if who.User == "" && security {
		return checks.Verdict{}, errors.New("enable_script_security needs script_user, or an account keepalived_script")
	}
	return checks.Script{Args: args, User: who.User, Group: who.GroupWord()}.Check(checks.SecurityOptions{Enabled: security}), nil
}
