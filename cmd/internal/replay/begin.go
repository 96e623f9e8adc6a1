package replay

import (
	"fmt"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/fsm"
)

// reportLead is how long before its election a process may have joined the group.
const reportLead = 500 * time.Millisecond

// begins infers when the instance starts that speaks from packet i on. With i above 0 it
// has stopped before: then why is "" if it is not heard of again.
func (p *player) begins(i int) (at time.Duration, why string) {
	var join, first *packet
	for n := range p.packets[i:] {
		k := &p.packets[i+n]
		switch {
		case k.way != model.Sent:
		case k.join && join == nil && first == nil:
			join = k
		case k.said.VRID != 0 && k.said.Priority > 0 && first == nil:
			first = k
		}
	}
	var back time.Duration // the start that the first advertisement tells of
	if first != nil {
		back = first.at - p.wait()
	}
	switch {
	case first == nil && join == nil && i > 0:
		return p.capture.end + time.Hour, ""
	case first == nil && join == nil:
		return 0, "the first packet, it never advertises"
	case join != nil && first != nil && back >= join.at && back <= join.at+reportLead:
		return back, fmt.Sprintf("its first advertisement, packet %d, fits to its membership report, packet %d", first.number, join.number)
	case join != nil:
		return join.at, fmt.Sprintf("its membership report, packet %d", join.number)
	case i > 0 && back < p.packets[i-1].at:
		return p.packets[i-1].at, "at once"
	case i == 0 && !p.announces(first.at):
		return back - p.term(), fmt.Sprintf("it was MASTER before packet %d, its first advertisement", first.number)
	}
	return back, fmt.Sprintf("its first advertisement, packet %d", first.number)
}

// wait is how long after its start an instance that hears nobody is MASTER.
func (p *player) wait() time.Duration {
	delay := p.cfg.Global.StartupDelay
	if p.in.Priority == fsm.OwnerPriority {
		return delay
	}
	unit := time.Second // RFC 3768 §6.1, and RFC 9568 §6.1
	if p.in.Version == 3 {
		unit = p.in.AdvertInterval
	}
	return delay + time.Duration(p.in.DownTimerAdverts)*p.in.AdvertInterval + time.Duration(256-int(p.in.Priority))*unit/256
}

// term is a time as MASTER after which nothing but advertisements is to be expected: a
// whole number of intervals.
func (p *player) term() time.Duration {
	n := (p.in.GARPMasterDelay+time.Second)/p.in.AdvertInterval + 1
	return n * p.in.AdvertInterval
}

// announces tells whether an address was announced with an advertisement.
func (p *player) announces(at time.Duration) bool {
	for _, k := range p.packets {
		if k.way == model.Sent && k.said.VIP.IsValid() && (k.at-at).Abs() <= p.tolerance {
			return true
		}
	}
	return p.in.GARPMasterRepeat == 0 || len(p.in.Addresses)+len(p.in.Excluded) == 0
}
