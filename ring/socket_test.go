package ring_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring"
)

func TestReceive(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Slots: 32, Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	before := time.Now().UnixNano()
	want := broadcast(1, 100)
	out.Queue(want)
	if n, err := out.Flush(); n != 1 || err != nil {
		t.Fatalf("Flush = %d, %v", n, err)
	}
	var batch [8]ring.Frame
	n := 0
	wait(t, in, "frame", func() bool { n, _ = in.Receive(batch[:]); return n > 0 })
	f := batch[0]
	if n != 1 || !bytes.Equal(f.Data(), want[ring.VNetLen:]) {
		t.Errorf("%d frames, the first % x", n, f.Data())
	}
	if f.Kind != unix.PACKET_BROADCAST {
		t.Errorf("Kind %d, want PACKET_BROADCAST", f.Kind)
	}
	if f.Time < before-1e6 || f.Time > time.Now().UnixNano()+1e6 {
		t.Errorf("Time %d, sent at %d", f.Time, before)
	}
	if v := f.VNet(); v.Partial() || v.Super() {
		t.Errorf("virtio header %+v of a plain frame", v)
	}
	in.Release()
	if st := in.Stats(); st.Received != 1 || st.Dropped != 0 || st.Sent != 0 {
		t.Errorf("receiver's stats %+v", st)
	}
	if st := out.Stats(); st.Sent != 1 || st.SendErrors.Total() != 0 {
		t.Errorf("sender's stats %+v", st)
	}
}

// The ring goes round several times, in order, whatever the batches' sizes.
func TestReceiveWrapsAround(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Slots: 32, Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	number := 0
	for round := range 20 {
		size := 1 + round*7%32
		for i := range size {
			out.Queue(broadcast(number+i, 64))
		}
		out.Flush()
		for _, buf := range receive(t, in, size) {
			if !bytes.Equal(buf[ring.VNetLen:], broadcast(number, 64)[ring.VNetLen:]) {
				t.Fatalf("round %d: frame %d is % x", round, number, buf)
			}
			number++
		}
	}
}

// Frames stay as they are until Release; a ring that is held drops and counts.
func TestDropsAreCounted(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Slots: 32, Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	for i := range 50 {
		out.Queue(broadcast(i, 64))
	}
	out.Flush()
	var batch [64]ring.Frame
	wait(t, in, "drops", func() bool { return in.Stats().Dropped == 50-32 })
	n, err := in.Receive(batch[:])
	if n != 32 || err != nil {
		t.Fatalf("Receive = %d, %v; want the 32 slots", n, err)
	}
	if n, err := in.Receive(batch[40:]); n != 0 || err != nil {
		t.Errorf("a ring that is held gave %d frames, %v", n, err)
	}
	for i, f := range batch[:n] {
		if !bytes.Equal(f.Data(), broadcast(i, 64)[ring.VNetLen:]) {
			t.Errorf("frame %d is % x", i, f.Data())
		}
	}
	in.Release()
	out.Queue(broadcast(99, 64))
	out.Flush()
	receive(t, in, 1)
	if st := in.Stats(); st.Dropped != 18 || st.Received != 33 {
		t.Errorf("stats %+v, want 18 dropped and 33 received", st)
	}
}

// A socket does not read back what it or another socket of the host sends.
func TestOwnFramesAreNotReadBack(t *testing.T) {
	for _, qdisc := range []bool{false, true} {
		left, right := cable(t)
		own := left.open(ring.Config{Interface: "v0", Filter: onlyTest(t), Qdisc: qdisc})
		other := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
		own.Queue(broadcast(1, 64))
		own.Flush()
		receive(t, other, 1)
		other.Queue(broadcast(2, 64))
		other.Flush()
		if got := receive(t, own, 1)[0]; got[ring.VNetLen+14+3] != 2 {
			t.Errorf("qdisc %v: read back % x", qdisc, got)
		}
	}
}

