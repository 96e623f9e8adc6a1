package ring_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/ringkeep/ringkeep/ring"
)

// between is two hosts on one subnet, 10.9.0.1 and 10.9.0.2, whose only link is
// a forwarder over two rings in a third namespace.
func between(t testing.TB, cfg ring.Config) (left, right *space, a, b *ring.Socket) {
	t.Helper()
	left, middle, right := newSpace(t), newSpace(t), newSpace(t)
	left.veth("v0", middle, "m0")
	right.veth("v1", middle, "m1")
	left.address("v0", "10.9.0.1/24")
	right.address("v1", "10.9.0.2/24")
	cfg.Interface = "m0"
	a = middle.open(cfg)
	cfg.Interface = "m1"
	return left, right, a, middle.open(cfg)
}

// stream sends size bytes by the kernels' TCP from left to right and compares
// what arrives.
func stream(t testing.TB, left, right *space, size int) {
	t.Helper()
	var l net.Listener
	var err error
	right.in(func() { l, err = net.Listen("tcp4", "10.9.0.2:7777") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := make([]byte, size)
	for i := range size / 4 {
		binary.LittleEndian.PutUint32(data[i*4:], uint32(i)*2654435761)
	}
	go left.in(func() {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp4", "10.9.0.2:7777")
		if err != nil {
			t.Errorf("dial: %v", err)
			l.Close()
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(data); err != nil {
			t.Errorf("write: %v", err)
		}
	})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	h := sha256.New()
	n, err := io.Copy(h, c)
	if err != nil || n != int64(size) {
		t.Fatalf("received %d of %d bytes: %v", n, size, err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("the bytes differ")
	}
}

// The kernels' offloads stay on: partial checksums and super-frames pass.
func TestStreamThroughForwarder(t *testing.T) {
	left, right, a, b := between(t, ring.Config{SuperFrames: true})
	f, stop := forward(t, a, b)
	stream(t, left, right, 32<<20)
	stop()
	st := a.Stats()
	if f.partial.Load() == 0 || f.super.Load() == 0 || st.SuperFrames == 0 {
		t.Errorf("%d partial checksums, %d to be segmented; %+v", f.partial.Load(), f.super.Load(), st)
	}
	if st.Truncated != 0 || b.Stats().SendErrors.Invalid != 0 {
		t.Errorf("receiver %+v, sender %+v", st, b.Stats())
	}
	t.Logf("%d partial, %d super; in %+v; out %+v", f.partial.Load(), f.super.Load(), st, b.Stats())
}

// Super-frames that fit a large slot need no recv.
func TestStreamThroughLargeSlots(t *testing.T) {
	left, right, a, b := between(t, ring.Config{Slots: 64, SlotSize: 1 << 17})
	f, stop := forward(t, a, b)
	stream(t, left, right, 4<<20)
	stop()
	if st := a.Stats(); f.super.Load() == 0 || st.SuperFrames != 0 || st.Truncated != 0 {
		t.Errorf("%d to be segmented; %+v", f.super.Load(), st)
	}
}

// superFrame is a TCP segment with a partial checksum that is still to be cut
// into packets, so that its length may exceed the MTU.
func superFrame(t testing.TB, payload int) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{10, 9, 0, 1}, DstIP: net.IP{10, 9, 0, 2}}
	tcp := &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true, Window: 1000}
	eth := &layers.Ethernet{DstMAC: net.HardwareAddr{255, 255, 255, 255, 255, 255}, SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, EthernetType: layers.EthernetTypeIPv4}
	out := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: false},
		eth, ip, tcp, gopacket.Payload(bytes.Repeat([]byte{7}, payload)))
	if err != nil {
		t.Fatal(err)
	}
	buf := append(make([]byte, ring.VNetLen), out.Bytes()...)
	f := ring.Frame{Buf: buf}
	f.SetVNet(ring.VNet{
		Flags: ring.VNetNeedsChecksum, GSOType: ring.GSOTCPv4, HeaderLen: 54, GSOSize: 1400,
		ChecksumStart: 34, ChecksumOffset: 16,
	})
	d := f.Data()
	binary.BigEndian.PutUint16(d[24:], 0)
	binary.BigEndian.PutUint16(d[24:], ^sum(d[14:34]))
	pseudo := append(bytes.Clone(d[26:34]), 0, 6, byte((20+payload)>>8), byte(20+payload))
	binary.BigEndian.PutUint16(d[50:], sum(pseudo))
	return buf
}

