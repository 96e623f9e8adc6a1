package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Workers says that several loops judge the frames of virtual services, the node's own among
// them. The driver sees to it that all frames of a client come to the same one, and all ICMP
// errors to the node's own.
type Workers struct {
	Count int // 1 is the node's own alone
	Guard Guard
}

// Guard is held by the node while it changes what workers look at. Each worker keeps it from
// that while it judges a batch, while it looks at [Plane.Deadline] and during [Plane.Tick].
type Guard interface {
	Lock()
	Unlock()
}

// Plane judges the service frames of one worker, with a connection table of its own. It is
// not safe for concurrent use; of the node it only reads what the guard protects.
type Plane struct {
	n       *Node
	number  int
	fwd     *forward.Forwarder
	replies bucket
	waits   bucket
	rating  bool // something moved
	rate    time.Duration
}

// claim is a virtual MAC that a MASTER has on a port.
type claim struct {
	port int
	mac  proto.MAC
}

// addPlanes makes as many as there are workers, which share the table's room.
func (n *Node) addPlanes(table forward.Config) {
	count := n.workers.Count
	table.MaxConns = (table.MaxConns + count - 1) / count
	for i := range count {
		n.planes = append(n.planes, &Plane{n: n, number: i, fwd: forward.New(table)})
		table.Seed++
		table.FirstID += uint32((1<<32 + 1<<16) / uint64(count)) // far from each other, also in 16 bits
	}
	n.fwd = n.planes[0].fwd
	n.fwdTimer, n.sweepTimer, n.rateTimer = n.newTimer(timerForward, 0), n.newTimer(timerSweep, 0), n.newTimer(timerRates, 0)
}

// Plane is that of a worker, from 1 on: the node's own frames go to [Node.Frame].
func (n *Node) Plane(worker int) *Plane { return n.planes[worker] }

// exclusive has the workers stand still until readmit, if there are any, for a change to what
// their decisions depend on.
func (n *Node) exclusive() {
	n.halt()
	n.changes++
}

// halt is exclusive without a change.
func (n *Node) halt() {
	if n.workers.Guard != nil && !n.held {
		n.workers.Guard.Lock()
		n.held = true
	}
}

// readmit ends what exclusive began. What is called from outside ends with it.
func (n *Node) readmit() {
	if n.held {
		n.held = false
		n.workers.Guard.Unlock()
	}
}

// each makes a change to the forwarder of every plane.
func (n *Node) each(change func(plane int, f *forward.Forwarder)) {
	n.exclusive()
	for i, p := range n.planes {
		change(i, p.fwd)
	}
}

// all is each for a change that is everywhere the same.
func (n *Node) all(change func(f *forward.Forwarder)) {
	n.each(func(_ int, f *forward.Forwarder) { change(f) })
}

// try is all for one that may fail, as it then does everywhere.
func (n *Node) try(change func(f *forward.Forwarder) error) (err error) {
	n.all(func(f *forward.Forwarder) { err = change(f) })
	return err
}

// tidy has the numbers of servers that are gone for good given to others.
func (n *Node) tidy() {
	var list []*forward.Forwarder
	n.all(func(f *forward.Forwarder) { list = append(list, f) })
	forward.Tidy(list...)
}

// setLocal tells whether an address is here.
func (n *Node) setLocal(addr netip.Addr, local bool) {
	n.all(func(f *forward.Forwarder) { f.SetLocal(addr, local) })
}

// portion is what a plane gets of a number of connections: together they have as many, but at
// least one each, since 0 would be another thing.
func (n *Node) portion(plane int, whole uint32) uint32 {
	count := uint32(len(n.planes))
	part := whole / count
	if uint32(plane) < whole%count {
		part++
	}
	if whole > 0 {
		part = max(1, part)
	}
	return part
}

