package fsm

import (
	"slices"
	"time"
)

// Group is a sync group: instances of one host that are in one state. Its rules are
// keepalived's, no RFC knows it. A member that would become MASTER waits until every
// other one would; one that loses its election, or its ground, takes all along.
//
// The members must be driven by the group alone, from [Group.Start] on.
type Group struct {
	name    string
	members []*Instance
	state   State
	started bool

	// During a Step.
	now time.Duration
	out []GroupAction
}

// GroupAction is an action of the member of this index, or of the group itself.
type GroupAction struct {
	Member int
	Action Action
}

// Whole is the index of the group itself, which says [Changed] (without a cause: that is
// the members') and then [Notify].
const Whole = -1

// NewGroup makes a group of instances that have not been started. It keeps the slice.
func NewGroup(name string, members []*Instance) *Group {
	for _, in := range members {
		in.synced = true
	}
	return &Group{name: name, members: members}
}

// State is the state of all members.
func (g *Group) State() State { return g.state }

// Start begins the elections of all members. What the group says of it comes first, as
// from keepalived; at every later transition it comes last.
func (g *Group) Start(now time.Duration, out []GroupAction) []GroupAction {
	g.now, g.started = now, true
	lead := 0
	for i, in := range g.members {
		g.step(i, Startup{})
		if in.faulty() {
			lead = i
		}
	}
	g.settle(lead)
	said := g.out
	g.out = out
	g.tell()
	out, g.out = append(g.out, said...), nil
	return out
}

// Step tells the group what happened to one of its members at now.
func (g *Group) Step(now time.Duration, member int, ev Event, out []GroupAction) []GroupAction {
	g.now, g.out = now, out
	g.step(member, ev)
	if _, ends := ev.(Shutdown); ends { // one after the other, and none for another's sake
		g.started, g.state = false, Init
	}
	if g.started {
		g.settle(member)
		g.tell()
	}
	out, g.out = g.out, nil
	return out
}

// step drives one member.
func (g *Group) step(i int, ev Event) {
	for _, a := range g.members[i].Step(g.now, ev, nil) {
		g.out = append(g.out, GroupAction{i, a})
	}
}

// settle brings the others to where the member that something happened to is now.
func (g *Group) settle(lead int) {
	in := g.members[lead]
	switch {
	case slices.ContainsFunc(g.members, (*Instance).faulty):
		g.take(lead, Fault)
	case slices.ContainsFunc(g.members, (*Instance).idle):
		if slices.ContainsFunc(g.members, func(in *Instance) bool { return in.idle() && in.pending() }) {
			return // until all have answered
		}
		if !in.idle() {
			lead = slices.IndexFunc(g.members, (*Instance).idle)
		}
		g.enter(lead)
	case in.state == Backup && g.state == Master:
		g.take(lead, Backup)
	case in.state == Backup && g.agreed():
		g.become(lead, Master, in.backup.why)
		g.take(lead, Master)
	case in.corrected:
		g.others(lead, rivalHeard{})
	}
}

// idle reports whether the instance takes no part in the election.
func (in *Instance) idle() bool { return in.state == Init || in.state == Fault }

// agreed reports whether every member would be MASTER if it were alone.
func (g *Group) agreed() bool {
	return !slices.ContainsFunc(g.members, func(in *Instance) bool { return in.state != Backup || !in.backup.wish })
}

// enter begins the elections when the last fault of any member is gone, or the last script
// has answered. Owners need none, where all are.
func (g *Group) enter(lead int) {
	to := Backup
	if !slices.ContainsFunc(g.members, func(in *Instance) bool { return !in.ownsNow() }) {
		to = Master
	}
	cause := g.members[lead].entry
	g.become(lead, to, cause)
	if cause.Reason != Started {
		g.take(lead, to)
		return
	}
	g.others(lead, follow{to, cause})
}

// take takes all others along.
func (g *Group) take(lead int, to State) {
	in := g.members[lead]
	g.others(lead, follow{to, Cause{Reason: Synced, Kind: g.name, Name: in.cfg.Name}})
}

func (g *Group) become(member int, to State, cause Cause) { g.step(member, follow{to, cause}) }

func (g *Group) others(lead int, ev Event) {
	for i := range g.members {
		if i != lead {
			g.step(i, ev)
		}
	}
}

// tell says that the group has changed.
func (g *Group) tell() {
	to := g.members[0].state
	if to == g.state {
		return
	}
	g.out = append(g.out, GroupAction{Whole, Changed{From: g.state, To: to}}, GroupAction{Whole, Notify{to}})
	g.state = to
}

// The events by which a group moves its members.
type (
	// follow makes the member what the others are.
	follow struct {
		to    State
		cause Cause
	}
	// rivalHeard tells that a fellow has answered a lower MASTER.
	rivalHeard struct{}
)

func (follow) event()     {}
func (rivalHeard) event() {}

func (e follow) String() string   { return "follow to " + e.to.String() }
func (rivalHeard) String() string { return "a fellow hears a lower MASTER" }

// stepGrouped is what a member does for its group, in whatever state.
func (in *Instance) stepGrouped(ev follow) {
	switch {
	case in.state == ev.to:
	case ev.to == Fault:
		in.becomeFault(ev.cause)
	case ev.to == Master:
		in.becomeMaster(ev.cause)
	default:
		in.becomeBackup(ev.cause, in.cfg.Interval)
	}
}

// expire is the end of Master_Down_Timer. A member of a group waits for the others: it
// keeps its wish, and the timer runs anew.
func (in *Instance) expire() {
	if !in.synced {
		in.becomeMaster(in.backup.why)
		return
	}
	why := in.backup.why
	in.armDown()
	in.backup.wish, in.backup.why = true, why
}

// ownsNow reports whether the instance may become MASTER without an election.
func (in *Instance) ownsNow() bool {
	return in.cfg.Priority == OwnerPriority && in.now >= in.deafTill
}