// What passes the kernel's taps on its way out is received where that is wanted, and told
// from what comes in.
func TestOutgoingFrames(t *testing.T) {
	left, right := cable(t)
	watch := left.open(ring.Config{Interface: "v0", Filter: onlyTest(t), Outgoing: true})
	past, through := left.open(ring.Config{Interface: "v0"}), left.open(ring.Config{Interface: "v0", Qdisc: true})
	peer := right.open(ring.Config{Interface: "v1"})
	for i, s := range []*ring.Socket{past, through, peer} {
		s.Queue(broadcast(i, 64))
		s.Flush()
	}
	var got []ring.Frame
	var batch [4]ring.Frame
	wait(t, watch, "two frames", func() bool {
		n, _ := watch.Receive(batch[:])
		got = append(got, batch[:n]...)
		return len(got) >= 2
	})
	for i, f := range got {
		if number := f.Data()[14+3]; len(got) != 2 || int(number) != i+1 || f.Outgoing() != (i == 0) {
			t.Errorf("frame %d of %d: number %d, outgoing %v", i, len(got), number, f.Outgoing())
		}
	}
}

// More than a batch may be queued, and frames may lie in a received slot.
func TestQueueFlushesWhenFull(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	for i := range 200 {
		out.Queue(broadcast(i, 64))
	}
	if n, err := out.Flush(); n != 200-3*64 || err != nil {
		t.Errorf("last Flush = %d, %v", n, err)
	}
	receive(t, in, 200)
	if st := out.Stats(); st.Sent != 200 {
		t.Errorf("stats %+v", st)
	}
}

func TestSendErrors(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	badHeader := broadcast(3, 64)
	ring.Frame{Buf: badHeader}.SetVNet(ring.VNet{Flags: ring.VNetNeedsChecksum, ChecksumStart: 5000})
	out.Queue(broadcast(1, 64))
	out.Queue(broadcast(2, 3000)) // the MTU is 1500
	out.Queue(badHeader)
	out.Queue(make([]byte, ring.VNetLen+13))
	out.Queue(broadcast(4, 64))
	n, err := out.Flush()
	if n != 2 || !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "send v0: ") {
		t.Errorf("Flush = %d, %v", n, err)
	}
	receive(t, in, 2)
	want := ring.SendErrors{TooLong: 1, Invalid: 2}
	if st := out.Stats(); st.Sent != 2 || st.SendErrors != want {
		t.Errorf("stats %+v", st)
	}
	right.down("v1") // no carrier
	out.Queue(broadcast(5, 64))
	if _, err := out.Flush(); !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("without carrier: %v", err)
	}
}

func TestLinkDownAndUpAgain(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	var batch [4]ring.Frame
	right.down("v1")
	var err error
	wait(t, in, "error", func() bool { _, err = in.Receive(batch[:]); return err != nil })
	if !errors.Is(err, ring.ErrDown) || err.Error() != "v1: network is down" {
		t.Errorf("receive: %v", err)
	}
	if n, err := in.Receive(batch[:]); n != 0 || err != nil {
		t.Errorf("the error is reported once, then %d, %v", n, err)
	}
	in.Queue(broadcast(1, 64))
	in.Queue(broadcast(2, 64))
	if _, err := in.Flush(); !errors.Is(err, ring.ErrDown) || in.Stats().SendErrors.Down != 2 {
		t.Errorf("send: %v, %+v", err, in.Stats())
	}
	right.up("v1")
	wait(t, in, "frame after the link is up", func() bool {
		out.Queue(broadcast(3, 64))
		out.Flush()
		n, _ := in.Receive(batch[:])
		in.Release()
		return n > 0
	})
	in.Queue(broadcast(4, 64))
	if n, err := in.Flush(); n != 1 || err != nil {
		t.Errorf("send after the link is up: %d, %v", n, err)
	}
}

func TestOpenWhileDown(t *testing.T) {
	left, right := cable(t)
	right.down("v1")
	in := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	if err := in.Err(); !errors.Is(err, ring.ErrDown) {
		t.Errorf("Err = %v", err)
	}
	right.up("v1")
	wait(t, in, "frame", func() bool {
		out.Queue(broadcast(3, 64))
		out.Flush()
		var batch [4]ring.Frame
		n, _ := in.Receive(batch[:])
		in.Release()
		return n > 0
	})
}

