package loop

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

// pipe is a port whose frames a test puts in and takes out, from another goroutine.
type pipe struct {
	wake   func()
	mu     sync.Mutex
	in     [][]byte
	queued [][]byte
	out    [][]byte
}

func (p *pipe) put(frames ...[]byte) {
	p.mu.Lock()
	for _, f := range frames {
		p.in = append(p.in, append(make([]byte, ring.VNetLen), f...))
	}
	p.mu.Unlock()
	p.wake()
}

func (p *pipe) sent() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.out)
}

func (p *pipe) Ready(batch []ring.Frame) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(batch), len(p.in))
	for i := range n {
		batch[i] = ring.Frame{Buf: p.in[i]}
	}
	p.in = p.in[n:]
	return n
}

func (p *pipe) Err() error       { return nil }
func (p *pipe) Release()         {}
func (p *pipe) Queue(buf []byte) { p.queued = append(p.queued, bytes.Clone(buf[ring.VNetLen:])) }

func (p *pipe) Flush() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = append(p.out, p.queued...)
	p.queued = nil
	return 0, nil
}

// crew is a running loop with two workers beside it, of which each has a port.
type crew struct {
	loop    *Loop
	control *pipe
	service []*pipe // the loop's own first
	done    chan error
	end     context.CancelFunc
}

func directTo(weight int, servers ...string) *config.Config {
	vs := &config.VirtualServer{
		Addr: netip.AddrPortFrom(vip, 80), Protocol: 6, Scheduler: "rr", Method: config.Method{Forwarding: "DR"}, Quorum: 1,
	}
	for _, s := range servers {
		vs.RealServers = append(vs.RealServers, &config.RealServer{Addr: netip.MustParseAddrPort(s), Weight: weight})
	}
	cfg := instance(255)
	cfg.VirtualServers = []*config.VirtualServer{vs}
	return cfg
}

