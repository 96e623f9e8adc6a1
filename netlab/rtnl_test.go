package netlab

import (
	"testing"
	"time"
)

// A wait for the lock counts while it lasts and after it, and not the time that it always takes.
func TestInterfaceLock(t *testing.T) {
	var k interfaceLock
	ask := func(ago time.Duration) { k.mark(time.Now().Add(-ago)) }
	expect := func(want time.Duration) {
		t.Helper()
		if got := k.total(); got < want || got > want+lockUsual {
			t.Errorf("waited %v, want %v", got, want)
		}
	}
	ask(0)
	expect(0)
	k.mark(time.Time{})
	ask(time.Second)
	expect(time.Second)
	k.mark(time.Time{})
	expect(time.Second)
	ask(2 * time.Second)
	expect(3 * time.Second)
}

// What the kernel's threads have waited before the first look is nothing of the lab's.
func TestKernelDelaysCountFromALook(t *testing.T) {
	var l lab
	now := l.moment(true)
	if late := now.since(moment{processes: now.processes}); late != 0 {
		t.Errorf("%v late before anything was looked at", late)
	}
	if now.kernel == nil { // they are not seen from here
		return
	}
	later := moment{processes: now.processes, kernel: runDelays{}}
	for id, d := range now.kernel {
		later.kernel[id] = d + time.Millisecond
	}
	if late, want := later.since(now), time.Duration(len(now.kernel))*time.Millisecond; late != want {
		t.Errorf("%v late, want %v", late, want)
	}
}
