package ring

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring/flowtable"
)

// Offload has the kernel move the frames of the flows that the table has, now or later, from the
// socket's interface on: the socket does not receive them. The filter must be the table's version
// ([flowtable.Table.Filter]) of the one that the socket has, and is closed by the caller. It is
// called in the socket's network namespace. The table may be that of several sockets, and
// outlives them. With an error, in kernels before Linux 6.6, the socket filters as before or
// is to get its filter again.
func (s *Socket) Offload(t *flowtable.Table, filter *ebpf.Program) (err error) {
	if s.mover == nil {
		if s.mover, err = t.Attach(s.ifindex); err != nil {
			s.mover = nil
			return fmt.Errorf("offload %s: %w", s.name, err)
		}
	}
	if err := setInt(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, filter.FD(), "SO_ATTACH_BPF"); err != nil {
		return fmt.Errorf("offload %s: %w", s.name, err)
	}
	s.offloads = true
	return nil
}

// Offloads tells whether the kernel moves flows past the socket.
func (s *Socket) Offloads() bool { return s.offloads }
