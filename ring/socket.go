package ring

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Config is what a socket is opened with.
type Config struct {
	Interface   string
	Slots       int                  // of the receive ring; rounded up to whole blocks
	SlotSize    int                  // bytes a slot, a power of two from 256 to 65536
	Filter      []bpf.RawInstruction // nil: every frame
	Promiscuous bool
	SuperFrames bool // take frames that exceed a slot whole instead of dropping them
	Qdisc       bool // send through the queueing discipline, where other taps see it
}

// Stats count since the socket was opened.
type Stats struct {
	Received    uint64 // by the kernel for this socket, dropped ones included
	Dropped     uint64 // for want of a free slot
	SuperFrames uint64
	Truncated   uint64 // longer than a slot and not to be had whole
	Tagged      uint64 // with a VLAN tag in the metadata: not for this interface, skipped
	Sent        uint64
	SendErrors  map[unix.Errno]uint64
}

// Sizes that were measured to matter, or that the kernel asks for.
const (
	blockSize  = 1 << 16
	sendBatch  = 64
	bigFrames  = 64               // super-frames in one batch
	bigSize    = 1<<16 + 256      // the longest IP packet with its headers
	sendBuffer = 8 << 20          // bytes of SO_SNDBUF, room for a batch of super-frames
	queueSpace = 16 << 20         // bytes of SO_RCVBUF for super-frames beside the ring
	sendWait   = time.Millisecond // for room in the send buffer
)

// Socket is one AF_PACKET socket with its rings. It is not safe for concurrent use.
type Socket struct {
	fd    int
	name  string
	rx    rxRing
	tx    txQueue
	big   [][]byte
	stats Stats
}

// Open opens the interface. The error names it and what to do about a missing right.
func Open(c Config) (*Socket, error) {
	ifi, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("open %s: no such interface", c.Interface)
	}
	// Protocol 0: nothing arrives before the ring is there and the filter set.
	conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open %s: operation not permitted: needs CAP_NET_RAW (run as root)", c.Interface)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	s := &Socket{name: c.Interface, stats: Stats{SendErrors: map[unix.Errno]uint64{}}}
	if err := s.take(conn, c); err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	if err := s.configure(c, ifi.Index); err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	return s, nil
}

// take sets the filter and the promiscuous mode and takes the socket out of the
// connection that opened it: the runtime's poller, which watches every connection,
// would wake a thread for each frame (measured: a third of the CPU time).
func (s *Socket) take(conn *packet.Conn, c Config) error {
	defer conn.Close()
	if len(c.Filter) > 0 {
		if err := conn.SetBPF(c.Filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	if c.Promiscuous {
		if err := conn.SetPromiscuous(true); err != nil {
			return err
		}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) { s.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	return errors.Join(err, dupErr)
}

// configure sets the socket up in the order that the kernel asks for: version and
// virtio header before the ring, the binding to a protocol last.
func (s *Socket) configure(c Config, index int) error {
	for _, o := range s.options(c) {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil && !o.optional {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	if err := s.rx.open(s.fd, c); err != nil {
		return err
	}
	if c.SuperFrames {
		for range bigFrames {
			s.big = append(s.big, make([]byte, bigSize))
		}
	}
	s.tx.init()
	return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: htons(unix.ETH_P_ALL)})
}

type option struct {
	level, name, value int
	what               string
	optional           bool
}

func (s *Socket) options(c Config) []option {
	list := []option{
		{unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2, "TPACKET_V2", false},
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1, "virtio header", false},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1, "ignore outgoing", false},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer, "send buffer", true}, // not in a user namespace
		{unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer, "send buffer", !c.SuperFrames},
	}
	if !c.Qdisc {
		list = append(list, option{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1, "qdisc bypass", true})
	}
	if c.SuperFrames {
		list = append(list,
			option{unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1, "copy threshold", false},
			option{unix.SOL_SOCKET, unix.SO_RCVBUF, queueSpace, "receive buffer", true},
			option{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSpace, "receive buffer", true})
	}
	return list
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Name is the name of the interface.
func (s *Socket) Name() string { return s.name }

// FD is the descriptor, for a Poller.
func (s *Socket) FD() int { return s.fd }

// Receive takes up to len(batch) frames, which are valid until Release. Without a
// frame it returns 0 at once. The error is the socket's (the interface went down, or
// is gone); frames that are returned with it are good.
func (s *Socket) Receive(batch []Frame) (n int, err error) {
	used := 0
	for n < len(batch) {
		slot, ok := s.rx.peek()
		if !ok {
			break
		}
		status := slot.status
		if status&unix.TP_STATUS_COPY != 0 && used == len(s.big) {
			break // the rest after the release
		}
		s.rx.take()
		f := Frame{Buf: slot.buf, Time: slot.time, Kind: slot.kind}
		switch {
		case status&unix.TP_STATUS_COPY != 0:
			got, _, err := unix.Recvfrom(s.fd, s.big[used], unix.MSG_DONTWAIT)
			if err != nil || got < VNetLen {
				s.stats.Truncated++
				continue
			}
			f.Buf = s.big[used][:got]
			used++
			s.stats.SuperFrames++
		case slot.truncated:
			s.stats.Truncated++
			continue
		}
		if status&unix.TP_STATUS_VLAN_VALID != 0 {
			s.stats.Tagged++
			continue
		}
		batch[n] = f
		n++
	}
	return n, nil
}

// Release gives all received slots back to the kernel.
func (s *Socket) Release() { s.rx.release() }

// Queue puts a virtio header and the frame behind it in line for Flush, which it calls
// itself when the line is full. The memory must stay as it is until then.
func (s *Socket) Queue(buf []byte) {
	if s.tx.n == sendBatch {
		s.Flush()
	}
	s.tx.push(buf)
}

// Flush sends what is queued. A frame that cannot be sent is counted by its error and
// left out; the last such error is returned with the number of frames sent.
func (s *Socket) Flush() (sent int, err error) {
	waited := false
	for done := 0; done < s.tx.n; {
		n, errno := s.tx.send(s.fd, done)
		if errno == unix.EAGAIN && !waited {
			waited = true
			unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, int(sendWait/time.Millisecond))
			continue
		}
		if errno != 0 {
			s.stats.SendErrors[errno]++
			err = fmt.Errorf("send on %s: %w", s.name, errno)
			done++
			continue
		}
		done += n
		sent += n
	}
	s.tx.n = 0
	s.stats.Sent += uint64(sent)
	return sent, err
}

// Stats reads the kernel's counters and returns all of them since the opening.
func (s *Socket) Stats() Stats {
	if k, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		s.stats.Received += uint64(k.Packets)
		s.stats.Dropped += uint64(k.Drops)
	}
	return s.stats
}

// Close unmaps the ring and closes the socket.
func (s *Socket) Close() error {
	return errors.Join(s.rx.close(), unix.Close(s.fd))
}
