package checks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxQueued is how many scripts may wait in one queue. A script that hangs must not
// gather an endless tail behind it; the oldest go first, as the newest state is the
// one that counts.
const maxQueued = 64

// ErrDropped is the error of scripts that a full queue, or the end, let go unrun.
var ErrDropped = errors.New("notification dropped")

// Done tells how a notification script ended.
type Done struct {
	Queue  string
	Script Script
	Exit   Exit
}

// Notifier runs notification scripts in order: scripts of one queue (an instance, a
// group, a virtual server) run one after another as they were enqueued, different
// queues beside each other. An idle queue costs nothing.
//
// keepalived starts them without waiting, so that two quick transitions overtake
// each other there; here the last script to run tells the last state. A script
// without a Timeout may hold up its queue for as long as it likes.
type Notifier struct {
	report func(Done)
	ctx    context.Context // ends the scripts that run
	cancel context.CancelFunc
	busy   sync.WaitGroup // one for each queue with a goroutine

	mu     sync.Mutex
	queues map[string]*queue
	closed bool
}

type queue struct {
	waiting []Script
	dropped []Script // not yet reported, as many as maxQueued
	lost    int      // dropped beyond that
}

// NewNotifier makes a notifier that tells report how each script ended: from a
// goroutine of the queue, one call at a time for one queue, in order.
func NewNotifier(report func(Done)) *Notifier {
	ctx, cancel := context.WithCancel(context.Background())
	return &Notifier{report: report, ctx: ctx, cancel: cancel, queues: map[string]*queue{}}
}

// Enqueue puts s behind what waits in the named queue, and returns at once. When
// too much waits, the oldest waiting script is dropped and reported with
// [ErrDropped]. After Close it does nothing.
func (n *Notifier) Enqueue(name string, s Script) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	q := n.queues[name]
	if q == nil {
		q = &queue{}
		n.queues[name] = q
		n.busy.Add(1)
		go n.run(name, q)
	}
	if len(q.waiting) == maxQueued {
		q.drop(q.waiting[0])
		q.waiting = q.waiting[1:]
	}
	q.waiting = append(q.waiting, s)
}

func (q *queue) drop(s Script) {
	if len(q.dropped) == maxQueued {
		q.lost++
		return
	}
	q.dropped = append(q.dropped, s)
}

// run works one queue off, and ends with it.
func (n *Notifier) run(name string, q *queue) {
	defer n.busy.Done()
	for {
		s, dropped, lost, ok := n.next(name, q)
		for i, d := range dropped {
			err := fmt.Errorf("%w: too many waiting", ErrDropped)
			if i == len(dropped)-1 && lost > 0 {
				err = fmt.Errorf("%w, and %d more", err, lost)
			}
			n.report(Done{Queue: name, Script: d, Exit: Exit{Status: -1, Err: err}})
		}
		if !ok {
			return
		}
		n.report(Done{Queue: name, Script: s, Exit: s.Run(n.ctx)})
	}
}

// next takes the queue's next script and what it had to drop; ok is false, and the
// queue is gone, when nothing waits.
func (n *Notifier) next(name string, q *queue) (s Script, dropped []Script, lost int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	dropped, lost = q.dropped, q.lost
	q.dropped, q.lost = nil, 0
	if len(q.waiting) == 0 {
		delete(n.queues, name)
		return s, dropped, lost, false
	}
	s = q.waiting[0]
	q.waiting = q.waiting[1:]
	return s, dropped, lost, true
}

// Close takes no more scripts and waits until all queues are empty. When ctx ends
// first, what waits is dropped, what runs gets SIGTERM and 2 s later SIGKILL, and
// Close returns the error of ctx, half a second after that at the latest.
func (n *Notifier) Close(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	defer n.cancel()
	idle := make(chan struct{})
	go func() { n.busy.Wait(); close(idle) }()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	n.abandon()
	n.cancel()
	select {
	case <-idle:
	case <-time.After(killGrace + 500*time.Millisecond):
	}
	return fmt.Errorf("notification scripts did not end: %w", ctx.Err())
}

func (n *Notifier) abandon() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.queues {
		for _, s := range q.waiting {
			q.drop(s)
		}
		q.waiting = nil
	}
}
