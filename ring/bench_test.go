package ring_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring"
)

// BenchmarkForward moves 64-byte frames from one interface's ring out of
// another: ring in, sendmmsg out, nothing looked up. The far end's kernel drops
// them. It reports the CPU time of the forwarding thread for a packet, the
// frames' making left out, and packets per second.
func BenchmarkForward(b *testing.B) {
	left, middle, right := newSpace(b), newSpace(b), newSpace(b)
	left.veth("v0", middle, "m0")
	right.veth("v1", middle, "m1")
	source := left.open(ring.Config{Interface: "v0"})
	in := middle.open(ring.Config{Interface: "m0", Slots: 4096, Filter: onlyTest(b)})
	out := middle.open(ring.Config{Interface: "m1", Filter: ring.NothingFilter()})
	frame := broadcast(1, 50)
	batch := make([]ring.Frame, 64)
	var cpu int64
	runtime.LockOSThread() // the CPU time is that of one thread
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		b.StopTimer()
		round := min(left, 2048)
		for range round {
			source.Queue(frame)
		}
		source.Flush()
		start := threadCPU()
		b.StartTimer()
		for got := 0; got < round; {
			n, err := in.Receive(batch)
			if err != nil {
				b.Fatal(err)
			}
			for i := range batch[:n] {
				out.Queue(batch[i].Buf)
			}
			out.Flush()
			in.Release()
			got += n
		}
		cpu += threadCPU() - start
		left -= round
	}
	b.StopTimer()
	if st := out.Stats(); st.Sent != uint64(b.N) {
		b.Errorf("%d sent of %d: %+v, receiver %+v", st.Sent, b.N, st, in.Stats())
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/packet")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

func threadCPU() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return t.Nano()
}

// BenchmarkReceive is the same without sending: what the ring itself costs.
func BenchmarkReceive(b *testing.B) {
	left, right := cable(b)
	source := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", Slots: 4096, Filter: onlyTest(b)})
	frame := broadcast(1, 50)
	batch := make([]ring.Frame, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		b.StopTimer()
		round := min(left, 2048)
		for range round {
			source.Queue(frame)
		}
		source.Flush()
		b.StartTimer()
		for got := 0; got < round; {
			n, err := in.Receive(batch)
			if err != nil {
				b.Fatal(err)
			}
			in.Release()
			got += n
		}
		left -= round
	}
}
