package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	labreport "github.com/ringkeep/ringkeep/netlab/report"
)

// pty is a terminal, as its other end sees it: what was shown, and what is typed.
type pty struct {
	other, user *os.File

	mu    sync.Mutex
	shown bytes.Buffer
}

func newPTY(t *testing.T, width, height uint16) *pty {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0),
		unix.IoctlSetWinsize(int(other.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}))
	if err != nil {
		t.Fatal(err)
	}
	user, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{other: other, user: user}
	t.Cleanup(func() { user.Close(); other.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := other.Read(buf)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.shown.Write(buf[:n])
			p.mu.Unlock()
		}
	}()
	return p
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

// shows waits for a text, and returns all that was shown until then.
func (p *pty) shows(t *testing.T, what string) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if text := p.text(); strings.Contains(ansi.Strip(text), what) {
			return text
		}
		if time.Now().After(end) {
			t.Fatalf("it does not show %q but\n%q", what, p.text())
		}
	}
}

// command is ringkeep at the terminal: in the foreground of a session of its own.
func (p *pty) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ringkeep", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.user, p.user, p.user
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "CI=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	return cmd
}

const leaveScreen = "\x1b[?1049l" // back from the alternate screen

// waits is a scenario that plays until it is ended.
func waits(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "s.txtar")
	if err := os.WriteFile(file, []byte("lan lan\nhost a lan:eth0 10.0.0.1/24\nsay it begins\nwait 60s a holds 10.0.0.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// TestKeysEndTheRun types in the view: the terminal is as it was, with the time line and
// the report.
func TestKeysEndTheRun(t *testing.T) {
	needsRoot(t)
	for _, key := range []string{"q", "\x03"} {
		p, file := newPTY(t, 90, 25), waits(t)
		before, err := unix.IoctlGetTermios(int(p.user.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		cmd := p.command(t, "lab", "run", "--dir", t.TempDir(), file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.shows(t, "wait 60s a holds 10.0.0.9")
		p.shows(t, "q ends the run")
		if strings.Contains(p.text(), leaveScreen) {
			t.Error("the view is gone before the run is over")
		}
		if _, err := p.other.WriteString(key); err != nil {
			t.Fatal(err)
		}
		if got := exitOf(cmd.Wait()); got != 1 {
			t.Errorf("exit status %d, want 1", got)
		}
		_, after, _ := strings.Cut(p.shows(t, "ringkeep: interrupted"), leaveScreen)
		for _, want := range []string{" it begins\r\n", "s.txtar: failed: interrupted at", "\r\nFAILED: interrupted at " + file + ":4:1: wait 60s", "report.html\r\n"} {
			if !strings.Contains(after, want) {
				t.Errorf("%q is not what stays:\n%q", want, after)
			}
		}
		now, err := unix.IoctlGetTermios(int(p.user.Fd()), unix.TCGETS)
		if err != nil || *now != *before {
			t.Errorf("%v: the terminal was %v and is %v", err, before, now)
		}
	}
}

// TestPlainLines: no escape codes with --plain on a terminal, nor without a terminal.
func TestPlainLines(t *testing.T) {
	needsRoot(t)
	file := filepath.Join(t.TempDir(), "s.txtar")
	if err := os.WriteFile(file, []byte("lan lan\nhost a lan:eth0 10.0.0.1/24\nsay it begins\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := newPTY(t, 90, 25)
	if err := p.command(t, "lab", "run", "--plain", "--dir", t.TempDir(), file).Run(); err != nil {
		t.Fatal(err)
	}
	piped := exec.Command("ringkeep", "lab", "run", "--dir", t.TempDir(), file)
	out, err := piped.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{p.shows(t, "report.html\r\n"), string(out)} {
		text = strings.ReplaceAll(text, "\r\n", "\n")
		if !strings.HasPrefix(text, file+"\n") || !strings.Contains(text, " it begins\nPASSED\nlogs: ") || strings.Contains(text, "\x1b") {
			t.Errorf("it printed %q", text)
		}
	}
}

// TestScreenFits draws the view for windows of any size; nothing that is shown reaches
// the terminal as an order to it.
func TestScreenFits(t *testing.T) {
	v := &live{which: "2 of 5", run: &labreport.Run{
		Scenario: "netlab/scenarios/s.txtar", Elapsed: 5 * time.Second,
		States: []labreport.State{{At: 0, Node: "lb1", Instance: "VI_1", Name: "BACKUP", Priority: 150}, {At: 4 * time.Second, Node: "lb1", Instance: "VI_1", Name: "MASTER", Priority: 150}},
		Steps:  []labreport.Step{{At: 3 * time.Second, Text: "wait 6s lb1 state \x1b[2JMASTER"}},
	}}
	for i := range 100 {
		fmt.Fprintf(&v.lines, "    3.634s  lb1        line \x1b[31m%d of the time line, which is longer than a small window has room for\n", i)
	}
	for v.width = 1; v.width < 130; v.width += 8 {
		for v.height = 1; v.height < 50; v.height++ {
			screen := v.screen()
			if len(screen) != v.height {
				t.Fatalf("%d lines for %d", len(screen), v.height)
			}
			for _, l := range screen {
				if n := ansi.StringWidth(l); n > v.width {
					t.Fatalf("%d columns for %d: %s", n, v.width, l)
				}
				if strings.Contains(l, "\x1b[2J") || strings.Contains(l, "\x1b[31mline") {
					t.Fatalf("passed on: %q", l)
				}
			}
		}
	}
	v.width, v.height = 100, 30
	text := ansi.Strip(strings.Join(v.screen(), "\n"))
	for _, want := range []string{" netlab/scenarios/s.txtar  ", "2 of 5   5.0 s \n", " wait 6s lb1 state ", "for 2.0 s \n", "█ MASTER 150\n", "99 of the time line, which", "\n q ends the run"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q on the screen:\n%s", want, text)
		}
	}
}

// TestSimShowsProgress watches the line, which is gone in the end.
func TestSimShowsProgress(t *testing.T) {
	p := newPTY(t, 80, 24)
	cmd := p.command(t, "sim", "testdata/ok.scenario", "--seeds", "1..1000000")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.shows(t, " of 1000000 seeds, ")
	cmd.Process.Signal(os.Interrupt)
	if got := exitOf(cmd.Wait()); got != 1 {
		t.Errorf("exit status %d, want 1", got)
	}
	if text := p.text(); !strings.HasSuffix(text, "\r"+ansi.EraseLineRight) || strings.Contains(text, "\n") {
		t.Errorf("it shows %q", text)
	}
	if !strings.HasPrefix(out.String(), "interrupted: ") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("it printed %q", out.String())
	}
}

// TestNoProgressWithoutTerminal plays as long, into pipes.
func TestNoProgressWithoutTerminal(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*progressEvery)
	defer cancel()
	var out, errors bytes.Buffer
	cmd := exec.CommandContext(ctx, "ringkeep", "sim", "testdata/ok.scenario", "--seeds", "1..1000000")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = &out, &errors
	cmd.Run()
	if !strings.HasPrefix(out.String(), "interrupted: ") || errors.Len() > 0 {
		t.Errorf("it printed %q and %q", out.String(), errors.String())
	}
}
