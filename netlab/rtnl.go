package netlab

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// interfaceLock watches the kernel's one lock of all interfaces and addresses (RTNL). Whoever makes
// or ends a namespace holds it, on a busy machine for a second and more, and a program that
// sets an address waits for it, asleep: that is no wait for a processor.
type interfaceLock struct {
	mu    sync.Mutex
	sum   time.Duration
	asked time.Time // zero while nobody asks
}

const (
	lockEvery = 100 * time.Millisecond
	lockUsual = 20 * time.Millisecond // so long it takes now and then
)

// watch takes the lock every lockEvery until ctx ends, by a setting of lo in ns that changes nothing.
func (k *interfaceLock) watch(ctx context.Context, s *space) error {
	nl, err := netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	lo, err := nl.LinkByName("lo")
	if err != nil {
		nl.Close()
		return fmt.Errorf("lo: %w", err)
	}
	go func() {
		defer nl.Close()
		for pause(ctx, lockEvery); ctx.Err() == nil; pause(ctx, lockEvery) {
			k.mark(time.Now())
			_ = nl.LinkSetMTU(lo, lo.Attrs().MTU)
			k.mark(time.Time{})
		}
	}()
	return nil
}

// mark begins or, with the zero time, ends a wait.
func (k *interfaceLock) mark(at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sum, k.asked = k.waited(), at
}

// waited is for how long the lock was held by others so far.
func (k *interfaceLock) waited() time.Duration {
	if d := time.Since(k.asked); !k.asked.IsZero() && d > lockUsual {
		return k.sum + d
	}
	return k.sum
}

func (k *interfaceLock) total() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.waited()
}
