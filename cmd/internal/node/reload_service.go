package node

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/forward"
)

// dismissService ends what the next node does not have of a service.
func (r *reload) dismissService(next *Node, s *service) {
	var stays []forward.ServiceKey
	if k := next.like(s); k >= 0 {
		if !next.services[k].cfg.InKernel() {
			stays = next.services[k].keys
		}
	} else {
		for i := range s.servers {
			r.retire(s, &s.servers[i], "reload", "Removing")
		}
		if s.quorum {
			r.loseQuorum(s)
			r.mailQuorum(s, 0)
		}
	}
	for _, k := range s.keys {
		if !slices.Contains(stays, k) && !s.cfg.InKernel() {
			r.all(func(f *forward.Forwarder) { f.RemoveService(k) })
		}
	}
}

// forgetWishes forgets what an operator wants of services and servers that the kernel has no
// longer.
func (r *reload) forgetWishes() {
	maps.DeleteFunc(r.programming.wishes, func(w wished, _ forward.Steering) bool {
		return !slices.ContainsFunc(r.services, func(s service) bool {
			return s.cfg.InKernel() && slices.Contains(s.keys, w.service) && (!w.server.IsValid() || placeOf(r.known(&s, w.service), w.server) >= 0)
		})
	})
}

// adoptServices carries over what is known about real servers by their checks.
func (r *reload) adoptServices() {
	for i := range r.services {
		s := &r.services[i]
		k := r.was.like(s)
		if k < 0 {
			continue
		}
		old := &r.was.services[k]
		s.quorum, s.judged, s.sorry, s.steered = old.quorum, old.judged, old.sorry && s.cfg.SorryServer != nil, old.steered
		s.suspended = old.suspended
		for x, key := range s.keys {
			if y := slices.Index(old.keys, key); y >= 0 && old.cfg.InKernel() == s.cfg.InKernel() {
				s.pools[x] = old.pools[y]
			}
		}
		for x := range s.servers {
			y := old.serverAt(s.servers[x].cfg.Addr)
			if y < 0 {
				continue
			}
			s.servers[x].alive, s.servers[x].told = old.servers[y].alive, old.servers[y].told
			r.adoptChecks(&s.servers[x], &old.servers[y])
		}
	}
}

// adoptChecks keeps the checks of a real server that are the same as before. A new check
// of a server that was there counts as good, and its first failure decides.
func (r *reload) adoptChecks(rs, was *realServer) {
	rs.failed, rs.adjust = 0, 0
	taken := map[int]bool{} // of several that are the same each is one
	for c := rs.checks.from; c < rs.checks.to; c++ {
		ck := &r.checks[c]
		if ck.cfg.Kind == "FILE_CHECK" || ck.cfg.Kind == "BFD_CHECK" && ck.known {
			rs.count(ck)
			continue
		}
		ck.up = true
		for o := was.checks.from; o < was.checks.to; o++ {
			if old := &r.was.checks[o]; !taken[o] && old.cfg.Same(ck.cfg) {
				ck.trial = old.trial.under(ck.cfg)
				ck.began, ck.last = old.began, old.last
				r.keepTimer(ck.timer, old.timer)
				taken[o] = true
				break
			}
		}
		rs.count(ck)
	}
}

// settleServices brings the forwarder and the checks to the new configuration. Connections
// stay with their servers.
func (r *reload) settleServices() {
	r.tidy()
	r.forgetWishes()
	r.all(func(f *forward.Forwarder) { f.SetMarks(r.marks) })
	r.hideVIPs(r.was.instances) // some may be virtual no longer
	r.hideVIPs(r.instances)
	r.all(func(f *forward.Forwarder) { f.SetTimeouts(r.timeouts.TCP, r.timeouts.TCPFin, r.timeouts.UDP) })
	for i := range r.services {
		s := &r.services[i]
		k := r.was.like(s)
		if k < 0 {
			for _, key := range s.keys {
				mustServe(r.serve(s.cfg, key))
			}
			r.startService(r.now, i)
			continue
		}
		old := &r.was.services[k]
		for _, key := range s.keys {
			want := r.forwarded(s.cfg, key)
			if s.cfg.InKernel() {
				continue
			}
			if old.cfg.InKernel() || !slices.Contains(old.keys, key) {
				mustServe(r.serve(s.cfg, key))
			} else if want != r.was.forwarded(old.cfg, key) {
				mustServe(r.try(func(f *forward.Forwarder) error { return f.EditService(want) }))
			}
		}
		r.suspend(s, false)
		r.settleServers(s, old)
		for c := range s.checks() {
			if r.timers.pos[r.checks[c].timer] < 0 {
				r.planCheck(r.now, c)
			}
		}
	}
}

// mustServe is for what compose has tried before.
func mustServe(err error) {
	if err != nil {
		panic("node: " + err.Error())
	}
}

// settleServers tells of the servers that are gone, lets the checks that are left decide on
// the others, and brings the pools to what they are to be.
func (r *reload) settleServers(s, old *service) {
	for k := range old.servers {
		rs := &old.servers[k]
		if s.serverAt(rs.cfg.Addr) >= 0 {
			continue
		}
		r.retire(s, rs, "reload", "Removing")
	}
	if s.steered && !s.cfg.InKernel() {
		r.unsteer(s, old)
	}
	for k := range s.servers {
		rs := &s.servers[k]
		if alive := rs.failed == 0; old.serverAt(rs.cfg.Addr) >= 0 && alive != rs.alive {
			rs.alive = alive
			r.serverTurned(r.now, s, rs, "reload")
		}
	}
	r.fill(r.now, s)
	r.judgeQuorum(r.now, s)
}

// unsteer forgets what an operator wants of servers that a service of the ring has no longer.
func (r *reload) unsteer(s, old *service) {
	for _, key := range s.keys {
		stays := r.known(s, key)
		for _, was := range r.was.known(old, key) {
			if placeOf(stays, was.Addr) < 0 {
				r.all(func(f *forward.Forwarder) { f.SteerServer(key, was.Addr, forward.Serve) })
			}
		}
	}
}

// serverAt returns the number of the real server with that address, -1 without one.
func (s *service) serverAt(addr netip.AddrPort) int {
	return slices.IndexFunc(s.servers, func(rs realServer) bool { return rs.cfg.Addr == addr })
}
