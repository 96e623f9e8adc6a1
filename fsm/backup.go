package fsm

import (
	"net/netip"
	"time"
)

// backup is what BACKUP owns.
type backup struct {
	interval time.Duration // of the MASTER, as learned (Master_Adver_Interval)
	down     time.Duration // when Master_Down_Timer fires
	why      Cause         // of the takeover when it does
	master   netip.Addr    // whose advertisement was accepted last
	preempt  timer         // end of the preempt delay, once it runs
	excused  bool          // it has overslept since it last heard a MASTER
	wish     bool          // of a member of a group: it would be MASTER
}

// timer is a point in time, or none.
type timer struct {
	at  time.Duration
	set bool
}

// after is a timer that fires in d; with d 0 there is none.
func after(now, d time.Duration) timer { return timer{at: now + d, set: d > 0} }

// due reports whether the timer has fired at now.
func (t timer) due(now time.Duration) bool { return t.set && now >= t.at }

// stepBackup follows RFC 9568 §6.4.2.
func (in *Instance) stepBackup(ev Event) {
	switch ev := ev.(type) {
	case Shutdown:
		in.becomeInit()
	case Tick:
		if in.now >= in.backup.down && !in.overslept() {
			in.expire()
		}
	case Heard:
		if in.now >= in.deafTill {
			in.hearInBackup(ev)
		}
	case Startup, rivalHeard:
	default:
		in.changeWorld(ev)
	}
}

// overslept reports that the process stood still: the timer is over for so long that a
// MASTER has spoken meanwhile, if there is one, and what it said may be lost. It listens
// for another interval then, once, before it takes over beside somebody.
func (in *Instance) overslept() bool {
	b := &in.backup
	if b.excused || in.now-b.down <= b.interval {
		return false
	}
	in.armDown()
	b.excused = true
	return true
}

// becomeBackup enters BACKUP and waits for a MASTER that advertises at interval.
func (in *Instance) becomeBackup(cause Cause, interval time.Duration) {
	from := in.become(Backup, cause)
	if from == Master {
		in.removeVIPs()
	}
	in.backup.interval = interval
	in.armDown()
	if in.cfg.Priority == OwnerPriority && in.now < in.deafTill {
		in.backup.down, in.backup.why = in.deafTill, Cause{Reason: DelayOver}
	}
	in.emit(Notify{Backup})
	if from == Fault && in.cfg.Unicast {
		in.emit(SendGARP{in.source}) // the peers may have forgotten where it is
	}
}

// hearInBackup follows the three cases of RFC 9568 §6.4.2. Addresses are not
// compared: an advertisement of equal priority is always obeyed.
func (in *Instance) hearInBackup(ev Heard) {
	switch {
	case ev.Priority == 0:
		skew := in.skew()
		in.backup.down = in.now + skew
		in.backup.why = Cause{Reason: Resigned, Src: ev.Src, After: skew}
	case ev.Priority >= in.Priority():
		in.backup.preempt = timer{}
		in.obey(ev)
	case in.tolerates():
		in.obey(ev)
	}
}

// obey accepts the sender as MASTER.
func (in *Instance) obey(ev Heard) {
	in.backup.master, in.backup.excused, in.backup.wish = ev.Src, false, false
	in.learn(ev.Interval)
	in.armDown()
}

// learn takes over the MASTER's interval, in version 3 (RFC 9568 §6.1).
func (in *Instance) learn(interval time.Duration) {
	if in.cfg.Version == 3 && interval > 0 {
		in.backup.interval = interval
	}
}

// tolerates reports whether a MASTER of lower priority is left alone. The first of
// its advertisements starts the preempt delay; the delay ends with the first better
// one, so that another lower MASTER gets all of it.
func (in *Instance) tolerates() bool {
	switch {
	case in.cfg.Priority == OwnerPriority: // preempts always, RFC 9568 §6.1
		return false
	case in.cfg.NoPreempt:
		return true
	}
	if !in.backup.preempt.set {
		in.backup.preempt = after(in.now, in.cfg.PreemptDelay)
	}
	return in.backup.preempt.set && !in.backup.preempt.due(in.now)
}

// armDown starts Master_Down_Timer anew. During the startup delay it runs from the
// end of that.
func (in *Instance) armDown() {
	d := in.downInterval()
	in.backup.down = max(in.now, in.deafTill) + d
	in.backup.why = Cause{Reason: Silence, After: d}
}

// moveDown moves the running timer, though not into the past. It never meets an
// owner that waits for its startup delay: the priority of owners does not change.
func (in *Instance) moveDown(by time.Duration) {
	in.backup.down = max(in.backup.down+by, in.now)
	in.backup.why.After += by
}

// downInterval is Master_Down_Interval (RFC 9568 §6.1, RFC 3768 §6.1).
func (in *Instance) downInterval() time.Duration {
	n := in.cfg.DownTimerAdverts
	if n == 0 {
		n = defaultDownTimerAdverts
	}
	return time.Duration(n)*in.backup.interval + in.skew()
}

// skew is Skew_Time: it scales with the interval in version 3 (RFC 9568 §6.1), and
// with one second in version 2 (RFC 3768 §6.1). It is not rounded.
func (in *Instance) skew() time.Duration {
	unit := time.Second
	if in.cfg.Version == 3 {
		unit = in.backup.interval
	}
	return time.Duration(256-int(in.priority)) * unit / 256
}
