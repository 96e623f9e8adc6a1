package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/fsm"
)

// Reload gives a running director another configuration and appends to out what follows
// from it. Links that it does not know yet become ports behind those that it has; the
// others stay as the events told them. Instances that are the same in both, by
// [config.Diff] and by what they track, hear of nothing. The error names what cannot work
// on this host; then nothing has changed.
//
// The numbers of checks, scripts, files and processes are new ones: results of what was
// started before must not be given to the node any more.
func (n *Node) Reload(now time.Duration, cfg *config.Config, links []Link, out []Action) ([]Action, error) {
	n.exclusive()
	defer n.readmit()
	next := &Node{
		cfg: cfg, seed: n.seed, gateways: n.gateways, removing: n.removing, started: n.started, began: n.began, numbered: n.numbered,
		workers: Workers{Count: n.workers.Count}, delay: max(0, n.began+cfg.Global.StartupDelay-now), ports: slices.Clone(n.ports),
		offset: n.offset, now: now, wall: n.wall, programming: n.programming, strangers: n.strangers, discriminator: n.discriminator,
	}
	n.now = now
	for _, l := range links {
		if _, err := n.portNamed(config.Pos{}, l.Name); err != nil {
			next.ports = append(next.ports, port{link: l, prefixes: slices.Clone(l.Prefixes), book: book{patience: strangerGone}})
		}
	}
	if err := next.compose(forward.Config{MaxConns: 1}); err != nil { // its services are looked at only
		return out, err
	}
	r := &reload{Node: n, was: *n, now: now, altered: map[string]bool{}}
	for _, c := range config.Diff(n.cfg, cfg) {
		if c.Kind == "vrrp_instance" && c.Did == config.Changed {
			r.altered[c.Name] = true
		}
	}
	n.out = out
	r.dismiss(next)
	out, *n = n.out, *next
	n.out, n.workers, n.held, n.changes = out, r.was.workers, r.was.held, r.was.changes+1
	r.adopt()
	r.settle()
	n.programming.due = true
	n.program()
	n.claim()
	out, n.out = n.out, nil
	return out, nil
}

// reload is the change from the node as it was to the one that it is to be.
type reload struct {
	*Node
	was     Node
	now     time.Duration
	altered map[string]bool // instances, by their new name
	former  []int           // of each instance, what it was, -1 for a new one
	changed []bool          // of each instance
	resumed []bool          // of each group: it has other members than before
}

// dismiss ends, while the node is still the old one, what the next one does not have.
func (r *reload) dismiss(next *Node) {
	now := next.cfg.Running()
	for i := range r.instances {
		if r.instances[i].cfg.Counterpart(now) == nil {
			r.end(i)
		}
	}
	r.dismissStatics(next)
	for i := range r.services {
		r.dismissService(next, &r.services[i])
	}
	r.dismissSessions(next)
}

// end is the end of an instance: priority 0 if it is MASTER, and FAULT for the scripts, or
// DELETED where notify_deleted is written (reference 4.2).
func (r *reload) end(i int) {
	in := &r.instances[i]
	faulty := in.fsm.State() == fsm.Fault
	for _, a := range in.fsm.Step(r.now, fsm.Shutdown{}, nil) {
		if _, stop := a.(fsm.NotifyStop); stop {
			r.accompany(in, a)
			r.shut(in, a)
		} else {
			r.act(in, a)
		}
	}
	switch script := in.cfg.NotifyDeleted; {
	case script != nil:
		if len(script.Args) > 0 {
			r.emit(Notify{Queue: in.cfg.Name, Command: script})
		}
		r.notify(in, "DELETED")
	case !faulty:
		r.notify(in, "FAULT")
	}
}

// dismissStatics removes what is static no longer; the rest keeps its number.
func (r *reload) dismissStatics(next *Node) {
	r.exchange(next, r.staticRoutes, r.staticRules, next.staticRoutes, next.staticRules)
	for _, a := range r.statics {
		if !slices.ContainsFunc(next.statics, func(b config.Address) bool { return same(a, b) }) {
			r.removeAddress(a)
		}
	}
}

// exchange removes the routes and rules that next has not, and marks in next those that are
// there already.
func (r *reload) exchange(next *Node, routes, rules, nextRoutes, nextRules span) {
	stays := map[int]bool{}
	for i := nextRoutes.from; i < nextRoutes.to; i++ {
		for k := routes.from; k < routes.to; k++ {
			if old := &r.was.routes[k]; !stays[k] && old.Route.String() == next.routes[i].Route.String() {
				next.routes[i].number, next.routes[i].there, stays[k] = old.number, old.there, true
				break
			}
		}
	}
	stay := map[int]bool{}
	for i := nextRules.from; i < nextRules.to; i++ {
		for k := rules.from; k < rules.to; k++ {
			if old := &r.was.rules[k]; !stay[k] && old.Rule.String() == next.rules[i].Rule.String() {
				next.rules[i].there, stay[k] = old.there, true
				break
			}
		}
	}
	for k := rules.from; k < rules.to; k++ {
		if old := &r.was.rules[k]; old.there && !stay[k] {
			r.emit(RemoveRule{old.Rule})
		}
	}
	for k := routes.from; k < routes.to; k++ {
		if old := &r.was.routes[k]; old.there && !stays[k] {
			r.emit(RemoveRoute{Route: old.Route, Number: old.number})
		}
	}
}

