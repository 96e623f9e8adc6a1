package netlab

import (
	"testing"
	"testing/synctest"
	"time"
)

// A wait for the lock counts while it lasts and after it, and not the time that it always takes.
func TestInterfaceLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k interfaceLock
		wait := func(d, want time.Duration) {
			t.Helper()
			k.mark(time.Now())
			time.Sleep(d)
			if got := k.total(); got != want {
				t.Errorf("waiting: %v, want %v", got, want)
			}
			k.mark(time.Time{})
			time.Sleep(time.Minute)
			if got := k.total(); got != want {
				t.Errorf("later: %v, want %v", got, want)
			}
		}
		wait(lockUsual, 0)
		wait(time.Second, time.Second)
		wait(lockUsual, time.Second)
		wait(2*time.Second, 3*time.Second)
	})
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
