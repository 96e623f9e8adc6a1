package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killGrace is how long a script has between SIGTERM and SIGKILL.
const killGrace = 2 * time.Second

// shell runs what the kernel cannot: scripts without a #! line.
const shell = "/bin/sh"

// Script is one command as keepalived runs it: executed directly, without a shell,
// in a process group of its own, with the null device as standard input, output
// and error, and in our environment less IFS, LD_PRELOAD and LD_LIBRARY_PATH.
type Script struct {
	Args    []string // program and arguments; a name without a slash is looked up in PATH
	User    string   // whom to run as; "" for who we are
	Group   string   // "" for the user's own group; ":GROUP" or ":" adds the user's supplementary groups
	Timeout time.Duration
}

// Exit says how a script ended.
type Exit struct {
	Status   int            // exit status, -1 if it did not exit by itself
	Signal   syscall.Signal // what killed it, or 0
	TimedOut bool           // it was told to end because it ran too long
	Timeout  time.Duration  // how long that was
	Err      error          // it could not be run, or was called off
}

// OK reports success, which is exit status 0 and nothing else.
func (e Exit) OK() bool {
	return e.Err == nil && !e.TimedOut && e.Signal == 0 && e.Status == 0
}

// String is the reason as logs give it: "exited with status 1".
func (e Exit) String() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.TimedOut:
		return fmt.Sprintf("timed out after %s", e.Timeout)
	case e.Signal != 0:
		return fmt.Sprintf("due to signal %d (%s)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exited with status %d", e.Status)
}

// Run runs the script and waits for its end. At the timeout (0 for none), or when
// ctx ends, its process group gets SIGTERM and 2 s later SIGKILL; whatever is left
// of the group when the script itself is gone is killed too. A script that ends in
// time may leave processes behind, as those that start a service do.
//
// The child gets SIGTERM if we die (PDEATHSIG). The kernel sends that when the
// *thread* that forked ends, so Run keeps its goroutine on one thread until the
// child is reaped: that thread cannot end before, whatever other code does.
func (s Script) Run(ctx context.Context) Exit {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := ctx.Err(); err != nil {
		return Exit{Status: -1, Err: err}
	}
	cmd, err := s.start()
	if err != nil {
		return Exit{Status: -1, Err: err}
	}
	gone, ended := make(chan struct{}), make(chan bool)
	go func() { ended <- guard(ctx, cmd.Process.Pid, s.Timeout, gone) }()
	// Not reaped yet: its process id stays its own until the guard is done with it.
	waitErr := awaitExit(cmd.Process.Pid)
	close(gone)
	told := <-ended
	if told {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // ESRCH: nobody is left
	}
	_ = cmd.Wait() // its error only repeats the state
	e := exitOf(cmd.ProcessState)
	e.Timeout = s.Timeout
	e.TimedOut = told && ctx.Err() == nil
	if told && ctx.Err() != nil {
		e.Err = ctx.Err()
	}
	return withError(e, waitErr)
}

// guard ends the process group when its time is over, and reports whether it did.
// It returns only when gone is closed.
func guard(ctx context.Context, pid int, timeout time.Duration, gone <-chan struct{}) bool {
	var over <-chan time.Time
	if timeout > 0 {
		over = time.After(timeout)
	}
	select {
	case <-gone:
		return false
	case <-over:
	case <-ctx.Done():
	}
	_ = unix.Kill(-pid, unix.SIGTERM)
	select {
	case <-gone:
	case <-time.After(killGrace):
		_ = unix.Kill(-pid, unix.SIGKILL)
		<-gone
	}
	return true
}

// awaitExit waits until the child is a zombie, and leaves it one.
func awaitExit(pid int) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func exitOf(state *os.ProcessState) Exit {
	if state == nil {
		return Exit{Status: -1, Err: errors.New("wait for the script: no exit state")}
	}
	ws, _ := state.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return Exit{Status: -1, Signal: ws.Signal()}
	}
	return Exit{Status: ws.ExitStatus()}
}

func withError(e Exit, err error) Exit {
	if err != nil && e.Err == nil {
		e.Err = fmt.Errorf("wait for the script: %w", err)
	}
	return e
}

// start starts the script, by the shell if the kernel does not know what it is.
func (s Script) start() (*exec.Cmd, error) {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return nil, errors.New("empty command")
	}
	attr, err := s.attributes()
	if err != nil {
		return nil, err
	}
	if file, ok := strings.CutPrefix(s.Args[0], "<"); ok {
		// keepalived's test whether a file can be opened, by whom the script runs as.
		return launch(shell, []string{"sh", "-c", `: <"$1"`, "sh", file}, attr)
	}
	path, err := resolve(s.Args[0])
	if err != nil {
		return nil, err
	}
	cmd, err := launch(path, s.Args, attr)
	if errors.Is(err, unix.ENOEXEC) && isText(path) {
		return launch(shell, append([]string{"sh", path}, s.Args[1:]...), attr)
	}
	return cmd, err
}

// launch starts path with its own copy of attr and with args[0] as its name.
func launch(path string, args []string, attr syscall.SysProcAttr) (*exec.Cmd, error) {
	cmd := &exec.Cmd{Path: path, Args: args, Env: environment(os.Environ()), SysProcAttr: &attr}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", args[0], bare(err))
	}
	return cmd, nil
}

// bare takes the path out of an error that is wrapped with a path anyway.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (s Script) attributes() (syscall.SysProcAttr, error) {
	attr := syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	id, err := lookup(s.User, s.Group)
	if err != nil {
		return attr, err
	}
	if !id.self() {
		attr.Credential = &syscall.Credential{Uid: id.uid, Gid: id.gid, Groups: id.groups}
	}
	return attr, nil
}

// environment is env without the variables that change what a script runs.
func environment(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "IFS" || name == "LD_PRELOAD" || name == "LD_LIBRARY_PATH"
	})
}

// resolve finds the file to execute: by PATH for a bare name, and with symbolic
// links followed, as keepalived does (the name in Args[0] stays what was written).
func resolve(name string) (string, error) {
	path, err := locate(name)
	if err != nil {
		return "", err
	}
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", name, bare(err))
	}
	return file, nil
}

func locate(name string) (string, error) {
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("run %s: not found in PATH", name)
	}
	return filepath.Abs(path)
}

// isText reports whether a file looks like one for the shell: no zero byte near its
// start, which every binary format has.
func isText(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false
	}
	return !bytes.Contains(head[:n], []byte{0})
}
