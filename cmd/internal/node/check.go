package node

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// checker is one health check of a real server.
type checker struct {
	trial
	service, server int
	timer           int
	began           time.Duration // the last try
	last            Tried
	equal           []int // the checks that ask the same, see share; nil without others
	with            []int // those of them that the try under way is for, too
}

// addCheck makes a checker of server number server of service number service.
func (n *Node) addCheck(c *config.Check, service, server int, rs *realServer) {
	i := len(n.checks)
	n.checks = append(n.checks, checker{trial: newTrial(c), service: service, server: server, timer: n.newTimer(timerCheck, i)})
	ck := &n.checks[i]
	for s := range n.sessions {
		if c.Kind == "BFD_CHECK" && n.sessions[s].cfg.Name == c.BFD {
			n.sessions[s].checks = append(n.sessions[s].checks, i)
		}
	}
	if c.Kind == "FILE_CHECK" {
		for f := range n.files {
			if n.files[f].cfg.Name == c.TrackFile {
				n.files[f].checks = append(n.files[f].checks, i)
				ck.read(n.files[f].value)
			}
		}
	}
	rs.count(ck)
}

// count adds what a check says of its server to what the others say.
func (rs *realServer) count(c *checker) {
	rs.failed += failed(&c.trial)
	rs.adjust += c.adjust
}

// weight is the configured weight with what checks add to it.
func (rs *realServer) weight() int { return min(max(0, rs.cfg.Weight+rs.adjust), 1<<31-1) }

// Check returns the configuration of check number i, for the driver to run.
func (n *Node) Check(i int) *config.Check { return n.checks[i].cfg }

// Tried is the result of one try; At is 0 where there was none. Of what tells its changes
// itself it is the last change.
type Tried struct {
	At, Took  time.Duration // the end, and how long it took
	URL       int           // of a web server: the number of the request
	OK, Local bool
	Exit      int // status, of a script
	Reason    string
}

// SSL is what SSL_GET shows to servers, nil for nothing.
func (n *Node) SSL() *config.SSL { return n.cfg.SSL }

// planCheck plans the first try of a check: after one second and a part of the warm-up
// time, so that not all start together. Files and sessions of BFD tell their changes themselves.
func (n *Node) planCheck(now time.Duration, i int) {
	if c := &n.checks[i]; asks(c.cfg) {
		n.timers.set(c.timer, now+time.Second+n.jitter(i, c.cfg.Warmup))
	}
}

// asks tells whether a check asks from time to time; others tell their changes themselves.
func asks(c *config.Check) bool { return c.Kind != "FILE_CHECK" && c.Kind != "BFD_CHECK" }

// jitter spreads check i evenly over [0, most), the same for the same seed.
func (n *Node) jitter(i int, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(n.random(uint64(i)) % uint64(most))
}

// startCheck runs check i, or passes this turn over while ha_suspend keeps the
// checks of a service quiet whose address lives elsewhere.
func (n *Node) startCheck(now time.Duration, i int) {
	c := &n.checks[i]
	if n.services[c.service].suspended {
		n.timers.set(c.timer, now+c.cfg.DelayLoop)
		return
	}
	c.began = now
	n.takeAlong(now, i)
	n.emit(RunCheck{Check: i, URL: c.url})
}

// checkDone takes a result, also for the checks that the try was made for too.
func (n *Node) checkDone(now time.Duration, ev CheckDone) {
	c := &n.checks[ev.Check]
	n.checkTried(now, ev)
	for _, i := range c.with {
		ev.Check = i
		n.checkTried(now, ev)
	}
	c.with = c.with[:0]
}

func (n *Node) checkTried(now time.Duration, ev CheckDone) {
	c := &n.checks[ev.Check]
	was := c.trial
	c.last = Tried{At: now, Took: now - c.began, URL: c.url, OK: ev.OK, Local: ev.Local, Exit: ev.Exit, Reason: ev.Reason}
	wait := c.judge(ev)
	from := now
	if c.cfg.Kind == "MISC_CHECK" { // scripts keep a steady period
		from = c.began
	}
	n.timers.set(c.timer, max(now, from+wait))
	if !ev.Local {
		n.tellCheck(c, was, ev.Reason)
	}
	n.checkJudged(now, c, was, ev.Reason)
}

