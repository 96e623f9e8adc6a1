package netlab

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// live gives the judge what happens in namespaces. Frames, log lines and the kernel's
// messages reach the lab by different ways: they are told to the judge some time later, in
// the order of their times.
type live struct {
	l       *lab
	judge   *Judge
	network Network // as it was at the time that is judged

	mu    sync.Mutex
	queue []happened // by time
	late  lateness
	held  map[heldKey]bool
	quit  chan struct{} // closed by stop
	done  chan struct{} // closed when nothing more is judged beside it
	once  sync.Once
}

type happened struct {
	at   time.Duration
	what func(at time.Duration)
}

type heldKey struct {
	node string
	addr netip.Addr
}

const (
	judgeLate  = time.Second   // what is older has been told by everybody, if the machine is not late
	judgeLast  = judgeLate / 2 // and at the end
	judgeSlack = time.Second   // for processes that are waited for, and for the kernel's lock of all links and addresses
	judgeEvery = 20 * time.Millisecond
)

func newLive(l *lab) *live {
	return &live{l: l, held: map[heldKey]bool{}, quit: make(chan struct{}), done: make(chan struct{})}
}

// start begins to judge these instances.
func (v *live) start(routers []Router) {
	v.judge = NewJudge(routers, &v.network, v.violate)
	v.judge.Slack = judgeSlack
	v.judge.Holds = func(node string, a netip.Addr) bool { return v.held[heldKey{node, a}] }
	go func() {
		defer close(v.done)
		t := time.NewTicker(judgeEvery)
		defer t.Stop()
		for {
			select {
			case <-v.quit:
				return
			case <-t.C:
				now := v.now()
				v.late.look(v.l, now)
				v.until(now - judgeLate - v.late.since(now-judgeMemory))
			}
		}
	}()
}

// stop judges the rest.
func (v *live) stop() {
	v.once.Do(func() {
		close(v.quit)
		if v.judge != nil {
			<-v.done
			// A node may have reacted to a frame that the wire has delivered and is about to tell.
			v.l.wire.with(func() {})
			end := v.now()
			v.late.look(v.l, end)
			time.Sleep(judgeLast + v.late.since(end-judgeMemory)) // for log lines on their way
			v.until(end)
		}
	})
}

// tell adds something that happened.
func (v *live) tell(at time.Duration, what func(at time.Duration)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := len(v.queue)
	for i > 0 && v.queue[i-1].at > at {
		i--
	}
	v.queue = slices.Insert(v.queue, i, happened{at, what})
}

// until judges what happened before the time.
func (v *live) until(now time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for ; n < len(v.queue) && v.queue[n].at <= now; n++ {
		h := v.queue[n]
		v.judge.Late = v.late.since(h.at - judgeMemory)
		h.what(h.at)
		v.judge.Check(h.at)
	}
	v.queue = slices.Delete(v.queue, 0, n)
	if now > 0 {
		v.judge.Late = v.late.since(now - judgeMemory)
		v.judge.Check(now)
	}
}

func (v *live) violate(at time.Duration, invariant, text string) {
	packets := v.l.record.Breach(at, invariant, text)
	v.l.violate("at %v: %s: %s%s", at.Round(time.Millisecond), invariant, text, Packets(packets))
}

// now is the time of the lab.
func (v *live) now() time.Duration { return time.Since(v.l.wire.started) }

// up tells that the process of a node was started or has ended.
func (v *live) up(node string, running bool) {
	v.tell(v.now(), func(at time.Duration) { v.judge.Up(at, node, running) })
	if !running {
		v.l.record.Gone(v.now(), node)
	}
}

// reloaded tells that a node is to go on with other instances.
func (v *live) reloaded(node string, routers []Router) {
	v.tell(v.now(), func(at time.Duration) { v.judge.Reloaded(at, node, routers) })
}

// stopped tells that a node has ended in good order.
func (v *live) stopped(h *host) {
	for _, r := range h.node.routers {
		for _, a := range r.VIPs {
			if !h.holds(a) {
				v.hold(h.name, a, false)
			}
		}
	}
	v.tell(v.now(), func(at time.Duration) { v.judge.Stopped(at, h.name) })
}

