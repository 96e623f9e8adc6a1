package loop

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/ring"
)

// Worker is a loop beside the node's own for the service frames of some clients: a thread
// with rings, sockets and a poller of its own. It hears of nothing else, and hands to the
// node's loop what it cannot decide.
type Worker struct {
	// Ports are by the node's port number; without Control. They and Loopback, as that of
	// [Config], may be changed while the loop reopens or reloads.
	Ports    []Sockets
	Loopback Port
	Poller   Poller
	Flows    Flows // as that of [Config]

	lane
	sockets sync.Mutex // held while they are in use
	loop    *Loop
	plane   *node.Plane
	spin    spin
	mover   mover
	now     time.Duration
	ready   [16]int
	next    time.Duration // when the plane wants a Tick
	timed   bool          // it does
}

// startWorkers has the workers run until ctx ends, and returns what waits for them.
func (l *Loop) startWorkers(ctx context.Context) (wait func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i, w := range l.Workers {
		w.lane, w.loop, w.plane, w.spin = lane{log: l.Log}, l, l.Node.Plane(i+1), spin{most: l.Spin}
		w.mover = mover{flows: w.Flows, plane: w.plane, log: l.Log}
		stop := context.AfterFunc(ctx, w.Poller.Wake)
		all.Go(func() {
			defer stop()
			if err := w.run(ctx); err != nil {
				l.Do(func() { l.failed = fmt.Errorf("worker %d: %w", i+1, err) })
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// pause has the workers use no socket until resume.
func (l *Loop) pause() (resume func()) {
	for _, w := range l.Workers {
		w.sockets.Lock()
	}
	return func() {
		for _, w := range l.Workers {
			w.sockets.Unlock()
		}
	}
}

func (w *Worker) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		timeout := time.Duration(-1)
		if w.timed {
			timeout = max(0, w.next-w.loop.Clock())
		}
		n, err := w.Poller.Wait(timeout, w.ready[:])
		if err != nil {
			return err
		}
		w.now = w.loop.Clock()
		w.spin.woken(w.now)
		for more := true; more && ctx.Err() == nil; n = 0 {
			busy := w.round(n > 0)
			w.now = w.loop.Clock()
			more = w.spin.more(w.now, busy, w.bulk)
		}
	}
	return nil
}

// round takes a batch from each ring and runs the timers. It tells whether there was any frame.
func (w *Worker) round(woken bool) (busy bool) {
	w.sockets.Lock()
	defer w.sockets.Unlock()
	for port := range w.Ports {
		s := w.Ports[port].Service
		if s == nil {
			continue
		}
		n := s.Ready(w.frames[:])
		if n == 0 {
			continue
		}
		busy = true
		w.judge(port, n)
		w.carry(n, w.Ports, w.Loopback)
		for _, a := range w.batch.Actions {
			if a, ok := a.(node.Send); ok { // there is nothing else
				w.queue(w.Ports[a.Port].Service, append(make([]byte, ring.VNetLen), a.Frame...))
			}
		}
		for _, u := range w.batch.Unresolved {
			w.loop.running.post(u) // after a reload its server's number may be another's
		}
		w.flush()
		w.offer()
		s.Release()
	}
	if woken && !busy {
		for port := range w.Ports {
			w.fault(port, w.Ports[port].Service)
		}
		w.fault(-1, w.Loopback)
	}
	w.tick()
	return busy
}

// judge decides on a batch, during which the node changes nothing.
func (w *Worker) judge(port, n int) {
	w.batch.Reset()
	w.loop.Guard.RLock()
	defer w.loop.Guard.RUnlock()
	if n > 1 {
		for i := range w.frames[:n] {
			w.plane.Prefetch(w.frames[i].Data())
		}
		w.plane.Prefetched()
	}
	for i := range w.frames[:n] {
		f := &w.frames[i]
		w.plane.Frame(w.now, port, f.Buf[:ring.VNetLen], f.Data(), &w.batch)
	}
}

// offer has the kernel move what it may of the batch.
func (w *Worker) offer() {
	if len(w.batch.Bulk) > 0 {
		w.loop.Guard.RLock()
		defer w.loop.Guard.RUnlock()
		w.mover.offer(w.now, &w.lane, w.Ports)
	}
}

// tick runs the timers of the plane that are due, and follows what the node has decided.
func (w *Worker) tick() {
	w.loop.Guard.RLock()
	defer w.loop.Guard.RUnlock()
	w.mover.settle(w.now, w.Ports)
	if w.next, w.timed = w.plane.Deadline(); w.timed && w.next <= w.now {
		w.plane.Tick(w.now)
		w.next, w.timed = w.plane.Deadline()
	}
}
