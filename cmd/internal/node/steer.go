package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/forward"
)

// steer carries out what an operator wants. The pool of a service may change with it: a
// service whose servers are all steered away from has none. Several virtual servers may be one
// service of the kernel.
func (n *Node) steer(now time.Duration, ev Steer) {
	i := n.serviceOf(ev.Service)
	if i < 0 {
		return // it went meanwhile
	}
	if n.services[i].cfg.InKernel() {
		n.wish(ev)
	} else {
		n.all(func(f *forward.Forwarder) {
			if ev.Server.IsValid() {
				f.SteerServer(ev.Service, ev.Server, ev.To)
			} else {
				f.SteerService(ev.Service, ev.To)
			}
		})
	}
	n.emit(Steered{keyName(ev.Service), ev.Server, ev.To})
	for ; i < len(n.services); i++ { // in the kernel others may share it
		if s := &n.services[i]; slices.Contains(s.keys, ev.Service) {
			s.steered = true
			n.judgeQuorum(now, s)
			n.fill(now, s)
		}
	}
}

// serviceOf returns the number of the first service that has a key, -1 without one.
func (n *Node) serviceOf(key forward.ServiceKey) int {
	return slices.IndexFunc(n.services, func(s service) bool { return slices.Contains(s.keys, key) })
}

// keyName is a service of the forwarder as keepalived writes it.
func keyName(k forward.ServiceKey) string {
	if k.Mark != 0 {
		return fmt.Sprintf("FWM %d", k.Mark)
	}
	return lineName(k.Protocol, k.Addr)
}

// evict ends flows; the table is gone through in pieces. The kernel's cannot be ended.
func (n *Node) evict(now time.Duration, ev Evict) {
	if i := n.serviceOf(ev.Service); i < 0 || n.services[i].cfg.InKernel() {
		return
	}
	n.all(func(f *forward.Forwarder) {
		if ev.Server.IsValid() {
			f.Evict(ev.Service, ev.Server)
		} else {
			f.EvictService(ev.Service)
		}
	})
	n.emit(Evicted{keyName(ev.Service), ev.Server})
	n.sweep(now)
}

// sweep does a piece, and the next one when frames and timers had their turn.
func (n *Node) sweep(now time.Duration) {
	more := false
	n.halt() // the change was the eviction
	for _, p := range n.planes {
		more = p.fwd.Sweep() || more
	}
	if more {
		n.timers.set(n.sweepTimer, now+1)
	}
}

// estimate brings the rates up to date while something moves.
func (n *Node) estimate(now time.Duration) {
	if next, ok := n.fwd.Estimate(now); ok {
		n.timers.set(n.rateTimer, next)
	}
}

// steers tells whether an operator keeps new flows of service k from a server.
func (n *Node) steers(s *service, k forward.ServiceKey, rs *realServer) bool {
	addr := n.server(s, k, rs.cfg, 0).Addr
	if s.cfg.InKernel() {
		return n.wishFor(k, addr) != forward.Serve
	}
	return n.fwd.Steered(k, addr) != forward.Serve
}

// drained tells whether an operator keeps new flows from all servers that are alive: then
// none counts for the quorum, so that the sorry server may step in. While another takes
// flows, those that are steered count as before.
func (n *Node) drained(s *service) bool {
	return s.steered && !slices.ContainsFunc(s.servers, func(rs realServer) bool {
		return rs.alive && slices.ContainsFunc(s.keys, func(k forward.ServiceKey) bool { return n.serves(s, k, rs.cfg) && !n.steers(s, k, &rs) })
	})
}
