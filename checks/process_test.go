package checks

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestProcessMatches is the table of the comparisons (reference 3.7).
func TestProcessMatches(t *testing.T) {
	for _, c := range []struct {
		p    Process
		comm string
		line []string
		want bool
	}{
		{Process{Name: "haproxy"}, "haproxy", nil, true},
		{Process{Name: "haproxy"}, "haproxy2", nil, false},
		{Process{Name: "a-very-long-program"}, "a-very-long-pro", nil, true},
		{Process{Name: "/sbin/x", Full: true}, "x", []string{"/sbin/x"}, true},
		{Process{Name: "/sbin/x", Full: true}, "x", []string{"x"}, false},
		{Process{Name: "x", Args: []string{"-a"}}, "x", []string{"x", "-a"}, true},
		{Process{Name: "x", Args: []string{"-a"}}, "x", []string{"x", "-a", "b"}, false},
		{Process{Name: "x", Args: []string{"-a"}, Match: "initial"}, "x", []string{"x", "-a", "b"}, true},
		{Process{Name: "x", Args: []string{"-a"}, Match: "initial"}, "x", []string{"x", "-ab"}, false},
		{Process{Name: "x", Args: []string{"-a"}, Match: "partial"}, "x", []string{"x", "-ab", "c"}, true},
		{Process{Name: "x", Args: []string{"-a", "b"}, Match: "partial"}, "x", []string{"x", "-ab", "bc"}, false},
		{Process{Name: "x", Args: []string{"-a"}, Match: "partial"}, "x", []string{"x"}, false},
	} {
		if got := c.p.matches(c.comm, func() []string { return c.line }); got != c.want {
			t.Errorf("%+v beside %s %q: %v", c.p, c.comm, c.line, got)
		}
	}
}

// TestProcessesAreCounted starts and ends real processes, watched by events where the
// kernel gives them to this test, and by looking.
func TestProcessesAreCounted(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	name := "rk" + strconv.Itoa(os.Getpid())
	program := filepath.Join(t.TempDir(), name)
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o700); err != nil {
		t.Fatal(err)
	}
	watch := func(events *ProcessEvents, bound time.Duration) func(*testing.T) {
		return func(t *testing.T) {
			p := NewProcesses([]Process{{Name: name}, {Name: program, Args: []string{"1001"}}})
			p.Scan()
			if c := p.Counts(); c[0] != 0 || c[1] != 0 {
				t.Fatalf("counts %v before any was started", c)
			}
			ctx, cancel := context.WithCancel(t.Context())
			said, ended := make(chan [2]int, 100), make(chan struct{})
			go func() {
				defer close(ended)
				p.Run(ctx, events, func(c []int) { said <- [2]int{c[0], c[1]} })
			}()
			await := func(what string, want [2]int) {
				t.Helper()
				for deadline := time.After(bound); ; {
					select {
					case c := <-said:
						if c == want {
							return
						}
					case <-deadline:
						t.Fatalf("%s: nobody counted %v within %v", what, want, bound)
					}
				}
			}
			start := func(arg string) *exec.Cmd {
				cmd := exec.Command(program, arg)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
				return cmd
			}
			first := start("1000")
			await("one started", [2]int{1, 0})
			second := start("1001")
			await("two started", [2]int{2, 1})
			first.Process.Kill() // and nobody waits for it yet
			await("one killed", [2]int{1, 1})
			second.Process.Kill()
			second.Wait()
			await("both gone", [2]int{0, 0})
			cancel()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("does not end")
			}
		}
	}
	t.Run("looking", watch(nil, 10*time.Second))
	events, err := OpenProcessEvents()
	if err != nil {
		t.Logf("the kernel does not tell: %v", err)
		return
	}
	t.Run("events", watch(events, 10*time.Second))
}

// TestProcessMessages reads the messages of the connector: the child of a fork is what
// counts, threads do not, and the end of a process is told apart, as the process may be
// found alive for a moment yet.
func TestProcessMessages(t *testing.T) {
	message := func(what uint32, data ...uint32) []byte {
		b := make([]byte, procDataAt)
		binary.NativeEndian.PutUint32(b[connectorAt:], connectorProc)
		binary.NativeEndian.PutUint32(b[procAt:], what)
		for _, d := range data {
			b = binary.NativeEndian.AppendUint32(b, d)
		}
		return b
	}
	for _, c := range []struct {
		msg  []byte
		pid  int
		ends bool
	}{
		{message(eventFork, 10, 10, 11, 11), 11, false},
		{message(eventFork, 10, 10, 12, 10), 0, false}, // a thread
		{message(eventExec, 11, 11), 11, false},
		{message(eventComm, 11, 11, 0, 0), 11, false},
		{message(eventExit, 11, 11, 9, 17), 11, true},
		{message(eventExit, 12, 11, 0, 0), 0, false}, // a thread
		{message(4, 11, 11), 0, false},               // PROC_EVENT_UID
		{message(eventExit)[:procDataAt], 0, false},
		{nil, 0, false},
	} {
		if pid, ends := toLookAt(c.msg); pid != c.pid || ends != c.ends {
			t.Errorf("%x: %d %v, want %d %v", c.msg, pid, ends, c.pid, c.ends)
		}
	}
}
