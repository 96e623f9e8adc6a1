package netlab

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
)

// floodPause is how often a flood sends what is due.
const floodPause = time.Millisecond

// flood sends rate SYNs a second from addresses of 198.18.0.0/15 (RFC 2544), each another,
// none of which ever answers.
func (f *flow) flood(ctx context.Context, rate int) {
	f.sender(ctx, func(ctx context.Context) error {
		to, err := netip.ParseAddrPort(f.to)
		if err != nil || !to.Addr().Is4() {
			return fmt.Errorf("%s: a flood needs an IPv4 address and a port", f.to)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		random := rand.New(rand.NewPCG(1, 1))
		sockaddr := &unix.SockaddrInet4{Addr: to.Addr().As4()}
		start, sent := time.Now(), 0
		for ctx.Err() == nil {
			for due := int(time.Since(start).Seconds() * float64(rate)); sent < due && ctx.Err() == nil; sent++ {
				if unix.Sendto(fd, syn(random.Uint32(), to), 0, sockaddr) == nil {
					f.result(Nobody, nil)
				}
			}
			pause(ctx, floodPause)
		}
		return nil
	})
}

// syn is a SYN to a service from an address and a port that n chooses.
func syn(n uint32, to netip.AddrPort) []byte {
	src := netip.AddrFrom4([4]byte{198, 18 | byte(n>>16)&1, byte(n >> 8), byte(n)})
	h := proto.TCPHeader{SrcPort: uint16(n>>17) | 1024, DstPort: to.Port(), Seq: n, Flags: proto.TCPSyn, Window: 65535}
	seg := h.Append(nil)
	proto.SealTCP(seg, src, to.Addr())
	return append(proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: src, Dst: to.Addr()}.Append(nil, len(seg)), seg...)
}

// datagramPause is between the datagrams of a flow.
const datagramPause = 5 * time.Millisecond

// datagrams sends datagrams of size bytes, one after the other, each from a port of its own,
// and compares every byte of what the server sends back.
func (f *flow) datagrams(ctx context.Context, size int) {
	f.sender(ctx, func(ctx context.Context) error {
		for n := uint32(0); ctx.Err() == nil; n++ {
			name, err := exchange(ctx, f.to, n, size)
			if err == nil || ctx.Err() == nil { // what was stopped has not failed
				f.result(name, err)
			}
			pause(ctx, datagramPause)
		}
		return nil
	})
}

// exchange sends one datagram, and returns who sent it back.
func exchange(ctx context.Context, to string, n uint32, size int) (name string, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	p := &pattern{}
	text := make([]byte, max(size, 8))
	p.Read(text)
	copy(text, fmt.Sprintf("%08x", n))
	if _, err := c.Write(text); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(clientTimeout))
	buf := make([]byte, 1<<16)
	got, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	name, _, _ = strings.Cut(string(buf[:min(got, 64)]), " ")
	if !bytes.Equal(buf[len(name)+1:got], text) {
		return "", fmt.Errorf("%s sent back %d other bytes", name, got-len(name)-1)
	}
	return name, nil
}

// sender runs a flow that sends by itself in its host.
func (f *flow) sender(ctx context.Context, run func(context.Context) error) {
	done := make(chan struct{})
	f.client.spawn(func() {
		defer close(done)
		if err := run(ctx); err != nil {
			f.result("", err)
		}
	})
	<-done
	close(f.done)
}
