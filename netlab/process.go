package netlab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// node is a director: a process in a network, mount and process namespace of its own.
type node struct {
	*host
	kind  string
	own   Machine // as the scenario declares it
	dir   string
	files map[string][]byte // what it alone sees

	routers []Router // its instances

	crashed  bool          // its links are cut
	stopping atomic.Bool   // it was told to end
	starving chan struct{} // closed to end it; nil while it is not starved

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	states map[string]string // instance to state, as its log says
	lines  []string
}

// enterSpec is what the child needs to know before it becomes the program.
type enterSpec struct {
	Dir   string            // for the file systems of the mount namespace
	Files map[string][]byte // absolute path to contents
	Args  []string
}

// enterVariable hands the specification to the child.
const enterVariable = "RINGKEEP_LAB_ENTER"

// commandLine is how a node of its kind is started.
func (n *node) commandLine(l *lab) ([]string, error) {
	conf := filepath.Join(n.dir, "node.conf")
	switch n.kind {
	case "ringkeep":
		return []string{l.options.Binary, "run", "-f", conf, "-s", ""}, nil // here, whatever net_namespace says
	case "frr":
		return n.startFRR(l)
	}
	program, err := exec.LookPath("keepalived")
	if err != nil {
		program = "/usr/sbin/keepalived"
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("node %s: keepalived is not installed", n.name)
		}
	}
	args := []string{program, "-n", "-l", "-D", "-f", conf, "-p", filepath.Join(n.dir, "pid"), "-r", filepath.Join(n.dir, "vrrp.pid")}
	if l.scenario.Needs("ip_vs") {
		return append(args, "-c", filepath.Join(n.dir, "checkers.pid")), nil
	}
	return append(args, "-P"), nil // VRRP only: a kernel without ip_vs has no use for its checkers
}

// start starts the process.
func (n *node) start(l *lab) error {
	if n.running() {
		return fmt.Errorf("%s runs already", n.name)
	}
	args, err := n.commandLine(l)
	if err != nil {
		return err
	}
	l.command("ip netns exec %s %s", n.name, strings.Join(args, " "))
	for _, stale := range []string{"pid", "vrrp.pid", "checkers.pid"} { // keepalived would believe them after a kill
		os.Remove(filepath.Join(n.dir, stale))
	}
	spec, err := json.Marshal(enterSpec{Dir: filepath.Join(n.dir, "mnt"), Files: n.files, Args: args})
	if err != nil {
		return err
	}
	specFile := filepath.Join(n.dir, "enter.json")
	if err := os.WriteFile(specFile, spec, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(l.options.Binary, "lab-enter")
	cmd.Env = append(os.Environ(), enterVariable+"="+specFile)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = w, w
	n.do(func() { err = cmd.Start() })
	w.Close()
	if err != nil {
		r.Close()
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.stopping.Store(false)
	l.live.up(n.name, true)
	n.mu.Lock()
	n.cmd, n.exited, n.states = cmd, make(chan struct{}), map[string]string{}
	n.mu.Unlock()
	go n.follow(l, r, cmd, n.exited)
	return nil
}

// follow reads the log until the process and all its children are gone.
func (n *node) follow(l *lab, r io.ReadCloser, cmd *exec.Cmd, exited chan struct{}) {
	defer close(exited)
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.violate("%v", err)
		return
	}
	defer log.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fmt.Fprintln(log, lines.Text())
		n.line(l, lines.Text())
	}
	r.Close()
	cmd.Wait()
	if n.stopping.Load() {
		l.live.stopped(n.host)
	}
	l.live.up(n.name, false)
}

// What is read in the logs: keepalived's words, which ringkeep writes too.
var (
	entering = regexp.MustCompile(`\((\S+)\) Entering (\S+) STATE`)
	ended    = regexp.MustCompile(`\((\S+)\) Stopped`)
	weighed  = regexp.MustCompile(`\((\S+)\) Changing effective priority from \d+ to (\d+)`)
	reason   = regexp.MustCompile(`reason="?([^"]*)"?`)
	logTime  = regexp.MustCompile(`^time=(\S+) `)
)

// line takes a line of the log.
func (n *node) line(l *lab, text string) {
	at := n.time(l, text)
	n.mu.Lock()
	n.lines = append(n.lines, text)
	n.mu.Unlock()
	m := entering.FindStringSubmatch(text)
	if n.kind == "frr" {
		m = frrState(text)
	}
	if m != nil {
		n.enter(l, at, m[1], m[2], text)
		return
	}
	if m := ended.FindStringSubmatch(text); m != nil {
		l.live.state(at, n.name, m[1], "INIT", "stopped")
	}
	if m := weighed.FindStringSubmatch(text); m != nil {
		p, _ := strconv.ParseUint(m[2], 10, 8)
		l.live.priority(at, n.name, m[1], uint8(p))
	}
	if l.options.Verbose {
		l.say(n.name, "| %s", text)
	}
}

