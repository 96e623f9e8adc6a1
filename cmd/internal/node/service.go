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

	suspended bool // ha_suspend: its address is not here, so its checks rest
}

// realServer is one member of a pool.
type realServer struct {
	cfg    *config.RealServer
	checks span // of the node's
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

// like returns the number of the service that another configuration has as s, -1 without one. Of
// a group it is that of the protocol, whatever number it has in its name.
func (n *Node) like(s *service) int {
	return slices.IndexFunc(n.services, func(o service) bool {
		if s.cfg.Group != "" {
			return o.cfg.Group == s.cfg.Group && o.cfg.Protocol == s.cfg.Protocol
		}
		return o.name == s.name && o.keys[0] == s.keys[0]
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

// serves tells whether service k of s takes a real server: across families only through a
// tunnel.
func (n *Node) serves(s *service, k forward.ServiceKey, r *config.RealServer) bool {
	return r.Addr.Addr().Is4() == k.Addr.Addr().Is4() || r.Method.Forwarding == "TUN" && !n.hosts(s, r)
}

// hosts tells whether packets of a service for a real server go to the local stack, whatever
// its method. IPVS finds that out by itself.
func (n *Node) hosts(s *service, r *config.RealServer) bool {
	return !s.cfg.InKernel() && n.here(r.Addr.Addr())
}

// here tells whether packets to addr end on this host.
func (n *Node) here(addr netip.Addr) bool { return addr.IsLoopback() || n.local(addr) }

// server is a real server as service k of svc has it. NAT alone changes the port.
func (n *Node) server(svc *service, k forward.ServiceKey, r *config.RealServer, weight int) forward.Server {
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
	if n.hosts(svc, r) {
		s.Method, s.Tunnel = forward.Local, forward.Tunnel{}
	}
	return s
}

// members is the pool that service k is to have. Who is down is not in it, or with
// inhibit_on_failure has weight 0; so is everybody while the sorry server stands in.
func (n *Node) members(s *service, k forward.ServiceKey) []forward.Server {
	var list []forward.Server
	add := func(r *config.RealServer, weight int) {
		if in := n.server(s, k, r, weight); placeOf(list, in.Addr) < 0 { // one without a port may get that of another
			list = append(list, in)
		}
	}
	for i := range s.servers {
		rs := &s.servers[i]
		switch in := rs.alive && (!s.sorry || s.steered && n.steers(s, k, rs)); { // the flows of who is drained go on
		case !n.serves(s, k, rs.cfg):
		case in:
			add(rs.cfg, rs.weight())
		case rs.cfg.InhibitOnFailure:
			add(rs.cfg, 0)
		}
	}
	c := s.cfg.SorryServer
	if c == nil || !n.serves(s, k, c) || !s.sorry && !s.cfg.SorryServerInhibit {
		return list
	}
	weight := 0
	if s.sorry {
		weight = 1
	}
	sorry := n.server(s, k, c, weight)
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

// fill brings the pools of a service to what they are to be. Nobody sees them between: who
// goes leaves before others come, and who stays keeps its place, as keepalived has the kernel
// do it.
func (n *Node) fill(now time.Duration, s *service) {
	for i, k := range s.keys {
		want := n.members(s, k)
		if s.cfg.InKernel() {
			want = n.obey(k, want)
		}
		switch {
		case slices.Equal(s.pools[i], want):
			continue
		case s.cfg.InKernel():
			s.pools[i], n.programming.due = want, true
			continue
		}
		for _, is := range s.pools[i] {
			switch at := placeOf(want, is.Addr); {
			case at < 0:
				n.all(func(f *forward.Forwarder) { f.RemoveServer(k, is.Addr) })
			case want[at] != is:
				id := n.give(k, want[at], (*forward.Forwarder).EditServer)
				if is.Method != want[at].Method || is.Tunnel != want[at].Tunnel {
					n.aim(now, id)
				}
			}
		}
		for _, w := range want {
			if placeOf(s.pools[i], w.Addr) < 0 {
				n.enter(now, k, w)
			}
		}
		s.pools[i] = want
	}
}

// give gives every plane a server, in one way or the other, and returns its number.
func (n *Node) give(k forward.ServiceKey, s forward.Server, put func(*forward.Forwarder, forward.ServiceKey, forward.Server) (int, error)) (id int) {
	n.each(func(plane int, f *forward.Forwarder) {
		s, err := s, error(nil)
		s.Upper, s.Lower = n.portion(plane, s.Upper), n.portion(plane, s.Lower)
		id, err = put(f, k, s)
		mustServe(err)
	})
	return id
}

// enter gives a server to the forwarders and looks for its MAC.
func (n *Node) enter(now time.Duration, k forward.ServiceKey, s forward.Server) {
	id := n.give(k, s, (*forward.Forwarder).AddServer)
	for len(n.hops) <= id {
		n.hops = append(n.hops, -1)
	}
	n.hops[id] = -1 // the number may have been another's
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
	n.all(func(f *forward.Forwarder) { f.SetTimeouts(n.timeouts.TCP, n.timeouts.TCPFin, n.timeouts.UDP) })
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
	n.all(func(f *forward.Forwarder) { f.SetMarks(n.marks) })
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
