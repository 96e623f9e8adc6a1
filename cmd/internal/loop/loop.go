// Package loop is the driver of a node: one OS thread, one epoll. It turns rings,
// timers, netlink messages and the results of checks and scripts into events, and
// carries the node's actions out. It decides nothing. Workers, if there are any, are more
// such threads, for service frames alone.
//
// Control rings are drained before service rings and the timers are looked at after
// every batch, so that advertisements leave on time while the forwarder is busy.
// What has to wait for something (checks, scripts) runs in goroutines of their own,
// which answer through [Loop.Post].
package loop

import (
	"context"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/ring"
)

// Port is what the loop needs of a ring: a *ring.Socket, or a port of ringtest.
type Port interface {
	Ready(batch []ring.Frame) int
	Err() error
	Release()
	Queue(buf []byte)
	Flush() (sent int, err error)
}

// Sockets are the rings of one interface; Service is nil where no service traffic
// is expected, both where the node does not use the interface.
type Sockets struct {
	Control, Service Port
	Index            int // of the interface, 0 without a Service
}

// Poller waits for the rings.
type Poller interface {
	Wait(timeout time.Duration, ready []int) (int, error)
	Wake()
}

// Host is what the loop needs of the kernel.
type Host interface {
	AddAddress(kernel.Address) error
	RemoveAddress(kernel.Address) error
	Block([]kernel.Address) error
	Unblock([]kernel.Address) error
	Router
}

// Config wires a loop. The loop owns everything in it until Run returns; closing
// the sockets stays with the caller.
type Config struct {
	Node     *node.Node
	Ports    []Sockets // by the node's port number
	Loopback Port      // where frames for the local stack go; nil without such
	Flows    Flows     // what the kernel moves past the service rings; nil for nothing
	BFD      Datagrams // nil where no BFD is spoken
	Poller   Poller
	Host     Host
	Names    kernel.Names // of routing tables and the like
	Log      *slog.Logger
	// Tell writes a line to the notification FIFOs; nil where there are none.
	Tell func(vrrp bool, line string)
	// Mail hands a mail in, without waiting; nil where nobody gets any.
	Mail func(checks.Mail)
	// Reopen opens the sockets of a port whose interface was made anew, or has come up where
	// one is missing, and closes the old ones.
	Reopen func(port int) (Sockets, error)
	// IPVS is the kernel's, touched only where the node asks for it; with LeaveIPVS what it
	// has of ours stays at the stop.
	IPVS      IPVS
	LeaveIPVS bool
	// Spin is for how long the loop looks at the rings after service frames before it
	// sleeps, where the next ones came so soon before, longer after super-frames; 0 for never.
	Spin time.Duration
	// Workers judge service frames beside the loop, from number 1 on; the node was made for
	// them with Guard.
	Workers []*Worker
	Guard   *sync.RWMutex
	Clock   func() time.Duration // monotonic, from the start of the process
	Wall    func() time.Duration // CLOCK_REALTIME, as the rings stamp frames
}

// batchSize is how many frames one turn takes from a ring: few enough that control
// traffic and timers wait 100 to 200 µs at most.
const batchSize = 64

// mostControl bounds the batches that one turn takes from a control ring: as many as it holds.
const mostControl = 128

// Loop drives one node. All its methods but Post and Do belong to Run's thread.
type Loop struct {
	Config
	lane
	notifier *checks.Notifier
	actions  []node.Action
	now      time.Duration
	ready    [16]int
	spin     spin
	mover    mover
	told     uint64                    // changes of the node that the workers were woken for
	hear     func(kernel.Datagram)     // datagram, made once
	unsent   map[kernel.BFDPath]string // what last hindered packets
	ctx      context.Context
	failed   error // what a worker ended with

	running generation // what was started for the present configuration
	turns   turns      // of its checks
	plane   *plane     // nil while nothing was asked of the kernel's IPVS

	mu      sync.Mutex
	inbox   []posted
	later   bool  // the loop is woken soon for what is in the inbox
	renewed []int // ports with a new interface
	links   map[string]known
	peers   []peer
}

// posted is an event that waits, or something to be done.
type posted struct {
	ev  node.Event
	do  func()
	gen *generation // that it is the result of; nil for none
}