func (v *live) state(at time.Duration, node, instance, to, cause string) {
	v.l.record.State(at, node, instance, to, cause)
	v.tell(at, func(at time.Duration) { v.judge.State(at, node, instance, to, cause) })
}

func (v *live) priority(at time.Duration, node, instance string, p uint8) {
	v.l.record.Priority(at, node, instance, p)
	v.tell(at, func(at time.Duration) { v.judge.Priority(at, node, instance, p) })
}

func (v *live) frozen(node string, frozen bool) {
	v.tell(v.now(), func(at time.Duration) { v.judge.Frozen(at, node, frozen) })
}

func (v *live) link(node, iface string, up bool) {
	v.tell(v.now(), func(at time.Duration) {
		v.judge.Link(at, node, iface, up)
		v.judge.Disturbed(at)
	})
}

func (v *live) tolerate(invariant string) {
	v.tell(v.now(), func(time.Duration) { v.judge.Tolerant[invariant] = true })
}

// changed tells the faults that are in force from now on.
func (v *live) changed(n Network) {
	v.tell(v.now(), func(at time.Duration) {
		v.network = n
		v.judge.Disturbed(at)
	})
}

// hold tells that a node got or lost an address.
func (v *live) hold(node string, a netip.Addr, present bool) {
	v.tell(v.now(), func(time.Duration) { v.held[heldKey{node, a}] = present })
}

// follow tells the addresses that the kernel of a host gets and loses, until done.
func (v *live) follow(h *host) error {
	updates := make(chan netlink.AddrUpdate, 64)
	err := netlink.AddrSubscribeWithOptions(updates, v.quit, netlink.AddrSubscribeOptions{Namespace: &h.ns})
	if err != nil {
		return fmt.Errorf("%s: subscribe to addresses: %w", h.name, err)
	}
	go func() {
		for u := range updates {
			if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok && !h.isOwn(a.Unmap()) {
				v.hold(h.name, a.Unmap(), u.NewAddr)
				v.l.record.Hold(v.now(), h.name, a.Unmap(), u.NewAddr)
			}
		}
	}()
	return nil
}

func (h *host) isOwn(a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(h.nics, func(n *nic) bool {
		return slices.ContainsFunc(n.own, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// frame tells what a control packet says, and who heard it. It runs under the wire's lock.
func (v *live) frame(from *nic, f ring.Frame, eth proto.Ethernet, to []delivery) {
	at := time.Unix(0, f.Time).Sub(v.l.wire.started.Round(0))
	madeUp := v.l.wire.madeUp
	if a, ok := ParseResolution(eth); ok {
		v.resolution(at, from, a, madeUp)
		return
	}
	ip, m, err := ParseVRRP(eth)
	if err != nil {
		return
	}
	id, priority, sender := IDOf(ip, m), m.Priority(), from.host
	if sender.router {
		sender = v.l.owner(ip.Src())
	} else if !madeUp {
		v.tell(at, func(at time.Duration) { v.judge.Advert(at, from.host.name, from.lan, id, priority) })
	}
	for _, d := range to {
		if h := d.to.host; d.fate.Lost == "" && !d.refused && h.node != nil && sender != nil {
			v.tell(at+d.fate.Delay, func(at time.Duration) { v.judge.Heard(at, sender.name, h.name, from.lan, id, priority) })
		}
	}
}

func (v *live) resolution(at time.Duration, from *nic, a Resolution, madeUp bool) {
	node, addr := from.host.name, a.Addr
	switch {
	case from.host.node == nil || madeUp || a.Question:
	case a.Gratuitous:
		v.tell(at, func(at time.Duration) { v.judge.GARP(at, node, addr) })
	default:
		v.tell(at, func(at time.Duration) { v.judge.ARPReply(at, node, addr) })
	}
}

// owner finds the host with an address of its own.
func (l *lab) owner(a netip.Addr) *host {
	for _, h := range l.order {
		if !a.IsLoopback() && h.isOwn(a) {
			return h
		}
	}
	return nil
}
