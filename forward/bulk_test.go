package forward

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// stream is an established connection with so many packets behind it.
func stream(t *testing.T, f *Forwarder, now time.Duration, s super, packets int) Flow {
	t.Helper()
	s.ttl, s.flags, s.size = 64, proto.TCPSyn, 0
	ip, v := s.packet()
	if d := f.Packet(now, Ingress{Virtio: v}, ip); d.Verdict != Forward {
		t.Fatalf("SYN: %v", d.Verdict)
	}
	s.flags, s.data, s.size = proto.TCPAck, make([]byte, 3000), 1400
	for range packets - 1 {
		ip, v = s.packet()
		if d := f.Packet(now, Ingress{Virtio: v}, ip); d.Verdict != Forward || d.Bulk {
			t.Fatalf("at the beginning: %+v", d)
		}
	}
	p, _ := parse(ip)
	return Flow{Protocol: proto.ProtocolTCP, Client: addrPort(p.src, 40000), Virtual: addrPort(p.dst, 80)}
}

func (s super) to(t *testing.T, f *Forwarder, now time.Duration) Decision {
	t.Helper()
	s.ttl, s.data = 64, make([]byte, 3000)
	ip, v := s.packet()
	return f.Packet(now, Ingress{Virtio: v}, ip)
}

// middle is a super-frame in the middle of a stream.
var middle = super{flags: proto.TCPAck, size: 1400}

