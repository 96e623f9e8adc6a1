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
			io.WriteString(c, r.answer(ctx, strings.Fields(line)))
		}()
	}
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

func (r *reloader) answer(ctx context.Context, words []string) string {
	if len(words) == 0 || words[0] != "reload" {
		return errorLines(errors.New("unknown command"))
	}
	var w wish
	for _, option := range words[1:] {
		w.dry, w.force = w.dry || option == "dry-run", w.force || option == "force"
	}
	changes, err := r.reload(ctx, w)
	if err != nil {
		return errorLines(err)
	}
	if len(changes) == 0 {
		changes = []string{"no difference"}
	}
	return "ok\n" + strings.Join(changes, "\n") + "\n"
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
			c, err := net.Dial("unix", controlSocket)
			if err != nil && pidFile != "" && !dry {
				return hangUp(pidFile, cmd.OutOrStdout())
			}
			if err != nil {
				return errors.New("no director runs in this network namespace")
			}
			defer c.Close()
			return ask(c, question, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "only print the difference")
	f.BoolVar(&force, "force", false, "take a file with new warnings, too")
	f.StringVarP(&pidFile, "pid", "p", "", "if no director answers here, send SIGHUP to the process of this `file`")
	return cmd
}

// ask puts a question to the director and prints its answer.
func ask(c net.Conn, question string, out io.Writer) error {
	c.SetDeadline(time.Now().Add(askTimeout))
	fmt.Fprintln(c, question)
	answer, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("the director does not answer: %w", err)
	}
	status, text, _ := strings.Cut(string(answer), "\n")
	switch status {
	case "ok":
		_, err := io.WriteString(out, text)
		return err
	case "error":
		return coded{errors.New(strings.TrimSuffix(text, "\n")), exitRefused}
	}
	return errors.New("the director went away")
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
