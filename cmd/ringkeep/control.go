package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// controlSocket is where the daemon of a network namespace is asked. The name is abstract:
// it goes with the process.
const controlSocket = "@ringkeep"

const (
	exitRefused  = 1 // the file was not taken
	askTimeout   = 30 * time.Second
	mostQuestion = 256
)

// serveControl answers who asks, until the listener is closed: a line with a command and
// its options gets "ok" or "error", and then what there is to say.
func serveControl(ctx context.Context, l net.Listener, r *reloader, log *slog.Logger) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(askTimeout))
			line, err := bufio.NewReader(io.LimitReader(c, mostQuestion)).ReadString('\n')
			if err != nil {
				return
			}
			if err := allowed(c); err != nil { // what is unread at the close would cut the answer off
				log.Warn("control socket", "err", err)
				io.WriteString(c, errorLines(err))
				return
			}
			a := &answer{c: c}
			if err := r.answer(ctx, strings.Fields(line), a); err != nil && !a.began {
				io.WriteString(c, errorLines(err))
			} else if err == nil {
				a.Write([]byte{wholeAnswer})
			}
		}()
	}
}

// wholeAnswer ends an answer: without it the rest is missing.
const wholeAnswer = 0

// answer writes what follows an "ok", and lets the other end take its time as long as it
// takes anything.
type answer struct {
	c     net.Conn
	began bool
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.began {
		a.began = true
		if _, err := a.Write([]byte("ok\n")); err != nil {
			return 0, err
		}
	}
	a.c.SetDeadline(time.Now().Add(askTimeout))
	return a.c.Write(b)
}

// allowed tells whether the process at the other end may give orders: an abstract socket
// has no file mode.
func allowed(c net.Conn) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if cred.Uid != 0 && cred.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("uid %d may not: only root and the daemon's own user", cred.Uid)
	}
	return nil
}

// answer does what the words say, and writes what there is to say about it. An error before
// anything was written is told.
func (r *reloader) answer(ctx context.Context, words []string, w io.Writer) error {
	if len(words) == 0 {
		words = []string{""}
	}
	switch words[0] {
	case "reload":
		return r.answerReload(ctx, words[1:], w)
	case "status":
		return r.status(ctx, words[1:], w)
	case "explain":
		return r.explain(ctx, words[1:], w)
	case "drain", "undrain", "fail", "evict":
		return r.steer(ctx, words[0], words[1:], w)
	}
	return errors.New("unknown command")
}

func (r *reloader) answerReload(ctx context.Context, options []string, out io.Writer) error {
	var w wish
	for _, option := range options {
		w.dry, w.force = w.dry || option == "dry-run", w.force || option == "force"
	}
	changes, err := r.reload(ctx, w)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		changes = []string{"no difference"}
	}
	_, err = io.WriteString(out, strings.Join(changes, "\n")+"\n")
	return err
}

// between has the loop call f between two events, and waits until it has. One such call at a
// time waits there.
func (r *reloader) between(ctx context.Context, f func()) error {
	r.slice.Lock()
	defer r.slice.Unlock()
	done := make(chan struct{})
	r.loop.Do(func() { f(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("the daemon stops")
	}
}

func reloadCommand() *cobra.Command {
	var dry, force bool
	var pidFile string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running director read its file again",
		Long: `Have the director of this network namespace read its file again, and print the
difference that took effect. A file with an error changes nothing, and neither does one
with a warning that the running file has not; the error is printed. SIGHUP does the same,
with the answer in the log.

The exit status is 0 if the file was taken, 1 if it was not, 2 if no director runs here.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			question := "reload"
			if dry {
				question += " dry-run"
			}
			if force {
				question += " force"
			}
			err := ask(question, cmd.OutOrStdout())
			if err == errNoDirector && pidFile != "" && !dry {
				return hangUp(pidFile, cmd.OutOrStdout())
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "only print the difference")
	f.BoolVar(&force, "force", false, "take a file with new warnings, too")
	f.StringVarP(&pidFile, "pid", "p", "", "if no director answers here, send SIGHUP to the process of this `file`")
	return cmd
}

var (
	errNoDirector = errors.New("no director runs in this network namespace")
	errWentAway   = errors.New("the director went away")
)

// ask puts a question to the director and prints its answer as it comes.
func ask(question string, out io.Writer) error {
	c, err := net.Dial("unix", controlSocket)
	if err != nil {
		return errNoDirector
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(askTimeout))
	fmt.Fprintln(c, question)
	r := bufio.NewReaderSize(c, 1<<16)
	switch status, err := r.ReadString('\n'); {
	case err != nil && err != io.EOF:
		return fmt.Errorf("the director does not answer: %w", err)
	case status == "error\n":
		text, _ := io.ReadAll(r)
		return coded{errors.New(strings.TrimSuffix(string(text), "\n")), exitRefused}
	case status != "ok\n":
		return errWentAway
	}
	for buf := make([]byte, 1<<16); ; {
		n, err := r.Read(buf)
		whole := n > 0 && buf[n-1] == wholeAnswer
		if whole {
			n--
		}
		if _, err := out.Write(buf[:n]); err != nil || whole {
			return err
		}
		if err != nil {
			return errWentAway
		}
		c.SetDeadline(time.Now().Add(askTimeout))
	}
}

// hangUp sends SIGHUP to the process whose number stands in a file.
func hangUp(file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return fmt.Errorf("%s: holds no process id", file)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("process %d of %s: %w", pid, file, err)
	}
	fmt.Fprintf(out, "sent SIGHUP to %d: its log has the answer\n", pid)
	return nil
}
