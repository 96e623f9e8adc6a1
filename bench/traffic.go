package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// Traffic is what is sent to the virtual address.
type Traffic struct {
	Protocol uint8 // proto.ProtocolTCP or ProtocolUDP
	Frame    int   // bytes with the Ethernet header, without the checksum of the wire; Super for the longest
	Flows    int
}

// Super as a frame's length: TCP segments of 64 KiB in one piece, to be cut by whoever
// transmits them at last. Their flows are 1,024 at most: of one address, which is in the
// sum that the checksum starts with.
const Super = 0

const (
	servicePort = 9
	headers     = 14 + proto.IPv4Len
	segment     = 1448 // bytes of data in each part of a super-frame
	superData   = 44 * segment
)

// frame is the pattern of the traffic, behind a virtio header. The checksums are good for
// every flow that [ring.PutFlow] makes of it.
func (t Traffic) frame(to proto.MAC, flags uint8) []byte {
	length := t.Frame - headers
	if t.Frame == Super {
		length = 20 + superData
	}
	b := make([]byte, ring.VNetLen, ring.VNetLen+headers+length)
	b = proto.AppendEthernet(b, to, genMAC, proto.EtherTypeIPv4)
	b = proto.IPv4Header{TTL: 64, Protocol: t.Protocol, Src: flowNet, Dst: vip}.Append(b, length)
	if t.Protocol == proto.ProtocolTCP {
		b = proto.TCPHeader{DstPort: servicePort, Flags: flags, Window: 1000}.Append(b)
	} else {
		b = proto.UDPHeader{DstPort: servicePort}.Append(b, length-8)
	}
	b = b[:cap(b)]
	frame := b[ring.VNetLen:]
	ring.PutFlow(frame, 0)
	ip := frame[14:]
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], proto.Checksum(ip[:proto.IPv4Len]))
	switch {
	case t.Frame == Super:
		partial(b, length)
	case t.Protocol == proto.ProtocolTCP:
		proto.SealTCP(ip[proto.IPv4Len:], proto.IPv4(ip).Src(), vip)
	}
	return b
}

// partial leaves the checksum and the cutting of a TCP segment to who transmits it.
func partial(b []byte, length int) {
	f := ring.Frame{Buf: b}
	ip := proto.IPv4(f.Data()[14:])
	sum := proto.Sum(0).AddPseudo(ip.Src(), ip.Dst(), proto.ProtocolTCP, length)
	binary.BigEndian.PutUint16(ip[proto.IPv4Len+16:], sum.Fold())
	f.SetVNet(ring.VNet{
		Flags: ring.VNetNeedsChecksum, GSOType: ring.GSOTCPv4, HeaderLen: headers + 20, GSOSize: segment, ChecksumStart: headers, ChecksumOffset: 16,
	})
}

// generator sends the flows in turn from the generator's namespace, by a socket.
type generator struct {
	sock   *ring.Socket
	frames [64][]byte
	base   int // number of the first flow
	next   int // flow, from there
	flows  int
	window int  // frames that may be under way in a sweep
	stamp  bool // the time of sending goes along
}

// stampAt is where a UDP frame has its time of sending, in ns of CLOCK_REALTIME.
const stampAt = 14 + proto.IPv4Len + 8 + 8

// generator opens one.
func (s *stage) generator(t Traffic, to proto.MAC, flags uint8) (g *generator, err error) {
	g = &generator{flows: t.Flows, window: manyUnderWay}
	for i := range g.frames {
		g.frames[i] = t.frame(to, flags)
	}
	err = s.gen.Do(func() (err error) {
		g.sock, err = ring.Open(ring.Config{Interface: "g0", Slots: 2, SlotSize: 256, Filter: ring.NothingFilter()})
		return err
	})
	return g, err
}

// burst sends the next n frames, 64 at most.
func (g *generator) burst(n int) error {
	var now int64
	if g.stamp {
		now = realtime()
	}
	for _, f := range g.frames[:n] {
		frame := f[ring.VNetLen:]
		ring.PutFlow(frame, g.base+g.next)
		if g.stamp {
			binary.BigEndian.PutUint64(frame[stampAt:], uint64(now))
		}
		if g.next++; g.next == g.flows {
			g.next = 0
		}
		g.sock.Queue(f)
	}
	if _, err := g.sock.Flush(); err != nil {
		return err
	}
	return nil
}

func realtime() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &t) // cannot fail with a clock that exists
	return t.Nano()
}

// How many frames may be under way: fewer than the ring of a forwarder has slots, and than
// the stack keeps for a processor (net.core.netdev_max_backlog).
const (
	manyUnderWay = 512
	fewUnderWay  = 128 // in slots for super-frames
)

// sweep sends n frames that all arrive: a window of which the stack has lost some, as a busy
// machine's does, is sent again.
func (s *stage) sweep(g *generator, n int) error {
	for again := 0; n > 0; {
		start, err := s.arrived()
		if err != nil {
			return err
		}
		from, round := g.next, min(g.window, n)
		for left := round; left > 0; left -= 64 {
			if err := g.burst(min(64, left)); err != nil {
				return err
			}
		}
		err = s.expect(start + uint64(round))
		switch {
		case err == nil:
			n, again = n-round, 0
		case !errors.Is(err, errSilent) || again == 3:
			return err
		default:
			g.next = from
			again++
		}
	}
	return nil
}

// late is by how much the generator may be behind before it leaves frames out.
const late = time.Millisecond

// paced sends for a time at a rate a second, and says how many frames that were. It runs on
// the calling thread, which it keeps busy. What it could not send in time it does not send
// later at once.
func (g *generator) paced(d time.Duration, rate float64) (sent int, err error) {
	const burst = 4
	gap := time.Duration(burst / rate * float64(time.Second))
	start := time.Now()
	for next := time.Duration(0); ; {
		now := time.Since(start)
		if now >= d {
			return sent, nil
		}
		if now < next {
			continue
		}
		if next += gap; next+late < now {
			next = now
		}
		if err := g.burst(burst); err != nil {
			return sent, err
		}
		sent += burst
	}
}

// flood sends for a time as fast as it goes.
func (g *generator) flood(d time.Duration) (sent int, err error) {
	for start := time.Now(); time.Since(start) < d; sent += 8 {
		if err := g.burst(8); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// waitForwarding sends single frames until one gets through: the forwarder knows its
// neighbours then.
func (s *stage) waitForwarding(g *generator) error {
	start, err := s.arrived()
	if err != nil {
		return err
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		g.next = 0
		if err := g.burst(1); err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond) // between two attempts
		if n, err := s.arrived(); err != nil || n > start {
			return err
		}
	}
	return fmt.Errorf("%w within 3s", errSilent)
}
