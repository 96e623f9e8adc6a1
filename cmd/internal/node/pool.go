package node

import (
	"fmt"
	"iter"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
)

func (n *Node) addService(c *config.VirtualServer) error {
	s := service{cfg: c, name: n.serviceName(c), keys: keysOf(c)}
	s.pools = make([][]forward.Server, len(s.keys))
	for _, k := range s.keys {
		if err := n.serve(c, k); err != nil {
			return fmt.Errorf("%s: %w", c.Pos, err)
		}
	}
	for _, r := range c.RealServers {
		rs := realServer{cfg: r}
		rs.checks.from = len(n.checks)
		for _, ch := range r.Checks {
			n.addCheck(ch, len(n.services), len(s.servers), &rs)
		}
		rs.checks.to, rs.alive = len(n.checks), rs.failed == 0
		s.servers = append(s.servers, rs)
	}
	n.services = append(n.services, s)
	return nil
}

// serve gives the forwarder a service without servers, unless it is the kernel's.
func (n *Node) serve(c *config.VirtualServer, k forward.ServiceKey) error {
	if c.InKernel() {
		return nil
	}
	err := n.try(func(f *forward.Forwarder) error { return f.AddService(n.forwarded(c, k)) })
	if err == nil && k.Mark == 0 {
		n.localChanged(k.Addr.Addr())
	}
	return err
}

// Script returns the configuration of tracking script number i.
func (n *Node) Script(i int) *config.Script { return n.scripts[i].cfg }

// startService fills the pool and plans the first checks.
func (n *Node) startService(now time.Duration, i int) {
	s := &n.services[i]
	n.suspend(s, true)
	n.fill(now, s)
	n.judgeQuorum(now, s)
	for c := range s.checks() {
		n.planCheck(now, c)
	}
}

// checks walks through the numbers of the checks of a service.
func (s *service) checks() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range s.servers {
			for c := s.servers[i].checks.from; c < s.servers[i].checks.to; c++ {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// suspend lets the checks of a service with ha_suspend rest while no interface has its
// address, and go on when one has. The servers stay as they are.
func (n *Node) suspend(s *service, begins bool) {
	rest := s.cfg.HASuspend && !n.local(s.cfg.Addr.Addr())
	if rest == s.suspended {
		return
	}
	s.suspended = rest
	for c := range s.checks() {
		rs := &s.servers[n.checks[c].server]
		n.emit(CheckSuspended{Service: s.name, Name: s.serverName(rs), Suspended: rest, Begins: begins})
	}
}

// serverTurned takes a real server in or out of the pool. While the sorry server
// stands in, the pool stays as it is.
func (n *Node) serverTurned(now time.Duration, s *service, rs *realServer, reason string) {
	n.fill(now, s)
	n.emit(ServerChanged{Service: s.name, Server: rs.cfg.Addr, Up: rs.alive, Inhibit: rs.cfg.InhibitOnFailure, Reason: reason})
	n.tellServer(s, rs)
	n.judgeQuorum(now, s)
}

// tellServer tells programs what a server is now.
func (n *Node) tellServer(s *service, rs *realServer) {
	rs.told = true
	script := rs.cfg.NotifyDown
	if rs.alive {
		script = rs.cfg.NotifyUp
	}
	if script != nil {
		n.emit(Notify{Queue: rs.cfg.Addr.String(), Command: script})
	}
	n.tell(false, "RS %s %s %s", s.serverName(rs), s.name, upOrDown(rs.alive))
}

// weight is what counts for the quorum: of the servers that are alive.
func (n *Node) weight(s *service) int {
	if n.drained(s) {
		return 0
	}
	sum := 0
	for i := range s.servers {
		if s.servers[i].alive {
			sum += s.servers[i].weight()
		}
	}
	return sum
}

// judgeQuorum compares the weight that is alive with the quorum and brings the
// sorry server in or out (one change, without a moment of an empty pool).
func (n *Node) judgeQuorum(now time.Duration, s *service) {
	alive := n.weight(s)
	was := s.quorum
	defer func() { s.judged = true }()
	if was {
		s.quorum = alive > 0 && alive >= s.cfg.Quorum-s.cfg.Hysteresis
	} else {
		s.quorum = alive >= s.cfg.Quorum+s.cfg.Hysteresis
	}
	sorry := s.cfg.SorryServer
	if sorry != nil && s.sorry == s.quorum {
		s.sorry = !s.quorum
		n.fill(now, s)
	}
	if was == s.quorum {
		return
	}
	changed := QuorumChanged{Service: s.name, Up: s.quorum, Quorum: s.cfg.Quorum, Hysteresis: s.cfg.Hysteresis, Weight: alive}
	if sorry != nil {
		changed.Sorry = sorry.Addr
	}
	n.emit(changed)
	n.tellQuorum(s)
	n.mailQuorum(s, alive)
}

// tellQuorum tells programs whether the quorum is reached.
func (n *Node) tellQuorum(s *service) {
	script := s.cfg.QuorumDown
	if s.quorum {
		script = s.cfg.QuorumUp
	}
	if script != nil {
		n.emit(Notify{Queue: s.name, Command: script})
	}
	n.tell(false, "VS %s %s", s.name, upOrDown(s.quorum))
}

// stopService tells at the end, where omega is written, that all is down: of servers that
// were up, and of the service whatever it was (reference 2.5).
func (n *Node) stopService(s *service) {
	if !s.cfg.Omega {
		return
	}
	for i := range s.servers {
		n.retire(s, &s.servers[i], "stop", "Shutting down")
	}
	n.loseQuorum(s)
	if s.cfg.SMTPAlert && n.mails() {
		n.emit(Mail{Subject: quorumSubject(s), Body: "Shutting down"})
	}
}

// loseQuorum tells that a service is down for good.
func (n *Node) loseQuorum(s *service) {
	s.quorum = false
	n.emit(QuorumChanged{Service: s.name, Quorum: s.cfg.Quorum, Hysteresis: s.cfg.Hysteresis})
	n.tellQuorum(s)
}

// retire tells that a real server is gone for good; one that was alive counts as down.
func (n *Node) retire(s *service, rs *realServer, reason, body string) {
	if !rs.alive {
		return
	}
	n.emit(ServerChanged{Service: s.name, Server: rs.cfg.Addr, Reason: reason})
	rs.alive = false
	n.tellServer(s, rs)
	if rs.cfg.SMTPAlert && n.mails() {
		n.emit(Mail{Subject: serverSubject(s, rs, false), Body: body})
	}
}
