package forward

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// ftpData is the source port of active FTP's data connections, never scheduled.
const ftpData = 20

// open schedules a new connection. The verdict is Forward if it did; a number below 0 is that
// of a server for a datagram of which nothing is kept, as ^number.
func (f *Forwarder) open(now time.Duration, k key, mark uint32, flags uint8) (int32, Verdict) {
	id, v := f.admit(k, mark, flags)
	if v != Forward {
		return 0, v
	}
	svc := &f.services[id]
	if svc.OnePacket && k.protocol == proto.ProtocolUDP {
		return f.datagram(now, svc, k)
	}
	born := f.table.born
	target, control, v := f.schedule(now, svc, k)
	if v != Forward {
		return 0, v
	}
	if control != 0 { // before somebody has to go who was placed by it, too
		f.table.more(control).controlled++
	}
	i, ok := f.insert(k)
	if !ok {
		f.letGo(control, born)
		return 0, TableFull
	}
	f.bind(now, i, svc, target)
	if control != 0 {
		f.table.at(i).flags |= controls
		f.table.more(i).control = control
	}
	f.count(target, 0, 1)
	f.servers[target].stats.Conns++
	svc.stats.Conns++
	return i, Forward
}

// letGo takes back that a template placed a connection, which the table has no room for. One
// that was made for it, as number born or later, ends.
func (f *Forwarder) letGo(control int32, born uint32) {
	if control == 0 {
		return
	}
	m := f.table.more(control)
	if m.controlled--; m.born == born {
		f.end(control)
	}
}

// reopen is open in place of a connection that is over, 0 for none: as in the kernel that one
// still counts while the new one is placed, unless its room is needed.
func (f *Forwarder) reopen(now time.Duration, k key, mark uint32, flags uint8, over int32) (int32, Verdict) {
	if over != 0 && f.table.used >= f.table.max {
		f.end(over)
		over = 0
	}
	i, v := f.open(now, k, mark, flags)
	if over != 0 {
		f.end(over)
	}
	return i, v
}

// admit finds the service of a packet of no connection, -1 for none, and tells whether it may
// open one (Forward), or what becomes of it.
func (f *Forwarder) admit(k key, mark uint32, flags uint8) (id int32, v Verdict) {
	id, ok := f.serviceFor(k, mark)
	if !ok {
		return -1, NotMine
	}
	svc := &f.services[id]
	switch {
	case k.client.martian():
		return id, Unwanted
	case !svc.local || svc.Key.Mark != 0 && f.away[k.virtual]:
		return id, NotLocal
	}
	return id, svc.schedulable(k, flags)
}

// serviceFor finds the service of a packet: that of its mark, of its address and port, of
// its address.
func (f *Forwarder) serviceFor(k key, mark uint32) (id int32, ok bool) {
	if mark != 0 {
		if id, ok = f.byKey[place{addr: k.virtual.unspecified(), mark: mark}]; ok {
			return id, true
		}
	}
	if id, ok = f.byKey[place{addr: k.virtual, port: k.vport, protocol: k.protocol}]; !ok {
		id, ok = f.byKey[place{addr: k.virtual, protocol: k.protocol}]
	}
	return id, ok
}

// schedulable tells whether a packet of no connection may open one (Forward), or what becomes of it.
func (s *service) schedulable(k key, flags uint8) Verdict {
	switch {
	case k.cport == ftpData:
		return s.stray()
	case k.protocol == proto.ProtocolSCTP && flags != sctpInit:
		return Unwanted
	case k.protocol != proto.ProtocolTCP || flags&(proto.TCPSyn|proto.TCPRst) == proto.TCPSyn:
		return Forward
	case s.Midstream == Drop:
		return Unwanted
	case s.Midstream == Schedule && flags&proto.TCPRst == 0:
		return Forward
	}
	return s.stray()
}

// stray is the verdict on what belongs to no connection and opens none. Of a service of every
// port, and of a mark, that may be a connection that this host has opened itself.
func (s *service) stray() Verdict {
	if s.Key.Addr.Port() == 0 {
		return Stray
	}
	return NoConn
}

// insert makes an entry, in a full table with recycling in place of a half-open one.
func (f *Forwarder) insert(k key) (int32, bool) {
	i, ok := f.table.insert(k)
	if !ok && f.giveUpHalfOpen() {
		i, ok = f.table.insert(k)
	}
	if ok && k.kind == ordinary && k.protocol != proto.ProtocolUDP {
		f.half.push(f, i)
	}
	return i, ok
}

// bind gives a new connection its server and that server's port.
func (f *Forwarder) bind(now time.Duration, i int32, svc *service, target int32) {
	c, m := f.table.at(i), f.table.more(i)
	m.began, m.by = seconds(now), svc.by
	rs := &f.servers[target]
	c.server, c.rport = target, rs.portFor(svc, c.vport)
	if rs.Method != NAT {
		c.flags |= inputOnly
	}
	if c.protocol == proto.ProtocolUDP {
		c.state = stUDP
	}
}

