package ringtest

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring"
)

// slots is how many frames a port holds before it drops.
const slots = 4096

// poison fills the memory of released frames, so that a reader that keeps any
// sees at once what a ring would do to it later.
const poison = 0xdd

// Port is one end of a [Wire], with the methods of a [ring.Socket].
type Port struct {
	wire *Wire
	name string
	mac  [6]byte

	up, closed, gone bool
	pending          error // reported by the next Receive
	filter           *bpf.VM
	waiting          []ring.Frame // arrived
	held             []ring.Frame // received, not released
	queued           [][]byte
	stats            ring.Stats
}

// Name is the name that the port was made with.
func (p *Port) Name() string { return p.name }

// arrive takes a copy of a frame off the wire. The caller holds the lock.
func (p *Port) arrive(buf []byte) {
	if !p.up || p.closed || p.gone {
		return
	}
	if p.filter != nil {
		if n, err := p.filter.Run(buf[ring.VNetLen:]); err != nil || n == 0 {
			return
		}
	}
	if len(p.waiting)+len(p.held) >= slots {
		p.stats.Dropped++
		return
	}
	p.waiting = append(p.waiting, ring.Frame{
		Buf:  append([]byte(nil), buf...),
		Time: int64(p.wire.now),
		Kind: p.kind(buf[ring.VNetLen:]),
	})
}

// kind is what the kernel would call the frame: sll_pkttype.
func (p *Port) kind(frame []byte) uint8 {
	const host, broadcast, multicast, otherHost = 0, 1, 2, 3
	dst := [6]byte(frame)
	switch {
	case dst == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return broadcast
	case dst[0]&1 != 0:
		return multicast
	case dst == p.mac:
		return host
	}
	return otherHost
}

func (p *Port) readable() bool { return len(p.waiting) > 0 || p.pending != nil }

// Receive is [ring.Socket.Receive].
func (p *Port) Receive(batch []ring.Frame) (int, error) {
	if n := p.Ready(batch); n > 0 {
		return n, nil
	}
	return 0, p.Err()
}

// Ready is [ring.Socket.Ready].
func (p *Port) Ready(batch []ring.Frame) int {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.closed {
		return 0
	}
	n := copy(batch, p.waiting)
	p.held = append(p.held, p.waiting[:n]...)
	p.waiting = p.waiting[n:]
	p.stats.Received += uint64(n)
	return n
}

// Err is [ring.Socket.Err].
func (p *Port) Err() error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	err := p.pending
	p.pending = nil
	if p.gone {
		err = p.fault(ring.ErrGone)
	}
	return err
}

// Release is [ring.Socket.Release]. It overwrites the frames given back.
func (p *Port) Release() {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	for _, f := range p.held {
		for i := range f.Buf {
			f.Buf[i] = poison
		}
	}
	p.held = p.held[:0]
}

// Queue is [ring.Socket.Queue]: buf is read when it is flushed.
func (p *Port) Queue(buf []byte) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if len(buf) < ring.VNetLen+14 || p.closed {
		p.stats.SendErrors.Invalid++
		return
	}
	p.queued = append(p.queued, buf)
}

// Flush is [ring.Socket.Flush]: the other ports have the frames when it returns.
func (p *Port) Flush() (int, error) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	queued := p.queued
	p.queued = nil
	n := uint64(len(queued))
	switch {
	case n == 0:
		return 0, nil
	case p.gone:
		p.stats.SendErrors.Gone += n
		return 0, p.fault(unix.ENXIO) // as the kernel has it for sends
	case !p.up:
		p.stats.SendErrors.Down += n
		return 0, p.fault(ring.ErrDown)
	}
	for _, buf := range queued {
		p.wire.deliver(p, buf)
	}
	p.stats.Sent += n
	return len(queued), nil
}

// SetFilter is [ring.Socket.SetFilter]. Frames on this wire have no VLAN tag.
func (p *Port) SetFilter(filter []bpf.RawInstruction) error {
	vm, err := machine(filter)
	if err != nil {
		return fmt.Errorf("attach filter %s: %w", p.name, err)
	}
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	p.filter = vm
	return nil
}

// AcceptMAC is [ring.Socket.AcceptMAC]; the wire brings every frame anyway.
func (p *Port) AcceptMAC([6]byte) error { return nil }

// RefuseMAC is [ring.Socket.RefuseMAC].
func (p *Port) RefuseMAC([6]byte) error { return nil }

// Stats is [ring.Socket.Stats].
func (p *Port) Stats() ring.Stats {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	return p.stats
}

// Close unplugs the port.
func (p *Port) Close() error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	p.closed = true
	p.wire.unplug(p)
	return nil
}

// SetLink takes the port's link down or up. Going down is reported once by
// Receive as [ring.ErrDown]; frames that had arrived stay.
func (p *Port) SetLink(up bool) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.up && !up {
		p.pending = p.fault(ring.ErrDown)
	}
	p.up = up
	p.wire.changed.Broadcast()
}

// Delete removes the device under the port: [ring.ErrGone] from now on.
func (p *Port) Delete() {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	p.gone = true
	p.pending = p.fault(ring.ErrGone)
	p.wire.unplug(p)
	p.wire.changed.Broadcast()
}

// Send puts one Ethernet frame on the wire, with an empty virtio header.
func (p *Port) Send(frame []byte) error {
	p.Queue(header(frame))
	_, err := p.Flush()
	return err
}

// Sniffed is a frame that a test took off the wire.
type Sniffed struct {
	At    time.Duration // virtual time of its arrival
	Frame []byte        // without virtio header; the test's own
}

// Take empties the port: all frames that have arrived, oldest first.
func (p *Port) Take() []Sniffed {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	var out []Sniffed
	for _, f := range p.waiting {
		out = append(out, Sniffed{At: time.Duration(f.Time), Frame: f.Data()})
	}
	p.stats.Received += uint64(len(p.waiting))
	p.waiting = nil
	return out
}

func (p *Port) fault(err error) error { return fmt.Errorf("%s: %w", p.name, err) }

// Passes runs a filter, as the kernel would, over a frame without VLAN tag.
func Passes(filter []bpf.RawInstruction, frame []byte) (bool, error) {
	vm, err := machine(filter)
	if err != nil || vm == nil {
		return err == nil, err
	}
	n, err := vm.Run(frame)
	return n > 0, err
}

// machine makes a VM of a filter. The VM does not know the kernel's extensions:
// those about VLAN tags, which stand beside the frame, read as 0 here.
func machine(filter []bpf.RawInstruction) (*bpf.VM, error) {
	if len(filter) == 0 {
		return nil, nil
	}
	program, ok := bpf.Disassemble(filter)
	if !ok {
		return nil, fmt.Errorf("filter with unknown instructions")
	}
	for i, ins := range program {
		if ext, ok := ins.(bpf.LoadExtension); ok && (ext.Num == bpf.ExtVLANTagPresent || ext.Num == bpf.ExtVLANTag) {
			program[i] = bpf.LoadConstant{Dst: bpf.RegA}
		}
	}
	return bpf.NewVM(program)
}
