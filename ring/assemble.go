package ring

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// maxProgram is the kernel's limit on classic BPF, in instructions.
const maxProgram = 4096

// label is a place in a program that jumps lead to, forward only.
type label int

// program is BPF with labels. Conditional jumps of classic BPF reach 255
// instructions; here each is a conditional skip over an unconditional jump,
// which reaches everything.
type program struct {
	ins    []bpf.Instruction
	places []int         // of each label, -1 before it is set
	jumps  map[int]label // instruction that is a bpf.Jump to be filled in
	gap    uint32        // addresses between two neighbours of a search that may pass with them
}

func newProgram() *program { return &program{jumps: map[int]label{}} }

func (p *program) emit(ins ...bpf.Instruction) { p.ins = append(p.ins, ins...) }

func (p *program) label() label {
	p.places = append(p.places, -1)
	return label(len(p.places) - 1)
}

// set puts the label before the next instruction.
func (p *program) set(l label) { p.places[l] = len(p.ins) }

func (p *program) jump(l label) {
	p.jumps[len(p.ins)] = l
	p.emit(bpf.Jump{})
}

// jumpIf jumps to l if the accumulator compares so with val.
func (p *program) jumpIf(cond bpf.JumpTest, val uint32, l label) {
	p.emit(bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1})
	p.jump(l)
}

// tooLong reports whether the kernel would refuse the program for its length.
func (p *program) tooLong() bool { return len(p.ins) > maxProgram }

func (p *program) assemble() ([]bpf.RawInstruction, error) {
	if p.tooLong() {
		return nil, fmt.Errorf("filter of %d instructions: at most %d", len(p.ins), maxProgram)
	}
	for at, l := range p.jumps {
		p.ins[at] = bpf.Jump{Skip: uint32(p.places[l] - at - 1)}
	}
	raw, err := bpf.Assemble(p.ins)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}
