package loop

import (
	"context"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// TestSpin: only frames that came soon after the last ones keep the loop awake, and not for
// longer than it is allowed.
func TestSpin(t *testing.T) {
	const µs = time.Microsecond
	s := spin{most: 50 * µs}
	now := time.Second
	wake := func(after time.Duration, want bool) {
		t.Helper()
		now += after
		s.woken(now)
		now += 200 * µs // a full batch, whose time is not the sender's
		if !s.more(now, true, false) {
			t.Fatalf("%v: asleep after a busy round", now)
		}
		if got := s.more(now, false, false); got != want {
			t.Errorf("%v after the last frames: awake %v", after, got)
		}
	}
	wake(time.Second, false)
	wake(60*µs, false)
	wake(30*µs, true)
	if s.more(now+49*µs, false, false) != true || s.more(now+50*µs, false, false) {
		t.Error("not awake for 50µs")
	}
	now += 40 * µs // frames that it did not sleep before
	if !s.more(now, true, false) || !s.more(now+49*µs, false, false) {
		t.Error("not awake after the frames that it was awake for")
	}
	s.woken(now + 2*time.Second) // a timer
	if s.more(now+2*time.Second, false, false) {
		t.Error("awake after a timer")
	}
	wake(3*time.Second, false)
	now += 10 * time.Second
	s.more(now, true, true)
	now += 200 * µs
	s.woken(now)
	s.more(now, true, true)
	if !s.more(now+499*µs, false, false) || s.more(now+500*µs, false, false) {
		t.Error("not awake for 500µs after super-frames")
	}
	if never := (&spin{}); never.more(0, true, false) && never.more(0, false, false) {
		t.Error("awake though it may not be")
	}
}

// counted is a port that counts how often it is asked for an error.
type counted struct {
	Port
	asked int
}

func (c *counted) Err() error { c.asked++; return c.Port.Err() }

// TestErrorsAreAskedForAtNeed: not while frames come, and so that a link that went down does
// not keep the loop awake.
func TestErrorsAreAskedForAtNeed(t *testing.T) {
	b := newBench(t, instance(100))
	control := &counted{Port: b.loop.Ports[0].Control}
	b.loop.Ports[0].Control = control
	for at := time.Second; at < 10*time.Second; at += time.Second {
		b.At(at, func() { b.other.Send(advert(200)) })
	}
	b.At(9500*time.Millisecond, func() {
		if control.asked != 0 {
			t.Errorf("asked %d times while nothing was wrong", control.asked)
		}
		control.Port.(interface{ SetLink(bool) }).SetLink(false)
		b.loop.Post(node.LinkChanged{Port: 0, MAC: proto.MAC(ownMAC), Up: false})
	})
	ctx, cancel := context.WithCancel(t.Context())
	b.At(11*time.Second, cancel)
	if err := b.loop.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if control.asked == 0 || control.asked > 3 {
		t.Errorf("asked %d times", control.asked)
	}
}
