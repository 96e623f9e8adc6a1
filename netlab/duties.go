package netlab

import (
	"slices"
	"time"
)

// Check looks at what holds over time. It must be called at least every interval, and
// when something changes.
func (j *Judge) Check(at time.Duration) {
	for _, m := range j.members {
		if m == m.group.members[0] {
			j.owners(at, m.group)
		}
		switch {
		case m.owns():
			j.duties(at, m)
		case m.running && !m.frozen && at-m.since > j.slack():
			m.gone(j, at)
			j.overdue(at, m)
		}
		if len(m.fellows) > 1 && m == m.fellows[0] {
			j.together(at, m.fellows)
		}
	}
}

// duties is what a MASTER does all the time: announce its addresses, twice, hold them,
// and advertise.
func (j *Judge) duties(at time.Duration, m *member) {
	if m.Foreign || m.woken > 0 && at-m.woken <= j.slack() {
		return
	}
	age := at - m.since
	want := 0
	if age > j.slack() {
		if m.adverts == 0 {
			m.once(j, at, "announce", "%s (%s) is MASTER since %v and has not advertised", m.Node, m.Instance, m.since)
		}
	}
	if age > j.slack()+m.GARPWait {
		want = m.GARPRepeat
	}
	if m.GARPDelay > 0 && age > m.GARPDelay+j.slack()+m.GARPWait {
		want *= 2
	}
	if m.resigned && age > j.slack() {
		m.once(j, at, "resign", "%s (%s) says priority 0 and goes on", m.Node, m.Instance)
	}
	for _, a := range m.VIPs {
		want := want
		if since, ok := m.added[a]; ok { // once, when it came
			want = 0
			if at-since > j.slack() {
				want = m.GARPRepeat
			}
		}
		if m.garps[a] < want {
			m.once(j, at, "announce", "%s (%s) is MASTER since %v and has announced %v %d times, not %d", m.Node, m.Instance, m.since, a, m.garps[a], want)
		}
		if j.Holds == nil || j.Holds(m.Node, a) {
			delete(m.missing, a)
		} else if since, ok := m.missing[a]; !ok {
			m.missing[a] = at
		} else if at-since > j.slack() {
			m.once(j, at, "address", "%s (%s) is MASTER since %v and does not hold %v", m.Node, m.Instance, m.since, a)
		}
	}
	if quiet := at - max(m.last, m.since); quiet > m.Interval+j.slack() {
		m.once(j, at, "interval", "%s (%s) has not advertised for %v, its interval is %v", m.Node, m.Instance, quiet, m.Interval)
	}
}

// excused tells whether the member, or one of its sync group, may have a reason for FAULT.
func (j *Judge) excused(at time.Duration, m *member) bool {
	reason := func(o *member) bool {
		return o.Tracks || o.unlinked || at-max(o.linked, o.since) <= j.slack()
	}
	return reason(m) || slices.ContainsFunc(m.fellows, reason)
}

// outdone tells whether a member of a sync group has to obey a MASTER, and so its fellows.
func (j *Judge) outdone(m *member) bool {
	return slices.ContainsFunc(m.group.members, func(o *member) bool {
		return o != m && o.owns() && (m.NoPreempt || o.effective >= m.effective)
	})
}

// overdue watches that a BACKUP of higher priority preempts.
func (j *Judge) overdue(at time.Duration, m *member) {
	switch {
	case m.state == "FAULT" && !j.excused(at, m):
		m.once(j, at, "fault", "%s (%s) is in FAULT since %v without a reason", m.Node, m.Instance, m.since)
	case m.state == "BACKUP" && m.Priority == 255 && !slices.ContainsFunc(m.fellows, func(f *member) bool { return f.Priority != 255 }) && at-max(m.since, m.started+m.StartupDelay) > j.slack():
		m.once(j, at, "owner", "%s (%s) has priority 255 and is BACKUP since %v", m.Node, m.Instance, m.since)
	}
	if m.NoPreempt || m.state != "BACKUP" || j.Network.Faulty() || slices.ContainsFunc(m.fellows, j.outdone) {
		return
	}
	slowest := m.Slowest
	for _, f := range m.fellows { // it waits for all of them
		slowest = max(slowest, f.Slowest)
	}
	for _, o := range m.group.members {
		since := max(m.since, m.weighed, o.since, o.weighed, m.group.disturbed, m.started+m.StartupDelay)
		if o.owns() && o.effective < m.effective && j.hear(o, m) && at-since > slowest+m.PreemptDelay+2*m.Interval+j.slack() {
			m.once(j, at, "preempt", "%s (%s, priority %d) has not taken over from %s (%d) since %v", m.Node, m.Instance, m.effective, o.Node, o.effective, since)
		}
	}
}

// together watches that the members of a sync group are in one state, but for the moment
// in which they follow each other.
func (j *Judge) together(at time.Duration, fellows []*member) {
	first, since := fellows[0], time.Duration(0)
	for _, m := range fellows {
		since = max(since, m.since, m.woken)
	}
	for _, m := range fellows[1:] {
		if m.running && !m.frozen && !m.Foreign && m.state != first.state && at-since > j.slack() {
			m.once(j, at, "sync", "%s: %s is %s and %s is %s, in the sync group %s", m.Node, first.Instance, first.state, m.Instance, m.state, m.Group)
		}
	}
}

// owners watches that a group has one MASTER: none too long, and no two that hear each other.
func (j *Judge) owners(at time.Duration, g *group) {
	wait := time.Duration(0) // how long the first one that can take over may take
	owned, since, alone := false, g.disturbed, true
	for _, m := range g.members {
		switch {
		case m.owns():
			owned = true
			j.rivals(at, m)
		case m.running && !m.frozen && m.state == "BACKUP":
			if wait == 0 || m.Slowest < wait {
				wait = m.Slowest
			}
			since = max(since, m.since, m.started+m.StartupDelay)
			for _, f := range m.fellows { // who all have to be without a MASTER
				alone = alone && f == m
				wait, since = max(wait, f.Slowest), max(since, f.since, f.obeyed())
			}
		}
	}
	if owned || wait == 0 {
		g.ownerless = -1
		return
	}
	if g.ownerless < 0 {
		g.ownerless = at
	}
	if g.resigned >= g.ownerless && alone && !j.Network.Faulty() {
		wait = min(wait, g.members[0].Skew)
	}
	if since = max(since, g.ownerless); at-since > wait+j.slack() {
		j.violate(at, "no-master", "VRID %v has no MASTER since %v, longer than %v", g.id, since, wait)
		g.ownerless = at
	}
}

// obeyed is when the member last heard an advertisement that it has to accept.
func (m *member) obeyed() (at time.Duration) {
	for _, h := range m.heard {
		if !h.void && (m.NoPreempt || h.priority >= m.effective) {
			at = max(at, h.at)
		}
	}
	return at
}

// rivals watches that no other MASTER of the group goes on that hears this one.
func (j *Judge) rivals(at time.Duration, m *member) {
	for _, o := range m.group.members {
		if o == m || !o.owns() || !j.hear(m, o) || !j.hear(o, m) {
			continue
		}
		both := max(m.since, o.since, m.group.disturbed)
		if bound := 2*max(m.Interval, o.Interval) + j.slack(); at-both > bound {
			j.violate(at, "two-masters", "%s and %s are both MASTER of VRID %d since %v", m.Node, o.Node, m.VRID, both)
			m.group.disturbed = at
		}
	}
}
