package netlab

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Router is what the judge knows of one VRRP instance of one node from its file.
type Router struct {
	Node, Instance string
	VRID           uint8
	Priority       uint8 // as configured
	Interval       time.Duration
	Down           time.Duration // the master down interval at that priority
	NoPreempt      bool
	VIPs           []netip.Addr
}

// Judge holds what happens in a lab against the invariants of VRRP: the same in virtual
// time and in namespaces. Times are since the start of the lab. It speaks of a node
// only while it runs, and of two nodes only while they hear each other.
type Judge struct {
	Slack    time.Duration // for scheduling and the wire
	Tolerant map[string]bool
	Network  *Network
	Violate  func(at time.Duration, format string, args ...any)

	members []*member
	byNode  map[string][]*member
}

// member is an instance of a node, as the judge sees it.
type member struct {
	Router
	running   bool
	frozen    bool
	state     string
	since     time.Duration // of the state
	able      time.Duration // since when it runs, linked and not in FAULT
	resigned  bool
	announced bool
	garps     map[netip.Addr]bool
	group     *group
}

// group is the members of one VRID.
type group struct {
	vrid      uint8
	members   []*member
	ownerless time.Duration // since when nobody is MASTER, -1 while somebody is
	disturbed time.Duration // when something last kept members from hearing each other
}

// NewJudge makes a judge for the routers of a lab.
func NewJudge(routers []Router, network *Network, violate func(at time.Duration, format string, args ...any)) *Judge {
	j := &Judge{Slack: 20 * time.Millisecond, Tolerant: map[string]bool{}, Network: network, Violate: violate, byNode: map[string][]*member{}}
	groups := map[uint8]*group{}
	for _, r := range routers {
		g := groups[r.VRID]
		if g == nil {
			g = &group{vrid: r.VRID}
			groups[r.VRID] = g
		}
		m := &member{Router: r, group: g, garps: map[netip.Addr]bool{}, announced: true}
		g.members = append(g.members, m)
		j.members = append(j.members, m)
		j.byNode[r.Node] = append(j.byNode[r.Node], m)
	}
	return j
}

// Up tells that a node was started or ended.
func (j *Judge) Up(at time.Duration, node string, running bool) {
	for _, m := range j.byNode[node] {
		m.running, m.state, m.since, m.able, m.resigned, m.announced = running, "INIT", at, at, false, true
		m.group.disturbed = at
	}
}

// Frozen tells that a node stands still, or goes on.
func (j *Judge) Frozen(at time.Duration, node string, frozen bool) {
	for _, m := range j.byNode[node] {
		m.frozen = frozen
		m.group.disturbed = at
	}
}

// Disturbed tells that the network changed: elections have to begin anew.
func (j *Judge) Disturbed(at time.Duration) {
	for _, m := range j.members {
		m.group.disturbed = at
	}
}

// State tells a transition of a node. cause is the event, the packet or the timer.
func (j *Judge) State(at time.Duration, node, instance, to, cause string) {
	for _, m := range j.byNode[node] {
		if m.Instance != instance {
			continue
		}
		if cause == "" {
			j.violate(at, "cause", "%s (%s) enters %s without a cause", node, instance, to)
		}
		if to == "MASTER" {
			j.preempts(at, m)
			m.announced = false
			clear(m.garps)
		}
		if m.state == "FAULT" || m.state == "INIT" {
			m.able = at
		}
		m.state, m.since, m.resigned = to, at, false
	}
}

// preempts watches nopreempt: a node that has it does not take over from a MASTER that it hears.
func (j *Judge) preempts(at time.Duration, m *member) {
	if !m.NoPreempt {
		return
	}
	for _, o := range m.group.members {
		if o != m && o.owns() && !o.resigned && at-o.since > o.Interval+j.Slack && at-m.group.disturbed > m.Down+j.Slack && j.hear(o, m) {
			j.violate(at, "nopreempt", "%s (%s) takes over from %s, which it hears, in spite of nopreempt", m.Node, m.Instance, o.Node)
		}
	}
}

func (m *member) owns() bool { return m.running && !m.frozen && m.state == "MASTER" }

// hear tells whether b can hear a.
func (j *Judge) hear(a, b *member) bool { return j.Network.Connected(a.Node, b.Node) }

