package node

import (
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Bulk is a frame of a flow that somebody else may move.
type Bulk struct {
	Frame int       // its number in the batch
	To    proto.MAC // that it came to
}

// Onward is how the frames of a flow go on.
type Onward struct {
	Port     int // by which they leave
	Dst, Src proto.MAC
	MTU      int // the longest packet, and segment of a super-frame, in bytes
}

// Moved is [forward.Forwarder.Moved] for the flows of a worker, or of the node's own loop: it tells
// how the next frame would go on. Workers keep the guard meanwhile.
func (p *Plane) Moved(now time.Duration, flow forward.Flow, packets, bytes uint64) (on Onward, ok bool) {
	d, ok := p.fwd.Moved(now, flow, packets, bytes)
	if packets > 0 {
		p.traffic()
	}
	if !ok || int(d.Server) >= len(p.n.hops) || p.n.hops[d.Server] < 0 {
		return Onward{}, false
	}
	nb := &p.n.neighbours[p.n.hops[d.Server]]
	if !nb.resolved {
		return Onward{}, false
	}
	return Onward{Port: nb.port, Dst: nb.mac, Src: p.n.ports[nb.port].link.MAC, MTU: d.MTU}, true
}

// Recalled is [forward.Forwarder.Recalled] for the flows of a worker.
func (p *Plane) Recalled(list []forward.Flow) []forward.Flow { return p.fwd.Recalled(list) }

// TakeBack is [forward.Forwarder.TakeBack] for the flows of a worker.
func (p *Plane) TakeBack(flow forward.Flow) { p.fwd.TakeBack(flow) }

// Changes counts what may change how frames go on. Workers keep the guard while they ask.
func (p *Plane) Changes() uint64 { return p.n.changes }
