package ring

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

const (
	// superSize holds a tag's room, the virtio header and the longest frame
	// without BIG TCP: Ethernet, a tag, an IP packet of 64 KiB.
	superSize = 68 << 10

	// superMax bounds the super-frames that can be held between two Releases.
	superMax = 64

	vlanLen  = 4  // an IEEE 802.1Q tag
	macsLen  = 12 // what stands before it
	tpidVLAN = 0x8100

	// kindOffset is where a slot's sockaddr_ll has sll_pkttype.
	kindOffset = unix.SizeofTpacket2Hdr + 10
)

// receiver is the mapped ring. Slots first .. first+held-1 (mod slots) are
// ours; next is the one that the kernel fills next.
type receiver struct {
	mem      []byte
	slots    int
	slotSize int

	next  int
	first int
	held  int

	supers    [][]byte // buffers for super-frames, made as they are needed
	superUsed int
	wantSuper bool
	touched   byte // keeps the reads from being left out

	gone bool // the device was deleted
}

func (r *receiver) mapRing(fd int, cfg Config) error {
	req := geometry(cfg.Slots, cfg.SlotSize)
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("setsockopt PACKET_RX_RING (%d slots of %d bytes): %w", req.Frame_nr, req.Frame_size, err)
	}
	mem, err := unix.Mmap(fd, 0, int(req.Block_size*req.Block_nr),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mmap ring: %w", err)
	}
	r.mem, r.slots, r.slotSize = mem, int(req.Frame_nr), int(req.Frame_size)
	r.wantSuper = cfg.SuperFrames
	return nil
}

func (r *receiver) unmap() error {
	if r.mem == nil {
		return nil
	}
	mem := r.mem
	r.mem, r.held, r.slots = nil, 0, 0
	return unix.Munmap(mem)
}

// slot returns the memory of slot i. Both sizes are powers of two and a block
// is filled without a gap, so slots follow each other evenly.
func (r *receiver) slot(i int) []byte {
	return r.mem[i*r.slotSize : (i+1)*r.slotSize : (i+1)*r.slotSize]
}

// Receive fills batch with the frames that are ready, oldest first, and returns
// how many; it never waits and never allocates. The frames are valid until
// [Socket.Release]; a ring whose slots are all held drops what arrives.
//
// A VLAN tag that the kernel keeps beside the frame is put back into it and the
// virtio header moved accordingly; only a priority tag (VID 0) is left out, as
// the kernel itself ignores it. Frames that do not fit are skipped and counted.
//
// With no frame ready the error tells why, if there is a reason: [ErrDown] once
// when the link went down, [ErrGone] when the device no longer exists.
func (s *Socket) Receive(batch []Frame) (int, error) {
	if s.rx.mem == nil {
		return 0, net.ErrClosed
	}
	n := s.Ready(batch)
	if n == 0 && len(batch) > 0 && s.rx.held == 0 {
		return 0, s.Err()
	}
	return n, nil
}

// Ready is Receive without asking why there is no frame, which is a system call. It is for
// who looks often, and asks [Socket.Err] when a poller reported the socket for nothing.
func (s *Socket) Ready(batch []Frame) int {
	r := &s.rx
	n := 0
	// One round at most: a flood of frames to be skipped must not keep us here.
	for looked := 0; n < len(batch) && r.held < r.slots && looked < r.slots; looked++ {
		slot := r.slot(r.next)
		h := slotHeader(slot)
		status := loadStatus(h)
		if status&unix.TP_STATUS_USER == 0 {
			break
		}
		if status&unix.TP_STATUS_COPY != 0 && r.superUsed == superMax {
			break // its buffers come back with Release
		}
		if s.take(&batch[n], slot, h, status) {
			// The frames of a batch come from the other processor's cache at once, not one after the other.
			r.touched += batch[n].Buf[VNetLen] + batch[n].Buf[len(batch[n].Buf)-1]
			n++
		}
		r.advance(h, n)
	}
	s.stats.Received += uint64(n)
	return n
}

// advance steps over the slot just read. One that was skipped with nothing
// before it is given back at once: the caller may see no reason to Release.
func (r *receiver) advance(h *unix.Tpacket2Hdr, taken int) {
	if r.next++; r.next == r.slots {
		r.next = 0
	}
	if taken == 0 && r.held == 0 {
		giveBack(h)
		r.first = r.next
		return
	}
	r.held++
}

// take makes f the frame in slot. It reports false for a frame to be skipped.
func (s *Socket) take(f *Frame, slot []byte, h *unix.Tpacket2Hdr, status uint32) bool {
	start := int(h.Mac) - VNetLen
	buf := slot[start : int(h.Mac)+int(h.Snaplen)]
	room := slot[start-vlanLen : start]
	switch {
	case status&unix.TP_STATUS_COPY != 0:
		whole, ok := s.takeSuper(int(h.Len))
		if !ok {
			return false
		}
		room, buf = whole[:vlanLen], whole[vlanLen:]
	case h.Len > h.Snaplen:
		s.stats.Truncated++ // too long for a slot, and the backlog is full or not wanted
		return false
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 && h.Vlan_tci&vidMask != 0 {
		buf = insertTag(room[:vlanLen+len(buf)], status, h)
	}
	f.Buf = buf
	f.Time = int64(h.Sec)*1e9 + int64(h.Nsec)
	f.Kind = slot[kindOffset]
	return true
}

// takeSuper receives the whole frame of a slot that holds only its head. The
// kernel queues these in the order of the slots.
func (s *Socket) takeSuper(length int) (whole []byte, ok bool) {
	r := &s.rx
	if r.superUsed == len(r.supers) {
		r.supers = append(r.supers, make([]byte, superSize))
	}
	buf := r.supers[r.superUsed]
	n, errno := recvNow(s.fd, buf[vlanLen:])
	for errno == unix.EINTR {
		n, errno = recvNow(s.fd, buf[vlanLen:])
	}
	if errno != 0 || n != VNetLen+length {
		s.stats.Truncated++
		return nil, false
	}
	r.superUsed++
	s.stats.SuperFrames++
	return buf[:vlanLen+n], true
}

// insertTag moves the virtio header and the MACs at b[4:] to the front, writes
// the tag into the gap and returns b.
func insertTag(b []byte, status uint32, h *unix.Tpacket2Hdr) []byte {
	copy(b, b[vlanLen:vlanLen+VNetLen+macsLen])
	tag := b[VNetLen+macsLen:]
	tpid := uint16(tpidVLAN)
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = h.Vlan_tpid
	}
	binary.BigEndian.PutUint16(tag, tpid)
	binary.BigEndian.PutUint16(tag[2:], h.Vlan_tci)
	f := Frame{Buf: b}
	v := f.VNet()
	if v.Partial() {
		v.ChecksumStart += vlanLen
	}
	if v.Super() {
		v.HeaderLen += vlanLen
	}
	f.SetVNet(v)
	return b
}

// Release gives every slot received so far back to the kernel. Frames from
// before are invalid afterwards, so flush what was queued from them first.
func (s *Socket) Release() {
	r := &s.rx
	for ; r.held > 0; r.held-- {
		giveBack(slotHeader(r.slot(r.first)))
		if r.first++; r.first == r.slots {
			r.first = 0
		}
	}
	r.superUsed = 0
}