// time is when a line was written, or has come where it does not say so.
func (n *node) time(l *lab, text string) time.Duration {
	if m := logTime.FindStringSubmatch(text); m != nil {
		if t, err := time.Parse(time.RFC3339Nano, m[1]); err == nil {
			return t.Sub(l.wire.started.Round(0))
		}
	}
	return l.live.now()
}

func (n *node) enter(l *lab, at time.Duration, instance, state, text string) {
	n.mu.Lock()
	n.states[instance] = state
	n.mu.Unlock()
	l.mu.Lock()
	l.transitions = append(l.transitions, Transition{l.live.now(), n.name, instance, state})
	l.mu.Unlock()
	why, cause := "", "its log says so"
	if r := reason.FindStringSubmatch(text); r != nil {
		why, cause = " ("+r[1]+")", r[1]
	}
	l.live.state(at, n.name, instance, state, cause)
	l.say(n.name, "%s: %s%s", instance, state, why)
}

// state is what the log says of an instance, or of the only one.
func (n *node) state(instance string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if instance != "" {
		return n.states[instance]
	}
	for _, s := range n.states {
		if len(n.states) == 1 {
			return s
		}
	}
	return ""
}

func (n *node) logged(text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.lines {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// tail returns the last lines of the log.
func (n *node) tail(count int) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lines[max(0, len(n.lines)-count):]
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// stopPatience is how long a node may take to end in good order.
const stopPatience = 10 * time.Second

// end sends the signal and waits until the node is gone. The child is the first of
// its process namespace: with it everything that it started dies.
func (n *node) end(sig syscall.Signal) error {
	if !n.running() {
		return fmt.Errorf("%s does not run", n.name)
	}
	n.cmd.Process.Signal(sig)
	select {
	case <-n.exited:
		return nil
	case <-time.After(stopPatience):
		n.cmd.Process.Kill()
		<-n.exited
		return fmt.Errorf("%s did not end within %v", n.name, stopPatience)
	}
}

// signal tells every process of the node.
func (n *node) signal(sig syscall.Signal) error {
	if !n.running() {
		return fmt.Errorf("%s does not run", n.name)
	}
	return syscall.Kill(-n.cmd.Process.Pid, sig)
}

// starvePeriod is how long a node that is starved stands still and runs, by turns.
const starvePeriod = 100 * time.Millisecond

// starve takes a share of the time from a node, as a host without processors to spare
// does, until feed.
func (n *node) starve(share string) error {
	p, err := percent(share)
	if err != nil {
		return err
	}
	n.feed()
	end := make(chan struct{})
	n.starving = end
	still := time.Duration(p / 100 * float64(starvePeriod))
	go func() {
		for {
			for _, step := range []struct {
				sig  syscall.Signal
				time time.Duration
			}{{syscall.SIGSTOP, still}, {syscall.SIGCONT, starvePeriod - still}} {
				select {
				case <-end:
					return
				default:
				}
				if n.signal(step.sig) != nil {
					return
				}
				time.Sleep(step.time)
			}
		}
	}()
	return nil
}

// feed ends a starvation.
func (n *node) feed() {
	if n.starving != nil {
		close(n.starving)
		n.starving = nil
		n.signal(syscall.SIGCONT)
	}
}

// scriptDir holds the scripts whose end a scenario decides.
const scriptDir = "/opt/lab/"

// scriptState is the file in which a script of the scenario finds how it ends.
func scriptState(name string) string { return scriptDir + name + ".state" }

// Unwritten is what a file says before the statement that writes it.
const Unwritten = "0"

// scriptFiles gives a node the scripts whose end the scenario decides, and the files that
// it writes.
func (l *lab) scriptFiles(n *node) {
	for _, st := range l.scenario.Statements {
		w := st.Words
		if w[0] == "write" && w[1] == n.name && n.files[w[2]] == nil {
			n.files[w[2]] = []byte(Unwritten + "\n")
		}
		if w[0] == "script" {
			n.files[scriptState(w[2])] = []byte("ok\n")
			n.files[scriptDir+w[2]] = fmt.Appendf(nil, "#!/bin/sh\nread s < %s\n[ \"$s\" = hang ] && exec sleep 1000\n[ \"$s\" != fail ]\n", scriptState(w[2]))
		}
	}
}

func (n *node) setScript(name, how string) error { return n.write(scriptState(name), []byte(how+"\n")) }

// write changes a file as the node sees it, now and after its next start.
func (n *node) write(path string, text []byte) error {
	n.files[path] = text
	if !n.running() {
		return nil
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/root%s", n.cmd.Process.Pid, path), text, 0o644)
}

// readFile reads a file as the node sees it.
func (n *node) readFile(path string) ([]byte, error) {
	n.mu.Lock()
	cmd := n.cmd
	n.mu.Unlock()
	if cmd == nil {
		return nil, os.ErrNotExist
	}
	return os.ReadFile(fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, path))
}
