package forward

import (
	"net/netip"

	"github.com/ringkeep/ringkeep/proto"
)

// Steering is what an operator wants of a server, or of all servers of a service. It is
// theirs: weights, removals and additions leave it as it is.
type Steering uint8

// The steerings, each stricter than the one before. A server that is steered is in no
// scheduler's list, and templates that point to it place nothing.
const (
	Serve Steering = iota // as configured
	Drain                 // no new flows; those that are there stay
	Fail                  // none at all: a TCP connection is reset at its next packet, UDP is placed anew
)

var steerings = [...]string{"serve", "drain", "fail"}

// String names the steering.
func (s Steering) String() string { return steerings[s] }

// span is the entries of the table from at up to end.
type span struct{ at, end int32 }

// SteerServer sets what becomes of the flows of a server, which may be one that is not
// there yet. The service must exist.
func (f *Forwarder) SteerServer(k ServiceKey, addr netip.AddrPort, s Steering) {
	f.service(k)
	if s == Serve && f.find(k, addr) < 0 {
		return
	}
	id := f.number(k, addr)
	f.servers[id].wish = s
	f.steer(id)
}

// SteerService sets what becomes of the flows of all servers of a service, those that are
// still to come among them; of it and what is set for a server the stricter counts. Packets
// that go where they were sent, for want of a server, do so while it drains, and not when it
// fails. The service must exist.
func (f *Forwarder) SteerService(k ServiceKey, s Steering) {
	svc := f.service(k)
	svc.wish = s
	for id := range svc.all {
		f.steer(id)
	}
}

// Steered tells what counts for a server; [Serve] for one that is not known.
func (f *Forwarder) Steered(k ServiceKey, addr netip.AddrPort) Steering {
	svc := f.service(k)
	if id := f.find(k, addr); id >= 0 {
		return f.servers[id].steering
	}
	return svc.wish
}

func (f *Forwarder) steer(id int32) {
	rs := &f.servers[id]
	rs.steering = max(rs.wish, f.services[rs.service].wish)
	rs.cut = rs.evicted || rs.steering == Fail
	f.list(id)
}

// Evict ends all connections and templates of a server: what comes next of their flows is
// new. The table is gone through by [Forwarder.Sweep]; packets that come before it find no
// connection either. The service must exist.
func (f *Forwarder) Evict(k ServiceKey, addr netip.AddrPort) {
	f.service(k)
	if id := f.find(k, addr); id >= 0 {
		f.evict(id)
	}
}

// EvictService is Evict for all flows of a service, those of removed servers and of none too.
func (f *Forwarder) EvictService(k ServiceKey) {
	for id := range f.service(k).all {
		f.evict(id)
	}
}

func (f *Forwarder) evict(id int32) {
	rs := &f.servers[id]
	rs.evicted, rs.cut, rs.born = true, true, f.table.born
	f.sweep = span{1, f.table.made}
}

// sweepBatch bounds what one call of Sweep looks at.
const sweepBatch = 256

// Sweep goes on with what [Forwarder.Evict] has begun, some of the table a call; more is
// false when nothing is left to do.
func (f *Forwarder) Sweep() (more bool) {
	for range sweepBatch {
		if f.sweep.at >= f.sweep.end {
			break
		}
		if i := f.sweep.at; f.table.live(i) && f.isEvicted(i) {
			f.discard(i)
		}
		f.sweep.at++
	}
	if f.sweep.at < f.sweep.end {
		return true
	}
	for i := range f.servers {
		if rs := &f.servers[i]; rs.evicted {
			rs.evicted, rs.cut = false, rs.steering == Fail
		}
	}
	return false
}

// live tells whether entry i is in use. A template that is hidden is.
func (t *table) live(i int32) bool { return t.at(i).flags&hashed != 0 || t.more(i).slot >= 0 }

// isEvicted tells whether entry i is older than the eviction of its server.
func (f *Forwarder) isEvicted(i int32) bool {
	rs := &f.servers[f.table.at(i).server]
	return rs.evicted && int32(f.table.more(i).born-rs.born) < 0
}

// discard ends entry i for good. A template whose connections are still there is hidden,
// and goes with the last of them.
func (f *Forwarder) discard(i int32) {
	c := f.table.at(i)
	if c.kind == template && f.table.more(i).controlled > 0 {
		f.table.unhash(i)
		return
	}
	control := int32(0)
	if c.flags&controls != 0 {
		control = f.table.more(i).control
	}
	f.end(i)
	if control != 0 && f.table.at(control).flags&hashed == 0 && f.table.more(control).controlled == 0 && f.isEvicted(control) {
		f.end(control)
	}
}

// cutOff looks at a connection of a server that fails or was evicted, at its next packet.
// With reset the client is told.
func (f *Forwarder) cutOff(i int32, flags uint8) (ended, reset bool) {
	c := f.table.at(i)
	evicted := f.isEvicted(i)
	if !evicted && f.servers[c.server].steering != Fail {
		return false, false
	}
	reset = !evicted && c.protocol == proto.ProtocolTCP && !opens(c.protocol, flags)
	f.discard(i)
	return true, reset
}

// places tells whether new connections may follow template i.
func (f *Forwarder) places(i int32) bool {
	rs := &f.servers[f.table.at(i).server]
	quiescent := f.services[rs.service].ExpireQuiescent && rs.Weight == 0
	return rs.present && !quiescent && rs.steering == Serve && !f.isEvicted(i)
}
