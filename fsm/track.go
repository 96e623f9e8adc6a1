package fsm

import "time"

func (in *Instance) stepTracked(now time.Duration, ev Tracked) {
	for i, t := range in.cfg.Trackers {
		if t.Name == ev.Name {
			in.tracked[i] = Down
			if ev.Up {
				in.tracked[i] = Up
			}
		}
	}
	in.reprioritise()
	in.evaluate(now, Cause{Kind: FaultGone})
}

// bad tells whether tracker i counts as failed.
func (in *Instance) bad(i int) bool {
	s := in.tracked[i]
	return s != Unknown && (s == Down) != in.cfg.Trackers[i].Reverse
}

// fault returns the first reason to be in FAULT.
func (in *Instance) fault() (why Cause, faulty bool) {
	if !in.linkUp {
		return Cause{Kind: LinkLost}, true
	}
	if !in.source.IsValid() {
		return Cause{Kind: SourceLost}, true
	}
	for i, t := range in.cfg.Trackers {
		if t.Weight == 0 && in.bad(i) {
			return Cause{Kind: TrackerBad, Name: t.Name}, true
		}
	}
	return Cause{}, false
}

// pending tells whether a tracker that can cause FAULT has not answered yet.
func (in *Instance) pending() bool {
	for i, t := range in.cfg.Trackers {
		if t.Weight == 0 && in.tracked[i] == Unknown {
			return true
		}
	}
	return false
}

// evaluate enters and leaves FAULT, and INIT once everything has answered. why is the
// cause of leaving.
func (in *Instance) evaluate(now time.Duration, why Cause) {
	if !in.started {
		return
	}
	cause, faulty := in.fault()
	switch {
	case faulty:
		if in.state != Fault {
			in.becomeFault(cause)
		}
	case in.state == Backup || in.state == Master || in.pending():
	case in.cfg.Priority == owner: // RFC 9568 §6.4.1
		in.becomeMaster(now, Cause{Kind: OwnsAddresses})
	default:
		if in.state == Init && why.Kind != Started {
			why = Cause{Kind: TrackersAnswered}
		}
		in.becomeBackup(now, why)
	}
}

// effective is the priority with what the weighted trackers add, clamped to 1 to 254.
// An owner's is never changed.
func (in *Instance) effective() uint8 {
	if in.cfg.Priority == owner {
		return owner
	}
	p := int(in.cfg.Priority)
	for i, t := range in.cfg.Trackers {
		if t.Weight == 0 || in.tracked[i] == Unknown {
			continue
		}
		w := t.Weight
		if t.Reverse {
			w = -w
		}
		// A positive weight counts while the object is up, a negative one while it is down.
		if (t.Weight > 0) == (in.tracked[i] == Up) {
			p += w
		}
	}
	return uint8(min(254, max(1, p)))
}

// reprioritise takes a new priority over. A running Master_Down_Timer moves by the
// difference of the skew; a MASTER tells with its next advertisement.
func (in *Instance) reprioritise() {
	was := in.priority
	in.priority = in.effective()
	if was == in.priority {
		return
	}
	in.emit(PriorityChanged{From: was, To: in.priority})
	if in.state == Backup && in.timers[mainTimer] != none {
		moved := in.cfg.skew(in.priority, in.interval) - in.cfg.skew(was, in.interval)
		in.timers[mainTimer] += moved
		in.armed += moved
	}
}
