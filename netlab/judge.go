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
	Group          string // its sync group, "" for none
	LAN, Interface string
	Unicast        bool
	VRID           uint8
	Priority       uint8 // as configured
	Interval       time.Duration
	Down           time.Duration // the master down interval at the configured priority
	Slowest        time.Duration // and at the lowest one
	Skew           time.Duration // at the lowest priority
	NoPreempt      bool
	PreemptDelay   time.Duration
	StartupDelay   time.Duration
	GARPRepeat     int
	GARPDelay      time.Duration // of the second burst, 0 for none
	GARPWait       time.Duration // what pacing may add to either
	VIPs           []netip.Addr
	Addr           netip.Addr // that it advertises from
	Tracks         bool       // more than its own interface can put it into FAULT
	Foreign        bool       // another program: when it does what is known roughly only
}

// id is its VRID in the family of its addresses.
func (r *Router) id() RouterID { return routerID(r.VRID, r.Addr.Is6()) }

// Invariants are the names of what Judge watches.
var Invariants = []string{
	"two-masters", "no-master", "early", "preempt", "nopreempt", "yield", "owner", "announce", "interval",
	"priority", "address", "arp", "advert", "resign", "fault", "timer", "cause", "sync",
}

// Judge holds what happens in a lab against the invariants of VRRP, as far as it is told:
// the simulator tells it everything. Times are since the start of the lab. It speaks of a
// node only while it runs, and of two nodes only while they hear each other.
type Judge struct {
	Slack    time.Duration // for scheduling and the wire
	Late     time.Duration // and what the machine is late at present
	Tolerant map[string]bool
	Network  *Network
	Holds    func(node string, addr netip.Addr) bool // nil where nobody can tell
	Violate  func(at time.Duration, invariant, text string)

	members []*member
	byNode  map[string][]*member
	groups  map[groupKey]*group
}

// member is an instance of a node, as the judge sees it.
type member struct {
	Router
	running   bool
	frozen    bool
	state     string
	since     time.Duration // of the state
	started   time.Duration
	woken     time.Duration // when it last stood still, or went on
	unlinked  bool
	linked    time.Duration    // when the carrier last changed
	effective uint8            // the priority with tracking
	former    uint8            // and the one before, which another program says once more as it reloads
	weighed   time.Duration    // when it last changed
	resigned  bool             // it has said priority 0 since it entered the state
	owes      bool             // it was MASTER, and has to say so
	adverts   int              // since it entered the state
	last      time.Duration    // advertisement of priority above 0
	heard     map[string]heard // the last advertisement of each other node that reached it
	garps     map[netip.Addr]int
	missing   map[netip.Addr]time.Duration // since when a MASTER lacks an address
	added     map[netip.Addr]time.Duration // addresses that came by a reload, in this state
	told      map[string]bool              // what was said of this state already
	group     *group
	fellows   []*member // of its sync group, itself among them; none without one
}

type heard struct {
	at       time.Duration
	priority uint8
	void     bool // a priority 0 came after it: there is no MASTER
}

// group is the members of one VRID on one lan, or of all that is unicast.
type group struct {
	id        RouterID
	members   []*member
	ownerless time.Duration // since when nobody is MASTER, -1 while somebody is
	disturbed time.Duration // when the network last changed
	resigned  time.Duration // when a MASTER last said priority 0, -1 before
}

// NewJudge makes a judge for the routers of a lab.
func NewJudge(routers []Router, network *Network, violate func(at time.Duration, invariant, text string)) *Judge {
	j := &Judge{
		Slack: 20 * time.Millisecond, Tolerant: map[string]bool{}, Network: network, Violate: violate,
		byNode: map[string][]*member{}, groups: map[groupKey]*group{},
	}
	for _, r := range routers {
		j.join(r)
	}
	for node := range j.byNode {
		j.befriend(node)
	}
	return j
}

// groupKey is what the instances of one virtual router have in common.
type groupKey struct {
	id  RouterID
	lan string // "" for unicast
}

// join takes an instance in.
func (j *Judge) join(r Router) *member {
	k := groupKey{r.id(), r.LAN}
	if r.Unicast {
		k.lan = ""
	}
	g := j.groups[k]
	if g == nil {
		g = &group{id: r.id(), ownerless: -1, resigned: -1}
		j.groups[k] = g
	}
	m := &member{Router: r, group: g, heard: map[string]heard{}, garps: map[netip.Addr]int{}, missing: map[netip.Addr]time.Duration{}, added: map[netip.Addr]time.Duration{}, told: map[string]bool{}, last: -1}
	g.members = append(g.members, m)
	j.members = append(j.members, m)
	j.byNode[r.Node] = append(j.byNode[r.Node], m)
	return m
}

// befriend finds the fellows of the members of a node.
func (j *Judge) befriend(node string) {
	for _, m := range j.byNode[node] {
		m.fellows = nil
		for _, o := range j.byNode[node] {
			if m.Group != "" && o.Group == m.Group {
				m.fellows = append(m.fellows, o)
			}
		}
	}
}

