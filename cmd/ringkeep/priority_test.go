package main

import (
	"bytes"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// TestPriority sets everything on a thread of its own and asks the kernel.
func TestPriority(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("real-time priorities need root")
		}
		t.Skip("real-time priorities need root")
	}
	cfg, messages := config.Parse("f", []byte(`global_defs {
    vrrp_priority -7
    vrrp_rt_priority 42
    vrrp_cpu_affinity 0
}
`), config.Options{})
	if len(messages) > 0 {
		t.Fatal(messages)
	}
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var out bytes.Buffer
		prioritise(&cfg.Global, slog.New(slog.NewTextHandler(&out, nil)))
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
		} else if a.Policy != unix.SCHED_RR || a.Priority != 42 || a.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
			t.Errorf("scheduled as %+v", a)
		}
		if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || 20-n != -7 { // the system call answers 20 less the nice value
			t.Errorf("nice %d, %v", 20-n, err)
		}
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() != 1 || !set.IsSet(0) {
			t.Errorf("processors %v, %v", set, err)
		}
		done <- out.String()
	}()
	if out := <-done; out != "" {
		t.Errorf("log: %s", out)
	}
}

// TestPriorityRefused: a processor that this machine has not costs a line.
func TestPriorityRefused(t *testing.T) {
	done := make(chan string)
	go func() {
		runtime.LockOSThread()
		var out bytes.Buffer
		prioritise(&config.Global{CPUAffinity: []string{"1023"}}, slog.New(slog.NewTextHandler(&out, nil)))
		done <- out.String()
	}()
	if out := <-done; !strings.Contains(out, "vrrp_cpu_affinity") || !strings.Contains(out, "invalid argument") {
		t.Errorf("log: %s", out)
	}
}