// sum is RFC 1071's, in its plainest form.
func sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * uint(1-i%2))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// The header and a 64 KiB frame arrive as they were sent, in order among
// smaller frames, many in one batch, and without a backlog buffer they are
// skipped and counted.
func TestSuperFrames(t *testing.T) {
	left, right := cable(t)
	out := left.open(ring.Config{Interface: "v0"})
	whole := right.open(ring.Config{Interface: "v1", SuperFrames: true})
	plain := right.open(ring.Config{Interface: "v1"})
	large, small := superFrame(t, 65000), superFrame(t, 200)
	ring.Frame{Buf: small}.SetVNet(ring.VNet{Flags: ring.VNetNeedsChecksum, ChecksumStart: 34, ChecksumOffset: 16})
	for range 40 {
		out.Queue(small)
		out.Queue(large)
	}
	if _, err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, got := range receive(t, whole, 80) {
		want := small
		if i%2 == 1 {
			want = large
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("frame %d: %d bytes, % x, want %d bytes, % x", i, len(got), got[:64], len(want), want[:64])
		}
	}
	if st := whole.Stats(); st.SuperFrames != 40 || st.Truncated != 0 {
		t.Errorf("stats %+v", st)
	}
	receive(t, plain, 40)
	var batch [1]ring.Frame
	if n, err := plain.Receive(batch[:]); n != 0 || err != nil {
		t.Errorf("Receive = %d, %v", n, err)
	}
	if st := plain.Stats(); st.Truncated != 40 || st.SuperFrames != 0 {
		t.Errorf("without SuperFrames: %+v", st)
	}
}

// Skipped frames give their slots back although nobody calls Release.
func TestSkippedFramesDoNotFillTheRing(t *testing.T) {
	left, right := cable(t)
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", Slots: 32})
	var batch [4]ring.Frame
	for i := range 100 {
		out.Queue(superFrame(t, 20000))
		out.Flush()
		wait(t, in, "skipped frame", func() bool {
			if n, err := in.Receive(batch[:]); n != 0 || err != nil {
				t.Fatalf("Receive = %d, %v", n, err)
			}
			return in.Stats().Truncated == uint64(i+1)
		})
	}
	out.Queue(superFrame(t, 20000))
	out.Queue(broadcast(1, 64))
	out.Queue(superFrame(t, 20000))
	out.Queue(broadcast(2, 64))
	out.Flush()
	receive(t, in, 2)
	if st := in.Stats(); st.Truncated != 102 || st.Received != 2 || st.Dropped != 0 {
		t.Errorf("stats %+v", st)
	}
}

// At most superMax super-frames are out at a time; the rest waits.
func TestSuperFramesWaitForRelease(t *testing.T) {
	left, right := cable(t)
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", SuperFrames: true})
	for range 100 {
		out.Queue(superFrame(t, 20000))
	}
	out.Flush()
	wait(t, in, "frames", func() bool { return out.Stats().Sent == 100 })
	batch := make([]ring.Frame, 128)
	n, err := in.Receive(batch)
	if n != 64 || err != nil {
		t.Fatalf("Receive = %d, %v", n, err)
	}
	if n, err := in.Receive(batch[n:]); n != 0 || err != nil {
		t.Fatalf("Receive before Release = %d, %v", n, err)
	}
	in.Release()
	if n, err := in.Receive(batch); n != 36 || err != nil {
		t.Fatalf("Receive after Release = %d, %v", n, err)
	}
}

// A frame with a tag arrives with it, though the kernel keeps it elsewhere; the
// virtio header follows the move. A priority tag is left out.
func TestVLANTagIsPutBack(t *testing.T) {
	left, right := cable(t)
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", SuperFrames: true})
	tagged := func(vnetFrame []byte, vid uint16) []byte {
		b := bytes.Clone(vnetFrame[:ring.VNetLen+12])
		b = binary.BigEndian.AppendUint16(b, unix.ETH_P_8021Q)
		b = binary.BigEndian.AppendUint16(b, 3<<13|vid)
		b = append(b, vnetFrame[ring.VNetLen+12:]...)
		f := ring.Frame{Buf: b}
		v := f.VNet()
		if v.Partial() {
			v.ChecksumStart += 4
		}
		if v.Super() {
			v.HeaderLen += 4
		}
		f.SetVNet(v)
		return b
	}
	partial := superFrame(t, 200)
	ring.Frame{Buf: partial}.SetVNet(ring.VNet{Flags: ring.VNetNeedsChecksum, ChecksumStart: 34, ChecksumOffset: 16})
	for _, c := range []struct {
		name       string
		sent, want []byte
	}{
		{"plain", tagged(broadcast(1, 64), 100), tagged(broadcast(1, 64), 100)},
		{"priority only", tagged(broadcast(2, 64), 0), broadcast(2, 64)},
		{"partial checksum", tagged(partial, 4094), tagged(partial, 4094)},
		{"super-frame", tagged(superFrame(t, 30000), 7), tagged(superFrame(t, 30000), 7)},
	} {
		out.Queue(c.sent)
		if _, err := out.Flush(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := receive(t, in, 1)[0]; !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes, want %d\ngot  % x\nwant % x", c.name, len(got), len(c.want), got[:60], c.want[:60])
		}
	}
}

