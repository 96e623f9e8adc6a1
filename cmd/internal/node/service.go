package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/sched"
)

// service is a virtual server with its real servers. The forwarder has a service for each of
// its addresses or marks, and all of them have the same pool.
type service struct {
	cfg     *config.VirtualServer
	name    string // as keepalived has it in its messages
	keys    []forward.ServiceKey
	pools   [][]forward.Server // of each key, what the forwarder was given
	servers []realServer
	quorum  bool // reached
	judged  bool // it was compared before
	sorry   bool // the sorry server stands in
	steered bool // an operator had a say
}

// realServer is one member of a pool.
type realServer struct {
	cfg    *config.RealServer
	failed int  // of its checks
	adjust int  // what they add to its weight
	alive  bool // no check failed
	told   bool // that it went up or down
}

// serviceName is [ADDR]:proto:port, FWM MARK, or [GROUP]:n of the virtual server number n of
// a group (reference 4.1).
func (n *Node) serviceName(c *config.VirtualServer) string {
	switch {
	case c.ByMark:
		return fmt.Sprintf("FWM %d", c.Fwmark)
	case c.Group != "":
		before := 0
		for _, o := range n.cfg.VirtualServers[:slices.Index(n.cfg.VirtualServers, c)] {
			if o.Group == c.Group {
				before++
			}
		}
		return fmt.Sprintf("[%s]:%d", c.Group, before)
	}
	return lineName(uint8(c.Protocol), c.Addr)
}

func (s *service) serverName(rs *realServer) string {
	return lineName(uint8(s.cfg.Protocol), rs.cfg.Addr)
}

// like returns the number of the service that another configuration has as s, -1 without one.
func (n *Node) like(s *service) int {
	return slices.IndexFunc(n.services, func(o service) bool {
		return o.name == s.name && (s.cfg.Group != "" || o.keys[0] == s.keys[0])
	})
}

// keysOf lists what a virtual server is of, for the forwarder.
func keysOf(c *config.VirtualServer) []forward.ServiceKey {
	var keys []forward.ServiceKey
	for _, e := range c.Endpoints() {
		k := forward.ServiceKey{Protocol: uint8(c.Protocol), Addr: e.Addr, Mark: e.Mark}
		if e.Mark != 0 {
			k.Protocol = 0
		}
		keys = append(keys, k)
	}
	return keys
}

// forwarded is the service of one key as the forwarder has it. Of the flags flag-1 is the
// fallback and flag-2 the port of sh and mh, as in ipvsadm.
func (n *Node) forwarded(c *config.VirtualServer, k forward.ServiceKey) forward.Service {
	mask := int(c.PersistenceMask)
	if mask > k.Addr.Addr().BitLen() { // written for the other family of a group
		mask = 0
	}
	return forward.Service{
		Key: k, Scheduler: string(c.Scheduler),
		Options:     sched.Options{Fallback: c.SHFallback || c.MHFallback || c.Flag1, Port: c.SHPort || c.MHPort || c.Flag2, Seed: n.seed},
		Persistence: c.Persistence.Timeout(), PersistenceMask: mask, OnePacket: c.OPS,
		Midstream: midstreams[c.Midstream], Reuse: reuses[c.ConnReuseMode],
		ExpireNoDest: c.ExpireNodestConn, ExpireQuiescent: c.ExpireQuiescentTemplate,
		CacheBypass: c.CacheBypass && k.Mark != 0,
	}
}

var (
	midstreams = map[string]forward.Midstream{"drop": forward.Drop, "schedule": forward.Schedule}
	reuses     = [...]forward.ReuseMode{forward.ReuseNever, forward.ReuseClosed, forward.ReuseFinWait}
	methods    = map[string]forward.Method{"NAT": forward.NAT, "TUN": forward.TUN}
	tunnels    = map[string]forward.TunnelType{"gue": forward.GUE, "gre": forward.GRE}
	sums       = map[string]forward.TunnelSum{"csum": forward.Sum, "remcsum": forward.RemoteSum}
)

// serves tells whether the forwarder's service k takes a real server: across families only
// through a tunnel.
func (n *Node) serves(k forward.ServiceKey, r *config.RealServer) bool {
	return r.Addr.Addr().Is4() == k.Addr.Addr().Is4() || r.Method.Forwarding == "TUN" && !n.here(r.Addr.Addr())
}

// here tells whether packets to addr end on this host.
func (n *Node) here(addr netip.Addr) bool { return addr.IsLoopback() || n.local(addr) }

// server is a real server as service k has it. NAT alone changes the port; what is an address
// of this host goes to the local stack, whatever the method.
func (n *Node) server(k forward.ServiceKey, r *config.RealServer, weight int) forward.Server {
	s := forward.Server{
		Addr: netip.AddrPortFrom(r.Addr.Addr(), k.Addr.Port()), Method: methods[r.Method.Forwarding], Weight: int32(max(0, weight)),
		Upper: r.UThreshold, Lower: r.LThreshold,
	}
	switch s.Method {
	case forward.NAT:
		if r.Addr.Port() != 0 {
			s.Addr = r.Addr
		}
	case forward.TUN:
		s.Tunnel = forward.Tunnel{Type: tunnels[r.Method.Tunnel], Sum: sums[r.Method.Checksum], Port: r.Method.Port}
	}
	if n.here(r.Addr.Addr()) {
		s.Method, s.Tunnel = forward.Local, forward.Tunnel{}
	}
	return s
}