// claim lets the workers know which virtual MACs are this node's.
func (n *Node) claim() {
	if len(n.planes) == 1 {
		return
	}
	var claims []claim
	for i := range n.instances {
		if in := &n.instances[i]; !in.virtual.IsZero() && in.master() {
			claims = append(claims, claim{in.port, in.virtual})
		}
	}
	if !slices.Equal(claims, n.claims) {
		n.exclusive()
		n.claims = claims
	}
}

// mine tells whether frames to a MAC are this node's.
func (p *Plane) mine(port int, dst proto.MAC) bool {
	if p.number == 0 {
		return p.n.mine(port, dst)
	}
	return port < len(p.n.ports) && dst == p.n.ports[port].link.MAC || slices.Contains(p.n.claims, claim{port, dst})
}

// Frame is [Node.Frame] for the frames of a worker. What the batch holds Unresolved is to be
// given to the node.
func (p *Plane) Frame(now time.Duration, port int, head, frame []byte, out *Batch) {
	out.Verdicts = append(out.Verdicts, p.judge(now, port, head, frame, out))
}

// Prefetch is [Node.Prefetch] for the frames of a worker.
func (p *Plane) Prefetch(frame []byte) {
	if eth, err := proto.ParseEthernet(frame); err == nil {
		p.fwd.Prefetch(eth.Payload())
	}
}

// Prefetched is [Node.Prefetched] likewise.
func (p *Plane) Prefetched() { p.fwd.Prefetched() }

// wait keeps a frame for a server whose MAC is not known, if there is room for it.
func (p *Plane) wait(now time.Duration, server int32, head, frame []byte, out *Batch) bool {
	if p.number > 0 {
		if !p.waits.take(now) {
			return false
		}
		out.Unresolved = append(out.Unresolved, Unresolved{Server: server, Head: slices.Clone(head), Frame: slices.Clone(frame)})
		return true
	}
	n := p.n
	n.out = out.Actions
	held := n.hold(now, int(n.hops[server]), head, frame)
	out.Actions, n.out = n.out, nil
	return held
}

// traffic is told of every frame.
func (p *Plane) traffic() {
	switch {
	case p.number == 0:
		p.n.armTraffic()
	case !p.rating:
		p.rating, p.rate = true, 0 // at once
	}
}

// Deadline is when a worker's plane next wants a Tick; ok is false for never.
func (p *Plane) Deadline() (at time.Duration, ok bool) {
	at, ok = p.fwd.Deadline()
	if p.rating && (!ok || p.rate < at) {
		return p.rate, true
	}
	return at, ok
}

// Tick does what is due: connections expire, rates are estimated.
func (p *Plane) Tick(now time.Duration) {
	if at, ok := p.fwd.Deadline(); ok && at <= now {
		p.fwd.Expire(now)
	}
	if p.rating && p.rate <= now {
		p.rate, p.rating = p.fwd.Estimate(now)
	}
}

// consult asks the other planes about an ICMP error, which only the one with the connection
// knows. What a router told about the way to a server is news for all of them.
func (n *Node) consult(now time.Duration, in forward.Ingress, b []byte, d forward.Decision) forward.Decision {
	about := d.Verdict == forward.TunnelError || d.Verdict == forward.TunnelMTU
	if !about && (d.Verdict != forward.NotMine || !isICMP(b)) {
		return d
	}
	n.halt()
	knows := n.planes[0].fwd
	for _, p := range n.planes[1:] {
		if d.Verdict == forward.NotMine {
			knows.Uncount(d.Verdict)
			knows, d = p.fwd, p.fwd.Packet(now, in, b)
		}
	}
	if d.Verdict == forward.TunnelError || d.Verdict == forward.TunnelMTU {
		n.all(func(f *forward.Forwarder) { f.LearnPath(now, knows, d.Server) })
	}
	return d
}

func isICMP(b []byte) bool {
	ip, err := proto.ParseIP(b)
	if err != nil {
		return false
	}
	if !ip.Is6() {
		return ip.Protocol() == proto.ProtocolICMP
	}
	protocol, _, _, err := proto.IPv6(ip).Transport()
	return err == nil && protocol == proto.ProtocolICMPv6
}
