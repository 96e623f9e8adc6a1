package ring

import (
	"fmt"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/ring/flowtable"
)

// offloading is what moves frames past a socket.
type offloading struct {
	table *flowtable.Table // nil for none
	link  link.Link
}

func (o *offloading) end() {
	if o.link != nil {
		_ = o.link.Close()
	}
	*o = offloading{}
}

// Offload has the kernel move the frames of the flows that the table has, now or later, from the
// socket's interface on: the socket does not receive them. The calling thread must be in the
// socket's network namespace. The table may be that of several sockets, and outlives them. The
// error, in older kernels and without the rights, changes nothing.
func (s *Socket) Offload(t *flowtable.Table) error {
	s.offload.table = t
	err := s.leaveOut()
	if err == nil {
		s.offload.link, err = t.Attach(s.ifindex)
	}
	if err != nil {
		_ = s.SetFilter(s.filter)
		return fmt.Errorf("offload %s: %w", s.name, err)
	}
	return nil
}

// Offloads tells whether the kernel moves flows past the socket.
func (s *Socket) Offloads() bool { return s.offload.link != nil }

// leaveOut has the filter leave out what is moved.
func (s *Socket) leaveOut() error {
	filter := s.filter
	if len(filter) == 0 {
		filter = always(accepted)
	}
	p, err := s.offload.table.Filter(filter)
	if err != nil {
		return err
	}
	defer p.Close()
	return setInt(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD(), "SO_ATTACH_BPF")
}
