package checks

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"

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
	p, err := t.ping(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	p.within()
	if _, err := p.Write(p.request()); err != nil {
		return p.failed(err, 0)
	}
	buf := make([]byte, 2048)
	for {
		n, err := p.Read(buf)
		if err != nil {
			return p.failed(err, 0)
		}
		if p.answers(buf[:n]) {
			return nil
		}
	}
}

// pinger is a socket that is connected to whom it asks.
type pinger struct {
	*talkative
	six     bool
	raw     bool // the IPv4 header is read too, and what others have asked
	id, seq uint16
}

func (t Target) ping(ctx context.Context) (*pinger, error) {
	t.Addr, t.Bind = netip.AddrPortFrom(t.Addr.Addr(), 0), netip.AddrPortFrom(t.Bind.Addr(), 0)
	p := &pinger{six: !t.Addr.Addr().Unmap().Is4(), id: uint16(rand.Uint32()), seq: 1}
	protocol := unix.IPPROTO_ICMP
	if p.six {
		protocol = unix.IPPROTO_ICMPV6
	}
	kind := unix.SOCK_DGRAM
	fd, err := t.open(kind, protocol)
	if errors.Is(err, unix.EACCES) {
		p.raw, kind = true, unix.SOCK_RAW
		fd, err = t.open(kind, protocol)
	}
	if err == nil {
		p.talkative, err = t.connect(ctx, fd, kind)
	}
	return p, err
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
