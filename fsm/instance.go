package fsm

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// timerName is what a timer is for. All of them but down and startup belong to MASTER.
type timerName int

const (
	mainTimer timerName = iota // Master_Down_Timer or Adver_Timer
	garpTimer                  // second burst
	refreshTimer
	lowerTimer // second burst after a losing advertisement
	timerCount
)

// none is a timer that is not armed.
const none = time.Duration(-1)

// Instance is one virtual router on one interface. It is not safe for concurrent use.
type Instance struct {
	cfg      Config
	state    State
	started  bool
	linkUp   bool
	source   netip.Addr
	tracked  []Tri
	priority uint8 // effective

	timers    [timerCount]time.Duration
	interval  time.Duration // Master_Adver_Interval: learned in version 3, else the own
	armed     time.Duration // what the Master_Down_Timer was set to
	deafUntil time.Duration // startup delay: advertisements are ignored until then
	preemptAt time.Duration // preempt_delay runs until then, none otherwise

	out []Action
}

// New makes an instance in INIT with its link up.
func New(cfg Config) *Instance {
	in := &Instance{cfg: cfg, linkUp: true, source: cfg.Source, interval: cfg.Interval, preemptAt: none}
	for _, t := range cfg.Trackers {
		in.tracked = append(in.tracked, t.Initial)
	}
	in.priority = in.effective()
	in.disarm()
	return in
}

// State is where the instance is.
func (in *Instance) State() State { return in.state }

// Priority is the effective priority, 1 to 255.
func (in *Instance) Priority() uint8 { return in.priority }