// Reloaded tells that a node has these instances now, before it does anything about it.
// Those that are the same virtual routers as before keep their state; the network counts as
// disturbed, since the routers of the others differ from what they know.
func (j *Judge) Reloaded(at time.Duration, node string, routers []Router) {
	was, running := j.byNode[node], false
	for _, m := range was {
		running = running || m.running
	}
	j.byNode[node] = nil
	for _, r := range routers {
		i := slices.IndexFunc(was, func(m *member) bool {
			return m.id() == r.id() && m.Interface == r.Interface && m.Unicast == r.Unicast
		})
		if i >= 0 {
			was[i].reloaded(at, r)
			j.byNode[node] = append(j.byNode[node], was[i])
			continue
		}
		m := j.join(r)
		m.running, m.started, m.effective = running, at, m.Priority
		m.enter(at, "INIT")
	}
	for _, m := range was {
		if !slices.Contains(j.byNode[node], m) {
			gone := func(o *member) bool { return o == m }
			j.members, m.group.members = slices.DeleteFunc(j.members, gone), slices.DeleteFunc(m.group.members, gone)
		}
	}
	j.befriend(node)
	j.Disturbed(at)
}

// reloaded gives a member that goes on its new configuration.
func (m *member) reloaded(at time.Duration, r Router) {
	for _, a := range r.VIPs {
		if !slices.Contains(m.VIPs, a) {
			m.added[a] = at
		}
	}
	if m.Foreign && r.Priority != m.Priority { // its log does not say
		m.former, m.effective, m.weighed = m.effective, r.Priority, at
	}
	m.Router = r
}

// Up tells that a node was started or ended.
func (j *Judge) Up(at time.Duration, node string, running bool) {
	for _, m := range j.byNode[node] {
		m.running, m.started, m.effective = running, at, m.Priority
		m.enter(at, "INIT")
		clear(m.heard)
	}
}

// Stopped tells that a node has ended cleanly: a MASTER says so.
func (j *Judge) Stopped(at time.Duration, node string) {
	for _, m := range j.byNode[node] {
		if m.owes && !m.resigned {
			j.violate(at, "resign", "%s (%s) was MASTER and stops without priority 0", m.Node, m.Instance)
		}
		m.gone(j, at)
	}
}

// gone watches that a node that is not MASTER keeps no virtual address.
func (m *member) gone(j *Judge, at time.Duration) {
	for _, a := range m.VIPs {
		if !m.Foreign && j.Holds != nil && j.Holds(m.Node, a) {
			m.once(j, at, "address", "%s (%s) holds %v in state %s", m.Node, m.Instance, a, m.state)
		}
	}
}

// once violates at most once a state.
func (m *member) once(j *Judge, at time.Duration, kind, format string, args ...any) {
	if !m.told[kind] {
		m.told[kind] = true
		j.violate(at, kind, format, args...)
	}
}

func (m *member) enter(at time.Duration, state string) {
	m.state, m.since, m.resigned, m.owes, m.adverts = state, at, false, false, 0
	clear(m.garps)
	clear(m.missing)
	clear(m.added)
	clear(m.told)
}

// Priority tells a new effective priority of an instance.
func (j *Judge) Priority(at time.Duration, node, instance string, priority uint8) {
	for _, m := range j.byNode[node] {
		if m.Instance == instance {
			m.effective, m.weighed = priority, at
		}
	}
}

// Frozen tells that a node stands still, or goes on.
func (j *Judge) Frozen(at time.Duration, node string, frozen bool) {
	for _, m := range j.byNode[node] {
		m.frozen, m.last, m.woken = frozen, at, at
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
			j.early(at, m)
		}
		if m.state == "MASTER" && to == "BACKUP" && !m.Foreign {
			j.yields(at, m)
		}
		leaves := m.state == "MASTER" && to != "BACKUP"
		m.enter(at, to)
		m.owes = leaves
	}
}

// preempts watches nopreempt: a node that has it does not take over from a MASTER that it hears.
func (j *Judge) preempts(at time.Duration, m *member) {
	if !m.NoPreempt {
		return
	}
	for _, o := range m.group.members {
		h, ok := m.heard[o.Node]
		if ok && !h.void && o.owns() && !o.resigned && at-h.at <= o.Interval+j.Slack && at-m.started > m.StartupDelay+o.Interval && j.hear(o, m) {
			j.violate(at, "nopreempt", "%s (%s) takes over from %s, which it hears, in spite of nopreempt", m.Node, m.Instance, o.Node)
		}
	}
}

