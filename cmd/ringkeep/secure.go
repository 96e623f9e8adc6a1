package main

import (
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// securer gives every script its user and takes out what must not run, as keepalived
// does at the start.
type securer struct {
	global      *config.Global
	defaultUser string
	log         *slog.Logger
	refused     []config.Refusal
}

func newSecurer(g *config.Global, log *slog.Logger) *securer {
	return &securer{global: g, defaultUser: checks.DefaultUser(), log: log}
}

// secure judges every script of the configuration, drops those that may not run, and notes
// them in it.
func secure(cfg *config.Config, log *slog.Logger) {
	s := newSecurer(&cfg.Global, log)
	defer func() { cfg.Refused = append(cfg.Refused, s.refused...) }()
	for _, sc := range cfg.Scripts {
		if s.allow("vrrp_script "+sc.Name, sc.Pos, sc.Script.Args, &sc.Account) {
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
		s.states("vrrp_sync_group "+g.Name, &g.NotifyMaster, &g.NotifyBackup, &g.NotifyFault, &g.NotifyStop, &g.Notify)
	}
	g := &cfg.Global
	s.command("notify_fifo_script", &g.NotifyFIFOScript)
	s.command("vrrp_notify_fifo_script", &g.VRRPNotifyFIFOScript)
	s.command("lvs_notify_fifo_script", &g.LVSNotifyFIFOScript)
	for _, in := range cfg.Instances {
		name := "vrrp_instance " + in.Name
		s.states(name, &in.NotifyMaster, &in.NotifyBackup, &in.NotifyFault, &in.NotifyStop, &in.Notify)
		s.command("notify_master_rx_lower_pri of "+name, &in.NotifyMasterRxLowerPri)
		if in.NotifyDeleted != nil && len(in.NotifyDeleted.Args) > 0 && !s.allow("notify_deleted of "+name, in.NotifyDeleted.Pos, in.NotifyDeleted.Args, &in.NotifyDeleted.Account) {
			in.NotifyDeleted.Args = nil
		}
	}
	for _, vs := range cfg.VirtualServers {
		name := "virtual_server " + vs.String()
		s.command("quorum_up of "+name, &vs.QuorumUp)
		s.command("quorum_down of "+name, &vs.QuorumDown)
		for _, rs := range vs.RealServers {
			name := "real_server " + rs.Addr.String() + " of " + name
			s.command("notify_up of "+name, &rs.NotifyUp)
			s.command("notify_down of "+name, &rs.NotifyDown)
			rs.Checks = slices.DeleteFunc(rs.Checks, func(c *config.Check) bool {
				return c.MiscPath != nil && !s.allow("MISC_CHECK of "+name, c.MiscPath.Pos, c.MiscPath.Args, &c.Account)
			})
		}
	}
}

// states judges the scripts that are told the states of an instance or group.
func (s *securer) states(of string, master, backup, fault, stop, every **config.Command) {
	s.command("notify_master of "+of, master)
	s.command("notify_backup of "+of, backup)
	s.command("notify_fault of "+of, fault)
	s.command("notify_stop of "+of, stop)
	s.command("notify of "+of, every)
}

// command takes a script away that may not run.
func (s *securer) command(of string, c **config.Command) {
	if *c != nil && !s.allow(of, (*c).Pos, (*c).Args, &(*c).Account) {
		*c = nil
	}
}

// allow fills in the user and tells whether the script may run, which is there for what of says.
func (s *securer) allow(of string, pos config.Pos, args []string, who *config.Account) bool {
	if who.User == "" {
		*who = s.global.ScriptUser
	}
	who.Supplementary = who.Supplementary || s.global.SetSupplementaryGroups
	v, err := judge(args, who, s.defaultUser, s.global.EnableScriptSecurity)
	refuse := func(reason string) {
		s.log.Warn("script disabled", "at", pos.String(), "script", args[0], "reason", reason)
		s.refused = append(s.refused, config.Refusal{Of: of, Script: strings.Join(args, " "), At: pos.String(), Reason: reason})
	}
	switch {
	case err != nil:
		refuse(err.Error())
	case !v.Run:
		refuse(v.String())
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
