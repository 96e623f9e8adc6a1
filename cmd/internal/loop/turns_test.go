package loop

import (
	"bytes"
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Of many checks so many run at once. The others follow as these end, or wait for too long; when all
// are to end none waits.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		running := 0
		begin := make(chan int, 1000)
		check := func(ctx context.Context, takes time.Duration) {
			turns.do(func() {
				begin <- 1
				select {
				case <-time.After(takes):
				case <-ctx.Done():
				}
			})
		}
		expect := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			for len(begin) > 0 {
				running += <-begin
			}
			if running != want {
				t.Errorf("%s: %d have begun, want %d", when, running, want)
			}
		}
		for range 2 * checksAtWork {
			check(t.Context(), turnTime/4)
		}
		expect("at first", checksAtWork)
		time.Sleep(turnTime / 4)
		expect("as they end", 2*checksAtWork)
		time.Sleep(turnTime)

		running = 0
		ctx, cancel := context.WithCancel(t.Context())
		for range 4 * checksAtWork {
			check(ctx, time.Hour)
		}
		expect("silent servers", checksAtWork)
		time.Sleep(turnTime)
		expect("silent servers later", 2*checksAtWork)
		cancel()
		expect("the end", 4*checksAtWork)
	})
}

// A goroutine is used for one check after the other, and ends when there are none.
func TestTurnsUseGoroutinesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		serving := func() int {
			synctest.Wait()
			stacks := make([]byte, 1<<20)
			return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("(*turns).serve("))
		}
		for range 100 {
			turns.do(func() {})
			if n := serving(); n != 1 {
				t.Errorf("%d goroutines", n)
			}
			time.Sleep(idleTime / 2)
		}
		time.Sleep(idleTime)
		if n := serving(); n != 0 {
			t.Errorf("%d goroutines are left", n)
		}
	})
}

// wakes counts them.
type wakes struct {
	atOnce
	n atomic.Int32
}

func (w *wakes) Wake() { w.n.Add(1) }

// The results of many checks wake the loop once, a while later; anything else does at once.
func TestResultsWakeTheLoopTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w wakes
		l := New(Config{Poller: &w})
		expect := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := int(w.n.Load()); n != want {
				t.Errorf("%s: woken %d times, want %d", when, n, want)
			}
		}
		did := 0
		one := posted{do: func() { did++ }}
		for round := range 2 {
			for range 10 {
				l.postLater(one)
			}
			expect("results", 2*round)
			l.post(one)
			expect("another event", 2*round+1)
			time.Sleep(resultDelay)
			expect("later", 2*round+2)
			l.events()
		}
		if did != 22 {
			t.Errorf("%d were done", did)
		}
	})
}
