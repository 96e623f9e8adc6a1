package ring

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// wakeID marks the poller's own eventfd among the events.
const wakeID = -1

// Poller waits for descriptors, for a time, or for a [Poller.Wake]. All its
// methods but Wake belong to one goroutine.
type Poller struct {
	epoll  int
	events [64]unix.EpollEvent
	count  [8]byte // of wakes, read and forgotten
	coarse bool    // no epoll_pwait2: milliseconds only
	until  unix.Timespec
	often  bool // the last wait was shorter than a nap

	mu   sync.Mutex // holds Close off while a Wake writes
	wake int        // eventfd; -1 when closed
	one  [8]byte    // what a Wake adds: a number above 0 in either byte order
}

// NewPoller makes a poller that waits for nothing yet.
func NewPoller() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &Poller{epoll: epoll, wake: wake, one: [8]byte{1}}
	if err := p.add(wake, wakeID); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// Add has Wait report id, which is 0 or more, while fd is readable or has an
// error to be fetched.
func (p *Poller) Add(fd int, id int) error {
	if id < 0 || id > 1<<31-1 {
		return fmt.Errorf("poll fd %d: id %d out of range", fd, id)
	}
	return p.add(fd, id)
}

func (p *Poller) add(fd, id int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(id)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("poll fd %d: %w", fd, err)
	}
	return nil
}

// Remove has Wait forget fd. It must come before fd is closed.
func (p *Poller) Remove(fd int) error {
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("unpoll fd %d: %w", fd, err)
	}
	return nil
}

// Wait sleeps until a descriptor is ready, Wake was called or timeout is over,
// whichever is first; negative waits for ever, 0 only looks. It fills ready with
// the ids that are ready and returns how many: 0 after a Wake, a timeout or a
// signal, so look at the clock. The timeout counts in nanoseconds, and the
// kernel adds its timer slack (50 µs by default) but never wakes early.
func (p *Poller) Wait(timeout time.Duration, ready []int) (n int, err error) {
	events := p.events[:min(len(p.events), len(ready)+1)]
	got, err := p.wait(events, timeout)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return 0, nil
		}
		return 0, fmt.Errorf("epoll_wait: %w", err)
	}
	for _, ev := range events[:got] {
		switch {
		case ev.Fd == wakeID:
			_, _ = unix.Read(p.wake, p.count[:])
		case n < len(ready):
			ready[n] = int(ev.Fd)
			n++
		}
	}
	return n, nil
}

// nap is for how long a wait that follows a short one does not tell Go's scheduler. Told, it
// takes the processor away from who waits, and looks for the next one every 20 µs: a tenth of
// all that bulk traffic costs. A collection that needs the sleeper ends the nap by its signal.
// Shorter than a tick of the kernel, each nap would have the clock set, which is dear in a
// virtual machine.
const nap = 10 * time.Millisecond

func (p *Poller) wait(events []unix.EpollEvent, timeout time.Duration) (int, error) {
	if p.often && timeout != 0 {
		short := nap
		if timeout > 0 {
			short = min(nap, timeout)
		}
		p.until = unix.NsecToTimespec(int64(short))
		n, errno := epollNap(p.epoll, events, &p.until)
		if errno != 0 {
			return 0, errno
		}
		if n > 0 || short == timeout {
			return n, nil
		}
		p.often = false
		timeout = max(timeout-nap, -1)
	}
	began := time.Now()
	n, err := p.sleep(events, timeout)
	p.often = timeout != 0 && time.Since(began) < nap && !p.coarse
	return n, err
}

// sleep is wait without naps.
func (p *Poller) sleep(events []unix.EpollEvent, timeout time.Duration) (int, error) {
	if !p.coarse {
		var until *unix.Timespec
		if timeout >= 0 {
			p.until = unix.NsecToTimespec(int64(timeout))
			until = &p.until
		}
		n, errno := epollPwait2(p.epoll, events, until)
		if errno == 0 {
			return n, nil
		}
		if errno != unix.ENOSYS {
			return 0, errno
		}
		p.coarse = true
	}
	ms := -1
	if timeout >= 0 {
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	return unix.EpollWait(p.epoll, events, ms)
}

// Wake makes the current Wait, or else the next one, return. It may be called
// from any goroutine, and after Close, when it does nothing.
func (p *Poller) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake < 0 {
		return
	}
	_, _ = unix.Write(p.wake, p.one[:])
}

// Close frees the poller; the descriptors added stay open.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake < 0 {
		return nil
	}
	err := errors.Join(unix.Close(p.wake), unix.Close(p.epoll))
	p.wake = -1
	return err
}
