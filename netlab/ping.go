package netlab

import (
	"bufio"
	"bytes"
	"context"
	order "encoding/binary"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// A probe of kind icmp is as exact as the machine allows: what asks is a process of its own
// ([Ping]), what answers is the kernel that has the address, and the time of an answer is
// that at which the client's kernel received it. So the lab, which is busy at the
// very moments that are measured, takes no part.

// ping starts the process, in the client's namespace. It ends with the flow.
func (f *flow) ping(ctx context.Context, l *lab) error {
	cmd := exec.CommandContext(ctx, l.options.Binary, "lab-ping", f.to)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	f.client.do(func() { err = cmd.Start() })
	if err != nil {
		return fmt.Errorf("start the probe: %w", err)
	}
	f.told = true
	go func() {
		defer close(f.done)
		f.listen(out)
		err := cmd.Wait()
		if ctx.Err() == nil {
			l.violate("probe %s: %v %s", f.name, err, bytes.TrimSpace(wrong.Bytes()))
		}
	}()
	return nil
}

// listen takes what the process tells, until its end.
func (f *flow) listen(r io.Reader) {
	in := bufio.NewReader(r)
	var b [8]byte
	for {
		_, err := io.ReadFull(in, b[:])
		ns := int64(order.NativeEndian.Uint64(b[:]))
		switch {
		case err != nil:
			f.heard(time.Time{})
			return
		case ns < 0:
			f.heard(time.Unix(0, -ns))
		default:
			f.answered(time.Unix(0, ns))
		}
	}
}

// heard notes that the answers until a time have come, or for the zero time that no more
// will.
func (f *flow) heard(until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told, f.until = !until.IsZero(), until
	f.news.Broadcast()
}
