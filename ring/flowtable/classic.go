package flowtable

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"
)

// Registers of a classic program. The loads from the frame leave their result in the accumulator
// and, of the others, only R6 to R9 as they are.
const (
	accumulator = asm.R0
	index       = asm.R7
	aside       = asm.R8
)

// filter is the classic program behind a look for flows that are moved, which it leaves out.
func (t *Table) filter(classic []bpf.RawInstruction) (asm.Instructions, error) {
	ins := append(t.look("classic"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Imm(accumulator, 0).WithSymbol("classic"),
		asm.Mov.Imm(index, 0),
	)
	for word := range int16(16) {
		ins = append(ins, asm.StoreImm(asm.RFP, atMemory+4*word, 0, asm.Word))
	}
	reached := make([]bool, len(classic)+256) // the kernel takes no instruction that nothing leads to
	reached[0] = true
	for i, raw := range classic {
		if !reached[i] {
			continue
		}
		one, err := translate(i, raw.Disassemble())
		if err != nil {
			return nil, err
		}
		for _, next := range successors(i, raw.Disassemble()) {
			reached[next] = true
		}
		one[0] = one[0].WithSymbol(place(i))
		ins = append(ins, one...)
	}
	return ins, nil
}

// successors are what may follow instruction i, always behind it.
func successors(i int, ins bpf.Instruction) []int {
	switch ins := ins.(type) {
	case bpf.Jump:
		return []int{i + 1 + int(ins.Skip)}
	case bpf.JumpIf:
		return []int{i + 1 + int(ins.SkipTrue), i + 1 + int(ins.SkipFalse)}
	case bpf.RetConstant:
		return nil
	}
	return []int{i + 1}
}

// place names an instruction of the classic program.
func place(i int) string { return fmt.Sprintf("classic %d", i) }

// comparisons are the jumps of the conditions that there is one for.
var comparisons = map[bpf.JumpTest]asm.JumpOp{
	bpf.JumpEqual: asm.JEq, bpf.JumpNotEqual: asm.JNE, bpf.JumpGreaterThan: asm.JGT, bpf.JumpLessThan: asm.JLT,
	bpf.JumpGreaterOrEqual: asm.JGE, bpf.JumpLessOrEqual: asm.JLE, bpf.JumpBitsSet: asm.JSet,
}

// operations are the arithmetic that filters need.
var operations = map[bpf.ALUOp]asm.ALUOp{
	bpf.ALUOpAdd: asm.Add, bpf.ALUOpAnd: asm.And, bpf.ALUOpShiftLeft: asm.LSh, bpf.ALUOpShiftRight: asm.RSh,
}

// translate writes instruction i of a classic program. Values are of 32 bits: those that are
// compared must not be taken for signed ones of 64.
func translate(i int, ins bpf.Instruction) (asm.Instructions, error) {
	switch ins := ins.(type) {
	case bpf.LoadConstant:
		to := accumulator
		if ins.Dst == bpf.RegX {
			to = index
		}
		return asm.Instructions{asm.Mov.Imm32(to, int32(ins.Val))}, nil
	case bpf.LoadScratch:
		if ins.Dst == bpf.RegA {
			return asm.Instructions{asm.LoadMem(accumulator, asm.RFP, memory(ins.N), asm.Word)}, nil
		}
	case bpf.StoreScratch:
		if ins.Src == bpf.RegA {
			return asm.Instructions{asm.StoreMem(asm.RFP, memory(ins.N), accumulator, asm.Word)}, nil
		}
	case bpf.LoadAbsolute:
		return asm.Instructions{asm.LoadAbs(int32(ins.Off), sizes[ins.Size])}, nil
	case bpf.LoadIndirect:
		return asm.Instructions{asm.LoadInd(accumulator, index, int32(ins.Off), sizes[ins.Size])}, nil
	case bpf.LoadMemShift:
		return asm.Instructions{
			asm.Mov.Reg(aside, accumulator), asm.LoadAbs(int32(ins.Off), asm.Byte), asm.And.Imm32(accumulator, 0xf),
			asm.LSh.Imm32(accumulator, 2), asm.Mov.Reg(index, accumulator), asm.Mov.Reg(accumulator, aside),
		}, nil
	case bpf.LoadExtension:
		switch ins.Num {
		case bpf.ExtVLANTag:
			return asm.Instructions{asm.LoadMem(accumulator, ctx, skbVLANTCI, asm.Word)}, nil
		case bpf.ExtVLANTagPresent:
			return asm.Instructions{asm.LoadMem(accumulator, ctx, skbVLANPresent, asm.Word)}, nil
		}
	case bpf.ALUOpConstant:
		if op, ok := operations[ins.Op]; ok {
			return asm.Instructions{op.Imm32(accumulator, int32(ins.Val))}, nil
		}
	case bpf.ALUOpX:
		if op, ok := operations[ins.Op]; ok {
			return asm.Instructions{op.Reg32(accumulator, index)}, nil
		}
	case bpf.TAX:
		return asm.Instructions{asm.Mov.Reg(index, accumulator)}, nil
	case bpf.Jump:
		return asm.Instructions{asm.Ja.Label(place(i + 1 + int(ins.Skip)))}, nil
	case bpf.JumpIf:
		if ins.Cond == bpf.JumpBitsNotSet { // there is no such jump
			ins.Cond, ins.SkipTrue, ins.SkipFalse = bpf.JumpBitsSet, ins.SkipFalse, ins.SkipTrue
		}
		if op, ok := comparisons[ins.Cond]; ok {
			return asm.Instructions{
				op.Imm32(accumulator, int32(ins.Val), place(i+1+int(ins.SkipTrue))), asm.Ja.Label(place(i + 1 + int(ins.SkipFalse))),
			}, nil
		}
	case bpf.RetConstant:
		return asm.Instructions{asm.Mov.Imm32(asm.R0, int32(ins.Val)), asm.Return()}, nil
	}
	return nil, fmt.Errorf("filter: instruction %d, %v, is none that a filter of services has", i, ins)
}

// sizes are those of loads from the frame.
var sizes = map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}

func memory(word int) int16 { return int16(atMemory + 4*word) }
