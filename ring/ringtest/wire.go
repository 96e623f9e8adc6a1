// Package ringtest is a wire in memory, with ports that have the methods of a
// [ring.Socket] and a poller that has those of a [ring.Poller], in virtual time.
// What drives sockets runs on them unchanged, and the same test gives the same
// frames at the same times.
//
// The wire is a hub: a frame flushed by one port is received at once by every
// other port whose filter passes it. Time stands still except inside
// [Poller.Wait], which jumps to whatever comes first: its timeout or an action
// planned with [Wire.At].
package ringtest

import (
	"slices"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/ring"
)

// Wire connects its ports. Its methods may be called from any goroutine.
type Wire struct {
	mu      sync.Mutex
	changed sync.Cond // a frame arrived or a poller was woken
	now     time.Duration
	ports   []*Port
	plan    []planned
}

type planned struct {
	at time.Duration
	do func()
}

// NewWire makes a wire without ports, at time 0.
func NewWire() *Wire {
	w := &Wire{}
	w.changed.L = &w.mu
	return w
}

// Now is the wire's virtual time; it is also what frames are stamped with.
func (w *Wire) Now() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// At plans do for the virtual time at, or for now if that is over. It runs
// inside [Poller.Wait]; actions of one time run in the order of planning.
func (w *Wire) At(at time.Duration, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, _ := slices.BinarySearchFunc(w.plan, at, func(p planned, at time.Duration) int {
		if p.at <= at {
			return -1
		}
		return 1
	})
	w.plan = slices.Insert(w.plan, i, planned{at, do})
	w.changed.Broadcast()
}

// Port plugs a new port in. mac decides only the frames' Kind: the port is
// promiscuous.
func (w *Wire) Port(name string, mac [6]byte) *Port {
	p := &Port{wire: w, name: name, mac: mac, up: true}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports = append(w.ports, p)
	return p
}

// deliver copies buf to every port but its sender. The caller holds the lock.
func (w *Wire) deliver(from *Port, buf []byte) {
	for _, p := range w.ports {
		if p != from {
			p.arrive(buf)
		}
	}
	w.changed.Broadcast()
}

// unplug takes a port out. The caller holds the lock.
func (w *Wire) unplug(p *Port) {
	w.ports = slices.DeleteFunc(w.ports, func(q *Port) bool { return q == p })
}

// Poller waits for ports of one wire, in virtual time.
type Poller struct {
	wire  *Wire
	ports map[int]*Port
	woken bool
}

// NewPoller makes a poller that waits for nothing yet.
func (w *Wire) NewPoller() *Poller { return &Poller{wire: w, ports: map[int]*Port{}} }

// Add has Wait report id while port has frames or an error.
func (p *Poller) Add(port *Port, id int) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	p.ports[id] = port
}

// Remove has Wait forget id.
func (p *Poller) Remove(id int) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	delete(p.ports, id)
}

// Wake makes the current Wait, or else the next one, return.
func (p *Poller) Wake() {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	p.woken = true
	p.wire.changed.Broadcast()
}

// Wait fills ready with the ids of the ports that have something, in rising
// order, and returns how many. With none it lets virtual time pass: up to the
// next planned action, which it runs, and so on until a port is ready or Wake
// was called; at most for timeout, if that is not negative. With nothing
// planned and no timeout it waits, in real time, for another goroutine.
func (p *Poller) Wait(timeout time.Duration, ready []int) (int, error) {
	w := p.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	end := w.now + timeout
	for {
		if n := p.look(ready); n > 0 || p.woken {
			p.woken = false
			return n, nil
		}
		switch {
		case len(w.plan) > 0 && (timeout < 0 || w.plan[0].at <= end):
			w.runNext()
		case timeout >= 0:
			w.now = max(w.now, end)
			return 0, nil
		default:
			w.changed.Wait()
		}
	}
}

// runNext runs the first planned action. The caller holds the lock.
func (w *Wire) runNext() {
	next := w.plan[0]
	w.plan = slices.Delete(w.plan, 0, 1)
	w.now = max(w.now, next.at)
	w.mu.Unlock()
	defer w.mu.Lock()
	next.do()
}

func (p *Poller) look(ready []int) int {
	found := ready[:0]
	for id, port := range p.ports {
		if len(found) < len(ready) && port.readable() {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return len(found)
}

// Close does nothing; it is there for what closes a poller.
func (p *Poller) Close() error { return nil }

// header makes an empty virtio header before frame.
func header(frame []byte) []byte {
	return append(make([]byte, ring.VNetLen, ring.VNetLen+len(frame)), frame...)
}