// early watches that nobody takes over before the master down interval has passed since
// the last advertisement that it had to accept.
func (j *Judge) early(at time.Duration, m *member) {
	if at < m.started+m.StartupDelay {
		j.violate(at, "early", "%s (%s) is MASTER %v after its start, its startup delay is %v", m.Node, m.Instance, at-m.started, m.StartupDelay)
	}
	if m.Priority == 255 || m.effective != m.Priority {
		return
	}
	for node, h := range m.heard { // but for what it cannot have read yet
		if !h.void && h.priority >= m.effective && at-h.at > j.slack()/4 && at-h.at < m.Down-j.slack() {
			j.violate(at, "early", "%s (%s) takes over %v after an advertisement of %s, its master down interval is %v", m.Node, m.Instance, at-h.at, node, m.Down)
		}
	}
}

// yields watches that a MASTER gives way to a better one only: of higher priority, or of
// the same and a higher address (RFC 9568 §6.4.3). That one may have resigned already.
func (j *Judge) yields(at time.Duration, m *member) {
	for _, f := range m.fellows { // the first of them has been asked
		if f != m && f.state == "BACKUP" && at-f.since <= j.slack() {
			return
		}
	}
	for node, h := range m.heard {
		better := h.priority > m.effective || h.priority == m.effective && !m.outranks(j.byNode[node])
		if better && (at-h.at <= j.slack() || m.woken > 0 && at-m.woken <= j.slack()) {
			return
		}
	}
	j.violate(at, "yield", "%s (%s, priority %d) gives way, and has heard of no better MASTER", m.Node, m.Instance, m.effective)
}

// outranks tells whether the member's address is the higher one; a sender that is no
// node of the lab has it lower.
func (m *member) outranks(others []*member) bool {
	return len(others) > 0 && others[0].Addr.Less(m.Addr)
}

// Link tells the carrier of an interface of a node.
func (j *Judge) Link(at time.Duration, node, iface string, up bool) {
	for _, m := range j.byNode[node] {
		if m.Interface == iface {
			m.unlinked, m.linked = !up, at
		}
	}
}

// owns tells whether the member is MASTER. Another program may take its time to end after
// priority 0, and says no more.
func (m *member) owns() bool {
	return m.running && !m.frozen && m.state == "MASTER" && !(m.Foreign && m.resigned)
}

// hear tells whether b can hear a; with a router between them every fault may matter.
func (j *Judge) hear(a, b *member) bool {
	return j.Network.Connected(a.Node, b.Node) && (a.LAN == b.LAN || !j.Network.Faulty())
}

// on tells whether the instance speaks on a lan.
func (m *member) on(lan string, id RouterID) bool { return m.id() == id && m.LAN == lan }

// Advert tells an advertisement that a node put on a lan.
func (j *Judge) Advert(at time.Duration, node, lan string, id RouterID, priority uint8) {
	for _, m := range j.byNode[node] {
		if !m.on(lan, id) {
			continue
		}
		if priority == 0 {
			m.resigned = true
			m.group.resigned = at
			return
		}
		m.adverts++
		m.last = at
		m.resigned = m.resigned && !m.Foreign
		if priority == m.effective {
			m.former = 0
		}
		if priority != m.effective && priority != m.former && m.running {
			m.once(j, at, "priority", "%s advertises priority %d, its effective priority is %d", node, priority, m.effective)
		}
		if m.state != "MASTER" && m.running && !m.Foreign && at-m.since > j.slack() {
			j.violate(at, "advert", "%s advertises VRID %v in state %s", node, id, m.state)
		}
	}
}

// Heard tells that an advertisement reached a node from a lan.
func (j *Judge) Heard(at time.Duration, from, to, lan string, id RouterID, priority uint8) {
	for _, m := range j.byNode[to] {
		switch {
		case !m.on(lan, id):
		case priority == 0: // whoever was heard before
			for node, h := range m.heard {
				h.void = true
				m.heard[node] = h
			}
		default:
			m.heard[from] = heard{at: at, priority: priority}
		}
	}
}

// GARP tells a gratuitous ARP.
func (j *Judge) GARP(at time.Duration, node string, addr netip.Addr) {
	for _, m := range j.byNode[node] {
		if slices.Contains(m.VIPs, addr) {
			m.garps[addr]++
			if m.running && !m.Foreign && m.state != "MASTER" && at-m.since > j.slack() {
				j.violate(at, "arp", "%s announces %v in state %s", node, addr, m.state)
			}
		}
	}
}

// ARPReply tells that a node answered for an address.
func (j *Judge) ARPReply(at time.Duration, node string, addr netip.Addr) {
	for _, m := range j.byNode[node] {
		if m.running && !m.frozen && !m.Foreign && slices.Contains(m.VIPs, addr) && m.state != "MASTER" && at-m.since > j.slack() {
			j.violate(at, "arp", "%s answers ARP for %v in state %s", node, addr, m.state)
		}
	}
}

func (j *Judge) slack() time.Duration { return j.Slack + j.Late }

func (j *Judge) violate(at time.Duration, kind, format string, args ...any) {
	if !j.Tolerant[kind] {
		j.Violate(at, kind, fmt.Sprintf(format, args...))
	}
}
