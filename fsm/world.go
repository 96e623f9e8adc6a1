package fsm

// note takes in what an event says about link, source and trackers. It returns the
// cause that a transition would have; ok is false if nothing changed.
func (in *Instance) note(ev Event) (cause Cause, ok bool) {
	switch ev := ev.(type) {
	case LinkChanged:
		return in.noteLink(ev)
	case SourceChanged:
		return in.noteSource(ev)
	case Tracked:
		state := Down
		if ev.Up {
			state = Up
		}
		return in.noteTracked(object{ev.Kind, ev.Name}, tracking{state: state})
	case Numbered:
		return in.noteTracked(object{ev.Kind, ev.Name}, tracking{Up, ev.Value})
	case VIPLost: // only a MASTER has them
		return Cause{}, false
	}
	in.unexpected(ev)
	return Cause{}, false
}

func (in *Instance) noteLink(ev LinkChanged) (Cause, bool) {
	if in.linkDown == !ev.Up {
		return Cause{}, false
	}
	in.linkDown = !ev.Up
	if ev.Up {
		return Cause{Reason: LinkFound}, true
	}
	return Cause{Reason: LinkLost}, true
}

// noteSource keeps the last address when it goes: a MASTER resigns with it.
func (in *Instance) noteSource(ev SourceChanged) (Cause, bool) {
	if ev.Addr == in.Source() {
		return Cause{}, false
	}
	in.noSource = !ev.Addr.IsValid()
	if in.noSource {
		return Cause{Reason: SourceLost}, true
	}
	in.source = ev.Addr
	return Cause{Reason: SourceFound, Src: ev.Addr}, true
}

func (in *Instance) noteTracked(o object, now tracking) (Cause, bool) {
	i, known := in.trackers[o]
	if !known || in.tracked[i] == now {
		return Cause{}, false
	}
	in.tracked[i] = now
	in.reweigh()
	return in.trackerCause(i), true
}

func (in *Instance) trackerCause(i int) Cause {
	t := &in.cfg.Trackers[i]
	c := Cause{Reason: TrackerFine, Kind: t.Kind, Name: t.Name}
	if c.Kind == "" {
		c.Kind = "tracker"
	}
	if t.fails(in.tracked[i]) {
		c.Reason = TrackerFailed
	}
	return c
}

// faulty reports whether anything keeps the instance from taking part.
func (in *Instance) faulty() bool {
	if in.linkDown || in.noSource || in.cfg.NoPeer {
		return true
	}
	for i := range in.tracked {
		if in.cfg.Trackers[i].fails(in.tracked[i]) {
			return true
		}
	}
	return false
}

// fault is the first of the reasons for FAULT.
func (in *Instance) fault() Cause {
	switch {
	case in.linkDown:
		return Cause{Reason: LinkLost}
	case in.noSource:
		return Cause{Reason: SourceLost}
	case in.cfg.NoPeer:
		return Cause{Reason: PeerMissing}
	}
	for i := range in.tracked {
		if in.cfg.Trackers[i].fails(in.tracked[i]) {
			return in.trackerCause(i)
		}
	}
	panic("fsm: no fault in " + in.state.String())
}

// pending reports whether a tracker of weight 0 has not answered yet.
func (in *Instance) pending() bool {
	for i := range in.tracked {
		if in.tracked[i].state == Unknown && in.cfg.Trackers[i].Weight == 0 {
			return true
		}
	}
	return false
}

// weigh computes the effective priority: all contributions added, then clamped to
// what a router that is not the owner may have. Tracking leaves the owner alone.
func (in *Instance) weigh() uint8 {
	if in.cfg.Priority == OwnerPriority {
		return OwnerPriority
	}
	total := int(in.cfg.Priority)
	for i := range in.tracked {
		total += in.cfg.Trackers[i].contribution(in.tracked[i])
	}
	return uint8(min(max(total, 1), int(OwnerPriority)-1))
}

// reweigh follows the trackers. In BACKUP the running timer moves with the skew time;
// in MASTER the next advertisement tells.
func (in *Instance) reweigh() {
	before, skew := in.priority, in.skew()
	in.priority = in.weigh()
	if in.priority == before {
		return
	}
	in.emit(PriorityChanged{From: before, To: in.priority})
	if in.state == Backup {
		in.moveDown(in.skew() - skew)
	}
}
