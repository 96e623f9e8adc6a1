package ring

import "golang.org/x/sys/unix"

// Stats counts frames since the socket was opened.
type Stats struct {
	Received    uint64 // handed out by Receive
	Dropped     uint64 // by the kernel: the ring was full
	Freezes     uint64 // times that the ring was frozen; always 0 with TPACKET_V2
	Truncated   uint64 // skipped: longer than a slot, and not to be had whole
	SuperFrames uint64 // of Received: longer than a slot, taken by recv

	Sent       uint64 // accepted by the kernel
	SendErrors SendErrors
}

// SendErrors counts frames that could not be sent, by the kernel's reason.
type SendErrors struct {
	NoBuffers  uint64 // ENOBUFS: no carrier, or the device's queue is full
	WouldBlock uint64 // EAGAIN: the send buffer is full
	TooLong    uint64 // EMSGSIZE: longer than the MTU allows
	Invalid    uint64 // EINVAL: too short, or a virtio header that does not fit
	Down       uint64 // ENETDOWN
	Gone       uint64 // ENXIO: the device was deleted
	Other      uint64
}

// Total is the sum of all reasons.
func (e SendErrors) Total() uint64 {
	return e.NoBuffers + e.WouldBlock + e.TooLong + e.Invalid + e.Down + e.Gone + e.Other
}

func (e *SendErrors) count(errno unix.Errno, n uint64) {
	switch errno {
	case unix.ENOBUFS:
		e.NoBuffers += n
	case unix.EAGAIN:
		e.WouldBlock += n
	case unix.EMSGSIZE:
		e.TooLong += n
	case unix.EINVAL:
		e.Invalid += n
	case unix.ENETDOWN:
		e.Down += n
	case unix.ENXIO:
		e.Gone += n
	default:
		e.Other += n
	}
}

// Stats returns the counts so far. It asks the kernel for the drops, whose
// counter starts anew with every reading.
func (s *Socket) Stats() Stats {
	if s.fd >= 0 {
		if st, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			s.stats.Dropped += uint64(st.Drops)
		}
	}
	return s.stats
}
