package checks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// pingData is how much filler an echo request carries.
const pingData = 128

// Ping makes one PING_CHECK: an ICMP or ICMPv6 echo that is answered within the timeout.
// The error is as that of [TCP].
//
// The kernel's datagram sockets for echo are used where net.ipv4.ping_group_range lets us,
// else a raw socket; keepalived changes that setting instead.
func Ping(ctx context.Context, t Target) error {
	p, err := t.openPing()
	if err != nil {
		return err
	}
	defer p.socket.Close()
	stop := context.AfterFunc(ctx, func() { p.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	p.socket.SetDeadline(time.Now().Add(t.timeout()))
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrLocal, ctx.Err())
	}
	if _, err := p.socket.Write(p.request()); err != nil {
		return p.failed(ctx, err, t.timeout())
	}
	buf := make([]byte, 2048)
	for {
		n, err := p.socket.Read(buf)
		if err != nil {
			return p.failed(ctx, err, t.timeout())
		}
		if p.answers(buf[:n]) {
			return nil
		}
	}
}

// pinger is a socket that is connected to whom it asks.
type pinger struct {
	socket  *os.File
	six     bool
	raw     bool // the IPv4 header is read too, and what others have asked
	id, seq uint16
}

func (t Target) openPing() (*pinger, error) {
	a := t.addr().Addr().Unmap()
	p := &pinger{six: a.Is6(), id: uint16(rand.Uint32()), seq: 1}
	domain, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if p.six {
		domain, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|flags, protocol)
	if errors.Is(err, unix.EACCES) {
		p.raw = true
		fd, err = unix.Socket(domain, unix.SOCK_RAW|flags, protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: socket: %w", ErrLocal, err)
	}
	if err := t.connectPing(fd, p.raw); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p.socket = os.NewFile(uintptr(fd), "ping")
	return p, nil
}

func (t Target) connectPing(fd int, raw bool) error {
	if raw {
		t.Bind = netip.AddrPortFrom(t.Bind.Addr(), 0)
	}
	if err := t.options(fd); err != nil {
		return fmt.Errorf("%w: %w", ErrLocal, err)
	}
	if t.Bind.Addr().IsValid() {
		if err := unix.Bind(fd, t.sockaddr(netip.AddrPortFrom(t.Bind.Addr(), 0))); err != nil {
			return fmt.Errorf("%w: bind: %w", ErrLocal, err)
		}
	}
	err := unix.Connect(fd, t.sockaddr(netip.AddrPortFrom(t.addr().Addr(), 0)))
	switch {
	case err == nil:
		return nil
	case slices.Contains(remote(), err):
		return err
	}
	return fmt.Errorf("%w: connect: %w", ErrLocal, err)
}

// sockaddr is an address for the kernel, with the number of its link.
func (t Target) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if addr := a.Addr().Unmap(); addr.Is4() {
		return &unix.SockaddrInet4{Addr: addr.As4()}
	}
	to := &unix.SockaddrInet6{Addr: a.Addr().As16()}
	if a.Addr().IsLinkLocalUnicast() && t.Device != "" {
		if link, err := net.InterfaceByName(t.Device); err == nil {
			to.ZoneId = uint32(link.Index)
		}
	}
	return to
}

func (p *pinger) request() []byte {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(p.id), Seq: int(p.seq), Data: filler(pingData)}}
	if p.six {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil) // the kernel sums ICMPv6
	if err != nil {
		panic("checks: " + err.Error())
	}
	return b
}

// answers tells whether a message is the reply that is waited for.
func (p *pinger) answers(b []byte) bool {
	if p.raw && !p.six {
		if len(b) < 20 || len(b) < int(b[0]&0xf)*4 {
			return false
		}
		b = b[int(b[0]&0xf)*4:]
	}
	reply := byte(ipv4.ICMPTypeEchoReply)
	if p.six {
		reply = byte(ipv6.ICMPTypeEchoReply)
	}
	if len(b) < 8 || b[0] != reply || binary.BigEndian.Uint16(b[6:]) != p.seq {
		return false
	}
	return !p.raw || binary.BigEndian.Uint16(b[4:]) == p.id // the kernel sets the id of a datagram socket
}

// failed words the end of the wait.
func (p *pinger) failed(ctx context.Context, err error, timeout time.Duration) error {
	var errno unix.Errno
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrLocal, ctx.Err())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in %s", timeout)
	case errors.As(err, &errno) && slices.Contains(remote(), error(errno)):
		return errno
	}
	return fmt.Errorf("%w: %w", ErrLocal, err)
}
