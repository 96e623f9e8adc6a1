package loop

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// turns bounds how many checks are at work at once. Thousands that are ready to run would all have the
// processor before the loop gets it again, and with it an advertisement that is due. One that
// has waited for its server for a while counts no more, so that silent servers hold up nobody.
type turns struct {
	mu      sync.Mutex
	atWork  int
	waiting []func() // first come, first served
	idle    chan func()
}

const (
	checksAtWork = 16
	turnTime     = time.Millisecond
	idleTime     = time.Second // that a goroutine waits for its next check: a new one has its stack to grow
)

// do runs f in a goroutine when it is its turn.
func (t *turns) do(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.atWork == checksAtWork {
		t.waiting = append(t.waiting, f)
		return
	}
	if t.idle == nil {
		t.idle = make(chan func())
	}
	t.atWork++
	select {
	case t.idle <- f:
	default:
		go t.serve(f)
	}
}

// serve runs f, and what comes while it is idle.
func (t *turns) serve(f func()) {
	wait := time.NewTimer(idleTime)
	defer wait.Stop()
	for t.work(f) {
		wait.Reset(idleTime)
		select {
		case f = <-t.idle:
		case <-wait.C:
			return
		}
	}
}

// work runs f, and after it those that wait. It reports whether the turn was its own to the end.
func (t *turns) work(f func()) (own bool) {
	for f != nil {
		var over atomic.Bool
		timer := time.AfterFunc(turnTime, func() {
			runtime.Gosched() // behind all who are ready: where that takes long nobody more may begin
			if over.CompareAndSwap(false, true) {
				t.work(t.next())
			}
		})
		f()
		timer.Stop()
		if !over.CompareAndSwap(false, true) {
			return false
		}
		f = t.next()
	}
	return true
}

// next is whose turn it is then, nil for nobody's.
func (t *turns) next() (f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.atWork--
		return nil
	}
	f = t.waiting[0]
	t.waiting[0] = nil
	t.waiting = t.waiting[1:]
	return f
}
