package node

import (
	"slices"

	"github.com/ringkeep/ringkeep/forward"
)

// serviceOf returns the number of a service, -1 without one.
func (n *Node) serviceOf(key forward.ServiceKey) int {
	return slices.IndexFunc(n.services, func(s service) bool { return s.key == key })
}

// retire tells that a real server is gone for good; one that was alive counts as down.
func (r *reload) retire(s *service, rs *realServer) {
	if !rs.alive {
		return
	}
	r.emit(ServerChanged{Service: s.key, Server: rs.cfg.Addr, Reason: "reload"})
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
		k := r.was.serviceOf(s.key)
		if k < 0 {
			continue
		}
		old := &r.was.services[k]
		s.quorum, s.judged, s.sorry = old.quorum, old.judged, old.sorry
		for x := range s.servers {
			y := slices.IndexFunc(old.servers, func(o realServer) bool { return o.cfg.Addr == s.servers[x].cfg.Addr })
			if y < 0 {
				continue
			}
			s.servers[x].alive, s.servers[x].pooled, s.servers[x].told = old.servers[y].alive, old.servers[y].pooled, old.servers[y].told
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
		if ck.cfg.Kind == "FILE_CHECK" {
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
	for i := range r.services {
		s := &r.services[i]
		want := r.forwarded(s.cfg)
		k := r.was.serviceOf(s.key)
		if k < 0 {
			mustServe(r.fwd.AddService(want))
			r.localChanged(s.key.Addr.Addr())
			r.startService(r.now, i)
			continue
		}
		old := &r.was.services[k]
		if want != r.forwarded(old.cfg) {
			mustServe(r.fwd.EditService(want))
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

func (r *reload) settleServers(s, old *service) {
	for k := range old.servers {
		rs := &old.servers[k]
		if slices.ContainsFunc(s.servers, func(o realServer) bool { return o.cfg.Addr == rs.cfg.Addr }) {
			continue
		}
		if rs.pooled {
			r.fwd.RemoveServer(s.key, rs.cfg.Addr)
		}
		r.retire(s, rs)
	}
	if s.sorry && (s.cfg.SorryServer == nil || old.cfg.SorryServer.Addr != s.cfg.SorryServer.Addr) {
		r.fwd.RemoveServer(s.key, old.cfg.SorryServer.Addr)
		if s.sorry = s.cfg.SorryServer != nil; s.sorry {
			r.enter(r.now, s, s.cfg.SorryServer, 1)
		}
	}
	for k := range s.servers {
		rs := &s.servers[k]
		o := slices.IndexFunc(old.servers, func(o realServer) bool { return o.cfg.Addr == rs.cfg.Addr })
		alive := rs.failed == 0
		if o >= 0 && rs.pooled {
			r.fwd.SetThresholds(s.key, rs.cfg.Addr, rs.cfg.UThreshold, rs.cfg.LThreshold)
		}
		switch {
		case o < 0 && alive && !s.sorry:
			r.pool(r.now, s, rs, true)
		case o < 0:
			r.reweigh(s, rs)
		case alive != rs.alive:
			rs.alive = alive
			r.serverTurned(r.now, s, rs, "reload")
		case rs.weight() != old.servers[o].weight() || rs.cfg.InhibitOnFailure != old.servers[o].cfg.InhibitOnFailure:
			r.reweigh(s, rs)
		}
	}
	r.judgeQuorum(r.now, s)
}

// reweigh lets a new weight take effect where the server is in the pool, and a new
// inhibit_on_failure where it is down.
func (r *reload) reweigh(s *service, rs *realServer) {
	switch {
	case rs.alive && rs.pooled:
		r.fwd.SetWeight(s.key, rs.cfg.Addr, int32(rs.weight()))
	case rs.alive || s.sorry:
	case rs.cfg.InhibitOnFailure && !rs.pooled:
		r.enter(r.now, s, rs.cfg, 0)
		rs.pooled = true
	case !rs.cfg.InhibitOnFailure && rs.pooled:
		r.fwd.RemoveServer(s.key, rs.cfg.Addr)
		rs.pooled = false
	}
}
