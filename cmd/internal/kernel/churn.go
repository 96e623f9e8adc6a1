package kernel

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ignoreStrangers keeps changes of routes that can be nobody's business from waking us: a
// routing daemon may make them by the hundred thousand. What remains is the removal of
// routes of our protocol (those of another are not tracked), and a route that takes the
// place of another. Changes of a route to a unicast peer are told by all of them, so this
// is for a configuration without such peers.
func (k *Kernel) ignoreStrangers() error {
	const (
		pass = 1<<32 - 1
		drop = 0
	)
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2}, // nlmsg_type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: native(unix.RTM_DELROUTE), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: native(unix.RTM_NEWROUTE), SkipTrue: 5},
		bpf.LoadAbsolute{Off: 6, Size: 2}, // nlmsg_flags
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: native(unix.NLM_F_REPLACE), SkipTrue: 3},
		bpf.RetConstant{Val: drop},
		bpf.LoadAbsolute{Off: unix.SizeofNlMsghdr + rtmProtocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: ProtocolKeepalived, SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.RetConstant{Val: drop},
	})
	if err != nil {
		return fmt.Errorf("filter changes of routes: %w", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(k.events.GetFd(), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("filter changes of routes: %w", err)
	}
	return nil
}

// native is a number of the host's byte order as the filter's loads see it.
func native(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}
