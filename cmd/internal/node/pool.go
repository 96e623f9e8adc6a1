package node

import (
	"fmt"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
)

// checker is one health check of a real server and the counter that judges its
// results (keepalived's rule: the first result decides at once, later ones only
// after retry further failures; one success brings the server back).
type checker struct {
	cfg             *config.Check
	service, server int
	timer           int
	up, ran         bool
	failures        int
}

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
		for _, ch := range r.Checks {
			if ch.Kind != "TCP_CHECK" {
				continue // said when the file was read
			}
			up := !ch.Alpha
			n.checks = append(n.checks, checker{
				cfg: ch, service: len(n.services), server: len(s.servers), up: up,
				timer: n.newTimer(timerCheck, len(n.checks)),
			})
			if !up {
				rs.failed++
			}
		}
		rs.alive = rs.failed == 0
		s.servers = append(s.servers, rs)
	}
	n.services = append(n.services, s)
	return nil
}

// serve gives the forwarder a service without servers.
func (n *Node) serve(c *config.VirtualServer, k forward.ServiceKey) error {
	err := n.try(func(f *forward.Forwarder) error { return f.AddService(n.forwarded(c, k)) })
	if err == nil && k.Mark == 0 {
		n.localChanged(k.Addr.Addr())
	}
	return err
}

// Check returns the configuration of check number i, for the driver to run.
func (n *Node) Check(i int) *config.Check { return n.checks[i].cfg }

// Script returns the configuration of tracking script number i.
func (n *Node) Script(i int) *config.Script { return n.scripts[i].cfg }

// startService fills the pool and plans the first checks: after one second and a
// part of the warm-up time, so that not all start together.
func (n *Node) startService(now time.Duration, i int) {
	s := &n.services[i]
	n.fill(now, s)
	n.judgeQuorum(now, s)
	for c := range n.checks {
		if ck := &n.checks[c]; ck.service == i {
			n.timers.set(ck.timer, now+time.Second+n.jitter(c, ck.cfg.Warmup))
		}
	}
}

// jitter spreads check i evenly over [0, most), the same for the same seed.
func (n *Node) jitter(i int, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	x := n.seed + uint64(i)*0x9e3779b97f4a7c15 // splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return time.Duration((x ^ x>>31) % uint64(most))
}

// startCheck runs check i, or passes this turn over while ha_suspend keeps the
// checks of a service quiet whose address lives elsewhere.
func (n *Node) startCheck(now time.Duration, i int) {
	c := &n.checks[i]
	s := &n.services[c.service]
	if s.cfg.HASuspend && !n.local(s.cfg.Addr.Addr()) {
		n.timers.set(c.timer, now+c.cfg.DelayLoop)
		return
	}
	n.emit(RunCheck{Check: i})
}

func (n *Node) checkDone(now time.Duration, ev CheckDone) {
	c := &n.checks[ev.Check]
	wait := c.cfg.DelayLoop
	switch {
	case ev.Local:
	case ev.OK:
		c.failures = 0
		if !c.up {
			c.up = true
			n.checkTurned(now, c, ev.Reason)
		}
	case c.up && c.ran && c.failures < c.cfg.Retry:
		c.failures++
		wait = c.cfg.DelayBeforeRetry
	case c.up:
		c.up, c.failures = false, 0
		n.checkTurned(now, c, ev.Reason)
	}
	c.ran = c.ran || !ev.Local
	n.timers.set(c.timer, now+wait)
}

// checkTurned counts a check that turned into its server, which is alive while
// none of its checks failed.
func (n *Node) checkTurned(now time.Duration, c *checker, reason string) {
	s := &n.services[c.service]
	rs := &s.servers[c.server]
	if c.up {
		rs.failed--
	} else {
		rs.failed++
	}
	if alive := rs.failed == 0; alive != rs.alive {
		rs.alive = alive
		n.serverTurned(now, s, rs, reason)
	}
}

// serverTurned takes a real server in or out of the pool, and tells so. While the sorry
// server stands in, the pool stays as it is.
func (n *Node) serverTurned(now time.Duration, s *service, rs *realServer, reason string) {
	n.fill(now, s)
	n.emit(ServerChanged{Service: s.name, Server: rs.cfg.Addr, Up: rs.alive, Inhibit: rs.cfg.InhibitOnFailure, Reason: reason})
	script := rs.cfg.NotifyDown
	if rs.alive {
		script = rs.cfg.NotifyUp
	}
	if script != nil {
		n.emit(Notify{Queue: rs.cfg.Addr.String(), Command: script})
	}
	n.tell(false, "RS %s %s %s", s.serverName(rs), s.name, upOrDown(rs.alive))
	n.judgeQuorum(now, s)
}

// judgeQuorum compares the weight that is alive with the quorum and brings the
// sorry server in or out (one change, without a moment of an empty pool).
func (n *Node) judgeQuorum(now time.Duration, s *service) {
	alive := 0
	for i := range s.servers {
		if s.servers[i].alive {
			alive += max(0, s.servers[i].cfg.Weight)
		}
	}
	if n.drained(s) {
		alive = 0
	}
	was := s.quorum
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
	changed := QuorumChanged{Service: s.name, Up: s.quorum}
	script := s.cfg.QuorumDown
	if s.quorum {
		script = s.cfg.QuorumUp
	}
	if sorry != nil {
		changed.Sorry = sorry.Addr
	}
	n.emit(changed)
	if script != nil {
		n.emit(Notify{Queue: s.name, Command: script})
	}
	n.tell(false, "VS %s %s", s.name, upOrDown(s.quorum))
}
