package ring

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of this module's unsafe code is in this file: the slots' headers in the
// mapped ring, and the system calls that x/sys/unix does not wrap.

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
// how many went out; errno is set only if the very first failed. The call does not wait,
// so the scheduler need not be told of it: telling costs a tenth of a packet's time,
// most of it in the thread that watches for calls that last.
func sendmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// recvNow is recv(2) of what is queued already; the scheduler need not be told, as with sendmmsg.
func recvNow(fd int, buf []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// epollPwait2 is epoll_pwait2(2) with no signal mask: a timeout in nanoseconds,
// nil for none. The kernel has it since 5.11; ENOSYS before.
func epollPwait2(fd int, events []unix.EpollEvent, timeout *unix.Timespec) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(unsafe.Pointer(timeout)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// epollNap is the same for a time so short that the scheduler need not be told.
func epollNap(fd int, events []unix.EpollEvent, timeout *unix.Timespec) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(unsafe.Pointer(timeout)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// What bpf(2) takes of a map, a program and a test run; the pointers are of 64 bits.
type (
	bpfMap  struct{ kind, keySize, valueSize, maxEntries uint32 }
	bpfProg struct {
		kind, count          uint32
		instructions         *instruction
		license              *byte
		logLevel, logSize    uint32
		log                  *byte
		kernelVersion, flags uint32
	}
	bpfTest struct {
		program, result       uint32
		sizeIn, sizeOut       uint32
		in, out               *byte
		repeat, duration      uint32
		contextIn, contextOut uint32
		context, contextBack  *[6]uint32
		flags, cpu            uint32
		batch, _              uint32
	}
)

// bpfCounter makes a map of one number.
func bpfCounter() (fd int, err error) {
	return bpfCall(unix.BPF_MAP_CREATE, unsafe.Pointer(&bpfMap{unix.BPF_MAP_TYPE_ARRAY, 4, 8, 1}), unsafe.Sizeof(bpfMap{}))
}

// bpfLoad loads an XDP program.
func bpfLoad(program []instruction) (fd int, err error) {
	license, log := []byte("Apache-2.0\x00"), make([]byte, 1<<16)
	p := bpfProg{
		kind: unix.BPF_PROG_TYPE_XDP, count: uint32(len(program)), instructions: &program[0], license: &license[0],
		logLevel: 1, logSize: uint32(len(log)), log: &log[0],
	}
	fd, err = bpfCall(unix.BPF_PROG_LOAD, unsafe.Pointer(&p), unsafe.Sizeof(p))
	if end := bytes.IndexByte(log, 0); err != nil && end > 0 {
		return -1, fmt.Errorf("load an XDP program: %w: %s", err, log[:end])
	}
	return fd, err
}

// bpfRun has an XDP program handle frame n times, as live frames.
func bpfRun(program int, frame []byte, context *[6]uint32, n int) error {
	t := bpfTest{
		program: uint32(program), sizeIn: uint32(len(frame)), in: &frame[0], repeat: uint32(n),
		contextIn: uint32(unsafe.Sizeof(*context)), context: context, flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	}
	_, err := bpfCall(unix.BPF_PROG_TEST_RUN, unsafe.Pointer(&t), unsafe.Sizeof(t))
	return err
}

func bpfCall(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return -1, fmt.Errorf("bpf: %w", errno)
	}
	return int(n), nil
}