func bulkForwarder(t *testing.T, s Server) (f *Forwarder, id int32) {
	t.Helper()
	f = New(Config{MaxConns: 100, Seed: 1})
	if err := f.AddService(Service{Key: web, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	f.SetLocal(web.Addr.Addr(), true)
	s.Addr, s.Weight = serverAddr(1), 1
	n, err := f.AddServer(web, s)
	if err != nil {
		t.Fatal(err)
	}
	id = int32(n)
	f.SetPath(id, Path{MTU: 1500, Source: netip.MustParseAddr("10.0.1.254")})
	return f, id
}

// The super-frames of a long connection say that others may move it; nothing else does.
func TestBulk(t *testing.T) {
	f, id := bulkForwarder(t, Server{})
	stream(t, f, 0, middle, streamAfter-1)
	if d := middle.to(t, f, 0); !d.Bulk || d.Verdict != Forward || d.Server != id {
		t.Errorf("a super-frame: %+v", d)
	}
	if d := (super{flags: proto.TCPAck}).to(t, f, 0); d.Bulk {
		t.Error("a segment alone is taken for bulk")
	}
	if d := (super{flags: proto.TCPAck | proto.TCPFin, size: 1400}).to(t, f, 0); d.Bulk || d.Verdict != Forward {
		t.Errorf("the end: %+v", d)
	}
	if d := middle.to(t, f, 0); d.Bulk {
		t.Error("behind the end there is bulk")
	}
	for name, s := range map[string]Server{
		"NAT": {Method: NAT}, "TUN": {Method: TUN, Tunnel: Tunnel{Type: IPIP}}, "local": {Method: Local},
	} {
		f, _ := bulkForwarder(t, s)
		stream := middle
		for i := range streamAfter + 5 {
			if stream.flags = proto.TCPAck; i == 0 {
				stream.flags = proto.TCPSyn
			}
			if d := stream.to(t, f, 0); d.Bulk || d.Verdict != Forward && d.Verdict != Deliver {
				t.Errorf("%s: %+v", name, d)
			}
		}
	}
	f, _ = bulkForwarder(t, Server{})
	f.SetTimeouts(2*time.Second, 0, 0)
	stream(t, f, 0, middle, streamAfter-1)
	if d := middle.to(t, f, 0); d.Bulk {
		t.Error("bulk, though the connection could end before somebody tells of it")
	}
}

// What others have moved counts as what was decided on: for the server, its service, the
// connection and its time.
func TestMovedCounts(t *testing.T) {
	f, id := bulkForwarder(t, Server{})
	flow := stream(t, f, 0, middle, streamAfter-1)
	before := f.Services()[0]
	if server, mtu, ok := f.Moved(800*time.Second, flow, 10, 30400); !ok || server != id || mtu != 1500 {
		t.Fatalf("%v, %v, %v", server, mtu, ok)
	}
	after := f.Services()[0]
	if got, want := after.Stats.Packets-before.Stats.Packets, uint64(10); got != want {
		t.Errorf("the service counts %d packets more, want %d", got, want)
	}
	if got := after.Servers[0].Stats.Bytes - before.Servers[0].Stats.Bytes; got != 30400 {
		t.Errorf("the server counts %d bytes more", got)
	}
	if got := f.Counter(Forward); got != streamAfter-1+10 {
		t.Errorf("%d decisions to forward", got)
	}
	conns, _ := f.ConnsFrom(0, 100, nil)
	if c := conns[0]; c.Packets != streamAfter-1+10 || c.Expires != 1700*time.Second {
		t.Errorf("the connection: %+v", c)
	}
	f.Expire(1000 * time.Second)
	if _, _, ok := f.Moved(1000*time.Second, flow, 0, 0); !ok || f.Len() != 1 {
		t.Error("the connection has ended with its old time")
	}
	for at := 1000 * time.Second; at < 1702*time.Second; at += time.Second {
		f.Expire(at)
	}
	if _, _, ok := f.Moved(1702*time.Second, flow, 0, 0); ok || f.Len() != 0 {
		t.Error("what moved nothing lives on")
	}
}

// Whatever ends that a flow goes as it did is told to who moves it: in the answer, and of those
// that end by what packets do by Recalled.
func TestMovedEnds(t *testing.T) {
	key, addr := web, serverAddr(1)
	for _, c := range []struct {
		name   string
		act    func(t *testing.T, f *Forwarder)
		recall bool
		still  bool
	}{
		{"nothing", func(*testing.T, *Forwarder) {}, false, true},
		{"FIN", func(t *testing.T, f *Forwarder) { super{flags: proto.TCPAck | proto.TCPFin}.to(t, f, 0) }, true, false},
		{"RST", func(t *testing.T, f *Forwarder) { super{flags: proto.TCPRst}.to(t, f, 0) }, true, false},
		{"SYN of an old one", func(t *testing.T, f *Forwarder) { super{flags: proto.TCPSyn}.to(t, f, 0) }, false, true},
		{"drain", func(_ *testing.T, f *Forwarder) { f.SteerServer(key, addr, Drain) }, false, true},
		{"fail", func(_ *testing.T, f *Forwarder) { f.SteerServer(key, addr, Fail) }, false, false},
		{"evict", func(_ *testing.T, f *Forwarder) { f.Evict(key, addr) }, false, false},
		{"evict and sweep", func(_ *testing.T, f *Forwarder) {
			for f.Evict(key, addr); f.Sweep(); {
			}
		}, true, false},
		{"removed", func(_ *testing.T, f *Forwarder) { f.RemoveServer(key, addr) }, false, false},
		{"weight 0", func(_ *testing.T, f *Forwarder) { f.EditServer(key, Server{Addr: addr}) }, false, true},
		{"NAT", func(_ *testing.T, f *Forwarder) { f.EditServer(key, Server{Addr: addr, Weight: 1, Method: NAT}) }, false, false},
		{"no address", func(_ *testing.T, f *Forwarder) { f.SetLocal(key.Addr.Addr(), false) }, false, false},
		{"the service is gone", func(_ *testing.T, f *Forwarder) { f.RemoveService(key) }, false, false},
		{"its time is over", func(_ *testing.T, f *Forwarder) {
			for range 1000 {
				f.Expire(1000 * time.Second)
			}
		}, true, false},
	} {
		f, _ := bulkForwarder(t, Server{})
		flow := stream(t, f, 0, middle, streamAfter-1)
		if _, _, ok := f.Moved(0, flow, 0, 0); !ok {
			t.Fatalf("%s: at the beginning not", c.name)
		}
		c.act(t, f)
		var want []Flow
		if c.recall {
			want = append(want, flow)
		}
		if got := f.Recalled(nil); !slices.Equal(got, want) {
			t.Errorf("%s: recalled %v, want %v", c.name, got, want)
		}
		if got := f.Recalled(nil); got != nil {
			t.Errorf("%s: recalled again", c.name)
		}
		if _, _, ok := f.Moved(0, flow, 1, 1); ok != c.still {
			t.Errorf("%s: may be moved: %v, want %v", c.name, ok, c.still)
		}
	}
}
