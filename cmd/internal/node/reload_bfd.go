package node

import (
	"slices"

	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/fsm/bfd"
)

// like returns the number of the session that other sessions have with the same neighbour, -1
// without one. Everything else may change while it is Up.
func (s *session) like(list []session) int {
	return slices.IndexFunc(list, func(o session) bool {
		return o.cfg.Neighbor == s.cfg.Neighbor && o.cfg.Source == s.cfg.Source && o.cfg.Multihop == s.cfg.Multihop
	})
}

// dismissSessions ends those that the next node does not have.
func (r *reload) dismissSessions(next *Node) {
	for i := range r.sessions {
		if r.sessions[i].like(next.sessions) < 0 {
			r.stepSession(r.now, i, bfd.Shutdown{})
		}
	}
}

// adoptSessions carries over the sessions that stay; what checks have of them comes along.
func (r *reload) adoptSessions() {
	for i := range r.sessions {
		s := &r.sessions[i]
		k := s.like(r.was.sessions)
		if k < 0 {
			continue
		}
		old := &r.was.sessions[k]
		s.bfd, s.known, s.good, s.since, s.cause, s.counts = old.bfd, old.known, old.good, old.since, old.cause, old.counts
		r.keepTimer(s.timer, old.timer)
		if !s.known {
			continue
		}
		for _, c := range s.checks {
			ck := &r.checks[c]
			rs := &r.services[ck.service].servers[ck.server]
			rs.failed -= failed(&ck.trial)
			ck.told(s.good)
			rs.failed += failed(&ck.trial)
			rs.alive = rs.failed == 0
		}
	}
}

// settleSessions gives the sessions that stay their new intervals, and starts the new ones. Who
// tracks a name that is another session's now hears how that one stands: a new one is not Up yet.
func (r *reload) settleSessions() {
	for i := range r.sessions {
		s := &r.sessions[i]
		k := s.like(r.was.sessions)
		if k < 0 || r.was.sessions[k].cfg.Name != s.cfg.Name {
			r.tellSession(r.now, s)
		}
		if k >= 0 {
			c := bfd.Config{
				MinTX: s.cfg.MinTX, MinRX: s.cfg.MinRX, IdleTX: s.cfg.IdleTX, Multiplier: uint8(s.cfg.Multiplier), Passive: s.cfg.Passive,
			}
			r.carrySession(r.now, i, s.bfd.Reconfigure(r.now, c, nil))
			continue
		}
		r.startSession(r.now, i)
	}
}

// informOfSessions tells an instance what is known of the sessions that it tracks.
func (r *reload) informOfSessions(i int, tell func(users []int, ev fsm.Event)) {
	for k := range r.sessions {
		if s := &r.sessions[k]; slices.Contains(s.users, i) {
			tell(s.users, fsm.Tracked{Kind: "bfd", Name: s.cfg.Name, Up: s.good})
		}
	}
}
