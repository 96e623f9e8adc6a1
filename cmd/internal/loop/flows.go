package loop

import (
	"log/slog"
	"net/netip"
	"slices"
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
	Each(tell func(flowtable.Flow, flowtable.Hop, flowtable.Count)) error
}

// mover puts the flows with many packets where the kernel moves them, and tells the node what
// became of them. It decides nothing: the node says which, how, and for how long.
type mover struct {
	flows Flows // nil for none
	plane *node.Plane
	log   *slog.Logger
	on    bool          // the rings leave out what is moved
	seen  uint64        // changes of the node
	told  time.Duration // when the node was
	ended []forward.Flow
}

// toldEvery is how often a busy loop tells the node what was moved; an idle one does when connections
// may expire, every second. Flows of which nothing was since are the rings' again.
const toldEvery = time.Second / 2

// offer puts the flows of the batch that may be moved there; its frames have been sent.
func (m *mover) offer(now time.Duration, l *lane, ports []Sockets) {
	if !m.on {
		return
	}
	for _, b := range l.batch.Bulk {
		f, ok := flowOf(l.frames[b.Frame].Data())
		if !ok {
			continue
		}
		on, ok := m.plane.Moved(now, f, b.Port, b.To, 0, 0)
		if ok {
			if err := m.flows.Put(tableFlow(f), hopTo(on, b.Port, b.To, ports)); err != nil {
				m.log.Debug("the kernel does not move a flow", "client", f.Client, "virtual", f.Virtual, "err", err)
				ok = false
			}
		}
		if !ok {
			m.plane.TakeBack(f)
		}
	}
}

// settle ends the moving of what goes another way by now, and tells the node what was moved
// when it is time.
func (m *mover) settle(now time.Duration, ports []Sockets) {
	if !m.on {
		return
	}
	m.ended = m.plane.Recalled(m.ended[:0])
	m.end(now)
	changes, due := m.plane.Changes(), now-m.told >= toldEvery
	if !due && changes == m.seen {
		return
	}
	err := m.flows.Each(func(t flowtable.Flow, h flowtable.Hop, c flowtable.Count) {
		f := forward.Flow{Protocol: proto.ProtocolTCP, Client: t.Client, Virtual: t.Virtual}
		port := slices.IndexFunc(ports, func(s Sockets) bool { return s.Index == h.From })
		on, ok := m.plane.Moved(now, f, port, h.To, c.Packets, c.Bytes)
		if !ok || h != hopTo(on, port, h.To, ports) || due && c.Packets == 0 {
			m.ended = append(m.ended, f)
		}
	})
	if err != nil {
		m.log.Error("what the kernel has moved is not known", "err", err)
		return
	}
	m.seen, m.told = changes, now
	m.end(now)
}

// halt ends all moving: the rings are about to be changed.
func (m *mover) halt(now time.Duration) {
	if !m.on {
		return
	}
	m.on = false
	err := m.flows.Each(func(t flowtable.Flow, h flowtable.Hop, c flowtable.Count) {
		f := forward.Flow{Protocol: proto.ProtocolTCP, Client: t.Client, Virtual: t.Virtual}
		m.plane.Moved(now, f, -1, h.To, c.Packets, c.Bytes)
		m.ended = append(m.ended, f)
	})
	if err != nil {
		m.log.Error("what the kernel has moved is not known", "err", err)
	}
	m.end(now)
}

// end takes back the flows that have ended.
func (m *mover) end(now time.Duration) {
	for _, f := range m.ended {
		if c, ok := m.flows.Take(tableFlow(f)); ok {
			m.plane.Moved(now, f, -1, proto.MAC{}, c.Packets, c.Bytes)
		}
		m.plane.TakeBack(f)
	}
	m.ended = m.ended[:0]
}

// Offload has the kernel move what [Flows] of the loop and its workers get, until a reload or a port
// that is opened anew. All rings leave out by now what is moved. Call it by way of [Loop.Do].
func (l *Loop) Offload() {
	defer l.pause()()
	for _, m := range l.movers() {
		m.on = m.flows != nil
	}
}

// halt ends that, while the workers pause.
func (l *Loop) halt() {
	for _, m := range l.movers() {
		m.halt(l.now)
	}
}

func (l *Loop) movers() []*mover {
	list := []*mover{&l.mover}
	for _, w := range l.Workers {
		list = append(list, &w.mover)
	}
	return list
}

func tableFlow(f forward.Flow) flowtable.Flow {
	return flowtable.Flow{Client: f.Client, Virtual: f.Virtual}
}

func hopTo(on node.Onward, from int, to proto.MAC, ports []Sockets) flowtable.Hop {
	return flowtable.Hop{From: ports[from].Index, To: to, Dst: on.Dst, Src: on.Src, Interface: ports[on.Port].Index, MTU: on.MTU}
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
