package node

import (
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Bulk is a frame of a flow that somebody else may move.
type Bulk struct {
	Frame int // its number in the batch
	Port  int // that it came in by
	To    proto.MAC
}

// Onward is how the frames of a flow go on.
type Onward struct {
	Port     int // by which they leave
	Dst, Src proto.MAC
	MTU      int // the longest packet, and segment of a super-frame, in bytes
}

// Moved is [forward.Forwarder.Moved] for the flows of a worker, or of the node's own loop, whose
// frames come in by a port, -1 for none any more, and to a MAC: it tells how the next one would go
// on. Workers keep the guard meanwhile.
func (p *Plane) Moved(now time.Duration, flow forward.Flow, port int, to proto.MAC, packets, bytes uint64) (on Onward, ok bool) {
	server, mtu, ok := p.fwd.Moved(now, flow, packets, bytes)
	if packets > 0 {
		p.traffic()
	}
	if !ok || port < 0 || !p.mine(port, to) || int(server) >= len(p.n.hops) || p.n.hops[server] < 0 {
		return Onward{}, false
	}
	nb := &p.n.neighbours[p.n.hops[server]]
	if !nb.resolved {
		return Onward{}, false
	}
	return Onward{Port: nb.port, Dst: nb.mac, Src: p.n.ports[nb.port].link.MAC, MTU: mtu}, true
}

// Recalled is [forward.Forwarder.Recalled] for the flows of a worker.
func (p *Plane) Recalled(list []forward.Flow) []forward.Flow { return p.fwd.Recalled(list) }

// TakeBack is [forward.Forwarder.TakeBack] for the flows of a worker.
func (p *Plane) TakeBack(flow forward.Flow) { p.fwd.TakeBack(flow) }

// Changes counts what may change how frames go on. Workers keep the guard while they ask.
func (p *Plane) Changes() uint64 { return p.n.changes }