// Our completed checksum is what the kernel's receiver would have accepted.
func TestCompleteChecksum(t *testing.T) {
	left, right, a, b := between(t, ring.Config{})
	f, stop := forward(t, a, b)
	in := right.open(ring.Config{Interface: "v1"})
	right.in(func() { // so that nobody answers port unreachable
		c, err := net.ListenPacket("udp4", "10.9.0.2:9")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { c.Close() })
	})
	left.in(func() {
		c, err := net.Dial("udp4", "10.9.0.2:9")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for _, text := range []string{"even", "odd", ""} {
			if _, err := c.Write([]byte(text)); err != nil {
				t.Error(err)
			}
		}
	})
	seen := 0
	wait(t, in, "datagrams", func() bool {
		var batch [8]ring.Frame
		n, _ := in.Receive(batch[:])
		for _, f := range batch[:n] {
			if d := f.Data(); d[12] == 8 && d[13] == 0 && d[23] == 17 {
				seen++
				checkCompleted(t, f)
			}
		}
		in.Release()
		return seen == 3
	})
	stop()
	if f.partial.Load() == 0 {
		t.Error("the kernel sent full checksums: nothing was tested")
	}
}

func checkCompleted(t *testing.T, f ring.Frame) {
	t.Helper()
	if !f.VNet().Partial() {
		t.Errorf("not partial: %+v", f.VNet())
	}
	f.CompleteChecksum()
	if f.VNet().Partial() {
		t.Error("still marked partial")
	}
	d := f.Data()
	udp := d[34 : 14+int(binary.BigEndian.Uint16(d[16:]))]
	pseudo := append(bytes.Clone(d[26:34]), 0, 17, byte(len(udp)>>8), byte(len(udp)))
	if len(udp)%2 == 1 {
		udp = append(bytes.Clone(udp), 0)
	}
	if got := sum(append(pseudo, udp...)); got != 0xffff {
		t.Errorf("checksum of % x sums to %#x", d, got)
	}
	before := bytes.Clone(d)
	f.CompleteChecksum()
	if !bytes.Equal(before, d) {
		t.Error("a complete checksum was changed")
	}
}

func TestCompleteChecksumIgnoresBadHeaders(t *testing.T) {
	for _, v := range []ring.VNet{
		{Flags: ring.VNetNeedsChecksum, ChecksumStart: 70, ChecksumOffset: 16},
		{Flags: ring.VNetNeedsChecksum, ChecksumStart: 65535, ChecksumOffset: 65535},
		{ChecksumStart: 34, ChecksumOffset: 16},
	} {
		f := ring.Frame{Buf: broadcast(1, 64)}
		f.SetVNet(v)
		before := bytes.Clone(f.Buf)
		f.CompleteChecksum()
		if !bytes.Equal(before, f.Buf) {
			t.Errorf("%+v: the frame was changed", v)
		}
		if f.VNet() != v {
			t.Errorf("%+v reads back as %+v", v, f.VNet())
		}
	}
}

// TestOffloadedFramesKeepTheirPlace: a batch leaves in order, whether or not frames in it
// need their headers, and those that do still have them.
func TestOffloadedFramesKeepTheirPlace(t *testing.T) {
	left, right := cable(t)
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", Filter: onlyTest(t)})
	number := 0
	for _, kinds := range []string{"---", "-p-", "--", "ppp", "-"} {
		first := number
		for _, kind := range kinds {
			buf := broadcast(number, 50)
			if kind == 'p' {
				ring.Frame{Buf: buf}.SetVNet(ring.VNet{Flags: ring.VNetNeedsChecksum, ChecksumStart: 34, ChecksumOffset: 6})
			}
			out.Queue(buf)
			number++
		}
		if n, err := out.Flush(); err != nil || n != len(kinds) {
			t.Fatalf("%s: %d sent: %v", kinds, n, err)
		}
		for i, buf := range receive(t, in, len(kinds)) {
			f := ring.Frame{Buf: buf}
			if got := int(binary.BigEndian.Uint32(f.Data()[14:])); got != first+i || len(f.Data()) != 64 {
				t.Errorf("%s: frame %d of %d bytes at place %d", kinds, got, len(f.Data()), first+i)
			}
			if f.VNet().Partial() != (kinds[i] == 'p') {
				t.Errorf("%s: frame %d: %+v", kinds, i, f.VNet())
			}
		}
	}
}