// same compares addresses by what keepalived compares.
func same(a, b config.Address) bool {
	return a.Prefix == b.Prefix && a.Device == b.Device && a.Label == b.Label && a.Scope == b.Scope
}

// settle lets the new configuration take effect.
func (r *reload) settle() {
	r.settleLinks()
	r.settleStatics()
	opened := r.settleBlocked()
	for i := range r.instances {
		if r.changed[i] {
			r.reconfigure(i)
		}
	}
	for _, a := range opened {
		r.emit(a)
	}
	r.settleAnnouncements()
	r.leave()
	for i := range r.instances {
		if r.former[i] < 0 || r.changed[i] {
			r.inform(i)
		}
	}
	for i := range r.instances {
		if r.former[i] < 0 && r.instances[i].group < 0 {
			r.startInstance(r.now, i)
		}
	}
	r.resume()
	for i := range r.instances {
		if r.former[i] >= 0 {
			r.instanceSource(r.now, i) // an address may be virtual now, or no longer
		}
	}
	r.reclaim()
	r.settleServices()
	r.settleSessions()
	for i := range r.scripts {
		if r.timers.pos[r.scripts[i].timer] < 0 {
			r.startScript(r.now, i)
		}
	}
	if r.cfg.Global.FIFOWriteVRRPStatesOnReload {
		for i := range r.instances {
			in := &r.instances[i]
			r.tell(true, "INSTANCE %q %s %d", in.cfg.Name, in.fsm.State(), in.fsm.Priority())
		}
		for i := range r.groups {
			r.tell(true, "GROUP %q %s 0", r.groups[i].cfg.Name, r.groups[i].fsm.State())
		}
	}
}

// settleLinks ends the wait of links whose changes count at once now.
func (r *reload) settleLinks() {
	for i := range r.was.ports {
		if t := r.was.ports[i].settling.timer; t >= 0 && r.was.timers.pos[t] >= 0 && r.ports[i].settling.timer < 0 {
			r.turnLink(r.now, i, !r.ports[i].link.Up)
		}
	}
}

// settleBlocked keeps packets out of the addresses of masters that do not accept them, and
// returns what lets packets in, for when addresses have moved.
func (r *reload) settleBlocked() (opened []UnblockAddresses) {
	for i := range r.instances {
		in := &r.instances[i]
		if r.former[i] < 0 {
			continue
		}
		old := &r.was.instances[r.former[i]]
		in.blocked = in.cfg.NoAccept && in.master()
		moved := !slices.EqualFunc(old.addresses(), in.addresses(), same)
		if in.blocked && (!old.blocked || moved) {
			r.emit(BlockAddresses{in.addresses()})
		}
		if old.blocked && (!in.blocked || moved) {
			opened = append(opened, UnblockAddresses{old.addresses()})
		}
	}
	return opened
}

// settleAnnouncements has what waited for a pacer wait for that of the new configuration.
func (r *reload) settleAnnouncements() {
	for i := range r.instances {
		in := &r.instances[i]
		if r.former[i] < 0 || !in.master() {
			continue
		}
		old := &r.was.instances[r.former[i]]
		for j := range in.queue {
			if k, ok := old.queued[in.queue[j].addr]; ok && old.queue[k].waiting && !in.queue[j].waiting {
				r.announce(in, in.queue[j].addr)
			}
		}
	}
}

func (r *reload) settleStatics() {
	for _, a := range r.statics {
		if p, _ := r.portNamed(a.Pos, a.Device); r.ports[p].link.Missing {
			continue // added when it appears
		}
		if !slices.ContainsFunc(r.was.statics, func(b config.Address) bool { return same(a, b) }) {
			r.addAddress(a)
			if p, _ := r.portNamed(a.Pos, a.Device); !slices.Contains(r.ports[p].prefixes, a.Prefix) {
				r.ports[p].prefixes = append(r.ports[p].prefixes, a.Prefix)
			}
		}
	}
	r.supply(r.staticRoutes, r.staticRules)
}

