package ring

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// batchMax is how many frames one sendmmsg carries. Larger batches measured no
// better; single sends cost double.
const batchMax = 64

// sender is the queue before one sendmmsg. msgs[i] points to iovs[i] for good.
type sender struct {
	fd     int
	queued int
	iovs   [batchMax]unix.Iovec
	msgs   [batchMax]mmsghdr

	lastErrno unix.Errno
	lastErr   error // of lastErrno, kept so that a storm of errors does not allocate
}

func (t *sender) init(fd int) {
	t.fd = fd
	for i := range t.msgs {
		t.msgs[i].hdr.Iov = &t.iovs[i]
		t.msgs[i].hdr.SetIovlen(1)
	}
}

func (t *sender) close() error {
	t.queued = 0
	t.iovs = [batchMax]unix.Iovec{} // these may point into the ring that was unmapped
	if t.fd < 0 {
		return nil
	}
	fd := t.fd
	t.fd = -1
	return unix.Close(fd)
}

// Queue adds a frame to the batch: VNetLen bytes of virtio header, then the
// Ethernet frame. The memory must stay untouched until [Socket.Flush]. A full
// batch is flushed first; what fails then is in [Stats].
func (s *Socket) Queue(buf []byte) {
	t := &s.tx
	if len(buf) < VNetLen+ethernetLen || t.fd < 0 {
		s.stats.SendErrors.Invalid++
		return
	}
	if t.queued == batchMax {
		_, _ = s.Flush()
	}
	iov := &t.iovs[t.queued]
	iov.Base = &buf[0]
	iov.SetLen(len(buf))
	t.queued++
}

// Flush sends the batch and returns how many of its frames went out. A frame
// that the kernel refuses is counted by its reason and the rest goes on; the
// error is the last such reason, names the interface, and is never fatal.
func (s *Socket) Flush() (sent int, err error) {
	t := &s.tx
	for done := 0; done < t.queued; {
		n, errno := sendmmsg(t.fd, t.msgs[done:t.queued])
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
