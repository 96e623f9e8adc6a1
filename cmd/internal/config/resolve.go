package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
)

// resolve fills in the defaults that depend on other lines, applies keepalived's
// corrections in its order, and compares blocks with each other.
func (r *reader) resolve() {
	g := &r.cfg.Global
	if !g.Has("vrrp_garp_lower_prio_delay") {
		g.GARPLowerPrioDelay = g.GARPMasterDelay
	}
	if !g.Has("vrrp_garp_lower_prio_repeat") {
		g.GARPLowerPrioRepeat = g.GARPMasterRepeat
	}
	r.resolveScripts()
	r.resolveTrackers()
	r.resolveTrackGroups()
	for _, in := range r.cfg.Instances {
		r.resolveInstance(in)
	}
	r.resolveGroups()
	r.resolvePacing()
	r.crossInstances()
	r.cfg.ServerGroups = unique(r, "virtual_server_group", r.cfg.ServerGroups, func(s *ServerGroup) string { return s.Name }, func(s *ServerGroup) Pos { return s.Pos })
	for _, vs := range r.cfg.VirtualServers {
		r.resolveService(vs)
	}
	r.crossServices()
	if r.options.Host != nil {
		r.compareHost()
	}
}

// alerts resolves smtp_alert: the block, then the global ones, then a default.
func (r *reader) alerts(b *Block, own *bool, special *bool, fallback bool) {
	switch {
	case b.Has("smtp_alert"):
	case special != nil:
		*own = *special
	case r.cfg.Global.SMTPAlert != nil:
		*own = *r.cfg.Global.SMTPAlert
	default:
		*own = fallback
	}
}

// unique drops the later ones of a name.
func unique[T any](r *reader, what string, list []T, name func(T) string, pos func(T) Pos) []T {
	seen := map[string]Pos{}
	var kept []T
	for _, one := range list {
		if p, ok := seen[name(one)]; ok {
			r.say(Warning, pos(one), "%s %s stands at %v already; this one is ignored", what, name(one), p)
			continue
		}
		seen[name(one)] = pos(one)
		kept = append(kept, one)
	}
	return kept
}

func (s *Script) close(r *reader) bool {
	if s.Script == nil {
		r.say(Warning, s.Pos, "vrrp_script %s: has no script; it is ignored", s.Name)
		return false
	}
	if s.Script.User != "" && s.User == "" {
		s.Account = s.Script.Account
	}
	s.Script.Account = Account{}
	if !s.Has("timeout") {
		s.Timeout = s.Interval
	}
	return true
}

func (r *reader) resolveScripts() {
	r.cfg.Scripts = unique(r, "vrrp_script", r.cfg.Scripts, func(s *Script) string { return s.Name }, func(s *Script) Pos { return s.Pos })
	for _, s := range r.cfg.Scripts {
		if s.User == "" {
			s.Account = r.cfg.Global.ScriptUser
		}
	}
}

func (f *TrackFile) close(r *reader) bool {
	if f.File == "" {
		r.say(Warning, f.Pos, "track_file %s: has no file; it is ignored", f.Name)
	}
	return f.File != ""
}

func (p *TrackProcess) close(r *reader) bool {
	if len(p.Process) == 0 {
		r.say(Warning, p.Pos, "vrrp_track_process %s: has no process; it is ignored", p.Name)
		return false
	}
	if len(p.Process) > 1 {
		p.FullCommand = true
	}
	if p.Has("delay") {
		p.ForkDelay, p.TerminateDelay = p.Delay, p.Delay
	}
	if p.Has("quorum_max") && p.Quorum > p.QuorumMax && p.QuorumMax > 0 {
		r.say(Warning, p.At("quorum_max"), "quorum_max %d is below quorum %d: the process can never be good", p.QuorumMax, p.Quorum)
	}
	return true
}

func (g *GARPGroup) close(r *reader) bool {
	if g.GARPInterval == 0 && g.GNAInterval == 0 {
		r.say(Warning, g.Pos, "garp_group: has neither garp_interval nor gna_interval; it is ignored")
		return false
	}
	return true
}

