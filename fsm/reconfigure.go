package fsm

import (
	"net/netip"
	"slices"
	"time"
)

// Reconfigure gives a running instance another configuration, and appends to out what
// follows from it. What makes the virtual router (VRID, version, family) must be the same:
// anything else is another instance. The state stays wherever the new configuration allows
// it, and so does what the world has told of objects that are tracked as before. A MASTER
// advertises at once, takes new addresses, gives lost ones up and announces all if there
// was any; anew lists addresses that stay but are put again, with another prefix or at
// another place. It keeps cfg and its slices, which must not change.
func (in *Instance) Reconfigure(now time.Duration, cfg Config, anew []netip.Addr, out []Action) []Action {
	in.now, in.out, in.corrected = now, out, false
	old, before := in.cfg, in.Priority()
	var down time.Duration
	if in.state == Backup {
		down = in.downInterval()
	}
	in.keepTracking(cfg)
	in.cfg = cfg
	in.conceded = in.conceded && cfg.Priority == OwnerPriority
	if in.noSource = !cfg.Source.IsValid(); !in.noSource {
		in.source = cfg.Source
	}
	in.priority = in.weigh()
	if now := in.Priority(); now != before {
		in.emit(PriorityChanged{From: before, To: now})
	}
	switch {
	case !in.started:
	case in.faulty() && in.state != Fault:
		in.cfg.Addrs, in.cfg.Excluded = old.Addrs, old.Excluded // that is what a MASTER has
		in.becomeFault(in.fault())
		in.cfg.Addrs, in.cfg.Excluded = cfg.Addrs, cfg.Excluded
	case in.faulty():
	case in.state == Init, in.state == Fault:
		in.enter(Cause{Reason: Reloaded})
	case in.state == Master:
		in.reconfigureMaster(old, anew)
	case !in.synced && in.ownsNow():
		in.becomeMaster(Cause{Reason: Reloaded})
	default:
		if !in.backup.master.IsValid() || cfg.Version == 2 { // what a MASTER has told in version 3 stays
			in.backup.interval = cfg.Interval
		}
		if cfg.PreemptDelay == 0 {
			in.backup.preempt = timer{}
		}
		in.moveDown(in.downInterval() - down)
	}
	out, in.out = in.out, nil
	return out
}

// keepTracking carries what is known about objects over to the trackers of cfg.
func (in *Instance) keepTracking(cfg Config) {
	known, states := in.trackers, in.tracked
	in.trackers, in.tracked = map[object]int{}, nil
	for i, t := range cfg.Trackers {
		o := object{t.Kind, t.Name}
		state := tracking{state: t.Initial}
		if old, ok := known[o]; ok && in.cfg.Trackers[old].Number == t.Number {
			state = states[old]
		}
		in.trackers[o] = i
		in.tracked = append(in.tracked, state)
	}
}

// reconfigureMaster goes on as MASTER. The order is keepalived's: addresses, their
// announcement, then the advertisement; without a new address nothing is announced.
func (in *Instance) reconfigureMaster(old Config, anew []netip.Addr) {
	had, have := slices.Concat(old.Addrs, old.Excluded), slices.Concat(in.cfg.Addrs, in.cfg.Excluded)
	for _, a := range had {
		if !slices.Contains(have, a) || slices.Contains(anew, a) {
			in.emit(RemoveVIP{a})
		}
	}
	news := false
	for _, a := range have {
		if !slices.Contains(had, a) || slices.Contains(anew, a) {
			in.emit(AddVIP{a})
			news = true
		}
	}
	if news {
		in.garp(in.cfg.GARPRepeat)
	}
	m := &in.master
	if in.cfg.GARPRefresh != old.GARPRefresh {
		m.refresh = after(in.now, in.cfg.GARPRefresh)
	}
	in.advertise()
}

// Leave takes an instance out of its group, which must not be driven any more. What the
// group has held back happens now.
func (in *Instance) Leave(now time.Duration, out []Action) []Action {
	in.now, in.out, in.corrected = now, out, false
	in.synced = false
	if in.started && (in.state == Init || in.state == Fault) && !in.faulty() {
		in.enter(Cause{Reason: Reloaded})
	}
	out, in.out = in.out, nil
	return out
}

// Reconfigure gives a member another configuration; see [Instance.Reconfigure].
func (g *Group) Reconfigure(now time.Duration, member int, cfg Config, anew []netip.Addr, out []GroupAction) []GroupAction {
	g.now, g.out = now, out
	for _, a := range g.members[member].Reconfigure(now, cfg, anew, nil) {
		g.out = append(g.out, GroupAction{member, a})
	}
	g.settle(member)
	g.tell()
	out, g.out = g.out, nil
	return out
}

// Resume starts a group of instances of which some may run already, alone or in another
// group. If they are not in one state all begin as BACKUP, as with keepalived. was is the
// state that the group of this name had, Init for a new one.
func (g *Group) Resume(now time.Duration, was State, out []GroupAction) []GroupAction {
	g.now, g.out, g.started, g.state = now, out, true, was
	lead, to := 0, Master
	for i, in := range g.members {
		if !in.started {
			g.step(i, Startup{})
		}
		if in.faulty() {
			lead = i
		}
		if !in.ownsNow() && in.state != Master {
			to = Backup
		}
	}
	if slices.ContainsFunc(g.members, (*Instance).faulty) {
		g.take(lead, Fault)
	} else {
		waits := slices.ContainsFunc(g.members, func(in *Instance) bool { return in.idle() && in.pending() })
		for i, in := range g.members {
			if !in.idle() || !waits { // the others begin when all have answered
				g.become(i, to, Cause{Reason: Reloaded})
			}
		}
	}
	g.tell()
	out, g.out = g.out, nil
	return out
}
