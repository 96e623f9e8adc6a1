package loop

import (
	"log/slog"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/ring"
)

// lane is what takes frames from the rings to the sockets that they leave by.
type lane struct {
	frames [batchSize]ring.Frame
	batch  node.Batch
	bulk   bool   // there are super-frames in the last batch
	dirty  []Port // sockets with frames queued
	log    *slog.Logger
}

// carry queues the frames of the batch where the verdicts send them, and those that were
// built. They stay in their slots until the flush.
func (l *lane) carry(n int, ports []Sockets, loopback Port) {
	l.bulk = false
	for i, v := range l.batch.Verdicts[:n] {
		l.bulk = l.bulk || l.frames[i].VNet().Super()
		switch v.Fate {
		case node.Forwarded:
			l.queue(ports[v.Port].Service, l.frames[i].Buf)
		case node.Delivered:
			if loopback != nil {
				clear(l.frames[i].Data()[:12]) // the loopback's own addresses
				l.queue(loopback, l.frames[i].Buf)
			}
		}
	}
	for _, b := range l.batch.Built {
		l.queue(ports[b.Port].Service, b.Buf)
	}
}

func (l *lane) queue(p Port, buf []byte) {
	if p == nil {
		return
	}
	p.Queue(buf)
	for _, d := range l.dirty {
		if d == p {
			return
		}
	}
	l.dirty = append(l.dirty, p)
}

// flush sends what was queued. Errors are counted by the socket and end nothing:
// a link that is down takes no frames.
func (l *lane) flush() {
	for _, p := range l.dirty {
		if _, err := p.Flush(); err != nil {
			l.log.Debug("send", "err", err)
		}
	}
	l.dirty = l.dirty[:0]
}

// fault fetches what a device has to say.
func (l *lane) fault(port int, p Port) {
	if p == nil {
		return
	}
	if err := p.Err(); err != nil {
		l.log.Debug("receive", "port", port, "err", err)
	}
}
