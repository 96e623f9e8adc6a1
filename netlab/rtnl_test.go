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
