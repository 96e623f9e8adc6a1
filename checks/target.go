package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
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

// addr is Addr, with its link where it has only a meaning there.
func (t Target) addr() netip.AddrPort {
	if a := t.Addr.Addr(); t.Device != "" && a.IsLinkLocalUnicast() && a.Is6() {
		return netip.AddrPortFrom(a.WithZone(t.Device), t.Addr.Port())
	}
	return t.Addr
}

// talk is dial for a connection that something is said on.
func (t Target) talk(ctx context.Context, network string) (*talkative, error) {
	c := &talkative{ctx: ctx, timeout: t.timeout(), end: time.Now().Add(wholeTimeouts * t.timeout())}
	var err error
	if c.Conn, err = t.dial(ctx, network); err != nil {
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return c, nil
}

// dial opens a socket of the network "tcp" or "udp" within the timeout. The error is the
// reason for people. The socket belongs to the network namespace of the calling thread.
func (t Target) dial(ctx context.Context, network string) (net.Conn, error) {
	d := net.Dialer{Timeout: t.timeout(), KeepAlive: -1}
	if t.Device != "" || t.Mark != 0 || t.Bind.Port() != 0 {
		d.Control = t.control
	}
	d.SetMultipathTCP(false)
	if t.Bind.Addr().IsValid() || t.Bind.Port() != 0 {
		if d.LocalAddr = net.Addr(net.TCPAddrFromAddrPort(t.Bind)); network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(t.Bind)
		}
	}
	conn, err := d.DialContext(ctx, network, t.addr().String())
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ErrLocal, ctx.Err())
	}
	return nil, reason(err, t.timeout())
}

// control sets the options that need the socket before it is bound.
func (t Target) control(_, _ string, raw syscall.RawConn) error {
	var err error
	ctlErr := raw.Control(func(fd uintptr) { err = t.options(int(fd)) })
	return errors.Join(ctlErr, err)
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

// remote lists the errors of a socket that speak of the server or the way to it.
// Every other one is this host's own trouble.
func remote() []error {
	return []error{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EHOSTDOWN,
		unix.ENETDOWN, unix.ECONNRESET, unix.ECONNABORTED, unix.ETIMEDOUT, unix.EPIPE,
	}
}

// reason turns an error of the dialer into the words for logs.
func reason(err error, timeout time.Duration) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without "dial tcp ADDRESS": the caller knows whom it asked
	}
	var call *os.SyscallError
	var errno unix.Errno
	var late net.Error
	switch {
	case errors.As(err, &call) && call.Syscall == "connect" && errors.As(call.Err, &errno):
		if slices.Contains(remote(), error(errno)) {
			return errno
		}
		return fmt.Errorf("%w: connect: %w", ErrLocal, errno)
	case call != nil:
		return fmt.Errorf("%w: %w", ErrLocal, call)
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("no answer in %s", timeout)
	}
	return fmt.Errorf("%w: %w", ErrLocal, err)
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