// New makes a loop that is not running yet.
func New(c Config) *Loop {
	l := &Loop{Config: c, lane: lane{log: c.Log}, spin: spin{most: c.Spin}, unsent: map[kernel.BFDPath]string{}}
	l.notifier = checks.NewNotifier(l.notified)
	l.hear = l.datagram
	return l
}

// renew has the sockets of a port opened again before the next event.
func (l *Loop) renew(port int) {
	l.mu.Lock()
	l.renewed = append(l.renewed, port)
	l.mu.Unlock()
}

// complete opens the rings for services of a port whose interface has come up, if they could
// not be opened before.
func (l *Loop) complete(port int) {
	if l.Node.Uses()[port].Service && l.Ports[port].Service == nil {
		l.reopen(port)
	}
}

func (l *Loop) reopen(port int) {
	resume := l.pause()
	l.halt()
	s, err := l.Reopen(port)
	resume()
	if err != nil {
		l.Log.Error("interface not opened again", "err", err)
		return
	}
	l.Ports[port] = s
}

// Post hands an event to the loop, from any goroutine.
func (l *Loop) Post(ev node.Event) { l.post(posted{ev: ev}) }

// Do has the loop call f between two events, from any goroutine.
func (l *Loop) Do(f func()) { l.post(posted{do: f}) }

// Give hands an event to the node at once; call it by way of [Loop.Do].
func (l *Loop) Give(ev node.Event) {
	l.now = l.Clock()
	l.step(ev)
	l.flush()
}

func (l *Loop) post(p posted) {
	l.mu.Lock()
	l.inbox = append(l.inbox, p)
	l.mu.Unlock()
	l.Poller.Wake()
}

// resultDelay is how long the result of a check may wait for more of them.
const resultDelay = time.Millisecond

// postLater is post for what has time: thousands a second need not wake up the loop one by one.
func (l *Loop) postLater(p posted) {
	l.mu.Lock()
	l.inbox = append(l.inbox, p)
	first := !l.later
	l.later = true
	l.mu.Unlock()
	if first {
		time.AfterFunc(resultDelay, l.Poller.Wake)
	}
}

// stopGrace is how long notification scripts may still run at the end.
const stopGrace = time.Second

// Run drives the node until ctx ends, then stops it in good order: priority 0,
// addresses removed, notify_stop. It returns an error only if waiting fails.
func (l *Loop) Run(ctx context.Context) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.ctx = ctx
	l.mover = mover{flows: l.Flows, plane: l.Node.Plane(0), log: l.Log}
	stop := context.AfterFunc(ctx, l.Poller.Wake)
	defer stop()

	l.now = l.Clock()
	l.begin()
	defer func() { l.running.cancel() }()
	l.tellClock()
	l.track(true)
	l.step(node.Start{})
	l.flush()
	wait := l.startWorkers(ctx)
	defer wait()
	for ctx.Err() == nil && err == nil {
		if err = l.turn(); err == nil {
			err = l.failed
		}
	}
	l.now = l.Clock()
	l.tellClock()
	l.step(node.Stop{})
	l.flush()
	wait()
	l.halt()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	l.notifier.Close(grace)
	l.awaitPlane()
	return err
}

// turn waits for work and does one round of it.
func (l *Loop) turn() error {
	timeout := time.Duration(-1)
	if at, ok := l.Node.Deadline(); ok {
		timeout = max(0, at-l.Clock())
	}
	n, err := l.Poller.Wait(timeout, l.ready[:])
	if err != nil {
		return err
	}
	l.now = l.Clock()
	l.tellClock()
	l.settle() // before the timers, which may have waited long
	l.spin.woken(l.now)
	for l.ctx.Err() == nil {
		more := l.events()
		heard := l.datagrams()
		found := l.control()
		l.tick()
		l.flush()
		busy := l.service()
		l.settle()
		if n > 0 && !heard && !found && !busy && !more {
			l.faults() // what else could have woken it
		}
		n = 0
		if l.now = l.Clock(); !l.spin.more(l.now, busy, l.bulk) && !more {
			return nil
		}
	}
	return nil
}

