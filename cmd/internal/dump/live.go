package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// outgoing is the interface of a packet that this host sent. It stands in the line, and
// tells the follower that the packet is its own.
const outgoing = "out"

// LiveWay is the way of a packet of a live interface, which is the given port.
func LiveWay(port int) func(p pcap.Packet) (int, model.Way) {
	return func(p pcap.Packet) (int, model.Way) {
		if p.Interface == outgoing {
			return port, model.Sent
		}
		return port, model.Heard
	}
}

// Live prints what a socket receives until ctx ends, and then to notes how much that was.
// Numbers and times count from the start.
func (p *Printer) Live(ctx context.Context, s *ring.Socket, notes io.Writer) error {
	poller, err := ring.NewPoller()
	if err != nil {
		return err
	}
	defer poller.Close()
	if err := poller.Add(s.FD(), 0); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, poller.Wake)
	defer stop()
	defer p.out.Flush()
	l := &live{p: p, socket: s, started: time.Now()}
	p.Follower.start()
	for ctx.Err() == nil && err == nil {
		err = l.turn(poller)
	}
	p.out.Flush()
	st := s.Stats()
	fmt.Fprintf(notes, "%d packets printed, %d received, %d dropped, %d too long\n", p.printed, st.Received, st.Dropped, st.Truncated)
	return err
}

// live is a run of Live.
type live struct {
	p       *Printer
	socket  *ring.Socket
	started time.Time
	n       int
	last    time.Duration
	batch   [64]ring.Frame
}

// turn waits for packets or for the follower's next deadline, and prints what is there.
func (l *live) turn(poller *ring.Poller) error {
	if err := l.p.out.Flush(); err != nil {
		return err
	}
	timeout := time.Duration(-1)
	if at, ok := l.p.Follower.deadline(); ok {
		timeout = max(0, at-time.Since(l.started))
	}
	var ready [1]int
	if _, err := poller.Wait(timeout, ready[:]); err != nil {
		return err
	}
	now := time.Since(l.started)
	for {
		n, err := l.socket.Receive(l.batch[:])
		if err != nil && !errors.Is(err, ring.ErrDown) {
			return err
		}
		for _, f := range l.batch[:n] {
			l.print(f)
		}
		l.socket.Release()
		if n < len(l.batch) {
			break
		}
	}
	l.last = max(l.last, now)
	l.p.Follower.before(now)
	return nil
}

func (l *live) print(f ring.Frame) {
	l.n++
	packet := pcap.Packet{Number: l.n, At: time.Unix(0, f.Time), Data: f.Data(), Length: len(f.Data())}
	if f.Outgoing() {
		packet.Interface = outgoing
	}
	l.last = max(l.last, packet.At.Sub(l.started))
	l.p.packet(l.last, packet)
}
