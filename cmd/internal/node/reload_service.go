package node

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/forward"
)

// dismissService ends what the next node does not have of a service.
func (r *reload) dismissService(next *Node, s *service) {
	var stays []forward.ServiceKey
	if k := next.like(s); k >= 0 {
		stays = next.services[k].keys
	} else {
		for i := range s.servers {
			r.retire(s, &s.servers[i])
		}
	}
	for _, k := range s.keys {
		if !slices.Contains(stays, k) {
			r.fwd.RemoveService(k)
		}
	}
}

// retire tells that a real server is gone for good; one that was alive counts as down.
func (r *reload) retire(s *service, rs *realServer) {
	if !rs.alive {
		return
	}
	r.emit(ServerChanged{Service: s.name, Server: rs.cfg.Addr, Reason: "reload"})
	rs.alive = false
	r.tellServer(s, rs)
	if rs.cfg.SMTPAlert && r.mails() {
		r.emit(Mail{Subject: serverSubject(s, rs, false), Body: "Removing"})
	}
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
		for x, key := range s.keys {
			if y := slices.Index(old.keys, key); y >= 0 {
				s.pools[x] = old.pools[y]
			}
		}
		for x := range s.servers {
			y := old.serverAt(s.servers[x].cfg.Addr)
			if y < 0 {
				continue
			}
			s.servers[x].alive, s.servers[x].told = old.servers[y].alive, old.servers[y].told
			r.adoptChecks(i, x, k, y)
		}
	}
}

// adoptChecks keeps the checks of a real server that are the same as before. A new check
// of a server that was there counts as good, and its first failure decides.
func (r *reload) adoptChecks(service, server, wasService, wasServer int) {
	rs := &r.services[service].servers[server]
	rs.failed, rs.adjust = 0, 0
	for c := range r.checks {
		ck := &r.checks[c]
		if ck.service != service || ck.server != server {
			continue
		}
		if ck.cfg.Kind == "FILE_CHECK" || ck.cfg.Kind == "BFD_CHECK" && ck.known {
			rs.count(ck)
			continue
		}
		ck.up = true
		for o := range r.was.checks {
			old := &r.was.checks[o]
			if old.service == wasService && old.server == wasServer && old.cfg.Same(ck.cfg) {
				ck.trial = old.trial.under(ck.cfg)
				ck.began, ck.last = old.began, old.last
				r.keepTimer(ck.timer, old.timer)
			}
		}
		rs.count(ck)
	}
}

// settleServices brings the forwarder and the checks to the new configuration. Connections
// stay with their servers.
func (r *reload) settleServices() {
	r.fwd.SetMarks(r.marks)
	r.hideVIPs(r.was.instances) // some may be virtual no longer
	r.hideVIPs(r.instances)
	r.fwd.SetTimeouts(r.timeouts.TCP, r.timeouts.TCPFin, r.timeouts.UDP)
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
			if !slices.Contains(old.keys, key) {
				mustServe(r.serve(s.cfg, key))
			} else if want != r.was.forwarded(old.cfg, key) {
				mustServe(r.fwd.EditService(want))
			}
		}
		r.settleServers(s, old)
		for c := range r.checks {
			if ck := &r.checks[c]; ck.service == i && r.timers.pos[ck.timer] < 0 {
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
		r.retire(s, rs)
		for _, key := range s.keys {
			if s.steered && slices.Contains(old.keys, key) {
				r.fwd.SteerServer(key, r.server(key, rs.cfg, 0).Addr, forward.Serve)
			}
		}
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

// serverAt returns the number of the real server with that address, -1 without one.
func (s *service) serverAt(addr netip.AddrPort) int {
	return slices.IndexFunc(s.servers, func(rs realServer) bool { return rs.cfg.Addr == addr })
}
