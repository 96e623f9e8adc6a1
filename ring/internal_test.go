package ring

import (
	"os"
	"testing"
	"time"
)

func TestGeometry(t *testing.T) {
	page := uint32(os.Getpagesize())
	for _, c := range []struct {
		slots, size         int
		wantSlots, wantSize uint32
	}{
		{0, 0, 1024, 2048},
		{64, 2048, 64, 2048},
		{1, 1, page / 256, 256},
		{33, 2000, 64, 2048},
		{100, 65600, 100, 1 << 17},
		{10, 1 << 30, 10, 1 << 17},
		{4096, 2048, 4096, 2048},
	} {
		r := geometry(c.slots, c.size)
		if r.Frame_nr != c.wantSlots || r.Frame_size != c.wantSize {
			t.Errorf("geometry(%d, %d): %d slots of %d bytes, want %d of %d", c.slots, c.size, r.Frame_nr, r.Frame_size, c.wantSlots, c.wantSize)
		}
		if r.Block_size%page != 0 || r.Block_size%r.Frame_size != 0 || r.Block_nr*(r.Block_size/r.Frame_size) != r.Frame_nr {
			t.Errorf("geometry(%d, %d): the kernel refuses %+v", c.slots, c.size, r)
		}
	}
}

// Kernels before 5.11 count in milliseconds: rounded up, never early.
func TestCoarsePoller(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.coarse = true
	var ready [1]int
	late := 0
	for range 10 { // a signal of the Go runtime's may end some early
		start := time.Now()
		if n, err := p.Wait(100*time.Microsecond, ready[:]); n != 0 || err != nil {
			t.Fatalf("Wait = %d, %v", n, err)
		}
		if time.Since(start) >= 100*time.Microsecond {
			late++
		}
	}
	if late < 7 {
		t.Errorf("only %d waits of 10 were long enough", late)
	}
	p.Wake()
	if n, err := p.Wait(-1, ready[:]); n != 0 || err != nil {
		t.Errorf("after Wake: %d, %v", n, err)
	}
}