// Deadline is when the instance next wants a Tick; ok is false with no timer.
func (in *Instance) Deadline() (at time.Duration, ok bool) {
	for _, t := range in.timers {
		if t != none && (!ok || t < at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Step tells the instance what happened at now and appends to out what must be
// done about it, in order. The same state and arguments give the same result.
func (in *Instance) Step(now time.Duration, ev Event, out []Action) []Action {
	in.out = out
	switch ev := ev.(type) {
	case Startup:
		in.started = true
		in.deafUntil = now + in.cfg.StartupDelay
		in.evaluate(now, Cause{Kind: Started})
	case Shutdown:
		in.stepShutdown()
	case Tick:
		in.stepTick(now)
	case Heard:
		in.stepHeard(now, ev)
	case LinkChanged:
		in.linkUp = ev.Up
		in.evaluate(now, Cause{Kind: FaultGone})
	case SourceChanged:
		in.source = ev.Addr
		in.evaluate(now, Cause{Kind: FaultGone})
	case Tracked:
		in.stepTracked(now, ev)
	default:
		panic(fmt.Sprintf("fsm: %s in %v: unknown event %T", in.cfg.Name, in.state, ev))
	}
	out, in.out = in.out, nil
	return out
}

func (in *Instance) emit(a Action) { in.out = append(in.out, a) }

func (in *Instance) disarm() {
	for i := range in.timers {
		in.timers[i] = none
	}
}

// masterDown is the Master_Down_Interval (RFC 9568 §6.1).
func (in *Instance) masterDown() time.Duration {
	return time.Duration(in.cfg.DownTimerAdverts)*in.interval + in.cfg.skew(in.priority, in.interval)
}

func (in *Instance) armDown(at, wait time.Duration) {
	in.timers[mainTimer], in.armed = at+wait, wait
}

func (in *Instance) stepTick(now time.Duration) {
	due := in.timers
	for name, at := range due {
		if at == none || at > now || in.timers[name] != at {
			continue
		}
		in.timers[name] = none
		switch timerName(name) {
		case mainTimer:
			in.stepMainTimer(now)
		case garpTimer:
			in.announce(in.cfg.GARPRepeat)
		case lowerTimer:
			in.announce(in.cfg.GARPLowerPrioRepeat)
		case refreshTimer:
			in.announce(in.cfg.GARPRefreshRepeat)
			in.timers[refreshTimer] = now + in.cfg.GARPRefresh
		}
	}
}

func (in *Instance) stepMainTimer(now time.Duration) {
	switch in.state {
	case Backup: // RFC 9568 §6.4.2: Active_Down_Timer fires
		in.becomeMaster(now, Cause{Kind: MasterDown, After: in.armed})
	case Master: // §6.4.3: Adver_Timer fires
		in.advertise(now)
	case Init, Fault:
		panic(fmt.Sprintf("fsm: %s in %v: timer fired", in.cfg.Name, in.state))
	}
}

// advertise sends an advertisement and plans the next (RFC 9568 §6.4.3).
func (in *Instance) advertise(now time.Duration) {
	in.emit(SendAdvert{in.priority})
	in.timers[mainTimer] = now + in.cfg.Interval
}

// announce sends rounds of gratuitous ARP: every address, then all again.
func (in *Instance) announce(rounds int) {
	for range rounds {
		for _, a := range in.addresses() {
			in.emit(SendGARP{a})
		}
	}
}

func (in *Instance) addresses() []netip.Addr {
	return append(in.cfg.Addrs[:len(in.cfg.Addrs):len(in.cfg.Addrs)], in.cfg.Excluded...)
}

// stepHeard is an advertisement that was accepted.
func (in *Instance) stepHeard(now time.Duration, ev Heard) {
	switch in.state {
	case Backup:
		if now >= in.deafUntil {
			in.stepBackup(now, ev)
		}
	case Master:
		in.stepMaster(now, ev)
	case Init, Fault: // takes no part
	}
}

// stepBackup is RFC 9568 §6.4.2.
func (in *Instance) stepBackup(now time.Duration, ev Heard) {
	switch {
	case ev.Priority == 0: // the master leaves: only the skew remains, its interval is not learned
		in.armDown(now, in.cfg.skew(in.priority, in.interval))
	case ev.Priority >= in.priority || in.cfg.NoPreempt || in.delayed(now):
		in.learn(ev)
		in.armDown(now, in.masterDown())
		if ev.Priority >= in.priority {
			in.preemptAt = none
		}
	}
	// A losing advertisement is discarded: the timer keeps running.
}

// delayed tells whether preempt_delay still protects a losing master. The first
// losing advertisement starts it.
func (in *Instance) delayed(now time.Duration) bool {
	if in.cfg.PreemptDelay == 0 {
		return false
	}
	if in.preemptAt == none {
		in.preemptAt = now + in.cfg.PreemptDelay
	}
	return now < in.preemptAt
}

// learn takes the interval of the master (RFC 9568 §6.4.2); version 2 has refused
// any but the own.
func (in *Instance) learn(ev Heard) {
	if in.cfg.Version == 3 {
		in.interval = ev.Interval
	}
}

// stepMaster is RFC 9568 §6.4.3.
func (in *Instance) stepMaster(now time.Duration, ev Heard) {
	switch {
	case ev.Priority == 0:
		in.advertise(now)
	case ev.Priority > in.priority || ev.Priority == in.priority && in.source.Less(ev.Src):
		if in.cfg.HigherPrioSendAdvert {
			in.emit(SendAdvert{in.priority})
		}
		in.interval = in.cfg.Interval
		in.learn(ev)
		in.becomeBackup(now, Cause{Kind: HeardHigher, Src: ev.Src, Priority: ev.Priority})
	case ev.Priority == in.priority && ev.Src == in.source: // an own frame, come back by a loop
	default: // a losing router that is MASTER as well: tell it and the hosts at once
		if !in.cfg.LowerPrioNoAdvert {
			in.advertise(now)
		}
		in.announce(in.cfg.GARPLowerPrioRepeat)
		if in.cfg.GARPLowerPrioDelay > 0 {
			in.timers[lowerTimer] = now + in.cfg.GARPLowerPrioDelay
		}
	}
}

func (in *Instance) stepShutdown() {
	in.emit(Changed{From: in.state, To: Init, Cause: Cause{Kind: Stopped}})
	if in.state == Master { // RFC 9568 §6.4.3: Shutdown
		in.leaveMaster(true)
	}
	in.started = false
	in.disarm()
	in.state = Init
	in.emit(NotifyStop{})
}

// leaveMaster gives the addresses up, the last first; resign tells the others by
// priority 0.
func (in *Instance) leaveMaster(resign bool) {
	if resign {
		in.emit(SendAdvert{0})
	}
	for _, a := range slices.Backward(in.addresses()) {
		in.emit(RemoveVIP{a})
	}
	in.disarm()
}

func (in *Instance) becomeMaster(now time.Duration, why Cause) {
	in.emit(Changed{From: in.state, To: Master, Cause: why})
	in.state = Master
	in.disarm()
	in.interval = in.cfg.Interval
	in.advertise(now)
	for _, a := range in.addresses() {
		in.emit(AddVIP{a})
	}
	in.announce(in.cfg.GARPRepeat)
	if in.cfg.GARPDelay > 0 {
		in.timers[garpTimer] = now + in.cfg.GARPDelay
	}
	if in.cfg.GARPRefresh > 0 {
		in.timers[refreshTimer] = now + in.cfg.GARPRefresh
	}
	in.emit(Notify{Master})
}

func (in *Instance) becomeBackup(now time.Duration, why Cause) {
	in.emit(Changed{From: in.state, To: Backup, Cause: why})
	if in.state == Master {
		in.leaveMaster(false)
	} else {
		in.interval = in.cfg.Interval
	}
	in.state = Backup
	in.disarm()
	in.preemptAt = none
	in.armDown(max(now, in.deafUntil), in.masterDown())
	in.emit(Notify{Backup})
}

func (in *Instance) becomeFault(why Cause) {
	in.emit(Changed{From: in.state, To: Fault, Cause: why})
	if in.state == Master {
		in.leaveMaster(in.linkUp && in.source.IsValid())
	}
	in.state = Fault
	in.disarm()
	in.emit(Notify{Fault})
}
