package loop

import (
	"context"
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