// members is the pool that service k is to have. Who is down is not in it, or with
// inhibit_on_failure has weight 0; so is everybody while the sorry server stands in.
func (n *Node) members(s *service, k forward.ServiceKey) []forward.Server {
	var list []forward.Server
	add := func(r *config.RealServer, weight int) {
		if in := n.server(k, r, weight); placeOf(list, in.Addr) < 0 { // one without a port may get that of another
			list = append(list, in)
		}
	}
	for i := range s.servers {
		rs := &s.servers[i]
		switch in := rs.alive && (!s.sorry || s.steered && n.steers(k, rs)); { // the flows of who is drained go on
		case !n.serves(k, rs.cfg):
		case in:
			add(rs.cfg, rs.weight())
		case rs.cfg.InhibitOnFailure:
			add(rs.cfg, 0)
		}
	}
	c := s.cfg.SorryServer
	if c == nil || !n.serves(k, c) || !s.sorry && !s.cfg.SorryServerInhibit {
		return list
	}
	weight := 0
	if s.sorry {
		weight = 1
	}
	sorry := n.server(k, c, weight)
	switch i := placeOf(list, sorry.Addr); {
	case i < 0:
		list = append(list, sorry)
	case s.sorry: // a real server that stands in for the others, too
		list[i] = sorry
	}
	return list
}

func placeOf(list []forward.Server, addr netip.AddrPort) int {
	return slices.IndexFunc(list, func(s forward.Server) bool { return s.Addr == addr })
}

// fill brings the pools of a service to what they are to be: who comes is in before others
// go, so that there is no moment without a server.
func (n *Node) fill(now time.Duration, s *service) {
	for i, k := range s.keys {
		want := n.members(s, k)
		if slices.Equal(s.pools[i], want) {
			continue
		}
		for _, w := range want {
			n.place(now, k, s.pools[i], w)
		}
		for _, h := range s.pools[i] {
			if placeOf(want, h.Addr) < 0 {
				n.fwd.RemoveServer(k, h.Addr)
			}
		}
		s.pools[i] = want
	}
}

// place makes a server what it is to be in a pool, in which it may be already.
func (n *Node) place(now time.Duration, k forward.ServiceKey, pool []forward.Server, want forward.Server) {
	i := placeOf(pool, want.Addr)
	if i < 0 {
		n.enter(now, k, want)
		return
	}
	if is := pool[i]; is.Method != want.Method || is.Tunnel != want.Tunnel {
		n.fwd.RemoveServer(k, want.Addr) // it keeps its connections
		n.enter(now, k, want)
		return
	} else if is.Upper != want.Upper || is.Lower != want.Lower {
		n.fwd.SetThresholds(k, want.Addr, want.Upper, want.Lower)
	}
	if pool[i].Weight != want.Weight {
		n.fwd.SetWeight(k, want.Addr, want.Weight)
	}
}

// enter gives a server to the forwarder and looks for its MAC.
func (n *Node) enter(now time.Duration, k forward.ServiceKey, s forward.Server) {
	id, err := n.fwd.AddServer(k, s)
	if err != nil {
		panic(fmt.Sprintf("node: %v", err)) // the configuration was checked
	}
	for len(n.hops) <= id {
		n.hops = append(n.hops, -1)
	}
	n.aim(now, id)
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

// refit follows an address that came to this host or left it: a server with it is local now,
// or is so no longer.
func (n *Node) refit(now time.Duration, addr netip.Addr) {
	for i := range n.services {
		s := &n.services[i]
		has := func(r forward.Server) bool { return r.Addr.Addr() == addr }
		if slices.ContainsFunc(s.pools, func(pool []forward.Server) bool { return slices.ContainsFunc(pool, has) }) {
			n.fill(now, s)
		}
	}
}

// addTimeouts takes those of lvs_timeouts, and for the rest what they are without.
func (n *Node) addTimeouts() {
	tcp, fin, udp := n.fwd.Timeouts()
	want := n.cfg.Global.LVSTimeouts
	n.timeouts = config.Timeouts{TCP: cmp.Or(want.TCP, tcp), TCPFin: cmp.Or(want.TCPFin, fin), UDP: cmp.Or(want.UDP, udp)}
	n.fwd.SetTimeouts(n.timeouts.TCP, n.timeouts.TCPFin, n.timeouts.UDP)
}

// Marks lists the rules of packet_mark, in their order: the first that holds counts. A
// packet of a service by mark is one that a rule here gives that mark.
func (n *Node) Marks() []forward.Rule { return n.marks }

// addMarks reads the lines of packet_mark.
func (n *Node) addMarks() error {
	for _, m := range n.cfg.Global.PacketMarks {
		r := forward.Rule{
			Mark: m.Mark, Port: forward.AnyPort, Family: uint8(m.Family), Src: m.Sources, Dst: m.Destinations, Protocol: uint8(m.Protocol),
			SrcPorts: ranges(m.SourcePorts), DstPorts: ranges(m.DestinationPorts),
		}
		if m.Interface != "" {
			p, err := n.portNamed(m.Pos, m.Interface)
			if err != nil {
				return err
			}
			p, _ = n.outlet(p) // frames to a virtual MAC are seen on the interface below
			r.Port = int32(p)
		}
		n.marks = append(n.marks, r)
	}
	n.fwd.SetMarks(n.marks)
	n.hideVIPs(n.instances)
	return nil
}

// hideVIPs looks which virtual addresses of instances other nodes have at present: packets to
// them are not for a service by mark either.
func (n *Node) hideVIPs(instances []instance) {
	for i := range instances {
		for addr := range instances[i].vips {
			n.localChanged(addr)
		}
	}
}

func ranges(list []config.PortRange) []forward.PortRange {
	var out []forward.PortRange
	for _, p := range list {
		out = append(out, forward.PortRange{From: p.From, To: p.To})
	}
	return out
}
