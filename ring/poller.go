package ring

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Poller waits for descriptors, a time, or a wake-up from another goroutine.
type Poller struct {
	epoll, event int
	fds          map[int32]int // by id
	events       [64]unix.EpollEvent
}

// wakeID marks the poller's own eventfd.
const wakeID = -1

// NewPoller makes a poller that waits for nothing yet.
func NewPoller() (*Poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &Poller{epoll: ep, event: ev, fds: map[int32]int{}}
	if err := p.Add(ev, wakeID); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Add waits for fd to become readable from now on; Wait reports it as id (0 or more).
func (p *Poller) Add(fd, id int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(id)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll add: %w", err)
	}
	p.fds[int32(id)] = fd
	return nil
}

// Wait returns when a descriptor is ready, after timeout (below 0: never), or after a
// Wake. It fills ready with the ids and says how many there are.
func (p *Poller) Wait(timeout time.Duration, ready []int) (int, error) {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	got, errno := waitPrecise(p.epoll, p.events[:], ts)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("epoll wait: %w", errno)
	}
	n := 0
	for _, ev := range p.events[:got] {
		if ev.Events&unix.EPOLLERR != 0 {
			// The interface went down or away. Reading the error clears it; without
			// that epoll would report it for ever.
			unix.GetsockoptInt(p.fds[ev.Fd], unix.SOL_SOCKET, unix.SO_ERROR)
		}
		if ev.Fd == wakeID {
			var b [8]byte
			unix.Read(p.event, b[:])
		} else if n < len(ready) {
			ready[n] = int(ev.Fd)
			n++
		}
	}
	return n, nil
}

// Wake makes a Wait return, now or next. It may be called from any goroutine.
func (p *Poller) Wake() {
	one := [8]byte{1}
	unix.Write(p.event, one[:])
}

// Close ends the poller; nobody may be waiting.
func (p *Poller) Close() error {
	unix.Close(p.event)
	return unix.Close(p.epoll)
}
