package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/netlab"
)

// The processor of what sends, and that of what forwards.
const (
	sourceCPU  = 0
	forwardCPU = 1
)

// process is a forwarder that was started.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
	gcs int // collections of a Go program that was asked to tell them
}

// startTime is how long a program may take until it is ready.
const startTime = 5 * time.Second

// start starts a program in a namespace with the highest priority, and waits until it has
// written a word.
func start(n *netlab.Namespace, word string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = n.Do(func() error { return urgently(p.cmd.Start) })
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	ready := make(chan struct{})
	go p.follow(r, word, ready)
	select {
	case <-ready:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended: %s", filepath.Base(args[0]), p.text())
	case <-time.After(startTime):
		p.stop()
		return nil, fmt.Errorf("%s is not ready within %v: %s", filepath.Base(args[0]), startTime, p.text())
	}
}

// urgently runs f with the highest priority of the thread, which a process inherits.
func urgently(f func() error) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -19); err != nil {
		return f() // a shared machine may not allow it
	}
	defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) }()
	return f()
}

// follow keeps what the program writes.
func (p *process) follow(r *os.File, word string, ready chan struct{}) {
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		p.mu.Lock()
		if strings.Contains(line, " ms clock, ") { // the end of what a collection says, in several writes
			p.gcs++
		} else if p.log.Len() < 1<<16 {
			p.log.WriteString(line + "\n")
		}
		p.mu.Unlock()
		if ready != nil && strings.Contains(line, word) {
			close(ready)
			ready = nil
		}
	}
	_ = p.cmd.Wait() // how it ended is in its log
	close(p.exited)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.TrimSpace(p.log.String())
}

func (p *process) collections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gcs
}

// stop ends the process, by force if it must be.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// spent is the time on a processor of each thread, in ns.
type spent map[int]int64

// spent reads it; it is exact of threads that sleep.
func (p *process) spent() (spent, error) {
	dir := fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := spent{}
	for _, e := range list {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "schedstat"))
		if os.IsNotExist(err) {
			continue // the thread ended
		}
		word, _, _ := strings.Cut(string(text), " ")
		if all[tid], err = strconv.ParseInt(word, 10, 64); err != nil {
			return nil, fmt.Errorf("schedstat of thread %d: %w", tid, err)
		}
	}
	return all, nil
}

// since is what all threads together, and the busiest of them, have spent since before.
func (s spent) since(before spent) (all, most int64, busiest int) {
	for tid, ns := range s {
		d := ns - before[tid]
		if all += d; d > most {
			most, busiest = d, tid
		}
	}
	return all, most, busiest
}

// settle puts the thread that forwards, the busiest since before, on a processor of its own.
func (p *process) settle(before spent) error {
	now, err := p.spent()
	if err != nil {
		return err
	}
	if _, most, tid := now.since(before); most > 0 {
		pin(tid, forwardCPU)
	}
	return nil
}

// pin keeps a thread on a processor, 0 being the calling one; -1 lets it go where it likes.
// A machine without that processor does as it likes.
func pin(tid, cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	if cpu < 0 {
		set.Fill()
	}
	_ = unix.SchedSetaffinity(tid, &set)
}

// resident is the memory of the process that is in use, in bytes.
func (p *process) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(text))
	if len(words) < 2 {
		return 0, fmt.Errorf("statm: %q", text)
	}
	pages, err := strconv.ParseInt(words[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
