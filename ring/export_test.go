package ring

import "golang.org/x/net/bpf"

// Program is what the kernel runs.
func (f Fanout) Program() ([]bpf.RawInstruction, error) { return f.program() }