// resolvePacing leaves every interface in the first garp_group that names it.
func (r *reader) resolvePacing() {
	seen := map[string]bool{}
	again := func(p Pos, name string) bool {
		if name == "" || !seen[name] {
			seen[name] = true
			return false
		}
		r.say(Warning, p, "garp_group: %s is in another one already; it is ignored here", name)
		return true
	}
	for _, g := range r.cfg.GARPGroups {
		if again(g.At("interface"), g.Interface) {
			g.Interface = ""
		}
		g.Interfaces = slices.DeleteFunc(g.Interfaces, func(name string) bool { return again(g.At("interfaces"), name) })
	}
}

func (b *BFD) close(r *reader) bool {
	switch {
	case !b.Neighbor.IsValid():
		r.say(Warning, b.Pos, "bfd_instance %s: has no neighbor_ip; it is ignored", b.Name)
		return false
	case slices.ContainsFunc(r.cfg.BFDs, func(o *BFD) bool { return o.Neighbor == b.Neighbor }):
		r.say(Warning, b.At("neighbor_ip"), "bfd_instance %s: another one above has the neighbour %v already; this one is ignored", b.Name, b.Neighbor)
		return false
	case b.Source.IsValid() && b.Source.Is4() != b.Neighbor.Is4():
		r.say(Warning, b.At("source_ip"), "bfd_instance %s: source_ip and neighbor_ip are of two families; source_ip is ignored", b.Name)
		b.Source = netip.Addr{}
	}
	if b.Neighbor.Is6() && b.Neighbor.IsLinkLocalUnicast() && b.Neighbor.Zone() == "" {
		r.say(Warning, b.At("neighbor_ip"), "bfd_instance %s: a link-local neighbour is reached with its interface only, as in %v%%eth0", b.Name, b.Neighbor)
	}
	if !b.VRRP && !b.Checker {
		b.VRRP, b.Checker = true, true
	}
	return true
}

func (r *reader) resolveTrackers() {
	c := r.cfg
	c.TrackFiles = unique(r, "track_file", c.TrackFiles, func(s *TrackFile) string { return s.Name }, func(s *TrackFile) Pos { return s.Pos })
	c.TrackProcesses = unique(r, "vrrp_track_process", c.TrackProcesses, func(s *TrackProcess) string { return s.Name }, func(s *TrackProcess) Pos { return s.Pos })
	c.BFDs = unique(r, "bfd_instance", c.BFDs, func(s *BFD) string { return s.Name }, func(s *BFD) Pos { return s.Pos })
}

// definitions are what track lines name: the place, the weight and its sense.
type definitions map[string]trackable

type trackable struct {
	pos     Pos
	weight  int
	reverse bool
}

// defined drops what is not defined above its use, and gives each line its weight.
func (r *reader) defined(what string, list Tracks, of definitions) Tracks {
	var kept Tracks
	for _, t := range list {
		d, ok := of[t.Name]
		if !ok || !before(d.pos, t.Pos) {
			where := ""
			switch i := slices.IndexFunc(r.cfg.BFDs, func(b *BFD) bool { return b.Name == t.Name }); {
			case what == "bfd" && i >= 0 && !ok:
				where = " (the one at line " + strconv.Itoa(r.cfg.BFDs[i].Pos.Line) + " is for checks: it has the word checker)"
			case ok:
				where = fmt.Sprintf(" (there is one below, at line %d)", d.pos.Line)
			}
			r.say(Warning, t.Pos, "track_%s %s: no %s of that name above%s; it is ignored", what, t.Name, definedBy[what], where)
			continue
		}
		if !t.weighted {
			t.Weight = d.weight
		}
		if t.reversed = d.reverse; !t.sensed {
			t.Reverse = d.reverse
		}
		kept = append(kept, t)
	}
	return kept
}

var definedBy = map[string]string{"script": "vrrp_script", "file": "track_file", "process": "vrrp_track_process", "bfd": "bfd_instance"}