// tellClock tells the time of day, which may have been set since.
func (l *Loop) tellClock() {
	if l.Node.AsksClock() {
		l.step(node.Clock{Offset: l.offset()})
	}
}

// offset is the wall clock's time at our time 0. The clocks are read one after the other, and the
// thread may have to wait between: the closest of a few readings counts.
func (l *Loop) offset() (offset time.Duration) {
	const close, readings = 20 * time.Microsecond, 4
	best := time.Duration(math.MaxInt64)
	for i := 0; i < readings && best > close; i++ {
		before := l.Clock()
		wall := l.Wall()
		if width := l.Clock() - before; width < best {
			best, offset = width, wall-before-width/2
		}
	}
	return offset
}

// events gives the node what other goroutines posted, a batch at most: the results of
// thousands of checks must not hold up the timers. It tells whether there is more.
func (l *Loop) events() (more bool) {
	l.mu.Lock()
	n := min(len(l.inbox), batchSize)
	inbox, renewed := l.inbox[:n:n], l.renewed
	if l.inbox, l.renewed = l.inbox[n:], nil; len(l.inbox) == 0 {
		l.inbox = nil
	}
	more = l.inbox != nil
	l.later = false
	l.mu.Unlock()
	for _, port := range renewed {
		l.reopen(port)
	}
	for _, p := range inbox {
		switch {
		case p.do != nil:
			p.do()
		case p.gen == nil || p.gen.ctx == l.running.ctx:
			l.step(p.ev)
		}
	}
	return more
}

// tick runs the timers, after the control rings were drained: an advertisement
// that has arrived counts before the timer that waited for it.
func (l *Loop) tick() {
	if at, ok := l.Node.Deadline(); ok && at <= l.now {
		l.step(node.Tick{})
	}
}

// control drains the control rings and tells whether there was anything.
func (l *Loop) control() (found bool) {
	for port := range l.Ports {
		s := l.Ports[port].Control
		if s == nil {
			continue
		}
		for range mostControl { // until there is none, so that none is older than a timer that is run
			n := s.Ready(l.frames[:])
			if n == 0 {
				break
			}
			found = true
			l.now = l.Clock() // none of these came later
			offset := l.offset()
			for _, f := range l.frames[:n] {
				at := min(l.now, max(l.now-time.Second, time.Duration(f.Time)-offset))
				l.step(node.Received{Port: port, Frame: f.Data(), At: at})
			}
			s.Release()
		}
	}
	return found
}

// faults fetches what the devices have to say, which the poller would report again and
// again; one that is down or gone is no reason to stop.
func (l *Loop) faults() {
	for port, s := range l.Ports {
		for _, p := range []Port{s.Control, s.Service} {
			l.fault(port, p)
		}
	}
	l.fault(-1, l.Loopback)
}

// service takes one batch from each service ring and tells whether there was any: a
// look at the rings is cheaper than asking epoll.
func (l *Loop) service() (busy bool) {
	for port := range l.Ports {
		s := l.Ports[port].Service
		if s == nil {
			continue
		}
		n := s.Ready(l.frames[:])
		if n == 0 {
			continue
		}
		busy = true
		l.batch.Reset()
		if n > 1 {
			for i := range l.frames[:n] {
				l.Node.Prefetch(l.frames[i].Data())
			}
			l.Node.Prefetched()
		}
		for i := range l.frames[:n] {
			f := &l.frames[i]
			l.Node.Frame(l.now, port, f.Buf[:ring.VNetLen], f.Data(), &l.batch)
		}
		l.carry(n, l.Ports, l.Loopback)
		for _, a := range l.batch.Actions {
			l.do(a)
		}
		l.flush()
		l.mover.offer(l.now, &l.lane, l.Ports)
		s.Release()
	}
	return busy
}

// settle has what the kernel moves follow what the node has decided, that of the workers too,
// which may have nothing else to do.
func (l *Loop) settle() {
	l.mover.settle(l.now, l.Ports)
	if changes := l.Node.Plane(0).Changes(); l.mover.on && changes != l.told {
		l.told = changes
		for _, w := range l.Workers {
			w.Poller.Wake()
		}
	}
}
