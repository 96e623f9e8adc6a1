package ring

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Fanout says how the sockets of a group share the frames of an interface: by the address of
// the client alone, so that all packets of a client, those that servers send back to it
// too, are one member's. ICMP errors, which may come from anywhere, and what does not match
// are the first member's.
type Fanout struct {
	Matches []Match // as of [ServiceFilter]
	// Bits4 and Bits6 are how many bits of an IPv4 and an IPv6 address tell clients apart: those
	// that differ behind them only have the same member. 0 is all of them.
	Bits4, Bits6 int
	Seed         uint32 // keys the hash
}

// hashing multiplies the words of an address, the rest mixes what comes out (the finalizer of
// MurmurHash3, which is in the public domain).
const hashing = 0x9e3779b1

var mixing = []struct{ shift, factor uint32 }{{16, 0x85ebca6b}, {13, 0xc2b2ae35}, {16, 1}}

// masks are what counts of the words of an address; words behind the last bit are left out.
func (f Fanout) masks(four bool) []uint32 {
	bits, whole := f.Bits6, 128
	if four {
		bits, whole = f.Bits4, 32
	}
	if bits <= 0 || bits > whole {
		bits = whole
	}
	var list []uint32
	for ; bits > 0; bits -= 32 {
		list = append(list, ^uint32(0)<<(32-min(32, bits)))
	}
	return list
}

// Member is the number of the member, of so many, that gets the packets of a client.
func (f Fanout) Member(client netip.Addr, members int) int {
	h := f.Seed
	w := words(client)
	for i, mask := range f.masks(client.Is4()) {
		h = (h + w[i]&mask) * hashing
	}
	for _, m := range mixing {
		h = (h ^ h>>m.shift) * m.factor
	}
	return int(h % uint32(members))
}

// program is the classic BPF that the kernel runs for every frame, over the packet without
// its Ethernet header; it takes the value modulo the number of members. With matches too
// many for the kernel, ports are not looked at, then the addresses of services neither, and
// at last all frames are the first member's.
func (f Fanout) program() ([]bpf.RawInstruction, error) {
	matches, err := sorted(f.Matches)
	if err != nil {
		return nil, err
	}
	for how := byPort; how <= byFamily; how++ {
		if p := f.assembled(matches, how); !p.tooLong() {
			return p.assemble()
		}
	}
	return bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
}

func (f Fanout) assembled(matches []Match, how precision) *program {
	p := newProgram()
	first := p.label()
	for _, fam := range []ipFamily{family4, family6} {
		of := slices.DeleteFunc(slices.Clone(matches), func(m Match) bool { return !m.of(fam.four) })
		if len(of) == 0 {
			continue
		}
		other, client, server := p.label(), p.label(), p.label()
		version := uint32(6)
		if fam.four {
			version = 4
		}
		p.emit(bpf.LoadAbsolute{Off: offIP, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
		p.jumpIf(bpf.JumpNotEqual, version, other)
		p.head(fam, first)
		p.emit(bpf.LoadScratch{Dst: bpf.RegA, N: kindWord})
		p.jumpIf(bpf.JumpEqual, icmpError, first)
		if how < byFamily {
			p.family(fam, of, how, client, server, first)
		} else {
			of = slices.DeleteFunc(of, func(m Match) bool { return !m.Answer })
			p.family(fam, of, byProtocol, client, server, client)
		}
		p.set(client)
		p.hash(fam.src, f.masks(fam.four), f.Seed)
		p.set(server)
		p.hash(fam.dst, f.masks(fam.four), f.Seed)
		p.set(other)
	}
	p.set(first)
	p.emit(bpf.RetConstant{Val: 0})
	p.withoutEthernet()
	return p
}

// hash returns that of the address at off, as [Fanout.Member] has it.
func (p *program) hash(off uint32, masks []uint32, seed uint32) {
	p.emit(bpf.LoadConstant{Dst: bpf.RegX, Val: seed})
	for i, mask := range masks {
		p.emit(
			bpf.LoadAbsolute{Off: off + uint32(4*i), Size: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: hashing}, bpf.TAX{},
		)
	}
	for _, m := range mixing {
		p.emit(
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: m.shift}, bpf.ALUOpX{Op: bpf.ALUOpXor},
			bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: m.factor}, bpf.TAX{},
		)
	}
	p.emit(bpf.RetA{})
}

// withoutEthernet has the loads count from the IP header on, where fanout programs begin.
func (p *program) withoutEthernet() {
	for i, ins := range p.ins {
		switch ins := ins.(type) {
		case bpf.LoadAbsolute:
			ins.Off -= offIP
			p.ins[i] = ins
		case bpf.LoadIndirect:
			ins.Off -= offIP
			p.ins[i] = ins
		case bpf.LoadMemShift:
			ins.Off -= offIP
			p.ins[i] = ins
		}
	}
}

// OpenGroup opens so many sockets on cfg's interface, each as [Open] does, that share its
// frames. Each may belong to a goroutine of its own. They are to be closed by [CloseGroup].
// Linux before 6.13 has no groups on an interface that is down: the error is [ErrDown] then.
func OpenGroup(cfg Config, members int, f Fanout) (group []*Socket, err error) {
	defer func() {
		if err != nil {
			_ = CloseGroup(group)
			group = nil
		}
	}()
	filter := cfg.Filter
	cfg.Filter = NothingFilter() // or each would take everything until it is a member
	for range members {
		s, err := Open(cfg)
		if err != nil {
			return group, err
		}
		group = append(group, s)
		if err := s.join(group[0]); err != nil {
			return group, err
		}
	}
	if err := SetGroupFilter(group, filter, f); err != nil {
		return group, err
	}
	return group, nil
}

// SetGroupFilter replaces the filter of every member and how they share the frames.
func SetGroupFilter(group []*Socket, filter []bpf.RawInstruction, f Fanout) error {
	program, err := f.program()
	if err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &filters(program)[0]}
	if err := unix.SetsockoptSockFprog(group[0].fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &fprog); err != nil {
		return fmt.Errorf("fanout program %s: %w", group[0].name, err)
	}
	for _, s := range group {
		if err := s.SetFilter(filter); err != nil {
			return err
		}
	}
	return nil
}

// CloseGroup closes the members. None gets the frames of another meanwhile.
func CloseGroup(group []*Socket) error {
	var errs []error
	for _, s := range group {
		errs = append(errs, s.SetFilter(NothingFilter()))
	}
	for _, s := range group {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// join makes the socket the next member of the group of first, which may be itself. The
// number of a group is one of the namespace; the kernel picks it. What this host sends must
// be told here, too, that it is not received.
func (s *Socket) join(first *Socket) error {
	how := unix.PACKET_FANOUT_CBPF | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	number := 0
	if s == first {
		how |= unix.PACKET_FANOUT_FLAG_UNIQUEID
	} else {
		got, err := unix.GetsockoptInt(first.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
		if err != nil {
			return fmt.Errorf("fanout group of %s: %w", s.name, err)
		}
		number = got & 0xffff
	}
	if err := setInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, number|how<<16, "PACKET_FANOUT"); err != nil {
		if down := s.Err(); errors.Is(down, ErrDown) {
			return down
		}
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// filters is a program as the kernel takes it.
func filters(program []bpf.RawInstruction) []unix.SockFilter {
	list := make([]unix.SockFilter, len(program))
	for i, ins := range program {
		list[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	return list
}
