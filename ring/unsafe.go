package ring

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of this module's unsafe code is in this file: the slots' headers in the
// mapped ring, and two system calls that x/sys/unix does not wrap.

// mmsghdr is struct mmsghdr of sendmmsg(2). The compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// slotHeader is the header that the kernel writes at the start of a slot.
func slotHeader(slot []byte) *unix.Tpacket2Hdr {
	_ = slot[unix.SizeofTpacket2Hdr+unix.SizeofSockaddrLinklayer-1]
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(unsafe.SliceData(slot)))
}

// loadStatus reads who owns the slot. Everything that the kernel wrote into the
// slot before it set TP_STATUS_USER is visible afterwards.
func loadStatus(h *unix.Tpacket2Hdr) uint32 { return atomic.LoadUint32(&h.Status) }

// giveBack returns the slot to the kernel.
func giveBack(h *unix.Tpacket2Hdr) { atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL) }

// sendmmsg sends msgs in order and stops at the first that fails. It returns
// how many went out; errno is set only if the very first failed.
func sendmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// epollPwait2 is epoll_pwait2(2) with no signal mask: a timeout in nanoseconds,
// negative for none. The kernel has it since 5.11; ENOSYS before.
func epollPwait2(fd int, events []unix.EpollEvent, timeout time.Duration) (int, unix.Errno) {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(unsafe.Pointer(ts)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