func newCrew(t *testing.T, cfg *config.Config) *crew {
	t.Helper()
	guard := &sync.RWMutex{}
	n, err := node.NewShared(cfg, []node.Link{{Name: "eth0", MAC: ownMAC, Up: true, Prefixes: []netip.Prefix{netip.PrefixFrom(own, 24)}}}, 1, node.Workers{Count: 3, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	c := &crew{control: &pipe{}, done: make(chan error, 1)}
	poller := func(pipes ...*pipe) *ring.Poller {
		p, err := ring.NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		for _, x := range pipes {
			x.wake = p.Wake
		}
		return p
	}
	for range 3 {
		c.service = append(c.service, &pipe{})
	}
	start := time.Now()
	l := Config{
		Node: n, Ports: []Sockets{{Control: c.control, Service: c.service[0]}}, Poller: poller(c.control, c.service[0]), Host: &host{other: ringtest.NewWire().Port("other", otherMAC)},
		Log: slog.New(slog.DiscardHandler), Guard: guard, Clock: func() time.Duration { return time.Since(start) }, Wall: WallClock,
	}
	for _, p := range c.service[1:] {
		l.Workers = append(l.Workers, &Worker{Ports: []Sockets{{Service: p}}, Poller: poller(p)})
	}
	c.loop = New(l)
	return c
}

func (c *crew) start(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	c.end = end
	go func() { c.done <- c.loop.Run(ctx) }()
}

// until waits for something that the crew does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// do has the loop call f and waits.
func (c *crew) do(f func()) {
	done := make(chan struct{})
	c.loop.Do(func() { f(); close(done) })
	<-done
}

func answerOf(server netip.Addr, mac proto.MAC) []byte {
	reply := proto.AppendEthernet(nil, ownMAC, mac, proto.EtherTypeARP)
	return proto.ARPMessage{Op: proto.ARPReply, SenderMAC: mac, Sender: server, TargetMAC: ownMAC, Target: own}.Append(reply)
}

func segment(port uint16, flags uint8) []byte {
	f := proto.AppendEthernet(nil, ownMAC, otherMAC, proto.EtherTypeIPv4)
	f = proto.IPv4Header{TTL: 64, Protocol: 6, Src: other, Dst: vip}.Append(f, 20)
	return proto.TCPHeader{SrcPort: port, DstPort: 80, Flags: flags}.Append(f)
}

// Workers forward while the node's loop changes all that they look at, and no frame is lost
// but to what the changes say. The race detector is the other half of this test.
func TestWorkersForwardWhileTheNodeChanges(t *testing.T) {
	c := newCrew(t, directTo(1, "10.0.0.7:80", "10.0.0.8:80"))
	c.start(t)
	servers := []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.0.0.8")}
	macs := []proto.MAC{{2, 0, 0, 0, 0, 7}, {2, 0, 0, 0, 0, 8}, {2, 0, 0, 0, 1, 7}, {2, 0, 0, 0, 1, 8}}
	c.loop.Post(node.AddressChanged{Port: 0, Prefix: netip.PrefixFrom(vip, 32), Present: true})
	c.do(func() {})                            // the service is there
	c.service[1].put(segment(1, proto.TCPSyn)) // for a server whose MAC nobody knows
	c.control.put(answerOf(servers[0], macs[0]), answerOf(servers[1], macs[1]))
	waited := func(p *pipe) bool {
		return slices.ContainsFunc(p.sent(), func(f []byte) bool { return slices.Contains(macs, proto.Ethernet(f).Dst()) })
	}
	until(t, "frame after its neighbour answered", func() bool { return waited(c.service[0]) || waited(c.service[1]) })
	const flows, segments = 20, 50
	var all sync.WaitGroup
	for _, p := range c.service {
		before := len(p.sent())
		all.Go(func() {
			for i := range segments {
				for port := range uint16(flows) {
					flags := uint8(proto.TCPAck)
					if i == 0 {
						flags = proto.TCPSyn
					}
					p.put(segment(100+port, flags))
				}
			}
			for end := time.Now().Add(10 * time.Second); len(p.sent())-before < flows*segments && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		})
	}
	key := forward.ServiceKey{Protocol: 6, Addr: netip.AddrPortFrom(vip, 80)}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	for i := 0; ; i++ {
		select {
		case <-over:
		default:
			c.control.put(answerOf(servers[i%2], macs[i%4]))
			c.loop.Post(node.LinkChanged{Port: 0, MAC: ownMAC, Up: true, MTU: 1400 + i%2})
			c.loop.Post(node.Steer{Service: key, Server: netip.AddrPortFrom(servers[0], 80), To: forward.Steering(i % 2)}) // serve, drain
			c.do(func() {
				c.loop.Node.StatusFrom(0, 100, nil)
				c.loop.Node.ConnsFrom(0, 10, nil)
				if err := c.loop.Reload(directTo(1+i%2, "10.0.0.7:80", "10.0.0.8:80"), nil, func() {
					c.loop.Workers[0].Ports = []Sockets{{Service: c.service[1]}}
				}); err != nil {
					t.Error(err)
				}
			})
			continue
		}
		break
	}
	for i, p := range c.service {
		forwarded := 0
		for _, f := range p.sent() {
			if eth := proto.Ethernet(f); eth.Type() == proto.EtherTypeIPv4 && slices.Contains(macs, eth.Dst()) && proto.IPv4(eth.Payload()).TTL() == 63 {
				forwarded++
			}
		}
		if forwarded < flows*segments {
			t.Errorf("worker %d forwarded %d frames, want %d", i, forwarded, flows*segments)
		}
	}
	c.do(func() {
		if sum := c.loop.Node.Totals(); sum.Conns != 3*flows+1 {
			t.Errorf("%d connections, want %d", sum.Conns, 3*flows+1)
		}
	})
	c.service[2].put(segment(9, proto.TCPAck))
	until(t, "reset from a worker", func() bool {
		return slices.ContainsFunc(c.service[2].sent(), func(f []byte) bool {
			ip := proto.IPv4(proto.Ethernet(f).Payload())
			return proto.Ethernet(f).Dst() == otherMAC && ip.Dst() == other && proto.TCP(ip.Payload()).Flags()&proto.TCPRst != 0
		})
	})
	c.end()
	if err := <-c.done; err != nil {
		t.Fatal(err)
	}
}

// A datagram that waited for its server's MAC when a reload took the server out does not go to
// the one that has got its number.
func TestWorkerFrameEndsWithItsServer(t *testing.T) {
	service := func(protocol uint8, server string) *config.Config {
		cfg := directTo(1, server)
		vs := cfg.VirtualServers[0]
		vs.Protocol, vs.OPS = config.Protocol(protocol), true
		return cfg
	}
	c := newCrew(t, service(proto.ProtocolUDP, "10.0.0.7:80"))
	c.start(t)
	c.loop.Post(node.AddressChanged{Port: 0, Prefix: netip.PrefixFrom(vip, 32), Present: true})
	c.do(func() {
		f := proto.AppendEthernet(nil, ownMAC, otherMAC, proto.EtherTypeIPv4)
		f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolUDP, Src: other, Dst: vip}.Append(f, 8)
		f = proto.UDPHeader{SrcPort: 1, DstPort: 80}.Append(f, 0)
		c.service[1].put(f)
		until(t, "frame for the node", func() bool {
			c.loop.mu.Lock()
			defer c.loop.mu.Unlock()
			return slices.ContainsFunc(c.loop.inbox, func(p posted) bool { _, ok := p.ev.(node.Unresolved); return ok })
		})
		if err := c.loop.Reload(service(proto.ProtocolTCP, "10.0.0.8:80"), nil, func() {}); err != nil {
			t.Error(err)
		}
	})
	c.do(func() {}) // the frame has come
	successor := proto.MAC{2, 0, 0, 0, 0, 8}
	c.control.put(answerOf(netip.MustParseAddr("10.0.0.8"), successor))
	until(t, "neighbour", func() (known bool) {
		c.service[0].put(segment(7, proto.TCPSyn))
		return slices.ContainsFunc(c.service[0].sent(), func(f []byte) bool { return proto.IPv4(proto.Ethernet(f).Payload()).Protocol() == proto.ProtocolTCP })
	})
	for _, p := range c.service {
		for _, f := range p.sent() {
			if eth := proto.Ethernet(f); eth.Dst() == successor && proto.IPv4(eth.Payload()).Protocol() == proto.ProtocolUDP {
				t.Errorf("%x is for another server", f)
			}
		}
	}
	c.end()
	if err := <-c.done; err != nil {
		t.Fatal(err)
	}
}

// Rings for services that could not be opened while their link was down are opened when it
// comes up, once.
func TestLinkUpOpensWhatIsMissing(t *testing.T) {
	c := newCrew(t, directTo(1, "10.0.0.7:80"))
	c.loop.Ports[0].Service = nil
	c.loop.links = map[string]known{"eth0": {0, 7, false}}
	calls := 0
	c.loop.Reopen = func(int) (Sockets, error) {
		calls++
		return Sockets{Control: c.control, Service: c.service[0]}, nil
	}
	c.start(t)
	for _, up := range []bool{false, true, true, false, true} {
		c.loop.linkChanged(kernel.Link{Name: "eth0", Index: 7, MAC: ownMAC, Up: up})
	}
	c.do(func() {
		if calls != 1 || c.loop.Ports[0].Service != Port(c.service[0]) {
			t.Errorf("opened %d times: %+v", calls, c.loop.Ports)
		}
	})
	c.end()
	if err := <-c.done; err != nil {
		t.Fatal(err)
	}
}

// broken is a poller that cannot wait.
type broken struct{ *ring.Poller }

func (broken) Wait(time.Duration, []int) (int, error) { return 0, errors.New("out of order") }

// A worker that cannot go on ends the daemon: its clients would have nobody.
func TestWorkerThatFailsEndsTheLoop(t *testing.T) {
	c := newCrew(t, directTo(1, "10.0.0.7:80"))
	c.loop.Workers[1].Poller = broken{c.loop.Workers[1].Poller.(*ring.Poller)}
	c.start(t)
	defer c.end()
	select {
	case err := <-c.done:
		if err == nil || !strings.Contains(err.Error(), "worker 2: out of order") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the loop goes on")
	}
}