// tellCheck reports a first result and a turn, and with log_all_failures every failure of
// a check that is up.
func (n *Node) tellCheck(c *checker, was trial, reason string) {
	s := &n.services[c.service]
	rs := &s.servers[c.server]
	switch {
	case c.up != was.up || c.known && !was.known:
		n.emit(CheckChanged{Service: s.name, Server: rs.cfg.Addr, Name: s.serverName(rs), Check: c.cfg, Up: c.up, Retries: was.failures, Reason: reason})
	case c.up && c.failures > 0 && c.cfg.LogAllFailures:
		n.emit(CheckFailed{Service: s.name, Server: rs.cfg.Addr, Check: c.cfg, Try: c.failures, Reason: reason})
	}
}

// checkJudged lets what a check says now count for its server, which is alive while none
// of its checks failed.
func (n *Node) checkJudged(now time.Duration, c *checker, was trial, reason string) {
	s := &n.services[c.service]
	rs := &s.servers[c.server]
	if c.adjust != was.adjust {
		before := rs.weight()
		rs.adjust += c.adjust - was.adjust
		n.weightChanged(now, s, rs, before)
	}
	rs.failed += failed(&c.trial) - failed(&was)
	alive := rs.failed == 0
	turned := alive != rs.alive
	// Pessimistic checks are down from the start. keepalived 2.2.7 tells the first failure
	// all the same, but of web servers.
	first := !alive && !was.up && !c.up && c.known && !was.known && len(c.cfg.URLs) == 0
	switch {
	case turned:
		rs.alive = alive
		n.serverTurned(now, s, rs, reason)
	case first && !rs.told:
		n.tellServer(s, rs)
		turned = true
	}
	if c.up != was.up || first {
		n.mailServer(s, rs, c, turned, reason)
	}
}

// weightChanged lets a new effective weight take effect where the server is in the pool.
func (n *Node) weightChanged(now time.Duration, s *service, rs *realServer, before int) {
	to := rs.weight()
	if to == before {
		return
	}
	n.emit(WeightChanged{Service: s.name, Server: rs.cfg.Addr, Name: s.serverName(rs), From: before, To: to, Active: rs.alive})
	n.fill(now, s)
	n.judgeQuorum(now, s)
}

// fileRecalled gives the checks of a file what they begin with.
func (n *Node) fileRecalled(f *file) {
	for _, i := range f.checks {
		c := &n.checks[i]
		rs := &n.services[c.service].servers[c.server]
		rs.failed, rs.adjust = rs.failed-failed(&c.trial), rs.adjust-c.adjust
		c.read(f.value)
		rs.count(c)
		rs.alive = rs.failed == 0
	}
}

// fileChecked judges the checks of a file that says another number now.
func (n *Node) fileChecked(now time.Duration, f *file) {
	if !n.started {
		n.fileRecalled(f)
		return
	}
	for _, i := range f.checks {
		c := &n.checks[i]
		was := c.trial
		c.read(f.value)
		reason := "track_file " + f.cfg.Name
		c.last = Tried{At: now, OK: c.up, Reason: fmt.Sprintf("%s says %d", reason, f.value)}
		n.tellCheck(c, was, reason)
		n.checkJudged(now, c, was, reason)
	}
}

// failed is 1 for a check that is down.
func failed(t *trial) int {
	if t.up {
		return 0
	}
	return 1
}

type (
	// CheckChanged reports a check that turned, or its first result. Retries is how many
	// tries failed before the one that decided.
	CheckChanged struct {
		Service string
		Server  netip.AddrPort
		Name    string // of the server in messages
		Check   *config.Check
		Up      bool
		Retries int
		Reason  string
	}
	// CheckFailed reports a failure that decided nothing yet (log_all_failures).
	CheckFailed struct {
		Service string
		Server  netip.AddrPort
		Check   *config.Check
		Try     int
		Reason  string
	}
	// CheckSuspended reports a check that rests, by ha_suspend, or goes on.
	CheckSuspended struct {
		Service   string
		Name      string // of the server in messages
		Suspended bool
		Begins    bool // so from the start
	}
	// WeightChanged reports a new effective weight of a real server.
	WeightChanged struct {
		Service  string
		Server   netip.AddrPort
		Name     string // of the server in messages
		From, To int
		Active   bool // it is up
	}
)

func (CheckChanged) action()   {}
func (CheckFailed) action()    {}
func (CheckSuspended) action() {}
func (WeightChanged) action()  {}
