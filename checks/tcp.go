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

// TCPCheck describes one TCP_CHECK. Only Addr must be set.
type TCPCheck struct {
	Addr    netip.AddrPort // who to connect to
	Timeout time.Duration  // for the whole check; 0 means [DefaultTimeout]

	Bind   netip.AddrPort // bindto and bind_port: local address, or port only, or nothing
	Device string         // bind_if: SO_BINDTODEVICE
	Mark   int            // fwmark: SO_MARK; 0 for none
}

// TCP makes one check: nil when the handshake completed in time, followed by a
// plain close without data. The error is a short reason in lower case, such as
// "connection refused" or "no answer in 5s"; it is [ErrLocal] where this host, not
// the server, stands in the way, also when ctx ends before the check.
//
// The socket belongs to the network namespace of the calling thread.
func TCP(ctx context.Context, c TCPCheck) error {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	d := net.Dialer{Timeout: timeout, KeepAlive: -1, Control: c.control}
	d.SetMultipathTCP(false)
	if c.Bind.Addr().IsValid() || c.Bind.Port() != 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(c.Bind)
	}
	conn, err := d.DialContext(ctx, "tcp", c.Addr.String())
	switch {
	case err == nil:
		conn.Close() // the handshake is the answer, whatever becomes of the close
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrLocal, ctx.Err())
	}
	return reason(err, timeout)
}

// control sets the options that need the socket before it is bound.
func (c TCPCheck) control(_, _ string, raw syscall.RawConn) error {
	var err error
	ctlErr := raw.Control(func(fd uintptr) {
		if c.Device != "" {
			err = unix.BindToDevice(int(fd), c.Device)
			if err != nil {
				err = fmt.Errorf("bind to device %s: %w", c.Device, err)
				return
			}
		}
		if c.Mark != 0 {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, c.Mark); err != nil {
				err = fmt.Errorf("set fwmark %d: %w", c.Mark, err)
			}
		}
	})
	return errors.Join(ctlErr, err)
}

// remote lists the errors of a connect that speak of the server or the way to it.
// Every other one is this host's own trouble.
func remote() []error {
	return []error{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EHOSTDOWN,
		unix.ENETDOWN, unix.ECONNRESET, unix.ECONNABORTED, unix.ETIMEDOUT,
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
