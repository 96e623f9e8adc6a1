package ring

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// batchMax is how many frames one sendmmsg carries. Larger batches measured no
// better; single sends cost double.
const batchMax = 64

// sender is the queue before one sendmmsg, for either of two sockets: one takes a virtio
// header before each frame, which costs the kernel a tenth more, and the other none. Of
// both, msgs[i] points to iovs[i] for good.
type sender struct {
	queued  int
	offload bool // one of the queued frames needs its header
	with    way
	without way

	lastErrno unix.Errno
	lastErr   error // of lastErrno, kept so that a storm of errors does not allocate
}

type way struct {
	fd   int
	iovs [batchMax]unix.Iovec
	msgs [batchMax]mmsghdr
}

func (w *way) init(fd int) {
	w.fd = fd
	for i := range w.msgs {
		w.msgs[i].hdr.Iov = &w.iovs[i]
		w.msgs[i].hdr.SetIovlen(1)
	}
}

func (w *way) put(i int, buf []byte) {
	iov := &w.iovs[i]
	iov.Base = &buf[0]
	iov.SetLen(len(buf))
}

func (w *way) close() error {
	w.iovs = [batchMax]unix.Iovec{} // these may point into the ring that was unmapped
	if w.fd < 0 {
		return nil
	}
	fd := w.fd
	w.fd = -1
	return unix.Close(fd)
}

func (t *sender) close() error {
	t.queued = 0
	return errors.Join(t.with.close(), t.without.close())
}

// Queue adds a frame to the batch: VNetLen bytes of virtio header, then the
// Ethernet frame. The memory must stay untouched until [Socket.Flush]. A full
// batch is flushed first; what fails then is in [Stats].
func (s *Socket) Queue(buf []byte) {
	t := &s.tx
	if len(buf) < VNetLen+ethernetLen || t.with.fd < 0 {
		s.stats.SendErrors.Invalid++
		return
	}
	if t.queued == batchMax {
		_, _ = s.Flush()
	}
	t.offload = t.offload || buf[0]&VNetNeedsChecksum != 0 || buf[1] != GSONone
	t.with.put(t.queued, buf)
	t.without.put(t.queued, buf[VNetLen:])
	t.queued++
}

// Flush sends the batch and returns how many of its frames went out. A frame
// that the kernel refuses is counted by its reason and the rest goes on; the
// error is the last such reason, names the interface, and is never fatal.
func (s *Socket) Flush() (sent int, err error) {
	t := &s.tx
	w := &t.without
	if t.offload { // all of them, to stay in order
		w, t.offload = &t.with, false
	}
	for done := 0; done < t.queued; {
		n, errno := sendmmsg(w.fd, w.msgs[done:t.queued])
		switch errno {
		case 0:
			done += n
			sent += n
			continue
		case unix.EINTR:
			continue
		}
		lost := 1
		if errno == unix.ENETDOWN || errno == unix.ENXIO {
			lost = t.queued - done // the rest would fare the same
		}
		done += lost
		s.stats.SendErrors.count(errno, uint64(lost))
		err = s.sendError(errno)
	}
	t.queued = 0
	s.stats.Sent += uint64(sent)
	return sent, err
}

func (s *Socket) sendError(errno unix.Errno) error {
	t := &s.tx
	if t.lastErrno != errno {
		t.lastErrno = errno
		t.lastErr = fmt.Errorf("send %s: %w", s.name, errno)
	}
	return t.lastErr
}
