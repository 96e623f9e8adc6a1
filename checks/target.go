package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocal marks a check that could not be made because of this host: no socket to
// be had, an address or device that cannot be bound, a check that was called off.
// It says nothing about the server; keepalived tries again later without counting
// a failure.
var ErrLocal = errors.New("check not made")

// DefaultTimeout is keepalived's connect_timeout where none is written.
const DefaultTimeout = 5 * time.Second

// Target is whom a check asks, and from where. Only Addr must be set.
type Target struct {
	Addr    netip.AddrPort // who to ask
	Timeout time.Duration  // for the connection, and for each answer after it; 0 means [DefaultTimeout]

	Bind   netip.AddrPort // bindto and bind_port: local address, or port only, or nothing
	Device string         // bind_if: SO_BINDTODEVICE, and the link of a link-local address
	Mark   int            // fwmark: SO_MARK; 0 for none
}

// wholeTimeouts is how many timeouts a check may last in all: a server that answers each
// question just in time, or one byte a second, would hold it up for ever.
const wholeTimeouts = 4

func (t Target) timeout() time.Duration {
	if t.Timeout <= 0 {
		return DefaultTimeout
	}
	return t.Timeout
}

// talk opens a connection of TCP (SOCK_STREAM) or UDP (SOCK_DGRAM) to the server, within
// the timeout. The error is the reason for people. The socket belongs to the network
// namespace of the calling thread.
func (t Target) talk(ctx context.Context, kind int) (*talkative, error) {
	fd, err := t.open(kind, 0)
	if err != nil {
		return nil, err
	}
	return t.connect(ctx, fd, kind)
}

// open makes a socket, bound as it is asked.
func (t Target) open(kind, protocol int) (fd int, err error) {
	family := unix.AF_INET
	if !t.Addr.Addr().Unmap().Is4() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, fmt.Errorf("%w: socket: %w", ErrLocal, err)
	}
	if err = t.options(fd); err != nil {
		err = fmt.Errorf("%w: %w", ErrLocal, err)
	} else if local := t.local(); local.IsValid() {
		if err = unix.Bind(fd, t.sockaddr(local)); err != nil {
			err = fmt.Errorf("%w: bind: %w", ErrLocal, err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// local is what to bind to, the zero value for nothing.
func (t Target) local() netip.AddrPort {
	switch {
	case t.Bind.Addr().IsValid() || t.Bind.Port() == 0:
		return t.Bind
	case t.Addr.Addr().Unmap().Is4():
		return netip.AddrPortFrom(netip.IPv4Unspecified(), t.Bind.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), t.Bind.Port())
}

func (t Target) options(fd int) error {
	if t.Device != "" {
		if err := unix.BindToDevice(fd, t.Device); err != nil {
			return fmt.Errorf("bind to device %s: %w", t.Device, err)
		}
	}
	if t.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, t.Mark); err != nil {
			return fmt.Errorf("set fwmark %d: %w", t.Mark, err)
		}
	}
	if t.Bind.Port() != 0 { // the port of the last check may still be in TIME_WAIT
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	return nil
}

// sockaddr is an address for the kernel, with the number of its link.
func (t Target) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if addr := a.Addr().Unmap(); addr.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}
	}
	to := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if name := cmp.Or(t.Device, a.Addr().Zone()); name != "" && a.Addr().IsLinkLocalUnicast() {
		if link, err := net.InterfaceByName(name); err == nil {
			to.ZoneId = uint32(link.Index)
		}
	}
	return to
}

// connect connects a socket to the server within the timeout. The socket is closed with the
// connection, and where there is none. Thousands of checks a second are made so: net.Dialer takes
// more system calls and timers, and another goroutine, for each.
func (t Target) connect(ctx context.Context, fd, kind int) (*talkative, error) {
	to := t.sockaddr(t.Addr)
	err := unix.Connect(fd, to) // before Go's poller sees the socket, which would wake up for one that is not connected
	s := socket{os.NewFile(uintptr(fd), "socket"), kind}
	c := &talkative{Conn: s, ctx: ctx, timeout: t.timeout(), end: time.Now().Add(wholeTimeouts * t.timeout())}
	s.SetWriteDeadline(time.Now().Add(c.timeout))
	c.stop = context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	if pending(err) {
		err = s.connected(to)
	}
	if err == nil && t.Addr.Port() >= 1024 && s.isAt(to) {
		err = unix.ECONNREFUSED // nobody listens: the kernel chose that very port for us, and we met ourselves
	}
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrLocal, ctx.Err())
	case err == nil:
		return c, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no answer in %s", c.timeout)
	default:
		err = refused(err)
	}
	c.Close()
	return nil, err
}

