package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// SourceConfig says what a [Source] sends.
type SourceConfig struct {
	Interface string // its driver is who seems to receive the frames

	// Frame is the pattern: Ethernet, IPv4 without options, and 20 bytes more at least, of
	// TCP or UDP. Each frame gets the source of another flow, see [PutFlow].
	Frame []byte

	Flows  int  // 1 to [MaxFlows]
	Random bool // flows are drawn; one after the other otherwise
}

// MaxFlows is how many flows a Source tells apart.
const MaxFlows = 1 << 25

// Source makes frames inside the kernel, which cost less than any socket can send them:
// an XDP program in the test mode with live frames (Linux 5.18) hands them to the stack
// in batches, as a driver does. It is for benchmarks.
type Source struct {
	program, counter int
	frame            []byte
	context          [6]uint32 // struct xdp_md
}

// OpenSource loads the program, in the network namespace of the calling thread, in which
// Run has to be called too. It needs CAP_BPF, CAP_NET_ADMIN and a 64-bit machine.
func OpenSource(cfg SourceConfig) (*Source, error) {
	if len(cfg.Frame) < sourceHeaders || cfg.Flows < 1 || cfg.Flows > MaxFlows {
		return nil, fmt.Errorf("source on %s: a pattern of %d bytes at least and 1 to %d flows are needed", cfg.Interface, sourceHeaders, MaxFlows)
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("source on %s: %w", cfg.Interface, cause(err))
	}
	s := &Source{program: -1, counter: -1, frame: cfg.Frame}
	s.context[1], s.context[3] = uint32(len(cfg.Frame)), uint32(ifi.Index)
	if s.counter, err = bpfCounter(); err == nil {
		s.program, err = bpfLoad(sourceProgram(cfg, s.counter))
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("source on %s: %w", cfg.Interface, err)
	}
	return s, nil
}

// Run sends n frames as fast as the stack takes them, and returns when all were taken. The
// kernel adds some 25 ms to every call.
func (s *Source) Run(n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	// A signal would end the call before its time.
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return err
	}
	err := bpfRun(s.program, s.frame, &s.context, n)
	return errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil))
}

// Close frees the program.
func (s *Source) Close() {
	for _, fd := range []*int{&s.program, &s.counter} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// Where a frame without a VLAN tag has what tells flows apart.
const (
	idAt          = 14 + 4
	ttlAt         = 14 + 8 // and the protocol, and the checksum
	sourceHostAt  = 14 + 12 + 2
	sourcePortAt  = 14 + 20
	ackAt         = 14 + 20 + 8 // of UDP the payload
	sourceHeaders = 14 + 20 + 20

	hostBits  = 10 // a host has 1,024 flows
	firstPort = 1024
	constant  = 0xfffe // what a field and its counterweight add up to
)

// PutFlow gives frame the source of flow i, as a [Source] does: 1,024 ports of one host, then
// the next host, counted by the lower half of the address. The identification and TCP's
// acknowledgement number change along so that the checksums stay as they are.
func PutFlow(frame []byte, i int) {
	host, port := uint16(i>>hostBits+1), uint16(i&(1<<hostBits-1)+firstPort)
	binary.BigEndian.PutUint16(frame[sourceHostAt:], host)
	binary.BigEndian.PutUint16(frame[idAt:], constant-host)
	binary.BigEndian.PutUint16(frame[sourcePortAt:], port)
	binary.BigEndian.PutUint16(frame[ackAt:], constant-host)
	binary.BigEndian.PutUint16(frame[ackAt+2:], constant-port)
}

// instruction is struct bpf_insn of eBPF.
type instruction struct {
	code uint8
	regs uint8 // destination, source << 4
	off  int16
	imm  int32
}

// The instructions that the program needs, named after what they do.
func move(dst, src uint8) instruction          { return instruction{code: 0xbf, regs: dst | src<<4} }
func set(dst uint8, imm int32) instruction     { return instruction{code: 0xb7, regs: dst, imm: imm} }
func alu(op, dst uint8, imm int32) instruction { return instruction{code: op, regs: dst, imm: imm} }
func sub(dst, src uint8) instruction           { return instruction{code: 0x1f, regs: dst | src<<4} }
func load(op, dst, src uint8, at int16) instruction {
	return instruction{code: op, regs: dst | src<<4, off: at}
}
func put16(dst, src uint8, at int16) instruction {
	return instruction{code: 0x6b, regs: dst | src<<4, off: at}
}
func bigEndian16(dst uint8) instruction { return instruction{code: 0xdc, regs: dst, imm: 16} }
func call(function int32) instruction   { return instruction{code: 0x85, imm: function} }

const (
	add, and, shiftRight, modulo = 0x07, 0x57, 0x77, 0x97
	load32, load64, store64      = 0x61, 0x79, 0x7b
	lookupElement, random32      = 1, 7
	drop, pass                   = 1, 2
)

// sourceProgram is what PutFlow says, in eBPF. r6 is the frame, r8 the flow.
func sourceProgram(cfg SourceConfig, counter int) []instruction {
	begin := []instruction{
		load(load32, 6, 1, 0), load(load32, 3, 1, 4),
		move(2, 6), alu(add, 2, sourceHeaders),
		{code: 0xbd, regs: 2 | 3<<4, off: 2}, // if r2 <= r3, go on
		set(0, drop), {code: 0x95},
	}
	flow := []instruction{
		{code: 0x62, regs: 10, off: -4}, // the key: 0
		move(2, 10), alu(add, 2, -4),
		{code: 0x18, regs: 1 | 1<<4, imm: int32(counter)}, {}, // the address of the map
		call(lookupElement),
		{code: 0x55, regs: 0, off: 2}, // if r0 != 0, go on
		set(0, drop), {code: 0x95},
		load(load64, 8, 0, 0),
		move(1, 8), alu(add, 1, 1), load(store64, 0, 1, 0),
	}
	if cfg.Random {
		flow = []instruction{call(random32), move(8, 0)}
	}
	end := append(restore(cfg.Frame),
		alu(modulo, 8, int32(cfg.Flows)),
		move(1, 8), alu(shiftRight, 1, hostBits), alu(add, 1, 1),
		alu(and, 8, 1<<hostBits-1), alu(add, 8, firstPort),
		set(3, constant), sub(3, 1), bigEndian16(3), put16(6, 3, idAt), put16(6, 3, ackAt),
		set(3, constant), sub(3, 8), bigEndian16(3), put16(6, 3, ackAt+2),
		bigEndian16(1), put16(6, 1, sourceHostAt),
		bigEndian16(8), put16(6, 8, sourcePortAt),
		set(0, pass), instruction{code: 0x95},
	)
	return append(append(begin, flow...), end...)
}

// restore writes what a router changes as it stands in the pattern: the kernel takes the
// memory of a frame that was forwarded for another one.
func restore(frame []byte) (list []instruction) {
	for _, at := range []int16{0, 4, 8, ttlAt} {
		word := binary.NativeEndian.Uint32(frame[at:])
		list = append(list, instruction{code: 0x62, regs: 6, off: at, imm: int32(word)})
	}
	return list
}
