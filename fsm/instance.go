package fsm

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Instance is one virtual router on one interface (RFC 9568 §6.4).
type Instance struct {
	cfg      Config
	trackers map[object]int // index in cfg.Trackers

	// The world, as the events told it.
	started  bool
	linkDown bool
	noSource bool
	source   netip.Addr // the last there was
	tracked  []tracking // beside cfg.Trackers
	priority uint8      // base and tracking
	conceded bool       // an owner that left the role to another owner
	deafTill time.Duration
	sequence uint32 // of the last authentication header, heard or sent
	stamps   stamps // of the trailers that were heard
	synced   bool   // a member of a Group, which decides about MASTER and the end of FAULT
	entry    Cause  // of the last event that ended all faults of a member

	// What the states own: becoming one clears the other.
	state  State
	backup backup
	master master

	// During a Step.
	now       time.Duration
	out       []Action
	corrected bool // a lower MASTER was answered
}

// object is what a tracker looks at.
type object struct{ kind, name string }

// New makes an instance in INIT. It keeps cfg and its slices, which must not change.
func New(cfg Config) *Instance {
	in := &Instance{cfg: cfg, source: cfg.Source, noSource: !cfg.Source.IsValid(), trackers: map[object]int{}}
	for i, t := range cfg.Trackers {
		in.trackers[object{t.Kind, t.Name}] = i
		in.tracked = append(in.tracked, tracking{state: t.Initial})
	}
	in.priority = in.weigh()
	return in
}

// State is the present state.
func (in *Instance) State() State { return in.state }

// Priority is the effective priority: what own advertisements carry.
func (in *Instance) Priority() uint8 {
	if in.conceded {
		return OwnerPriority - 1
	}
	return in.priority
}

// Source is the address that own advertisements come from; invalid when none is left.
func (in *Instance) Source() netip.Addr {
	if in.noSource {
		return netip.Addr{}
	}
	return in.source
}

// Advert is the message for a [SendAdvert] of this priority. Its addresses alias the
// configuration.
func (in *Instance) Advert(priority uint8) proto.Advert {
	a := proto.Advert{
		Version: in.cfg.Version, VRID: in.cfg.VRID, Priority: priority, AuthType: in.cfg.AuthType,
		Interval: in.cfg.Interval, Addrs: in.cfg.Addrs, IPv6: in.cfg.IPv6,
	}
	if a.AuthType == proto.VRRPAuthPass {
		a.Auth = in.cfg.Auth // a key stays here
	}
	return a
}

// Step tells the instance what happened at now and appends to out what must be
// done about it, in order. The same state and arguments give the same result.
func (in *Instance) Step(now time.Duration, ev Event, out []Action) []Action {
	in.now, in.out, in.corrected = now, out, false
	if ev, ok := ev.(follow); ok {
		in.stepGrouped(ev)
		out, in.out = in.out, nil
		return out
	}
	in.follow(ev)
	switch in.state {
	case Init:
		in.stepInit(ev)
	case Backup:
		in.stepBackup(ev)
	case Master:
		in.stepMaster(ev)
	case Fault:
		in.stepFault(ev)
	}
	out, in.out = in.out, nil
	return out
}

// Deadline is when the instance next wants a [Tick]; ok is false with no timer.
func (in *Instance) Deadline() (at time.Duration, ok bool) {
	switch in.state {
	case Backup:
		return in.backup.down, true
	case Master:
		return in.master.deadline(), true
	}
	return 0, false
}

// stepInit waits for Startup (RFC 9568 §6.4.1), and after it for trackers.
func (in *Instance) stepInit(ev Event) {
	switch ev := ev.(type) {
	case Startup:
		in.started, in.deafTill = true, in.now+in.cfg.StartupDelay
		cause := Cause{Reason: Started}
		if in.faulty() {
			cause = in.fault()
		}
		in.enter(cause)
	case Shutdown:
		if in.started {
			in.started = false
			in.emit(NotifyStop{})
		}
	case Tick, Heard, rivalHeard:
	default:
		if cause, ok := in.note(ev); ok && in.started {
			in.enter(cause)
		}
	}
}

// stepFault waits until the last fault is gone.
func (in *Instance) stepFault(ev Event) {
	switch ev := ev.(type) {
	case Shutdown:
		in.becomeInit()
	case Startup, Tick, Heard, rivalHeard:
	default:
		if cause, ok := in.note(ev); ok && !in.faulty() {
			in.enter(cause)
		}
	}
}

// enter goes from INIT or FAULT to where the instance belongs now.
func (in *Instance) enter(cause Cause) {
	switch {
	case in.faulty():
		in.becomeFault(cause)
	case in.pending():
	case in.synced:
		in.entry = cause
	case in.ownsNow():
		in.becomeMaster(cause)
	default:
		in.becomeBackup(cause, in.cfg.Interval)
	}
}

// changeWorld is what BACKUP and MASTER do about links, addresses and trackers.
func (in *Instance) changeWorld(ev Event) {
	if cause, ok := in.note(ev); ok && in.faulty() {
		in.becomeFault(cause)
	}
}

// becomeFault leaves the election. A MASTER tells it, unless nothing can leave.
func (in *Instance) becomeFault(cause Cause) {
	from := in.become(Fault, cause)
	if from == Master {
		in.resign()
	}
	in.emit(Notify{Fault})
}

// becomeInit ends the instance's part (Shutdown of RFC 9568 §6.4.2 and §6.4.3).
func (in *Instance) becomeInit() {
	in.started = false
	if from := in.become(Init, Cause{Reason: Stopped}); from == Master {
		in.resign()
	}
	in.emit(NotifyStop{})
}

// resign is the end of a term other than by losing the election.
func (in *Instance) resign() {
	if !in.linkDown {
		in.emit(SendAdvert{Priority: 0, Src: in.source, Sequence: in.number()})
	}
	in.removeVIPs()
}

// become changes the state and clears what the former one owned. It is called by
// becomeX methods only.
func (in *Instance) become(to State, cause Cause) (from State) {
	from, in.state = in.state, to
	in.backup, in.master = backup{}, master{}
	in.emit(Changed{From: from, To: to, Cause: cause})
	if in.conceded && to != Backup {
		in.conceded = false
		in.emit(PriorityChanged{From: OwnerPriority - 1, To: OwnerPriority})
	}
	return from
}

func (in *Instance) emit(a Action) { in.out = append(in.out, a) }

// eachVIP visits the virtual addresses in keepalived's order.
func (in *Instance) eachVIP(visit func(netip.Addr)) {
	for _, a := range in.cfg.Addrs {
		visit(a)
	}
	for _, a := range in.cfg.Excluded {
		visit(a)
	}
}

func (in *Instance) addVIPs()    { in.eachVIP(func(a netip.Addr) { in.emit(AddVIP{a}) }) }
func (in *Instance) removeVIPs() { in.eachVIP(func(a netip.Addr) { in.emit(RemoveVIP{a}) }) }

// unexpected is for what the sealed interfaces exclude.
func (in *Instance) unexpected(ev Event) {
	panic(fmt.Sprintf("fsm: %s in %s", ev, in.state))
}
