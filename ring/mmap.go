package ring

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the only one that touches the kernel's memory: the receive ring, where
// every slot starts with a tpacket2_hdr,
//
//	0        4     8         12    14    16    20     24    28                 32
//	+--------+-----+---------+-----+-----+-----+------+-----+------------------+-------------
//	| status | len | snaplen | mac | net | sec | nsec | vlan tci, tpid, pad    | sockaddr_ll
//	+--------+-----+---------+-----+-----+-----+------+-----+------------------+-------------
//
// followed somewhere by the virtio header and, at mac, the frame; and the vectors of
// sendmmsg.

const kindAt = 32 + 10 // sll_pkttype

type rxRing struct {
	mem      []byte
	slotSize int
	slots    int
	next     int // slot to look at
	first    int // oldest slot that was taken and not released
	taken    int
}

type rxSlot struct {
	status    uint32
	buf       []byte
	time      int64
	kind      uint8
	truncated bool
}

func (r *rxRing) open(fd int, c Config) error {
	if c.SlotSize < 256 || c.SlotSize > blockSize || c.SlotSize&(c.SlotSize-1) != 0 || c.Slots < 1 {
		return fmt.Errorf("ring of %d slots of %d bytes: a slot is a power of two from 256 to %d", c.Slots, c.SlotSize, blockSize)
	}
	blocks := (c.Slots*c.SlotSize + blockSize - 1) / blockSize
	r.slotSize, r.slots = c.SlotSize, blocks*blockSize/c.SlotSize
	req := unix.TpacketReq{
		Block_size: blockSize, Block_nr: uint32(blocks), Frame_size: uint32(c.SlotSize), Frame_nr: uint32(r.slots),
	}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("receive ring: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the receive ring: %w", err)
	}
	r.mem = mem
	return nil
}

func (r *rxRing) close() error {
	if r.mem == nil {
		return nil
	}
	mem := r.mem
	r.mem = nil
	return unix.Munmap(mem)
}

func (r *rxRing) status(slot int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[slot*r.slotSize]))
}

// peek looks at the next slot; ok is false while the kernel owns it.
func (r *rxRing) peek() (s rxSlot, ok bool) {
	if r.taken == r.slots {
		return s, false
	}
	s.status = atomic.LoadUint32(r.status(r.next))
	if s.status&unix.TP_STATUS_USER == 0 {
		return s, false
	}
	mem := r.mem[r.next*r.slotSize : (r.next+1)*r.slotSize]
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&mem[0]))
	end := int(h.Mac) + int(h.Snaplen)
	s.buf = mem[int(h.Mac)-VNetLen : end : end]
	s.time = int64(h.Sec)*1e9 + int64(h.Nsec)
	s.kind = mem[kindAt]
	s.truncated = h.Snaplen < h.Len
	return s, true
}

// take makes the slot that peek showed ours until release.
func (r *rxRing) take() {
	r.taken++
	if r.next++; r.next == r.slots {
		r.next = 0
	}
}

func (r *rxRing) release() {
	for ; r.taken > 0; r.taken-- {
		atomic.StoreUint32(r.status(r.first), unix.TP_STATUS_KERNEL)
		if r.first++; r.first == r.slots {
			r.first = 0
		}
	}
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

type txQueue struct {
	n    int
	iov  [sendBatch]unix.Iovec
	msgs [sendBatch]mmsghdr
}

func (q *txQueue) init() {
	for i := range q.msgs {
		q.msgs[i].hdr.Iov = &q.iov[i]
		q.msgs[i].hdr.Iovlen = 1
	}
}

func (q *txQueue) push(buf []byte) {
	q.iov[q.n].Base = &buf[0]
	q.iov[q.n].SetLen(len(buf))
	q.n++
}

// send hands the frames from number first on to the kernel. The call never waits, but
// a full batch takes it 200 µs: long enough for the runtime to give the processor to
// other threads, which then have nothing to do with it. So it is made without telling
// the runtime (measured: a third less CPU time for the process).
func (q *txQueue) send(fd, first int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.msgs[first])),
		uintptr(q.n-first), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// waitPrecise is epoll_pwait2(2): like epoll_wait, with a timeout in nanoseconds. A nil
// ts waits for ever.
func waitPrecise(fd int, events []unix.EpollEvent, ts *unix.Timespec) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(fd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(ts)), 0, 0)
	return int(n), errno
}
