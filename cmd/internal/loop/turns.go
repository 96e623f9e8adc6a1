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
}

const (
	checksAtWork = 64
	turnTime     = 5 * time.Millisecond
)

// do runs f in a goroutine when it is its turn.
func (t *turns) do(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.atWork == checksAtWork {
		t.waiting = append(t.waiting, f)
		return
	}
	t.atWork++
	go t.work(f)
}

// work runs f, and after it those that wait, until the turn is another's.
func (t *turns) work(f func()) {
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
			return
		}
		f = t.next()
	}
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
