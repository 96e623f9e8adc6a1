package ring_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/bpf"

	"github.com/ringkeep/ringkeep/ring"
)

// etherTypeTest is IEEE 802's "local experimental": no kernel sends it.
const etherTypeTest = 0x88b5

// space is a network namespace that ends with its test.
type space struct {
	t  testing.TB
	ns netns.NsHandle
	nl *netlink.Handle
}

// unable skips a test for want of something; on the build machine it fails.
func unable(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("cannot test here: %s", why)
	}
	t.Skipf("skipped: %s", why)
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		unable(t, "network namespaces need root")
	}
	s := &space{t: t}
	inThread(func() {
		var err error
		if s.ns, err = netns.New(); err != nil {
			t.Errorf("new namespace: %v", err)
			return
		}
		// No router solicitations among the frames. Without IPv6 in the kernel
		// the file is missing, and so are they.
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { s.ns.Close() })
	var err error
	if s.nl, err = netlink.NewHandleAt(s.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.nl.Close)
	return s
}

// inThread runs f on an OS thread that is thrown away afterwards.
func inThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f()
	}()
	<-done
}

// in runs f inside the namespace. Sockets opened there stay in it.
func (s *space) in(f func()) {
	s.t.Helper()
	inThread(func() {
		if err := netns.Set(s.ns); err != nil {
			s.t.Errorf("enter namespace: %v", err)
			return
		}
		f()
	})
}

// veth lays a cable from a in s to b in peer, both up.
func (s *space) veth(a string, peer *space, b string) {
	s.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: b, PeerNamespace: netlink.NsFd(peer.ns)}
	if err := s.nl.LinkAdd(link); err != nil {
		s.t.Fatalf("add veth %s-%s: %v", a, b, err)
	}
	s.up(a)
	peer.up(b)
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.nl.LinkByName(name)
	if err != nil {
		s.t.Fatalf("link %s: %v", name, err)
	}
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	if err := s.nl.LinkSetUp(s.link(name)); err != nil {
		s.t.Fatalf("set %s up: %v", name, err)
	}
}

func (s *space) down(name string) {
	s.t.Helper()
	if err := s.nl.LinkSetDown(s.link(name)); err != nil {
		s.t.Fatalf("set %s down: %v", name, err)
	}
}

func (s *space) address(name, prefix string) {
	s.t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.nl.AddrAdd(s.link(name), addr); err != nil {
		s.t.Fatalf("add %s to %s: %v", prefix, name, err)
	}
}

// open opens a socket in the namespace, closed with the test.
func (s *space) open(cfg ring.Config) *ring.Socket {
	s.t.Helper()
	var sock *ring.Socket
	var err error
	s.in(func() { sock, err = ring.Open(cfg) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { sock.Close() })
	return sock
}

// cable is two namespaces with a cable between v0 and v1.
func cable(t testing.TB) (left, right *space) {
	t.Helper()
	left, right = newSpace(t), newSpace(t)
	left.veth("v0", right, "v1")
	return left, right
}

// onlyTest passes frames with the tests' own EtherType.
func onlyTest(t testing.TB) []bpf.RawInstruction {
	t.Helper()
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeTest, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 20},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// broadcast makes a frame of the tests' EtherType, numbered, with an empty
// virtio header in front.
func broadcast(number, payload int) []byte {
	b := make([]byte, ring.VNetLen, ring.VNetLen+14+payload)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9)
	b = binary.BigEndian.AppendUint16(b, etherTypeTest)
	b = binary.BigEndian.AppendUint32(b, uint32(number))
	return append(b, bytes.Repeat([]byte{0xa5}, payload-4)...)
}

// receive waits until n frames have come and returns copies of their Bufs.
func receive(t testing.TB, s *ring.Socket, n int) [][]byte {
	t.Helper()
	var out [][]byte
	wait(t, s, "frames", func() bool {
		var batch [64]ring.Frame
		got, err := s.Receive(batch[:])
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		for _, f := range batch[:got] {
			out = append(out, bytes.Clone(f.Buf))
		}
		s.Release()
		return len(out) >= n
	})
	if len(out) != n {
		t.Fatalf("received %d frames, want %d", len(out), n)
	}
	return out
}

// wait polls the socket until done says so, at most five seconds.
func wait(t testing.TB, s *ring.Socket, what string, done func() bool) {
	t.Helper()
	p, err := ring.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(s.FD(), 0); err != nil {
		t.Fatal(err)
	}
	var ready [1]int
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("no %s within 20s; %+v", what, s.Stats())
		}
		if _, err := p.Wait(20*time.Millisecond, ready[:]); err != nil {
			t.Fatal(err)
		}
	}
}

// forwarder carries every frame between two sockets until it is stopped.
type forwarder struct {
	a, b    *ring.Socket
	partial atomic.Int64 // frames with a partial checksum
	super   atomic.Int64 // frames to be segmented
}

func forward(t testing.TB, a, b *ring.Socket) (f *forwarder, stop func()) {
	t.Helper()
	f = &forwarder{a: a, b: b}
	p, err := ring.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range []*ring.Socket{a, b} {
		if err := p.Add(s.FD(), id); err != nil {
			t.Fatal(err)
		}
	}
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		var ready [2]int
		for !over.Load() {
			if f.pump(a, b)+f.pump(b, a) > 0 {
				continue
			}
			if _, err := p.Wait(-1, ready[:]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		over.Store(true)
		p.Wake()
		<-done
		p.Close()
	})
	t.Cleanup(stop) // before the sockets are closed
	return f, stop
}

// pump carries one batch.
func (f *forwarder) pump(in, out *ring.Socket) int {
	var batch [64]ring.Frame
	n, _ := in.Receive(batch[:])
	for _, fr := range batch[:n] {
		v := fr.VNet()
		if v.Partial() {
			f.partial.Add(1)
		}
		if v.Super() {
			f.super.Add(1)
		}
		out.Queue(fr.Buf)
	}
	_, _ = out.Flush()
	in.Release()
	return n
}
