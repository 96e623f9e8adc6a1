package ringtest_test

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

// port is what sockets and the wire's ports have in common.
type port interface {
	Name() string
	Receive([]ring.Frame) (int, error)
	Release()
	Queue([]byte)
	Flush() (int, error)
	SetFilter([]bpf.RawInstruction) error
	AcceptMAC([6]byte) error
	RefuseMAC([6]byte) error
	Stats() ring.Stats
	Close() error
}

var (
	_ port = (*ring.Socket)(nil)
	_ port = (*ringtest.Port)(nil)
)

var (
	macA = [6]byte{2, 0, 0, 0, 0, 1}
	macB = [6]byte{2, 0, 0, 0, 0, 2}
)

func frame(dst [6]byte, text string) []byte {
	b := append(dst[:], 2, 0, 0, 0, 0, 9, 0x88, 0xb5)
	return append(b, text...)
}

func TestFramesReachEveryOtherPort(t *testing.T) {
	w := ringtest.NewWire()
	a, b, c := w.Port("a", macA), w.Port("b", macB), w.Port("c", [6]byte{2, 0, 0, 0, 0, 3})
	w.At(5*time.Second, func() {})
	if _, err := w.NewPoller().Wait(5*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Send(frame(macB, "hello")); err != nil {
		t.Fatal(err)
	}
	for p, kind := range map[*ringtest.Port]uint8{b: 0, c: 3} {
		var batch [4]ring.Frame
		n, err := p.Receive(batch[:])
		if n != 1 || err != nil {
			t.Fatalf("%s: %d, %v", p.Name(), n, err)
		}
		f := batch[0]
		if !bytes.Equal(f.Data(), frame(macB, "hello")) || f.Kind != kind || f.Time != 5e9 || f.VNet() != (ring.VNet{}) {
			t.Errorf("%s: %q kind %d time %d", p.Name(), f.Data(), f.Kind, f.Time)
		}
	}
	if got := a.Take(); len(got) != 0 {
		t.Errorf("a read back %q", got)
	}
	if st := a.Stats(); st.Sent != 1 {
		t.Errorf("sender %+v", st)
	}
	if st := b.Stats(); st.Received != 1 {
		t.Errorf("receiver %+v", st)
	}
}

func TestMemoryRules(t *testing.T) {
	w := ringtest.NewWire()
	a, b := w.Port("a", macA), w.Port("b", macB)
	buf := append(make([]byte, ring.VNetLen), frame(macB, "first")...)
	a.Queue(buf)
	copy(buf[len(buf)-5:], "later") // queued memory is read at the flush
	if n, err := a.Flush(); n != 1 || err != nil {
		t.Fatalf("Flush = %d, %v", n, err)
	}
	var batch [4]ring.Frame
	if n, _ := b.Receive(batch[:]); n != 1 || string(batch[0].Data()[14:]) != "later" {
		t.Fatalf("%d, %q", n, batch[0].Data())
	}
	kept := batch[0].Data()
	b.Release()
	if kept[14] != 0xdd {
		t.Errorf("a frame kept beyond Release still reads %q", kept)
	}
}

func TestFilter(t *testing.T) {
	w := ringtest.NewWire()
	a, b := w.Port("a", macA), w.Port("b", macB)
	filter, err := ring.ControlFilter(macB)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetFilter(filter); err != nil {
		t.Fatal(err)
	}
	arp := frame(macB, "arp")
	arp[12], arp[13] = 8, 6
	for _, f := range [][]byte{frame(macB, "no"), arp} {
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Take(); len(got) != 1 || !bytes.Equal(got[0].Frame, arp) {
		t.Errorf("passed: %q", got)
	}
	if err := b.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	_ = a.Send(frame(macB, "yes"))
	if got := b.Take(); len(got) != 1 {
		t.Errorf("without a filter: %q", got)
	}
	if err := b.SetFilter([]bpf.RawInstruction{{Op: 0xffff}}); err == nil {
		t.Error("nonsense was taken")
	}
}

func TestLinkStates(t *testing.T) {
	w := ringtest.NewWire()
	a, b := w.Port("a", macA), w.Port("b", macB)
	var batch [4]ring.Frame
	b.SetLink(false)
	if _, err := b.Receive(batch[:]); !errors.Is(err, ring.ErrDown) {
		t.Errorf("down: %v", err)
	}
	if n, err := b.Receive(batch[:]); n != 0 || err != nil {
		t.Errorf("down, again: %d, %v", n, err)
	}
	_ = a.Send(frame(macB, "lost"))
	if err := b.Send(frame(macA, "lost")); !errors.Is(err, ring.ErrDown) || b.Stats().SendErrors.Down != 1 {
		t.Errorf("send: %v, %+v", err, b.Stats())
	}
	b.SetLink(true)
	_ = a.Send(frame(macB, "here"))
	if got := b.Take(); len(got) != 1 || string(got[0].Frame[14:]) != "here" {
		t.Errorf("up again: %q", got)
	}
	b.Delete()
	for range 2 {
		if _, err := b.Receive(batch[:]); !errors.Is(err, ring.ErrGone) {
			t.Errorf("deleted: %v", err)
		}
	}
	if err := b.Send(frame(macA, "lost")); !errors.Is(err, unix.ENXIO) || b.Stats().SendErrors.Gone != 1 {
		t.Errorf("send after deletion: %v", err)
	}
	b.Close()
	if _, err := b.Receive(batch[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestDrops(t *testing.T) {
	w := ringtest.NewWire()
	a, b := w.Port("a", macA), w.Port("b", macB)
	for range 5000 {
		_ = a.Send(frame(macB, "x"))
	}
	if st := b.Stats(); st.Dropped != 5000-4096 {
		t.Errorf("%+v", st)
	}
	a.Queue([]byte("short"))
	if st := a.Stats(); st.SendErrors.Invalid != 1 {
		t.Errorf("%+v", st)
	}
}

// Time passes only while waiting, and never beyond the timeout or an event.
func TestVirtualTime(t *testing.T) {
	w := ringtest.NewWire()
	a, b := w.Port("a", macA), w.Port("b", macB)
	p := w.NewPoller()
	p.Add(b, 7)
	p.Add(a, 3)
	var order []string
	w.At(3*time.Second, func() { order = append(order, "third"); _ = a.Send(frame(macB, "x")) })
	w.At(time.Second, func() { order = append(order, "first") })
	w.At(time.Second, func() { order = append(order, "second") })
	var ready [4]int
	wait := func(timeout time.Duration, wantAt time.Duration, want ...int) {
		t.Helper()
		n, err := p.Wait(timeout, ready[:])
		if err != nil || !slices.Equal(ready[:n], want) || w.Now() != wantAt {
			t.Errorf("Wait(%v): %v at %v, %v; want %v at %v", timeout, ready[:n], w.Now(), err, want, wantAt)
		}
	}
	wait(0, 0)
	wait(1500*time.Millisecond, 1500*time.Millisecond)
	p.Wake()
	wait(-1, 1500*time.Millisecond)
	wait(time.Hour, 3*time.Second, 7)
	wait(time.Hour, 3*time.Second, 7) // still unread
	b.Take()
	a.SetLink(false)
	wait(time.Hour, 3*time.Second, 3)
	var batch [1]ring.Frame
	_, _ = a.Receive(batch[:])
	p.Remove(3)
	wait(time.Hour, time.Hour+3*time.Second)
	go p.Wake()
	wait(-1, time.Hour+3*time.Second)
	if want := []string{"first", "second", "third"}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
}
