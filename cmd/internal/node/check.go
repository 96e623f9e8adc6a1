package node

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
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

// addCheck makes a checker of server number server of service number service.
func (n *Node) addCheck(c *config.Check, service, server int, rs *realServer) {
	if c.Kind != "TCP_CHECK" {
		return // said when the file was read
	}
	up := !c.Alpha
	n.checks = append(n.checks, checker{
		cfg: c, service: service, server: server, up: up,
		timer: n.newTimer(timerCheck, len(n.checks)),
	})
	if !up {
		rs.failed++
	}
}

// Check returns the configuration of check number i, for the driver to run.
func (n *Node) Check(i int) *config.Check { return n.checks[i].cfg }

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
	if s.cfg.HASuspend && !n.local(s.key.Addr.Addr()) {
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
