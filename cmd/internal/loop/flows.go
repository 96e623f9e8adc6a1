package loop

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/flowtable"
)

// Flows are those that the kernel moves past the rings: a [flowtable.Table].
type Flows interface {
	Put(flowtable.Flow, flowtable.Hop) error
	Take(flowtable.Flow) (flowtable.Count, bool)
	Each(keep func(flowtable.Flow, flowtable.Hop, flowtable.Count) bool) error
	Len() int
}

// mover puts the flows with many packets where the kernel moves them, and tells the node what
// became of them. It decides nothing: the node says which, how, and for how long.
type mover struct {
	flows    Flows // nil for none
	plane    *node.Plane
	log      *slog.Logger
	seen     uint64        // changes of the node
	next     time.Duration // when the node is told again
	recalled []forward.Flow
}

// toldEvery is how often the node is told what was moved. Flows of which nothing was since are the
// rings' again.
const toldEvery = time.Second / 2

// offer puts the flows of the batch that may be moved there; its frames have been sent.
func (m *mover) offer(now time.Duration, l *lane, ports []Sockets) {
	if m.flows == nil {
		return
	}
	for _, b := range l.batch.Bulk {
		f, ok := flowOf(l.frames[b.Frame].Data())
		if !ok {
			continue
		}
		on, ok := m.plane.Moved(now, f, 0, 0)
		if !ok {
			continue
		}
		h := hopTo(on, b.To, ports)
		if h.Interface == 0 { // being opened anew
			m.plane.TakeBack(f)
			continue
		}
		if err := m.flows.Put(flowtable.Flow{Client: f.Client, Virtual: f.Virtual}, h); err != nil {
			m.plane.TakeBack(f)
			m.log.Debug("the kernel does not move a flow", "client", f.Client, "virtual", f.Virtual, "err", err)
		}
	}
}

// settle ends the moving of what goes another way by now, and tells the node what was moved
// when it is time.
func (m *mover) settle(now time.Duration, ports []Sockets) {
	if m.flows == nil {
		return
	}
	m.recalled = m.plane.Recalled(m.recalled[:0])
	for _, f := range m.recalled {
		if c, ok := m.flows.Take(flowtable.Flow{Client: f.Client, Virtual: f.Virtual}); ok {
			m.plane.Moved(now, f, c.Packets, c.Bytes)
		}
	}
	changes := m.plane.Changes()
	due := now >= m.next
	if !due && changes == m.seen {
		return
	}
	m.seen = changes
	if due {
		m.next = now + toldEvery
	}
	err := m.flows.Each(func(f flowtable.Flow, h flowtable.Hop, c flowtable.Count) bool {
		flow := forward.Flow{Protocol: proto.ProtocolTCP, Client: f.Client, Virtual: f.Virtual}
		on, ok := m.plane.Moved(now, flow, c.Packets, c.Bytes)
		if ok && h == hopTo(on, h.To, ports) && (c.Packets > 0 || !due) {
			return true
		}
		m.plane.TakeBack(flow)
		return false
	})
	if err != nil {
		m.log.Error("what the kernel has moved is not known", "err", err)
	}
}

func hopTo(on node.Onward, to proto.MAC, ports []Sockets) flowtable.Hop {
	return flowtable.Hop{To: to, Dst: on.Dst, Src: on.Src, Interface: ports[on.Port].Index, MTU: on.MTU}
}

// flowOf is the flow of a frame of TCP without IP options and extension headers.
func flowOf(frame []byte) (f forward.Flow, ok bool) {
	eth, err := proto.ParseEthernet(frame)
	if err != nil {
		return f, false
	}
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil {
		return f, false
	}
	var payload []byte
	if ip.Is6() {
		six := proto.IPv6(ip)
		payload, ok = six.Payload(), six.NextHeader() == proto.ProtocolTCP
	} else {
		four := proto.IPv4(ip)
		payload, ok = four.Payload(), four.Protocol() == proto.ProtocolTCP && four.HeaderLen() == proto.IPv4Len
	}
	if !ok {
		return f, false
	}
	src, dst, ok := proto.Ports(payload)
	return forward.Flow{Protocol: proto.ProtocolTCP, Client: netip.AddrPortFrom(ip.Src(), src), Virtual: netip.AddrPortFrom(ip.Dst(), dst)}, ok
}