// Advert tells an advertisement that a node put on the wire.
func (j *Judge) Advert(at time.Duration, node string, vrid, priority uint8) {
	for _, m := range j.byNode[node] {
		if m.VRID != vrid {
			continue
		}
		if priority == 0 {
			m.resigned = true
			return
		}
		m.announced = m.announced || m.complete()
		if m.state != "MASTER" && m.running && at-m.since > j.Slack {
			j.violate(at, "advert", "%s advertises VRID %d in state %s", node, vrid, m.state)
		}
	}
}

func (m *member) complete() bool { return len(m.garps) >= len(m.VIPs) }

// GARP tells a gratuitous ARP.
func (j *Judge) GARP(at time.Duration, node string, addr netip.Addr) {
	for _, m := range j.byNode[node] {
		if slices.Contains(m.VIPs, addr) {
			m.garps[addr] = true
			m.announced = m.announced || m.complete()
			if m.running && m.state != "MASTER" && at-m.since > j.Slack {
				j.violate(at, "arp", "%s announces %v in state %s", node, addr, m.state)
			}
		}
	}
}

// ARPReply tells that a node answered for an address.
func (j *Judge) ARPReply(at time.Duration, node string, addr netip.Addr) {
	for _, m := range j.byNode[node] {
		if m.running && !m.frozen && slices.Contains(m.VIPs, addr) && m.state != "MASTER" && at-m.since > j.Slack {
			j.violate(at, "arp", "%s answers ARP for %v in state %s", node, addr, m.state)
		}
	}
}

// Check looks at what holds over time. It must be called at least every interval, and
// when something changes.
func (j *Judge) Check(at time.Duration) {
	for _, m := range j.members {
		if m == m.group.members[0] {
			j.owners(at, m.group)
		}
		if m.owns() && !m.announced && at-m.since > j.Slack {
			m.announced = true
			j.violate(at, "announce", "%s (%s) is MASTER since %v and has announced %d of its %d addresses", m.Node, m.Instance, m.since, len(m.garps), len(m.VIPs))
		}
	}
}

// owners watches that a group has one MASTER: none too long, and no two that hear each other.
func (j *Judge) owners(at time.Duration, g *group) {
	owned := false
	wait := time.Duration(0) // how long the slowest able member may take
	for _, m := range g.members {
		if m.owns() {
			owned = true
			j.rivals(at, m)
			continue
		}
		if m.running && !m.frozen && m.state == "BACKUP" {
			wait = max(wait, m.Down)
		}
	}
	switch {
	case owned || wait == 0:
		g.ownerless = -1
	case g.ownerless < 0:
		g.ownerless = at
	}
	if owned || wait == 0 {
		return
	}
	for _, m := range g.members { // the time counts from when somebody could
		if m.running && m.state == "BACKUP" {
			wait = min(wait, m.Down)
		}
	}
	since := max(g.ownerless, g.disturbed)
	for _, m := range g.members {
		if m.running && m.state == "BACKUP" {
			since = max(since, min(m.since, at))
		}
	}
	if !j.Tolerant["no-master"] && at-since > wait+j.Slack {
		j.violate(at, "no-master", "VRID %d has no MASTER since %v, longer than %v", g.vrid, since, wait)
		g.ownerless = at
	}
}

// rivals watches that no other MASTER of the group goes on that hears this one.
func (j *Judge) rivals(at time.Duration, m *member) {
	for _, o := range m.group.members {
		if o == m || !o.owns() || !j.hear(m, o) || !j.hear(o, m) {
			continue
		}
		both := max(m.since, o.since, m.group.disturbed)
		if bound := 2*max(m.Interval, o.Interval) + j.Slack; at-both > bound && !j.Tolerant["two-masters"] {
			j.violate(at, "two-masters", "%s and %s are both MASTER of VRID %d since %v", m.Node, o.Node, m.VRID, both)
			m.group.disturbed = at
		}
	}
}

func (j *Judge) violate(at time.Duration, kind, format string, args ...any) {
	if !j.Tolerant[kind] {
		j.Violate(at, "%s: %s", kind, fmt.Sprintf(format, args...))
	}
}
