package config

import "errors"

// compareHost tells what the machine lacks, or has otherwise than the file wants.
func (r *reader) compareHost() {
	seen := map[string]bool{}
	iface := func(p Pos, name, what string) {
		if name == "" || seen[name+what] || r.options.Host.Interface(name) || r.cfg.Global.DynamicInterfaces.On {
			return
		}
		r.sayClass(Warning, Interface, p, "%s %s: there is no such interface on this machine", what, name)
	}
	for _, in := range r.cfg.Instances {
		iface(in.At("interface"), in.Interface, "interface")
		for _, t := range in.TrackInterfaces {
			iface(t.Pos, t.Name, "track_interface")
		}
		r.compareAddresses(in.Addresses, iface)
		r.compareAddresses(in.Excluded, iface)
		r.compareRoutes(in.Routes, iface)
		r.compareRules(in.Rules, iface)
	}
	for _, g := range r.cfg.SyncGroups {
		for _, t := range g.TrackInterfaces {
			iface(t.Pos, t.Name, "track_interface")
		}
	}
	for _, g := range r.cfg.GARPGroups {
		iface(g.At("interface"), g.Interface, "garp_group")
		for _, name := range g.Interfaces {
			iface(g.At("interfaces"), name, "garp_group")
		}
	}
	for _, d := range r.cfg.InterfaceDelays {
		iface(d.Pos, d.Interface, "interface_up_down_delays")
	}
	r.compareAddresses(r.cfg.StaticAddresses, iface)
	r.compareRoutes(r.cfg.StaticRoutes, iface)
	r.compareRules(r.cfg.StaticRules, iface)
	r.compareScripts()
}

func (r *reader) compareAddresses(list Addresses, iface func(Pos, string, string)) {
	for _, a := range list {
		iface(a.Pos, a.Device, "dev")
	}
}

func (r *reader) compareRoutes(list Routes, iface func(Pos, string, string)) {
	for _, one := range list {
		iface(one.Pos, one.Device, "dev")
		for _, h := range one.NextHops {
			iface(one.Pos, h.Device, "dev")
		}
	}
}

func (r *reader) compareRules(list Rules, iface func(Pos, string, string)) {
	for _, one := range list {
		iface(one.Pos, one.IIF, "iif")
		iface(one.Pos, one.OIF, "oif")
	}
}

// compareScripts asks the machine about every command. Without script security an
// unsafe script still runs, as it does in keepalived.
func (r *reader) compareScripts() {
	g := &r.cfg.Global
	any := false
	ask := func(p Pos, c *Command, account Account) {
		if c == nil || len(c.Args) == 0 {
			return
		}
		any = true
		if account.User == "" {
			account = g.ScriptUser
		}
		account.Supplementary = account.Supplementary || g.SetSupplementaryGroups
		err := r.options.Host.Script(c.Args[0], account.User, account.GroupWord(), g.EnableScriptSecurity)
		var unsafe Unsafe
		switch {
		case errors.As(err, &unsafe) && !g.EnableScriptSecurity:
			r.sayClass(Warning, Security, p, "%s: %v; with enable_script_security it would not run", c.Args[0], err)
		case errors.As(err, &unsafe):
			r.say(Warning, p, "%s: %v: enable_script_security keeps it from running", c.Args[0], err)
		case err != nil:
			r.say(Warning, p, "%s: %v; it is not run", c.Args[0], err)
		}
	}
	var first Pos
	for _, one := range r.cfg.commands() {
		if first == (Pos{}) {
			first = one.Pos
		}
		ask(one.Pos, one.Command, one.account)
	}
	if any && !g.EnableScriptSecurity {
		r.sayClass(Notice, Security, first, "scripts run, and enable_script_security is not set in global_defs")
	}
}

// used is a command, and who it runs as.
type used struct {
	*Command
	account Account
}

// commands lists every command of the file.
func (c *Config) commands() []used {
	var list []used
	add := func(commands ...*Command) {
		for _, one := range commands {
			if one != nil {
				list = append(list, used{one, one.Account})
			}
		}
	}
	g := &c.Global
	add(g.StartupScript, g.ShutdownScript, g.NotifyFIFOScript, g.VRRPNotifyFIFOScript, g.LVSNotifyFIFOScript)
	for _, s := range c.Scripts {
		list = append(list, used{s.Script, s.Account})
	}
	for _, s := range c.SyncGroups {
		add(s.NotifyMaster, s.NotifyBackup, s.NotifyFault, s.NotifyStop, s.Notify)
	}
	for _, in := range c.Instances {
		add(in.NotifyMaster, in.NotifyBackup, in.NotifyFault, in.NotifyStop, in.Notify, in.NotifyMasterRxLowerPri, in.NotifyDeleted)
	}
	for _, vs := range c.VirtualServers {
		add(vs.QuorumUp, vs.QuorumDown)
		for _, rs := range vs.RealServers {
			add(rs.NotifyUp, rs.NotifyDown)
			for _, k := range rs.Checks {
				if k.MiscPath != nil {
					list = append(list, used{k.MiscPath, k.Account})
				}
			}
		}
	}
	return list
}