// refused turns an error of connect(2) into the words for logs.
func refused(err error) error {
	if slices.Contains(remote(), err) {
		return err
	}
	return fmt.Errorf("%w: connect: %w", ErrLocal, err)
}

// remote lists the errors of a socket that speak of the server or the way to it.
// Every other one is this host's own trouble.
func remote() []error {
	return []error{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EHOSTDOWN,
		unix.ENETDOWN, unix.ECONNRESET, unix.ECONNABORTED, unix.ETIMEDOUT, unix.EPIPE,
	}
}

// socket is a socket of the kernel that waits in Go's poller.
type socket struct {
	*os.File
	kind int // SOCK_STREAM ...
}

// LocalAddr and RemoteAddr are asked for by nobody; they are what crypto/tls wants a connection to have.
func (socket) LocalAddr() net.Addr  { return nil }
func (socket) RemoteAddr() net.Addr { return nil }

// Read reads: a datagram without data is no end.
func (s socket) Read(b []byte) (int, error) {
	n, err := s.File.Read(b)
	if err == io.EOF && s.kind != unix.SOCK_STREAM {
		err = nil
	}
	return n, err
}

// pending tells of a connect(2) that goes on.
func pending(err error) bool {
	return err == unix.EINPROGRESS || err == unix.EALREADY || err == unix.EINTR
}

// connected waits for the end of connect(2), which the kernel tells to the next one.
func (s socket) connected(to unix.Sockaddr) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	late := raw.Write(func(fd uintptr) bool {
		err = unix.Connect(int(fd), to)
		return !pending(err)
	})
	return cmp.Or(late, err)
}

// isAt tells whether a is the address of the socket itself.
func (s socket) isAt(a unix.Sockaddr) (same bool) {
	raw, err := s.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			local, err := unix.Getsockname(int(fd))
			same = err == nil && address(local) == address(a)
		})
	}
	return same && err == nil
}

// address is a without its zone.
func address(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// talkative is a connection whose every wait ends at the timeout, and all of them
// together at the end of the check.
type talkative struct {
	net.Conn
	ctx     context.Context
	stop    func() bool
	timeout time.Duration
	end     time.Time
	got     int64 // bytes read
}

// Read waits for the next bytes of the server, one timeout at most.
func (c *talkative) Read(b []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(c.deadline()); err != nil {
		return 0, err
	}
	if c.ctx.Err() != nil { // it may have ended before the deadline was set
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.Conn.Read(b)
	c.got += int64(n)
	return n, err
}

func (c *talkative) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(c.deadline()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *talkative) deadline() time.Time {
	if at := time.Now().Add(c.timeout); at.Before(c.end) {
		return at
	}
	return c.end
}

// Close closes the connection.
func (c *talkative) Close() error {
	c.stop()
	return c.Conn.Close()
}

// failed turns an error of reading or writing into the words for logs; got is what was
// read before it.
func (c *talkative) failed(err error, got int64) error {
	so := ""
	if got > 0 {
		so = fmt.Sprintf(" (%d bytes so far)", got)
	}
	var errno unix.Errno
	switch {
	case c.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrLocal, c.ctx.Err())
	case errors.Is(err, os.ErrDeadlineExceeded) && got > 0 && !time.Now().Before(c.end):
		return fmt.Errorf("answer not complete in time%s", so)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in %s%s", c.timeout, so)
	case errors.As(err, &errno) && slices.Contains(remote(), error(errno)):
		return fmt.Errorf("%w%s", errno, so)
	case errors.As(err, &errno):
		return fmt.Errorf("%w: %w", ErrLocal, errno)
	}
	return err
}
