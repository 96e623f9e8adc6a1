package checks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessEvents is the kernel's process event connector (linux/cn_proc.h): a message for
// every process that begins, becomes another program, or ends. The kernel serves it to
// CAP_NET_ADMIN in the initial network, process and user namespaces only.
type ProcessEvents struct {
	socket *os.File
	fd     int
	buf    []byte
}

// The numbers of linux/connector.h and linux/cn_proc.h.
const (
	connector     = 11 // NETLINK_CONNECTOR
	connectorProc = 1  // CN_IDX_PROC, and CN_VAL_PROC
	mcastListen   = 1  // PROC_CN_MCAST_LISTEN

	eventNone = 0
	eventFork = 1
	eventExec = 2
	eventComm = 0x200
	eventExit = 0x80000000
)

// Offsets: struct nlmsghdr, struct cn_msg, and struct proc_event with its data.
const (
	connectorAt = unix.SizeofNlMsghdr
	procAt      = connectorAt + 20
	procDataAt  = procAt + 16
)

// answerTime is how long the kernel may take to agree: it does so within the send, or not
// at all where the connector is another namespace's.
const answerTime = 200 * time.Millisecond

// OpenProcessEvents begins to listen. It is an error if the kernel refuses, or does not
// answer.
func OpenProcessEvents() (*ProcessEvents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, connector)
	if err != nil {
		return nil, fmt.Errorf("process events: %w", err)
	}
	e := &ProcessEvents{socket: os.NewFile(uintptr(fd), "process events"), fd: fd, buf: make([]byte, 8192)}
	if err := e.listen(); err != nil {
		e.Close()
		return nil, fmt.Errorf("process events: %w", err)
	}
	return e, nil
}

func (e *ProcessEvents) listen() error {
	if err := unix.Bind(e.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: connectorProc}); err != nil {
		return err
	}
	msg := make([]byte, procAt+4)
	order := binary.NativeEndian
	order.PutUint32(msg, uint32(len(msg)))
	order.PutUint16(msg[4:], unix.NLMSG_DONE)
	order.PutUint32(msg[connectorAt:], connectorProc)
	order.PutUint32(msg[connectorAt+4:], connectorProc)
	order.PutUint16(msg[connectorAt+16:], 4)
	order.PutUint32(msg[procAt:], mcastListen)
	if err := unix.Sendto(e.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	e.socket.SetReadDeadline(time.Now().Add(answerTime))
	defer e.socket.SetReadDeadline(time.Time{})
	for {
		n, err := e.socket.Read(e.buf)
		if err != nil {
			return err
		}
		if what, data := parseProcess(e.buf[:n]); what == eventNone && len(data) >= 4 {
			if code := order.Uint32(data); code != 0 {
				return unix.Errno(code)
			}
			return nil
		}
	}
}

// parseProcess takes a message apart; data is nil for one that is none.
func parseProcess(b []byte) (what uint32, data []byte) {
	if len(b) < procDataAt+8 || binary.NativeEndian.Uint32(b[connectorAt:]) != connectorProc {
		return 0, nil
	}
	return binary.NativeEndian.Uint32(b[procAt:]), b[procDataAt:]
}

// next waits for an event and returns the process to look at, 0 for none; threads are left
// out. One that ends may look alive for a moment yet.
func (e *ProcessEvents) next() (pid int, ends bool, err error) {
	n, err := e.socket.Read(e.buf)
	if err != nil {
		return 0, false, err
	}
	pid, ends = toLookAt(e.buf[:n])
	return pid, ends, nil
}

// toLookAt is what a message says about a process.
func toLookAt(msg []byte) (pid int, ends bool) {
	what, data := parseProcess(msg)
	if what == eventFork && len(data) >= 16 {
		data = data[8:] // after the parent
	}
	switch what {
	case eventFork, eventExec, eventComm, eventExit:
		pid, group := binary.NativeEndian.Uint32(data), binary.NativeEndian.Uint32(data[4:])
		if pid == group {
			return int(pid), what == eventExit
		}
	}
	return 0, false
}

// overflowed tells whether an error says that the queue has overflowed.
func overflowed(err error) bool { return errors.Is(err, unix.ENOBUFS) }

func (e *ProcessEvents) interrupt() { e.socket.SetReadDeadline(time.Unix(1, 0)) }

// Close ends it.
func (e *ProcessEvents) Close() error { return e.socket.Close() }
