package node

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/sched"
)

// service is a virtual server with the pool of its real servers.
type service struct {
	cfg     *config.VirtualServer
	key     forward.ServiceKey
	servers []realServer
	quorum  bool // reached
	judged  bool // it was compared before
	sorry   bool // the sorry server is in the pool
}

// realServer is one member of a pool.
type realServer struct {
	cfg    *config.RealServer
	failed int  // of its checks
	adjust int  // what they add to its weight
	alive  bool // no check failed
	pooled bool // known to the forwarder
	told   bool // that it went up or down
}

func (n *Node) addService(c *config.VirtualServer) error {
	key := forward.ServiceKey{Protocol: uint8(c.Protocol), Addr: c.Addr}
	err := n.fwd.AddService(n.forwarded(c))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Pos, err)
	}
	s := service{cfg: c, key: key}
	for _, r := range c.RealServers {
		rs := realServer{cfg: r}
		for _, ch := range r.Checks {
			n.addCheck(ch, len(n.services), len(s.servers), &rs)
		}
		rs.alive = rs.failed == 0
		s.servers = append(s.servers, rs)
	}
	n.services = append(n.services, s)
	n.localChanged(c.Addr.Addr())
	return nil
}

// forwarded is a service as the forwarder has it. Of its flags flag-1 is the fallback and
// flag-2 the port of sh and mh, as in ipvsadm.
func (n *Node) forwarded(c *config.VirtualServer) forward.Service {
	return forward.Service{
		Key: forward.ServiceKey{Protocol: uint8(c.Protocol), Addr: c.Addr}, Scheduler: string(c.Scheduler),
		Options:     sched.Options{Fallback: c.SHFallback || c.MHFallback || c.Flag1, Port: c.SHPort || c.MHPort || c.Flag2, Seed: n.seed},
		Persistence: c.Persistence.Timeout(), PersistenceMask: int(c.PersistenceMask),
	}
}

// Script returns the configuration of tracking script number i.
func (n *Node) Script(i int) *config.Script { return n.scripts[i].cfg }

// startService fills the pool and plans the first checks.
func (n *Node) startService(now time.Duration, i int) {
	s := &n.services[i]
	for r := range s.servers {
		rs := &s.servers[r]
		switch {
		case rs.alive:
			n.enter(now, s, rs.cfg, rs.weight())
			rs.pooled = true
		case rs.cfg.InhibitOnFailure:
			n.enter(now, s, rs.cfg, 0)
			rs.pooled = true
		}
	}
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
	if !s.sorry {
		n.pool(now, s, rs, rs.alive)
	}
	n.emit(ServerChanged{Service: s.key, Server: rs.cfg.Addr, Up: rs.alive, Inhibit: rs.cfg.InhibitOnFailure, Reason: reason})
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
	n.tell(false, "RS %s %s %s", lineName(s.key.Protocol, rs.cfg.Addr), lineName(s.key.Protocol, s.key.Addr), upOrDown(rs.alive))
}

// pool makes a server a member with its weight, or none: removed, or with
// inhibit_on_failure at weight 0.
func (n *Node) pool(now time.Duration, s *service, rs *realServer, in bool) {
	switch {
	case in && rs.pooled:
		n.fwd.SetWeight(s.key, rs.cfg.Addr, int32(rs.weight()))
	case in:
		n.enter(now, s, rs.cfg, rs.weight())
		rs.pooled = true
	case rs.cfg.InhibitOnFailure && rs.pooled:
		n.fwd.SetWeight(s.key, rs.cfg.Addr, 0)
	case rs.pooled:
		n.fwd.RemoveServer(s.key, rs.cfg.Addr)
		rs.pooled = false
	}
}

// enter gives a server to the forwarder and looks for its MAC.
func (n *Node) enter(now time.Duration, s *service, r *config.RealServer, weight int) {
	method := forward.DR
	if r.Addr.Addr().IsLoopback() || n.local(r.Addr.Addr()) {
		method = forward.Local
	}
	id, err := n.fwd.AddServer(s.key, forward.Server{
		Addr: r.Addr, Method: method, Weight: int32(weight), Upper: uint32(r.UThreshold), Lower: uint32(r.LThreshold),
	})
	if err != nil {
		panic(fmt.Sprintf("node: %s: %v", r.Pos, err)) // the configuration was checked
	}
	for len(n.hops) <= id {
		n.hops = append(n.hops, -1)
	}
	if method == forward.DR {
		n.hops[id] = hop(n.seek(now, anyPort, r.Addr.Addr()))
	}
}

// seek makes the neighbour entry for addr, asks for it and returns its number.
func (n *Node) seek(now time.Duration, port int, addr netip.Addr) int {
	known := len(n.neighbours)
	i := n.neighbourFor(port, addr)
	if i < 0 {
		n.emit(Unreachable{Addr: addr})
	} else if i == known {
		n.probe(now, i)
	}
	return i
}

// resolveHops tries again for the servers that no port had a prefix for.
func (n *Node) resolveHops(now time.Duration) {
	for id, h := range n.hops {
		info, ok := n.fwd.Server(int32(id))
		if h >= 0 || !ok || info.Method != forward.DR || n.route(info.Addr.Addr()) < 0 {
			continue
		}
		n.hops[id] = hop(n.seek(now, anyPort, info.Addr.Addr()))
	}
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
	was := s.quorum
	defer func() { s.judged = true }()
	if was {
		s.quorum = alive > 0 && alive >= s.cfg.Quorum-s.cfg.Hysteresis
	} else {
		s.quorum = alive >= s.cfg.Quorum+s.cfg.Hysteresis
	}
	sorry := s.cfg.SorryServer
	if sorry != nil && s.sorry == s.quorum {
		n.swapSorry(now, s, !s.quorum)
	}
	if was == s.quorum {
		return
	}
	changed := QuorumChanged{Service: s.key, Up: s.quorum}
	script := s.cfg.QuorumDown
	if s.quorum {
		script = s.cfg.QuorumUp
	}
	if sorry != nil {
		changed.Sorry = sorry.Addr
	}
	n.emit(changed)
	if script != nil {
		n.emit(Notify{Queue: s.key.Addr.String(), Command: script})
	}
	n.tell(false, "VS %s %s", lineName(s.key.Protocol, s.key.Addr), upOrDown(s.quorum))
	n.mailQuorum(s, alive)
}

// swapSorry exchanges the pool for the sorry server, or back.
func (n *Node) swapSorry(now time.Duration, s *service, in bool) {
	s.sorry = in
	if in {
		n.enter(now, s, s.cfg.SorryServer, 1)
	}
	for i := range s.servers {
		if rs := &s.servers[i]; rs.alive {
			n.pool(now, s, rs, !in)
		}
	}
	if !in {
		n.fwd.RemoveServer(s.key, s.cfg.SorryServer.Addr)
	}
}

// Flows lists what the ring forwards and the kernel must therefore not answer.
func (n *Node) Flows() []forward.ServiceKey {
	var keys []forward.ServiceKey
	for i := range n.services {
		keys = append(keys, n.services[i].key)
	}
	return keys
}

// LocalServers tells whether a frame may have to be handed to the local stack.
func (n *Node) LocalServers() bool {
	for i := range n.services {
		s := &n.services[i]
		servers := s.cfg.RealServers
		if s.cfg.SorryServer != nil {
			servers = append(servers[:len(servers):len(servers)], s.cfg.SorryServer)
		}
		for _, r := range servers {
			if r.Addr.Addr().IsLoopback() || n.local(r.Addr.Addr()) {
				return true
			}
		}
	}
	return false
}
