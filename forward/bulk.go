package forward

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// streamAfter is how many packets a connection has had before its stream is for others to move:
// what is short is not worth their being told.
const streamAfter = 64

// movedWithin is by how much what others moved may be told too late.
const movedWithin = 2 * time.Second

// streams tells whether a packet like that one may be followed by many that others can move as
// well: of an established connection of TCP with a server of DR, whose packets get nothing but
// other Ethernet addresses and one less of their TTL.
func (f *Forwarder) streams(c *conn) bool {
	return c.packets >= streamAfter && f.movable(c) && f.timeouts[stEstablished] > movedWithin
}

func (f *Forwarder) movable(c *conn) bool {
	return c.state == stEstablished && c.kind == ordinary && f.servers[c.server].Method == DR
}

// Moved tells that somebody else moves a flow of TCP, after a decision that was [Decision.Bulk],
// and that so many packets with so many bytes of IP have gone since this was last told, at the
// beginning none: they count as if they had been decided on. What is told may be two seconds old.
// It returns the server that the next packet of the flow would go to, and the longest packet that
// fits, in bytes; ok is false if nobody else may move it any more, see also [Forwarder.Recalled].
func (f *Forwarder) Moved(now time.Duration, flow Flow, packets, bytes uint64) (server int32, mtu int, ok bool) {
	i := f.table.find(flow.key())
	if i == 0 {
		return 0, 0, false
	}
	c := f.table.at(i)
	rs := &f.servers[c.server]
	if packets > 0 {
		for _, s := range [...]*Stats{&rs.stats, &f.services[rs.service].stats} {
			s.Packets += packets
			s.Bytes += bytes
		}
		f.counters[Forward] += packets
		c.packets = uint32(min(uint64(c.packets)+packets, 1<<32-1))
		f.table.arm(i, now+f.timeouts[c.state])
	}
	if !f.movable(c) || rs.cut || f.outlived(i, proto.TCPAck) || f.standing(c.server) != Forward {
		c.flags &^= bulk
		return 0, 0, false
	}
	c.flags |= bulk
	return c.server, int(rs.fits), true
}

// TakeBack tells that nobody else moves a flow any more, as far as who did has a say.
func (f *Forwarder) TakeBack(flow Flow) {
	if i := f.table.find(flow.key()); i != 0 {
		f.table.at(i).flags &^= bulk
	}
}

// key is what the packets of the flow are looked up by.
func (flow Flow) key() key {
	return key{
		client: toAddr(flow.Client.Addr()), virtual: toAddr(flow.Virtual.Addr()), cport: flow.Client.Port(),
		vport: flow.Virtual.Port(), protocol: flow.Protocol,
	}
}

// recall ends that somebody else moves the packets of a connection.
func (f *Forwarder) recall(c *conn) {
	if c.flags&bulk != 0 {
		c.flags &^= bulk
		f.recalled = append(f.recalled, Flow{Protocol: c.protocol, Client: addrPort(c.client, c.cport), Virtual: addrPort(c.virtual, c.vport)})
	}
}

// Recalled appends to list the flows that nobody else may move any more, as became clear since
// it was last asked: their connection is no longer established.
func (f *Forwarder) Recalled(list []Flow) []Flow {
	list = append(list, f.recalled...)
	f.recalled = f.recalled[:0]
	return list
}