// portFor is the port of a server for packets to a port: its own with NAT, if it has one and
// the packet is not, in a persistent service, for another port than the service's; one by mark
// has none.
func (s *server) portFor(svc *service, port uint16) uint16 {
	own := s.Addr.Port()
	if s.Method != NAT || own == 0 || svc.Persistence != 0 && port != svc.Key.Addr.Port() {
		return port
	}
	return own
}

// datagram schedules one datagram by itself. Only with NAT an entry is made, for the answers.
func (f *Forwarder) datagram(now time.Duration, svc *service, k key) (int32, Verdict) {
	target, _, v := f.schedule(now, svc, k)
	if v != Forward {
		return 0, v
	}
	rs := &f.servers[target]
	rs.stats.Conns++
	svc.stats.Conns++
	if rs.Method != NAT {
		return ^target, Forward
	}
	k.kind = single
	i := f.table.findSingle(k, target)
	if i == 0 {
		var ok bool
		if i, ok = f.insert(k); !ok {
			return 0, TableFull
		}
		f.bind(now, i, svc, target)
		rs.singles++
	}
	return i, Forward
}

// schedule finds the server of a new connection: by the client's template, else by
// the scheduler.
func (f *Forwarder) schedule(now time.Duration, svc *service, k key) (target, control int32, v Verdict) {
	if svc.Persistence == 0 {
		target, v = f.pick(now, svc, k)
		return target, 0, v
	}
	tk := svc.templateKey(k)
	control = f.table.find(tk)
	if control != 0 && !f.places(control) {
		f.table.unhash(control) // lives on unseen until its connections are gone
		control = 0
	}
	if control == 0 {
		if target, v = f.pick(now, svc, k); v != Forward || f.servers[target].Method == bypass {
			return target, 0, v
		}
		var ok bool
		if control, ok = f.insert(tk); !ok {
			return 0, 0, TableFull
		}
		t, m := f.table.at(control), f.table.more(control)
		t.server, m.began, m.by = target, seconds(now), svc.by
		if svc.Key.Addr.Port() != 0 { // as the kernel shows it; that of all ports has none
			t.rport = f.servers[target].Addr.Port()
		}
		f.servers[target].persist++
	}
	f.table.arm(control, now+svc.Persistence)
	return f.table.at(control).server, control, Forward
}

// templateKey is what the template of a client is found by: the service with the client's
// network. That of a mark has the mark in place of an address.
func (s *service) templateKey(k key) key {
	tk := key{client: k.client.masked(s.PersistenceMask), virtual: k.virtual, vport: s.Key.Addr.Port(), protocol: k.protocol, kind: template}
	if s.Key.Mark != 0 {
		tk.virtual, tk.vport, tk.protocol = addr{lo: mapped | uint64(s.Key.Mark)}, 0, 0
	}
	return tk
}

// pick asks the scheduler.
func (f *Forwarder) pick(now time.Duration, svc *service, k key) (int32, Verdict) {
	at := svc.sched.Pick(svc.view, k.flow(now))
	switch {
	case at >= 0:
		return svc.view[at].ID, Forward
	case !svc.bypasses():
		return 0, NoDestination
	}
	return svc.bypass, Forward
}

// bypasses tells whether packets that no server takes go where they were sent.
func (s *service) bypasses() bool { return s.Key.Mark != 0 && s.CacheBypass && s.wish != Fail }

// halfOpen remembers who may be half open, the oldest first. It keeps nothing while most is 0.
type halfOpen struct {
	most       int
	ring       []halfOpened
	head, used int
}

type halfOpened struct {
	conn int32
	born uint32
}

func (h *halfOpen) push(f *Forwarder, i int32) {
	if h.most == 0 {
		return
	}
	if h.ring == nil {
		h.ring = make([]halfOpened, h.most)
	}
	for h.used == h.most || h.used > 0 && !f.stillHalfOpen(h.ring[h.head]) {
		h.pop()
	}
	h.ring[(h.head+h.used)%h.most] = halfOpened{i, f.table.more(i).born}
	h.used++
}

func (h *halfOpen) pop() halfOpened {
	o := h.ring[h.head]
	h.head = (h.head + 1) % h.most
	h.used--
	return o
}

func (f *Forwarder) stillHalfOpen(o halfOpened) bool {
	c := f.table.at(o.conn)
	return c.flags&hashed != 0 && f.table.more(o.conn).born == o.born && (c.state.halfOpen() || c.state == stNone)
}

// giveUpHalfOpen ends the oldest half-open connection, and tells whether there was one. Its
// template goes with it, which a flood makes, too, unless it has other connections or had
// one that was established.
func (f *Forwarder) giveUpHalfOpen() bool {
	for f.half.used > 0 {
		o := f.half.pop()
		if !f.stillHalfOpen(o) {
			continue
		}
		control := f.table.more(o.conn).control
		f.end(o.conn)
		if control != 0 && f.table.more(control).controlled == 0 && f.table.at(control).flags&assured == 0 {
			f.end(control)
		}
		return true
	}
	return false
}