func (r *reader) resolveTracks(scripts, files, processes, bfds *Tracks) {
	if r.defs == nil {
		r.defs = map[string]definitions{"script": {}, "file": {}, "process": {}, "bfd": {}}
		for _, s := range r.cfg.Scripts {
			r.defs["script"][s.Name] = trackable{s.Pos, s.Weight, s.Reverse}
		}
		for _, s := range r.cfg.TrackFiles {
			r.defs["file"][s.Name] = trackable{s.Pos, s.Weight, s.Reverse}
		}
		for _, s := range r.cfg.TrackProcesses {
			r.defs["process"][s.Name] = trackable{s.Pos, s.Weight, s.Reverse}
		}
		for _, s := range r.cfg.BFDs {
			if !s.VRRP {
				continue // its events are not for track_bfd
			}
			r.defs["bfd"][s.Name] = trackable{s.Pos, s.Weight, s.Reverse}
		}
	}
	*scripts = r.defined("script", *scripts, r.defs["script"])
	*files = r.defined("file", *files, r.defs["file"])
	*processes = r.defined("process", *processes, r.defs["process"])
	*bfds = r.defined("bfd", *bfds, r.defs["bfd"])
}

// before tells whether a is read earlier than b. Files that are included stand where
// their line does, which positions do not say: they count as earlier.
func before(a, b Pos) bool {
	if a.File != b.File {
		return true
	}
	return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
}

func (r *reader) resolveGroups() {
	c := r.cfg
	c.SyncGroups = unique(r, "vrrp_sync_group", c.SyncGroups, func(s *SyncGroup) string { return s.Name }, func(s *SyncGroup) Pos { return s.Pos })
	member := map[string]string{}
	for _, g := range c.SyncGroups {
		r.inheritGlobal(tables()["vrrp_sync_group"], reflect.ValueOf(g).Elem())
		r.alerts(&g.Block, &g.SMTPAlert, c.Global.SMTPAlertVRRP, false)
		r.resolveTracks(&g.TrackScripts, &g.TrackFiles, &g.TrackProcesses, &g.TrackBFDs)
		var kept Names
		for _, name := range g.Members {
			switch {
			case c.instance(name) == nil:
				r.say(Warning, g.At("group"), "vrrp_sync_group %s: there is no vrrp_instance %s; it is ignored", g.Name, name)
			case member[name] != "":
				r.say(Warning, g.At("group"), "vrrp_sync_group %s: %s is in the group %s already; it is ignored", g.Name, name, member[name])
			default:
				member[name] = g.Name
				kept = append(kept, name)
			}
		}
		if g.Members = kept; len(kept) < 2 {
			r.say(Warning, g.Pos, "vrrp_sync_group %s: has %d members, where two at least make sense", g.Name, len(kept))
		}
		g.resolveWeights(r)
	}
	for _, in := range c.Instances {
		in.resolveWeights(r, c.groupOf(in))
	}
}

// resolveWeights drops the weights of a group with an owner, and tells of interfaces
// that a member names, too.
func (g *SyncGroup) resolveWeights(r *reader) {
	for _, name := range g.Members {
		in := r.cfg.instance(name)
		for _, t := range in.TrackInterfaces {
			if g.TrackInterfaces.has(t.Name) {
				r.say(Warning, t.Pos, "vrrp_instance %s: %s is tracked by vrrp_sync_group %s, too: remove one", name, t.Name, g.Name)
			}
		}
		if in.Priority != 255 {
			continue
		}
		for _, list := range []Tracks{g.TrackInterfaces, g.TrackScripts, g.TrackFiles, g.TrackBFDs} {
			for i, t := range list {
				if t.Weight != 0 {
					r.say(Warning, t.Pos, "vrrp_sync_group %s: %s has a weight, but %s has priority 255; the weight becomes 0, so that its failure is a FAULT", g.Name, t.Name, name)
					list[i].Weight = 0
				}
			}
		}
	}
}

// groupOf returns the sync group of an instance, nil if it is in none.
func (c *Config) groupOf(in *Instance) *SyncGroup {
	for _, g := range c.SyncGroups {
		if slices.Contains(g.Members, in.Name) {
			return g
		}
	}
	return nil
}

// instance returns the instance of a name, nil if there is none.
func (c *Config) instance(name string) *Instance {
	for _, in := range c.Instances {
		if in.Name == name {
			return in
		}
	}
	return nil
}
