package loop

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// turns bounds how many checks are at work at once. Thousands that are ready to run would all have the
// processor before the loop gets it again, and with it an advertisement that is due. One that
// has waited for its server for a while counts no more, so that silent servers hold up nobody.
type turns chan struct{}

const (
	checksAtWork = 64
	turnTime     = 5 * time.Millisecond
)

func newTurns() turns { return make(turns, checksAtWork) }

// work runs f when it is its turn, or at once if ctx has ended.
func (t turns) work(ctx context.Context, f func()) {
	select {
	case t <- struct{}{}:
		give := sync.OnceFunc(func() { <-t })
		defer give()
		defer time.AfterFunc(turnTime, func() {
			runtime.Gosched() // behind all who are ready: where that takes long nobody more may begin
			give()
		}).Stop()
	case <-ctx.Done():
	}
	f()
}