func TestDeviceDeleted(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1"})
	if err := left.nl.LinkDel(left.link("v0")); err != nil {
		t.Fatal(err)
	}
	var batch [4]ring.Frame
	var err error
	wait(t, in, "error", func() bool {
		_, err = in.Receive(batch[:])
		in.Release()
		return errors.Is(err, ring.ErrGone)
	})
	if err.Error() != "v1: no such device" {
		t.Errorf("receive: %v", err)
	}
	if _, err := in.Receive(batch[:]); !errors.Is(err, ring.ErrGone) {
		t.Errorf("the second time: %v", err)
	}
	in.Queue(broadcast(1, 64))
	if _, err := in.Flush(); !errors.Is(err, unix.ENXIO) || in.Stats().SendErrors.Gone != 1 {
		t.Errorf("send: %v, %+v", err, in.Stats())
	}
	p, err := ring.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(in.FD(), 0); err != nil {
		t.Fatal(err)
	}
	var ready [1]int
	if n, err := p.Wait(0, ready[:]); n != 0 || err != nil {
		t.Errorf("a deleted device keeps the poller awake: %d, %v", n, err)
	}
}

func TestClosed(t *testing.T) {
	left, _ := cable(t)
	s := left.open(ring.Config{Interface: "v0"})
	s.Queue(broadcast(1, 64))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	var batch [1]ring.Frame
	if _, err := s.Receive(batch[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive: %v", err)
	}
	s.Release()
	s.Queue(broadcast(1, 64))
	if n, err := s.Flush(); n != 0 || err != nil {
		t.Errorf("Flush = %d, %v", n, err)
	}
	if err := s.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Err: %v", err)
	}
	s.Stats()
}

func TestOpenErrorsNameTheInterface(t *testing.T) {
	if _, err := ring.Open(ring.Config{Interface: "nosuch0"}); err == nil || err.Error() != "open nosuch0: no such network interface" {
		t.Errorf("missing interface: %v", err)
	}
	if _, err := ring.Open(ring.Config{Index: 999999}); err == nil || !strings.HasPrefix(err.Error(), "open interface 999999: ") {
		t.Errorf("missing index: %v", err)
	}
	var err error
	inThread(func() {
		if os.Geteuid() == 0 { // give the rights up, in this thread only
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err = unix.Capset(&header, &none[0]); err != nil {
				t.Errorf("capset: %v", err)
			}
		}
		_, err = ring.Open(ring.Config{Interface: "lo"})
	})
	want := "open lo: "
	if !errors.Is(err, unix.EPERM) || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "operation not permitted: needs CAP_NET_RAW") {
		t.Errorf("without the right: %v", err)
	}
}

func TestMemberships(t *testing.T) {
	left, _ := cable(t)
	s := left.open(ring.Config{Interface: "v0"})
	promiscuous := func() int { return left.link("v0").Attrs().Promisc }
	groups := func() (text string) {
		left.in(func() {
			b, _ := os.ReadFile("/proc/thread-self/net/dev_mcast")
			text = string(b)
		})
		return text
	}
	virtual := [6]byte{0, 0, 0x5e, 0, 1, 51}
	group := [6]byte{1, 0, 0x5e, 0, 0, 18}
	for _, mac := range [][6]byte{virtual, group} {
		if err := s.AcceptMAC(mac); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(groups(), "01005e000012") {
		t.Errorf("the group is not joined:\n%s", groups())
	}
	for _, mac := range [][6]byte{virtual, group} {
		if err := s.RefuseMAC(mac); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(groups(), "01005e000012") {
		t.Errorf("the group is still joined:\n%s", groups())
	}
	before := promiscuous()
	p := left.open(ring.Config{Interface: "v0", Promiscuous: true})
	if got := promiscuous(); got != before+1 {
		t.Errorf("promiscuity %d, want %d", got, before+1)
	}
	p.Close()
	if got := promiscuous(); got != before {
		t.Errorf("promiscuity %d after Close, want %d", got, before)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	left, right := cable(t)
	in := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
	out := left.open(ring.Config{Interface: "v0"})
	back := right.open(ring.Config{Interface: "v1", Filter: ring.NothingFilter()})
	frame := broadcast(1, 64)
	batch := make([]ring.Frame, 64)
	got := 0
	allocs := testing.AllocsPerRun(200, func() {
		for range 8 {
			out.Queue(frame)
		}
		out.Flush()
		n, err := in.Receive(batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range batch[:n] {
			back.Queue(f.Buf)
		}
		back.Flush()
		in.Release()
		in.Receive(batch) // usually empty: asks for errors
		in.Release()
		got += n
	})
	if allocs != 0 {
		t.Errorf("%v allocations in a round", allocs)
	}
	if got == 0 {
		t.Error("nothing was received")
	}
}
