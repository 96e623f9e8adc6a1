package node

import (
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/forward"
)

// steer carries out what an operator wants. The pool of a service may change with it: a
// service whose servers are all steered away from has none.
func (n *Node) steer(now time.Duration, ev Steer) {
	i := n.serviceOf(ev.Service)
	if i < 0 {
		return // it went meanwhile
	}
	s := &n.services[i]
	if ev.Server.IsValid() {
		n.fwd.SteerServer(s.key, ev.Server, ev.To)
	} else {
		n.fwd.SteerService(s.key, ev.To)
	}
	n.emit(Steered(ev))
	n.judgeQuorum(now, s)
	for k := range s.servers {
		if rs := &s.servers[k]; s.sorry && rs.pooled && !n.steered(s, rs) {
			n.pool(now, s, rs, false)
		}
	}
}

// evict ends flows; the table is gone through in pieces.
func (n *Node) evict(now time.Duration, ev Evict) {
	if n.serviceOf(ev.Service) < 0 {
		return
	}
	if ev.Server.IsValid() {
		n.fwd.Evict(ev.Service, ev.Server)
	} else {
		n.fwd.EvictService(ev.Service)
	}
	n.emit(Evicted(ev))
	n.sweep(now)
}

// sweep does a piece, and the next one when frames and timers had their turn.
func (n *Node) sweep(now time.Duration) {
	if n.fwd.Sweep() {
		n.timers.set(n.sweepTimer, now+1)
	}
}

// estimate brings the rates up to date while something moves.
func (n *Node) estimate(now time.Duration) {
	if next, ok := n.fwd.Estimate(now); ok {
		n.timers.set(n.rateTimer, next)
	}
}

// steered tells whether an operator keeps new flows from a server.
func (n *Node) steered(s *service, rs *realServer) bool {
	return n.fwd.Steered(s.key, rs.cfg.Addr) != forward.Serve
}

// drained tells whether servers are alive and an operator keeps new flows from all of them:
// then none counts for the quorum, so that the sorry server may step in. While another takes
// flows, those that are steered count as before.
func (n *Node) drained(s *service) bool {
	serves := func(rs realServer) bool { return rs.alive && !n.steered(s, &rs) }
	return !slices.ContainsFunc(s.servers, serves)
}
