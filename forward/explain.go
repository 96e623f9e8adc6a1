package forward

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
)

// Flow names the packets of a client: those from Client to Virtual.
type Flow struct {
	Protocol        uint8
	Client, Virtual netip.AddrPort
	Mark            uint32 // of a packet that opens it, 0 for none
}

// Explanation tells where a flow goes and why.
type Explanation struct {
	Flow
	// Conn is the connection that the flow has; nil for none, and for one that ends at its
	// next packet.
	Conn *Conn
	// Template is what placed the connection, or would place a new one; nil for none.
	Template *Conn
	// Service takes the flow; nil for none. Its servers are the candidates.
	Service *ServiceStatus
	// Verdict is that on the next packet: of the connection, or without one on a packet that
	// opens it (a SYN of TCP).
	Verdict Verdict
	// Server is where the packet goes, with Forward and Deliver, and zero where that is where
	// it was sent (cache bypass); with ServerGone it was removed.
	Server netip.AddrPort
	// Fails says that the flow had a connection to a server that an operator lets fail: the
	// next packet of TCP is reset unless it opens a new one.
	Fails bool
}

// Explain tells where the packets of a flow go, and changes nothing: no connection, no
// template, no scheduler.
func (f *Forwarder) Explain(now time.Duration, flow Flow) Explanation {
	e := Explanation{Flow: flow}
	k := flow.key()
	i := f.table.find(k)
	if i == 0 {
		f.foresee(now, k, &e)
		return e
	}
	evicted := f.isEvicted(i)
	e.Fails = f.servers[f.table.at(i).server].steering == Fail && !evicted
	if e.Fails || evicted || f.outlived(i, proto.TCPAck) {
		f.without(i, func() { f.foresee(now, k, &e) })
		return e
	}
	c := f.table.at(i)
	rs := &f.servers[c.server]
	svc := &f.services[rs.service]
	st, conn := f.serviceStatus(svc), f.describe(i)
	e.Service, e.Conn, e.Server = &st, &conn, rs.Addr
	if c.flags&controls != 0 {
		t := f.describe(f.table.more(i).control)
		e.Template = &t
	}
	if e.Verdict = f.standing(c.server); e.Verdict == Forward {
		e.Verdict = rs.reached()
	}
	return e
}

// without has do look at things as they are when connection i has ended.
func (f *Forwarder) without(i int32, do func()) {
	c := f.table.at(i)
	rs := &f.servers[c.server]
	was, view := *rs, slices.Clone(f.services[rs.service].view)
	f.table.used--
	if c.state.active() {
		f.count(c.server, -1, 0)
	} else {
		f.count(c.server, 0, -1)
	}
	do()
	f.table.used++
	*rs = was
	copy(f.services[rs.service].view, view)
}

// foresee tells what becomes of a packet that opens a connection, as open decides it.
func (f *Forwarder) foresee(now time.Duration, k key, e *Explanation) {
	id, v := f.admit(k, e.Mark, opener(k.protocol))
	if id < 0 {
		return
	}
	svc := &f.services[id]
	st := f.serviceStatus(svc)
	e.Service = &st
	if e.Verdict = v; v != Forward {
		return
	}
	room := 1
	once := svc.OnePacket && k.protocol == proto.ProtocolUDP
	target := int32(-1)
	if svc.Persistence > 0 {
		room++
		if i := f.table.find(svc.templateKey(k)); i != 0 && f.places(i) {
			t := f.describe(i)
			e.Template, target, room = &t, f.table.at(i).server, 1
		}
	}
	if target < 0 {
		at := sched.Peek(svc.sched, svc.view, k.flow(now))
		switch {
		case at >= 0:
			target = svc.view[at].ID
		case !svc.bypasses():
			e.Verdict = NoDestination
			return
		default: // it goes where it was sent, and by no template
			room = 1
		}
	}
	if once && (target < 0 || f.servers[target].Method != NAT) {
		room-- // nothing is kept of a datagram
	}
	if f.table.used+room > f.table.max && !f.half.some(f) {
		e.Verdict = TableFull
		return
	}
	if e.Verdict = Deliver; target >= 0 {
		e.Verdict, e.Server = f.servers[target].reached(), f.servers[target].Addr
	}
}

// opener is what a packet that opens a connection has for flags.
func opener(protocol uint8) uint8 {
	switch protocol {
	case proto.ProtocolTCP:
		return proto.TCPSyn
	case proto.ProtocolSCTP:
		return sctpInit
	}
	return 0
}

// some tells whether there is a half-open connection to give up.
func (h *halfOpen) some(f *Forwarder) bool {
	for i := range h.used {
		if f.stillHalfOpen(h.ring[(h.head+i)%h.most]) {
			return true
		}
	}
	return false
}

// reached is the verdict on a packet that a server takes.
func (s *server) reached() Verdict {
	if s.Method >= Local {
		return Deliver
	}
	return Forward
}

// flow is a new connection as schedulers see it.
func (k key) flow(now time.Duration) sched.Flow {
	return sched.Flow{Src: addrPort(k.client, k.cport), Dst: addrPort(k.virtual, k.vport), At: now}
}

// Excluded says why a server takes no new connection, "" if it may.
func (s *ServerStatus) Excluded() string {
	switch {
	case !s.Present:
		return "removed"
	case s.Steering == Fail:
		return "fails, by an operator"
	case s.Steering == Drain:
		return "drained, by an operator"
	case s.Weight == 0:
		return "weight 0"
	case s.Overload:
		return fmt.Sprintf("upper threshold %d reached, new ones again below %d", s.Upper, s.reopens())
	}
	return ""
}

// String names the flow.
func (l Flow) String() string {
	protocol := map[uint8]string{proto.ProtocolUDP: "UDP", proto.ProtocolSCTP: "SCTP"}[l.Protocol]
	return fmt.Sprintf("%s %v -> %v", cmp.Or(protocol, "TCP"), l.Client, l.Virtual)
}
