package vm

import (
	"archive/tar"
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
	Folder   string            // absolute path of a folder there that is brought back at the end; "" for none

	// Counted has the machine's clock count instructions, a ns each, instead of the host's
	// time, and jump to the next timer whenever the machine is idle. A wait costs nothing
	// then, and however busy the host is, times in the machine are those of the same
	// processor that does nothing else.
	Counted bool
}

// Result is how a command ended.
type Result struct {
	Output  []byte // of the command, both streams
	Console []byte // of the kernel and of its first process
	Status  int    // exit status of the command; from 128 on a signal
	Folder  []byte // the Machine's Folder, as a tar archive of what is in it
}

// Missing names the programs that Run needs and this host lacks, and what brings them; it is
// nil when nothing is missing.
func Missing() error {
	var programs, packages []string
	for _, p := range [][2]string{
		{"qemu-system-x86_64", "qemu-system-x86"}, {"busybox", "busybox-static"}, {"dash", "dash"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"},
	} {
		if _, err := find(p[0]); err != nil {
			programs, packages = append(programs, p[0]), append(packages, p[1])
		}
	}
	if len(programs) == 0 {
		return nil
	}
	return fmt.Errorf("not installed: %s: on Debian apt-get install %s", strings.Join(programs, ", "), strings.Join(packages, " "))
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
	return m.boot(ctx, k, image, dir)
}

// boot runs the machine whose image is in dir, which gets its console.
func (m Machine) boot(ctx context.Context, k kernel, image, dir string) (Result, error) {
	console, folder := filepath.Join(dir, "console"), filepath.Join(dir, "folder")
	memory := m.Memory
	if memory == 0 {
		memory = 512
	}
	args := []string{
		"-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(memory),
		"-display", "none", "-nodefaults", "-no-reboot", "-serial", "file:" + console, "-serial", "stdio",
		"-kernel", k.image, "-initrd", image, "-append", "console=ttyS0 panic=-1 loglevel=3 mitigations=off tsc=reliable clocksource=tsc",
	}
	if m.Counted {
		args = append(args, "-icount", "shift=0,sleep=off", "-rtc", "clock=vm")
	}
	if m.Folder != "" {
		args = append(args, "-device", "virtio-serial-pci", "-chardev", "file,id=folder,path="+folder, "-device", "virtserialport,chardev=folder")
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &complaints, time.Second
	if m.Watch != nil {
		cmd.Stdout = io.MultiWriter(&out, &watch{to: m.Watch})
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
	if m.Folder != "" {
		if r.Folder, err = os.ReadFile(folder); err != nil {
			return r, err
		}
	}
	r.Status, err = strconv.Atoi(strings.TrimSpace(string(status)))
	return r, err
}

// watch passes on what comes before the exit status.
type watch struct {
	to   io.Writer
	held string // the beginning of a mark, or not
	over bool
}

func (w *watch) Write(b []byte) (int, error) {
	if w.over {
		return len(b), nil
	}
	text := w.held + string(b)
	text, _, w.over = strings.Cut(text, statusMark)
	w.held = ""
	for n := min(len(text), len(statusMark)-1); n > 0 && !w.over; n-- {
		if strings.HasPrefix(statusMark, text[len(text)-n:]) {
			text, w.held = text[:len(text)-n], text[len(text)-n:]
			break
		}
	}
	_, err := io.WriteString(w.to, text)
	return len(b), err
}

// Unpack writes the folder that was brought back into a directory, which must be there. Names
// that lead out of it are refused, and what is no file or directory is left out.
func (r Result) Unpack(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for list := tar.NewReader(bytes.NewReader(r.Folder)); ; {
		h, err := list.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpack(root, h, list)
		}
		if err != nil {
			return fmt.Errorf("what the machine brought back: %w", err)
		}
	}
}

func unpack(root *os.Root, h *tar.Header, from io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(h.Name, 0o755)
	case tar.TypeReg:
		f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, from)
		return errors.Join(err, f.Close())
	}
	return nil
}

// tail is the end of a console, of which the beginning seldom says what went wrong.
func tail(b []byte) []byte {
	const most = 4000
	return b[max(0, len(b)-most):]
}
