package loop

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/flowtable"
)

// kernelFlows stands for the kernel's table: a test says what was moved, beside a packet of each
// flow whenever it is asked, until it is idle.
type kernelFlows struct {
	mu    sync.Mutex
	hops  map[flowtable.Flow]flowtable.Hop
	moved map[flowtable.Flow]flowtable.Count
	idle  bool
	full  bool
	puts  int
}

func (k *kernelFlows) Put(f flowtable.Flow, h flowtable.Hop) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.puts++
	if k.full {
		return errors.New("full")
	}
	k.hops[f] = h
	return nil
}

func (k *kernelFlows) Take(f flowtable.Flow) (c flowtable.Count, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok = k.hops[f]
	c = k.moved[f]
	delete(k.hops, f)
	delete(k.moved, f)
	return c, ok
}

func (k *kernelFlows) Each(tell func(flowtable.Flow, flowtable.Hop, flowtable.Count)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for f, h := range k.hops {
		c := k.moved[f]
		delete(k.moved, f)
		if !k.idle {
			c.Packets++
		}
		tell(f, h, c)
	}
	return nil
}

// set changes how the kernel behaves.
func (k *kernelFlows) set(idle, full bool) {
	k.mu.Lock()
	k.idle, k.full = idle, full
	k.mu.Unlock()
}

func (k *kernelFlows) offered() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.puts
}

func (k *kernelFlows) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.hops)
}

func (k *kernelFlows) hop(f flowtable.Flow) (h flowtable.Hop, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok = k.hops[f]
	return h, ok
}

func (k *kernelFlows) move(f flowtable.Flow, packets uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moved[f] = flowtable.Count{Packets: packets, Bytes: 1000 * packets}
}

// putSuper is put for a frame that is to be segmented.
func (p *pipe) putSuper(frame []byte) {
	p.mu.Lock()
	buf := append(make([]byte, ring.VNetLen), frame...)
	f := ring.Frame{Buf: buf}
	f.SetVNet(ring.VNet{GSOType: ring.GSOTCPv4, GSOSize: 1400})
	p.in = append(p.in, buf)
	p.mu.Unlock()
	p.wake()
}

// A stream is put where the kernel moves it, with the addresses that the rings would give it. What
// was moved is counted. It is taken back at once when its server has another MAC, by a worker that
// has nothing else to do as well, and when the connection ends.
func TestStreamsAreMovedByTheKernel(t *testing.T) {
	c := newCrew(t, directTo(1, "10.0.0.7:80"))
	flows := []*kernelFlows{}
	for range 3 {
		flows = append(flows, &kernelFlows{hops: map[flowtable.Flow]flowtable.Hop{}, moved: map[flowtable.Flow]flowtable.Count{}})
	}
	c.loop.Flows = flows[0]
	c.loop.Ports[0].Index = 7
	for i, w := range c.loop.Workers {
		w.Flows, w.Ports[0].Index = flows[i+1], 7
	}
	c.start(t)
	server, macs := netip.MustParseAddr("10.0.0.7"), []proto.MAC{{2, 0, 0, 0, 0, 7}, {2, 0, 0, 0, 1, 7}}
	c.loop.Post(node.AddressChanged{Port: 0, Prefix: netip.PrefixFrom(vip, 32), Present: true})
	c.control.put(answerOf(server, macs[0]))
	c.do(c.loop.Offload)
	want := flowtable.Hop{From: 7, To: ownMAC, Dst: macs[0], Src: ownMAC, Interface: 7, MTU: 65535}
	key := forward.ServiceKey{Protocol: 6, Addr: netip.AddrPortFrom(vip, 80)}
	for i, p := range c.service {
		k := flows[i]
		f := flowtable.Flow{Client: netip.AddrPortFrom(other, uint16(5000+i)), Virtual: netip.AddrPortFrom(vip, 80)}
		seen := len(p.sent())
		p.put(segment(f.Client.Port(), proto.TCPSyn))
		for range 70 {
			p.putSuper(segment(f.Client.Port(), proto.TCPAck))
		}
		until(t, "stream of the kernel's", func() bool { h, ok := k.hop(f); return ok && h == want })
		until(t, "frames before", func() bool { return len(p.sent()) >= seen+71 })
		var before forward.ServiceStatus
		c.do(func() { before, _ = c.loop.Node.Status(key) })
		k.move(f, 1000)
		until(t, "packets of the kernel's counted", func() bool {
			var now forward.ServiceStatus
			c.do(func() { now, _ = c.loop.Node.Status(key) })
			return now.Packets >= before.Packets+1000 && now.Bytes == before.Bytes+1000_000
		})
		p.put(segment(f.Client.Port(), proto.TCPAck|proto.TCPFin))
		until(t, "end of the stream", func() bool { return k.Len() == 0 })
	}
	// With another MAC, which only the node's loop hears of.
	k, f := flows[2], flowtable.Flow{Client: netip.AddrPortFrom(other, 6000), Virtual: netip.AddrPortFrom(vip, 80)}
	c.service[2].put(segment(6000, proto.TCPSyn))
	for range 70 {
		c.service[2].putSuper(segment(6000, proto.TCPAck))
	}
	until(t, "stream of the kernel's", func() bool { _, ok := k.hop(f); return ok })
	c.control.put(answerOf(server, macs[1]))
	until(t, "stream that is taken back", func() bool { _, ok := k.hop(f); return !ok })
	want.Dst = macs[1]
	c.service[2].putSuper(segment(6000, proto.TCPAck)) // the node knows the MAC, or the stream would be there
	until(t, "stream to the new MAC", func() bool { h, ok := k.hop(f); return ok && h == want })
	// A flow that is idle is the rings' again.
	k.set(true, false)
	until(t, "stream that is taken back", func() bool { return k.Len() == 0 })
	// Where the kernel has no room the rings go on.
	k.set(false, true)
	seen, puts := len(c.service[2].sent()), k.offered()
	c.service[2].putSuper(segment(6000, proto.TCPAck))
	until(t, "frame by the ring", func() bool { return len(c.service[2].sent()) == seen+1 })
	until(t, "offer", func() bool { return k.offered() == puts+1 })
	k.set(false, false)
	c.service[2].putSuper(segment(6000, proto.TCPAck))
	until(t, "stream of the kernel's", func() bool { return k.Len() == 1 })
	// A reload ends it until all rings leave out what is moved; so does the end of the loop.
	c.do(func() {
		if err := c.loop.Reload(directTo(1, "10.0.0.7:80"), nil, func() {}); err != nil {
			t.Error(err)
		}
		if k.Len() != 0 {
			t.Error("the kernel moves while the rings change")
		}
	})
	seen = len(c.service[2].sent())
	c.service[2].putSuper(segment(6000, proto.TCPAck))
	until(t, "frame by the ring", func() bool { return len(c.service[2].sent()) == seen+1 })
	c.do(c.loop.Offload)
	c.service[2].putSuper(segment(6000, proto.TCPAck))
	until(t, "stream of the kernel's", func() bool { return k.Len() == 1 })
	c.end()
	if err := <-c.done; err != nil {
		t.Fatal(err)
	}
	if k.Len() != 0 {
		t.Error("the kernel moves for a director that has stopped")
	}
}
