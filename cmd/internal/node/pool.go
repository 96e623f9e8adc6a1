package node

import (
	"fmt"
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
		for _, ch := range r.Checks {
			n.addCheck(ch, len(n.services), len(s.servers), &rs)
		}
		rs.alive = rs.failed == 0
		s.servers = append(s.servers, rs)
	}
	n.services = append(n.services, s)
	return nil
}

// serve gives the forwarder a service without servers.
func (n *Node) serve(c *config.VirtualServer, k forward.ServiceKey) error {
	err := n.fwd.AddService(n.forwarded(c, k))
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
	n.fill(now, s)
	n.judgeQuorum(now, s)
	for c := range n.checks {
		if n.checks[c].service == i {
			n.planCheck(now, c)
		}
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

// judgeQuorum compares the weight that is alive with the quorum and brings the
// sorry server in or out (one change, without a moment of an empty pool).
func (n *Node) judgeQuorum(now time.Duration, s *service) {
	alive := 0
	for i := range s.servers {
		if s.servers[i].alive {
			alive += s.servers[i].weight()
		}
	}
	if n.drained(s) {
		alive = 0
	}
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
	n.mailQuorum(s, alive)
}
