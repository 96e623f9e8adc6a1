package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Machine says what a machine has beside busybox.
type Machine struct {
	Modules  []string          // kernel modules, loaded in this order, each after those that it needs
	Programs []string          // programs of this host, by name or path: there they have the same path
	Files    map[string][]byte // other files by absolute path
	Memory   int               // MiB, 0 for 512
	Watch    io.Writer         // what the command prints, while it does; may be nil
}

// Result is how a command ended.
type Result struct {
	Output  []byte // of the command, both streams
	Console []byte // of the kernel and of its first process
	Status  int    // exit status of the command; from 128 on a signal
}

// Peers names the programs that Run needs and this host lacks.
func Peers() (missing []string) {
	for _, p := range []string{"qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb"} {
		if _, err := find(p); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

// Run boots the machine, runs a program in it by its name or path, and powers it off. An
// error means that there is no result: no kernel to be had, or a machine that did not
// come to an end before ctx did; then the message ends with what its console and its command said.
func (m Machine) Run(ctx context.Context, argv ...string) (Result, error) {
	k, err := cachedKernel(ctx)
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "ringkeep-vm-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "initramfs")
	if err := m.writeImage(image, k, argv); err != nil {
		return Result{}, fmt.Errorf("the machine's file system: %w", err)
	}
	return m.boot(ctx, k, image, filepath.Join(dir, "console"))
}

func (m Machine) boot(ctx context.Context, k kernel, image, console string) (Result, error) {
	memory := m.Memory
	if memory == 0 {
		memory = 512
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(memory),
		"-display", "none", "-nodefaults", "-no-reboot", "-serial", "file:"+console, "-serial", "stdio",
		"-kernel", k.image, "-initrd", image, "-append", "console=ttyS0 panic=-1 loglevel=3 mitigations=off tsc=reliable clocksource=tsc")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &complaints, time.Second
	if m.Watch != nil {
		cmd.Stdout = io.MultiWriter(&out, m.Watch)
	}
	err := cmd.Run()
	var r Result
	r.Console, _ = os.ReadFile(console)
	if err != nil {
		return r, fmt.Errorf("%w: %s%s\n%s", errors.Join(err, ctx.Err()), complaints.Bytes(), tail(r.Console), tail(out.Bytes()))
	}
	text, status, ok := bytes.Cut(out.Bytes(), []byte(statusMark))
	if !ok {
		return r, fmt.Errorf("the machine stopped before its command: %s", tail(r.Console))
	}
	r.Output = text
	r.Status, err = strconv.Atoi(strings.TrimSpace(string(status)))
	return r, err
}

// tail is the end of a console, of which the beginning seldom says what went wrong.
func tail(b []byte) []byte {
	const most = 4000
	return b[max(0, len(b)-most):]
}
