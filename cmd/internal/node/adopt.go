package node

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/fsm"
)

// adopt carries over what stays, without an event: states, counters, timers.
func (r *reload) adopt() {
	r.hops, r.fwd, r.planes = r.was.hops, r.was.fwd, r.was.planes
	r.neighbours = nil
	r.adoptNeighbours()
	r.keepTimer(r.fwdTimer, r.was.fwdTimer)
	r.keepTimer(r.sweepTimer, r.was.sweepTimer)
	r.keepTimer(r.rateTimer, r.was.rateTimer)
	r.adoptPorts()
	r.tellMTUs()
	for i := range r.instances {
		in := &r.instances[i]
		k := slices.IndexFunc(r.was.instances, func(o instance) bool { return o.cfg.Router() == in.cfg.Router() })
		r.former = append(r.former, k)
		r.changed = append(r.changed, k >= 0 && (r.altered[in.cfg.Name] || !tracksAlike(in.trackers, r.was.instances[k].trackers)))
		if k < 0 {
			continue
		}
		old := &r.was.instances[k]
		in.fsm, in.id, in.stamp, in.late, in.mailed, in.acts, in.routed = old.fsm, old.id, old.stamp, old.late, old.mailed, old.acts, old.routed
		in.source, in.since, in.cause = old.source, old.since, old.cause
		patience := in.book.patience
		in.book = old.book
		in.book.patience = patience
		r.keepTimer(in.timer, old.timer)
		if !in.virtual.IsZero() && !old.virtual.IsZero() {
			r.keepTimer(in.settle, old.settle)
		}
		r.exchange(r.Node, old.routes, old.rules, in.routes, in.rules)
	}
	r.adoptGroups()
	r.adoptTracked()
	r.adoptSessions()
	r.adoptServices()
}

// adoptPorts carries over when the pacers let the next announcement go, and the changes of
// links that have to last.
func (r *reload) adoptPorts() {
	for i := range r.was.ports {
		was, is := r.was.ports[i], r.ports[i]
		for _, p := range [][2]int{{was.pace.garp, is.pace.garp}, {was.pace.gna, is.pace.gna}} {
			if p[0] >= 0 && p[1] >= 0 {
				r.pacers[p[1]].next = r.was.pacers[p[0]].next
			}
		}
		if was.settling.timer >= 0 && is.settling.timer >= 0 {
			r.keepTimer(is.settling.timer, was.settling.timer)
		}
	}
}

func (r *reload) keepTimer(timer, old int) {
	if r.was.timers.pos[old] >= 0 {
		r.timers.set(timer, r.was.timers.at[old])
	}
}

// tracksAlike compares what instances track, whatever is known about it.
func tracksAlike(a, b []fsm.Tracker) bool {
	return slices.EqualFunc(a, b, func(x, y fsm.Tracker) bool {
		x.Initial, y.Initial = 0, 0
		return x == y
	})
}

// adoptNeighbours keeps the neighbours that a server or a peer still needs. A server that is
// gone has none, and looks for it when it comes back.
func (r *reload) adoptNeighbours() {
	needed := map[netip.Addr]bool{}
	for _, p := range r.Peers() {
		needed[r.nextHop(p)] = true
	}
	for i := range r.services {
		s := &r.services[i]
		if s.cfg.InKernel() {
			continue
		}
		for _, k := range s.keys {
			for _, server := range r.known(s, k) {
				needed[r.towards(server).addr] = true
			}
		}
	}
	number := map[hop]hop{}
	for i, nb := range r.was.neighbours {
		if !needed[nb.addr] {
			continue
		}
		number[hop(i)] = hop(len(r.neighbours))
		old := nb.timer
		nb.timer = r.newTimer(timerNeighbour, len(r.neighbours))
		r.keepTimer(nb.timer, old)
		r.neighbours = append(r.neighbours, nb)
	}
	for i, h := range r.hops {
		to, ok := number[h]
		if !ok {
			to = -1
		}
		r.hops[i] = to
	}
}

// adoptGroups keeps the groups whose members are the same.
func (r *reload) adoptGroups() {
	for i := range r.groups {
		g := &r.groups[i]
		var members []*fsm.Instance
		for _, m := range g.members {
			members = append(members, r.instances[m].fsm)
		}
		k := slices.IndexFunc(r.was.groups, func(o group) bool {
			return slices.EqualFunc(o.members, members, func(m int, in *fsm.Instance) bool { return r.was.instances[m].fsm == in })
		})
		r.resumed = append(r.resumed, k < 0)
		if k >= 0 {
			g.fsm = r.was.groups[k].fsm
		} else {
			g.fsm = fsm.NewGroup(g.cfg.Name, members)
		}
		for _, old := range r.was.groups {
			if old.cfg.Name == g.cfg.Name {
				g.mailed = old.mailed
			}
		}
	}
}

// adoptTracked carries over what scripts, files and processes have told. A script whose
// command has changed counts as good until it answers (reference 5.3).
func (r *reload) adoptTracked() {
	for i := range r.scripts {
		s := &r.scripts[i]
		for k := range r.was.scripts {
			old := &r.was.scripts[k]
			if old.cfg.Name != s.cfg.Name || old.good < 0 || len(old.users) == 0 || len(s.users) == 0 { // nobody asks it then
				continue
			}
			if alike := slices.Equal(old.cfg.Script.Args, s.cfg.Script.Args) && old.cfg.Account == s.cfg.Account; !alike {
				s.good = s.cfg.Rise
				continue
			}
			s.last = old.last
			if s.good = min(old.good, s.cfg.Rise-1); old.good >= old.cfg.Rise {
				s.good = s.cfg.Rise + min(old.good-old.cfg.Rise, s.cfg.Fall-1)
			}
			if !old.running {
				r.keepTimer(s.timer, old.timer)
			}
		}
	}
	for i := range r.files {
		for _, old := range r.was.files {
			if f := &r.files[i]; old.cfg.Name == f.cfg.Name && old.tracked() {
				f.value = old.value
				r.fileRecalled(f)
			}
		}
	}
	for i := range r.processes {
		p := &r.processes[i]
		for _, old := range r.was.processes {
			if old.cfg.Name != p.cfg.Name || !slices.Equal(old.cfg.Process, p.cfg.Process) || len(old.users) == 0 || len(p.users) == 0 {
				continue
			}
			p.count, p.good, p.known, p.waits = old.count, old.good, old.known, old.waits
			r.keepTimer(p.timer, old.timer)
		}
	}
}
