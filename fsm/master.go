package fsm

import (
	"net/netip"
	"time"
)

// master is what MASTER owns.
type master struct {
	adver   time.Duration // when Adver_Timer fires
	again   timer         // second burst of gratuitous ARP
	lower   timer         // second burst after a lower MASTER was heard
	refresh timer         // next refresh
	rival   rival
}

// rival is another owner that goes on advertising although it should lose.
type rival struct {
	since, last time.Duration
	known       bool
}

// deadline is the first of the timers.
func (m *master) deadline() time.Duration {
	at := m.adver
	for _, t := range [...]timer{m.again, m.lower, m.refresh} {
		if t.set && t.at < at {
			at = t.at
		}
	}
	return at
}

// stepMaster follows RFC 9568 §6.4.3.
func (in *Instance) stepMaster(ev Event) {
	switch ev := ev.(type) {
	case Shutdown:
		in.becomeInit()
	case Tick:
		in.tickMaster()
	case Heard:
		if late := in.now - in.master.adver; in.succeeded(late) {
			in.becomeBackup(Cause{Reason: Overslept, After: late}, in.cfg.Interval)
			in.hearInBackup(ev)
			return
		}
		in.hearInMaster(ev)
	case VIPLost:
		in.restore(ev.Addr)
	case rivalHeard:
		in.garpLower()
	case Startup:
	default:
		in.changeWorld(ev)
	}
}

// becomeMaster takes the addresses over: first the advertisement, so that a lower
// MASTER yields, then the addresses, then their announcement (RFC 9568 §6.4.2).
func (in *Instance) becomeMaster(cause Cause) {
	in.become(Master, cause)
	in.renumber()
	in.advertise()
	in.addVIPs()
	in.garp(in.cfg.GARPRepeat)
	in.master.again = after(in.now, in.cfg.GARPDelay)
	in.master.refresh = after(in.now, in.cfg.GARPRefresh)
	in.emit(Notify{Master})
}

// tickMaster does what is due; the advertisement goes first.
func (in *Instance) tickMaster() {
	m := &in.master
	late := in.now - m.adver
	if in.succeeded(late) {
		in.becomeBackup(Cause{Reason: Overslept, After: late}, in.cfg.Interval)
		return
	}
	if late > in.cfg.Interval/lateShare {
		in.emit(Late{late})
	}
	if in.now >= m.adver {
		in.advertise()
	}
	if m.again.due(in.now) {
		m.again = timer{}
		in.garp(in.cfg.GARPRepeat)
	}
	if m.lower.due(in.now) {
		m.lower = timer{}
		in.garp(in.cfg.GARPLowerPrioRepeat)
	}
	if m.refresh.due(in.now) {
		m.refresh = after(in.now, in.cfg.GARPRefresh)
		in.garp(in.cfg.GARPRefreshRepeat)
	}
}

// An advertisement is late when this part of an interval has passed beyond its time: an
// election needs two intervals more, so that Late comes before the flapping does.
const lateShare = 2

// succeeded reports whether somebody else has taken over while the own timer was late
// (keepalived's timer_expired_backup): three intervals and the skew time of such a backup
// have passed since the own last advertisement.
func (in *Instance) succeeded(late time.Duration) bool {
	p := in.cfg.TimerExpiredBackup
	if p == 0 || !in.cfg.NoPreempt {
		return false
	}
	unit := time.Second
	if in.cfg.Version == 3 {
		unit = in.cfg.Interval
	}
	return late > 2*in.cfg.Interval+time.Duration(256-int(p))*unit/256
}

// advertise sends the own priority and restarts Adver_Timer. Nothing else does.
func (in *Instance) advertise() {
	in.emit(SendAdvert{Priority: in.Priority(), Src: in.source, Sequence: in.number()})
	in.master.adver = in.now + in.cfg.Interval
}

// hearInMaster follows the cases of RFC 9568 §6.4.3. Preemption plays no part: a
// higher priority wins also with nopreempt. Of equals the greater address wins.
func (in *Instance) hearInMaster(ev Heard) {
	own := in.Priority()
	switch {
	case ev.Priority == 0:
		in.advertise()
	case ev.Priority > own, ev.Priority == own && in.source.Less(ev.Src):
		if in.cfg.HigherPrioSendAdvert {
			in.advertise()
		}
		in.yield(ev)
	case ev.Priority == own && ev.Src == in.source: // an echo of our own
	case ev.Priority == OwnerPriority && in.stubborn(ev):
		in.conceded = true
		in.emit(PriorityChanged{From: OwnerPriority, To: in.Priority()})
		in.yield(ev)
	default:
		in.correct()
	}
}

// yield leaves the role to the sender, without a word: it knows.
func (in *Instance) yield(ev Heard) {
	cause := Cause{Reason: Outbid, Src: ev.Src, Priority: ev.Priority}
	in.becomeBackup(cause, in.cfg.Interval)
	in.obey(ev)
}

// restore puts an address back that somebody else has removed, and announces it anew.
func (in *Instance) restore(addr netip.Addr) {
	in.emit(AddVIP{addr})
	for range in.cfg.GARPRepeat {
		in.emit(SendGARP{addr})
	}
}

// correct tells a lower MASTER, and the switches that have learned from it, who it
// is (RFC 9568 §6.4.3; RFC 3768 would keep silent). Each one heard puts the second
// burst off, so that a stream of them does not multiply it.
func (in *Instance) correct() {
	in.number() // keepalived leaves one out after the sender's
	if !in.cfg.LowerPrioNoAdvert {
		in.advertise()
	}
	in.garpLower()
	in.corrected = true
}

// garpLower is the gratuitous ARP for that.
func (in *Instance) garpLower() {
	in.garp(in.cfg.GARPLowerPrioRepeat)
	in.master.lower = after(in.now, in.cfg.GARPLowerPrioDelay)
}

// stubborn reports whether another owner with a smaller address goes on although it
// has been answered for 1.2 intervals: it does not listen to owners (RFC 3768 §7.1
// lets it), so one of the two has to give in. The other reason to hear it, that it
// has not read our answer yet, is over by then.
func (in *Instance) stubborn(ev Heard) bool {
	r := &in.master.rival
	patience := max(in.cfg.Interval, ev.Interval) * 6 / 5
	if !r.known || in.now-r.last > 3*patience {
		r.known, r.since = true, in.now
	}
	r.last = in.now
	return in.now-r.since >= patience
}

// garp announces every virtual address so many times, round by round.
func (in *Instance) garp(rounds int) {
	for range rounds {
		in.eachVIP(func(a netip.Addr) { in.emit(SendGARP{a}) })
	}
}
