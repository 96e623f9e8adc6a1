package ring_test

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring"
)

func newPoller(t testing.TB) *ring.Poller {
	t.Helper()
	p, err := ring.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// eventfd makes a descriptor that is readable, or not.
func eventfd(t testing.TB, readable bool) int {
	t.Helper()
	count := uint(0)
	if readable {
		count = 1
	}
	fd, err := unix.Eventfd(count, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestPollerTimeout(t *testing.T) {
	p := newPoller(t)
	var ready [4]int
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // its signals would end the waits early
	for _, d := range []time.Duration{0, 1, 100 * time.Microsecond, 2300 * time.Microsecond} {
		best, early := time.Hour, 0
		for range 20 { // the shared machine may be late at any one of them
			runtime.Gosched() // or the runtime signals who has run for 10 ms, which a short wait counts for
			start := time.Now()
			if n, err := p.Wait(d, ready[:]); n != 0 || err != nil {
				t.Fatalf("Wait(%v) = %d, %v", d, n, err)
			}
			took := time.Since(start)
			if took < d {
				early++ // a signal of the Go runtime's
				continue
			}
			best = min(best, took)
		}
		if early > 5 || best > d+900*time.Microsecond {
			t.Errorf("Wait(%v) took %v at best, came early %d times of 20", d, best, early)
		}
	}
}

func TestPollerReady(t *testing.T) {
	p := newPoller(t)
	quiet, one, two := eventfd(t, false), eventfd(t, true), eventfd(t, true)
	for id, fd := range []int{quiet, one, two} {
		if err := p.Add(fd, id); err != nil {
			t.Fatal(err)
		}
	}
	var ready [4]int
	n, err := p.Wait(-1, ready[:])
	slices.Sort(ready[:n])
	if err != nil || !slices.Equal(ready[:n], []int{1, 2}) {
		t.Errorf("ready %v, %v", ready[:n], err)
	}
	if n, err := p.Wait(0, ready[:1]); n != 1 || err != nil {
		t.Errorf("a short list: %d, %v", n, err)
	}
	if err := p.Remove(one); err != nil {
		t.Error(err)
	}
	if n, _ := p.Wait(0, ready[:]); n != 1 || ready[0] != 2 {
		t.Errorf("after Remove: %v", ready[:n])
	}
	if err := p.Add(one, -1); err == nil {
		t.Error("a negative id was taken")
	}
	if err := p.Add(1<<20, 1); err == nil {
		t.Error("a descriptor that is not open was taken")
	}
}

func TestPollerWake(t *testing.T) {
	p := newPoller(t)
	var ready [4]int
	p.Wake() // before Wait: remembered
	p.Wake() // and not twice
	if n, err := p.Wait(-1, ready[:]); n != 0 || err != nil {
		t.Fatalf("Wait = %d, %v", n, err)
	}
	start := time.Now()
	if n, err := p.Wait(time.Millisecond, ready[:]); n != 0 || err != nil || time.Since(start) < time.Millisecond {
		t.Errorf("a wake was counted twice: %d, %v", n, err)
	}
	go p.Wake() // during Wait
	if n, err := p.Wait(-1, ready[:]); n != 0 || err != nil {
		t.Errorf("Wait = %d, %v", n, err)
	}
	if err := p.Add(eventfd(t, true), 3); err != nil {
		t.Fatal(err)
	}
	p.Wake() // beside a ready descriptor, with a list of one
	seen := 0
	for range 2 {
		n, _ := p.Wait(0, ready[:1])
		seen += n
	}
	if seen == 0 {
		t.Error("the descriptor was not reported beside a wake")
	}
}

// A wait after a short one is as long as any other, and finds what comes late in it.
func TestPollerNaps(t *testing.T) {
	p := newPoller(t)
	fd := eventfd(t, false)
	if err := p.Add(fd, 3); err != nil {
		t.Fatal(err)
	}
	var ready [4]int
	const long = 25 * time.Millisecond // more than a nap
	for range 2 {
		p.Wake()
		if n, err := p.Wait(-1, ready[:]); n != 0 || err != nil {
			t.Fatalf("Wait = %d, %v", n, err)
		}
		took, start := time.Duration(0), time.Now()
		for took < long { // a signal of the Go runtime's may end a wait
			if n, err := p.Wait(long-took, ready[:]); n != 0 || err != nil {
				t.Fatalf("Wait = %d, %v", n, err)
			}
			took = time.Since(start)
		}
		p.Wake()
		p.Wait(-1, ready[:])
		late := time.AfterFunc(long, func() { unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
		n, err := 0, error(nil)
		for n == 0 && err == nil {
			runtime.GC() // has to find the one that sleeps
			n, err = p.Wait(-1, ready[:])
		}
		if n != 1 || ready[0] != 3 || err != nil {
			t.Errorf("Wait = %v, %v", ready[:n], err)
		}
		late.Stop()
		unix.Read(fd, make([]byte, 8))
	}
}

func TestPollerWakeWhileClosing(t *testing.T) {
	for range 50 {
		p := newPoller(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(p.Wake)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		p.Wake()
		if err := p.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
}

func TestPollerDoesNotAllocate(t *testing.T) {
	p := newPoller(t)
	if err := p.Add(eventfd(t, true), 3); err != nil {
		t.Fatal(err)
	}
	ready := make([]int, 4)
	allocs := testing.AllocsPerRun(100, func() {
		p.Wake()
		if _, err := p.Wait(time.Microsecond, ready); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