// supply adds the routes and rules that are not there yet.
func (r *reload) supply(routes, rules span) {
	for i := routes.from; i < routes.to; i++ {
		if !r.routes[i].there {
			r.install(span{i, i + 1}, span{})
		}
	}
	for i := rules.from; i < rules.to; i++ {
		if !r.rules[i].there {
			r.install(span{}, span{i, i + 1})
		}
	}
}

// reconfigure gives an instance that was there before its new configuration.
func (r *reload) reconfigure(i int) {
	in := &r.instances[i]
	in.former = r.was.instances[r.former[i]].vips
	in.source = r.sourceOf(in)
	in.book.renew() // mistakes are told anew
	for _, peer := range in.cfg.UnicastPeers.Addrs() {
		r.seek(r.now, in.port, r.nextHop(Peer{in.port, peer}))
	}
	var anew []netip.Addr
	for addr, a := range in.vips {
		if old, ok := in.former[addr]; ok && !same(a, old) {
			anew = append(anew, addr)
		}
	}
	slices.SortFunc(anew, netip.Addr.Compare)
	cfg := r.instanceConfig(i)
	if in.group >= 0 && !r.resumed[in.group] {
		g := &r.groups[in.group]
		g.acts = g.fsm.Reconfigure(r.now, in.member, cfg, anew, g.acts[:0])
		r.carryGroup(g)
	} else {
		r.carry(in, in.fsm.Reconfigure(r.now, cfg, anew, nil))
	}
	if in.former = nil; in.fsm.State() == fsm.Master {
		r.supply(in.routes, in.rules)
		in.routed = true
	}
}

// carry carries the actions of an instance out that does not act with its group.
func (r *reload) carry(in *instance, acts []fsm.Action) {
	for _, a := range acts {
		r.act(in, a)
	}
	r.waitFor(in)
}

// leave lets the instances go that are in no group any more.
func (r *reload) leave() {
	for i := range r.instances {
		if in, k := &r.instances[i], r.former[i]; k >= 0 && in.group < 0 && r.was.instances[k].group >= 0 {
			r.carry(in, in.fsm.Leave(r.now, nil))
		}
	}
}

// inform tells an instance what is known about the objects that it tracks.
func (r *reload) inform(i int) {
	in := &r.instances[i]
	tell := func(users []int, ev fsm.Event) {
		if !slices.Contains(users, i) {
			return
		}
		if in.group >= 0 && r.resumed[in.group] {
			r.carry(in, in.fsm.Step(r.now, ev, nil))
			return
		}
		r.stepInstance(r.now, i, ev)
	}
	tell([]int{i}, fsm.LinkChanged{Up: r.ports[in.port].link.Up || in.cfg.DontTrackPrimary})
	for k := range r.scripts {
		if s := &r.scripts[k]; s.good >= 0 {
			tell(s.users, fsm.Tracked{Kind: "script", Name: s.cfg.Name, Up: s.good >= s.cfg.Rise})
		}
	}
	for k := range r.files {
		f := &r.files[k]
		tell(f.users, fsm.Numbered{Kind: "file", Name: f.cfg.Name, Value: f.value})
	}
	r.informOfSessions(i, tell)
	for k := range r.processes {
		if p := &r.processes[k]; p.known {
			tell(p.users, fsm.Tracked{Kind: "process", Name: p.cfg.Name, Up: p.good})
		}
	}
}

// resume begins the groups that have other members now.
func (r *reload) resume() {
	for i := range r.groups {
		g := &r.groups[i]
		if !r.resumed[i] {
			continue
		}
		for _, m := range g.members {
			if r.former[m] < 0 {
				r.prepareInstance(r.now, m)
			}
		}
		was := fsm.Init
		for _, old := range r.was.groups {
			if old.cfg.Name == g.cfg.Name {
				was = old.fsm.State()
			}
		}
		g.acts = g.fsm.Resume(r.now, was, g.acts[:0])
		r.carryGroup(g)
	}
}

// reclaim puts an address again that one instance has given up after another one took it.
func (r *reload) reclaim() {
	for _, a := range slices.Clone(r.out) {
		gone, ok := a.(RemoveAddress)
		if !ok {
			continue
		}
		for i := range r.instances {
			in := &r.instances[i]
			if vip, has := in.vips[gone.Prefix.Addr()]; has && in.fsm.State() == fsm.Master && r.lost(vip) {
				r.addAddress(vip)
				r.announce(in, vip.Prefix.Addr())
			}
		}
	}
}

// lost tells whether the last that was done about an address was to remove it.
func (r *reload) lost(vip config.Address) bool {
	for _, a := range slices.Backward(r.out) {
		switch a := a.(type) {
		case AddAddress:
			if a.Prefix == vip.Prefix && a.Device == vip.Device {
				return false
			}
		case RemoveAddress:
			if a.Prefix == vip.Prefix && a.Device == vip.Device {
				return true
			}
		}
	}
	return false
}
