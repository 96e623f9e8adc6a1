package netlab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter is the child's side of starting a node: it makes the node's files visible in
// the mount namespace that it was started in, and becomes the program. It returns
// only with an error.
func Enter() error {
	text, err := os.ReadFile(os.Getenv(enterVariable))
	if err != nil {
		return fmt.Errorf("lab-enter is for the lab's own use: %w", err)
	}
	var spec enterSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if len(spec.Files) > 0 {
		if err := spec.overlay(); err != nil {
			return err
		}
	}
	// Its own processes are all that a node should see. A kernel that does not let a user
	// namespace have this, as where parts of /proc are hidden, leaves it the host's.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	os.Unsetenv(enterVariable)
	return syscall.Exec(spec.Args[0], spec.Args, os.Environ())
}

// overlay puts the node's files over the top directories they are in, on a file system
// in memory: nothing is written to the host's.
func (s *enterSpec) overlay() error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("lab", s.Dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a file system in memory: %w", err)
	}
	tops := map[string]bool{}
	for path, data := range s.Files {
		top := "/" + strings.SplitN(strings.TrimPrefix(path, "/"), "/", 2)[0]
		tops[top] = true
		at := filepath.Join(s.Dir, "up", path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(at, data, mode); err != nil {
			return err
		}
	}
	for top := range tops {
		work := filepath.Join(s.Dir, "work", top)
		if err := os.MkdirAll(work, 0o755); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", top, filepath.Join(s.Dir, "up", top), work)
		if err := unix.Mount("overlay", top, "overlay", 0, options); err != nil {
			if err := unix.Mount("overlay", top, "overlay", 0, options+",userxattr"); err != nil {
				return fmt.Errorf("overlay %s: %w", top, err)
			}
		}
	}
	return nil
}

// EnterUserNamespace gives the process the rights that a lab needs. As root it does
// nothing; else it runs the process anew as root of a user namespace of its own, interrupts
// that one when ctx ends, and ends with its exit status.
func EnterUserNamespace(ctx context.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return fmt.Errorf("no privilege: run as root, or allow user namespaces (%w)", err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}
