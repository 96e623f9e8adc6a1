package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/netlab/report"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// pair is two directors that advertise every 100 ms, and what is played with them.
func pair(statements string) string {
	const conf = "-- %s.conf --\nglobal_defs {\n vrrp_version 3\n}\nvrrp_instance VI_1 {\n interface eth0\n virtual_router_id 1\n priority %d\n advert_int 0.1\n virtual_ipaddress { 10.0.0.9 }\n}\n"
	return "lan lan\nnode a ringkeep lan:eth0 10.0.0.1/24\nnode b ringkeep lan:eth0 10.0.0.2/24\nup a b\n" + statements + fmt.Sprintf(conf+conf, "a", 150, "b", 100)
}

// started is a lab as a process of its own, below a directory that its files are in.
type started struct {
	*exec.Cmd
	at     time.Time
	prints string          // the file of what it prints
	spaces map[string]bool // the namespaces it has made
}

func startLab(t *testing.T, dir, scenario string, args ...string) *started {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "s.txtar")
	if err := os.WriteFile(file, []byte(scenario), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &started{Cmd: exec.Command(path, append([]string{"lab", "run", file}, args...)...)}
	s.Env = append(os.Environ(), "TMPDIR="+dir)
	s.prints = filepath.Join(dir, "prints")
	out, err := os.Create(s.prints)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.Stdout, s.Stderr = out, out
	s.at = time.Now()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	return s
}

func (s *started) out() string {
	text, _ := os.ReadFile(s.prints)
	return string(text)
}

// plays waits until a director of the lab is MASTER, and notes the namespaces.
func (s *started) plays(t *testing.T, lab string) {
	t.Helper()
	within(t, "a is MASTER", func() bool { return entered(filepath.Join(lab, "a", "log"), "MASTER") })
	s.spaces = spaces(fmt.Sprintf("/proc/%d", s.Process.Pid))
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	delete(s.spaces, own)
	if len(s.spaces) < 3 { // of a, of b, of the wire
		t.Fatalf("a lab of two nodes has the namespaces %v", s.spaces)
	}
}

func entered(log, state string) bool {
	text, _ := os.ReadFile(log)
	return bytes.Contains(text, []byte("Entering "+state))
}

// leavesNothing looks for what would keep a namespace: processes and mounts.
func (s *started) leavesNothing(t *testing.T, dir string) {
	t.Helper()
	within(t, "no process is left", func() bool { return len(running(dir)) == 0 })
	within(t, "no thread is in a namespace of the lab", func() bool {
		for space := range spaces("/proc/[0-9]*") {
			if s.spaces[space] {
				return false
			}
		}
		return true
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for space := range s.spaces {
		if bytes.Contains(mounts, []byte(space)) {
			t.Errorf("%s is mounted", space)
		}
	}
}

// spaces are the network namespaces that the threads of processes are in.
func spaces(processes string) map[string]bool {
	found := map[string]bool{}
	threads, _ := filepath.Glob(processes + "/task/[0-9]*/ns/net")
	for _, path := range threads {
		if name, err := os.Readlink(path); err == nil {
			found[name] = true
		}
	}
	return found
}

// TestInterruptedLabReports ends a lab in the middle of a statement, as Ctrl-C does.
func TestInterruptedLabReports(t *testing.T) {
	needs(t)
	dir := t.TempDir()
	lab := filepath.Join(dir, "out")
	s := startLab(t, dir, pair("wait 60s a state FAULT\nrun 60s\n"), "--dir", lab)
	s.plays(t, lab)
	s.Process.Signal(os.Interrupt)
	var exit *exec.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	verdict := "FAILED: interrupted at " + filepath.Join(dir, "s.txtar") + ":5:1: wait 60s a state FAULT\n"
	if out := s.out(); !strings.Contains(out, "\n"+verdict) || !strings.HasSuffix(out, "\nringkeep: interrupted\n") {
		t.Errorf("it printed\n%s", out)
	}
	for name, want := range map[string]string{"verdict": verdict, "report.html": "interrupted at ", "report.txt": "interrupted", "report.svg": "</svg>"} {
		if text, err := os.ReadFile(filepath.Join(lab, name)); err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s: %v, %d bytes without %q", name, err, len(text), want)
		}
	}
	if n := packets(t, filepath.Join(lab, "lab.pcapng")); n == 0 {
		t.Error("the capture is empty")
	}
	s.leavesNothing(t, dir)
}

// packets reads a capture to its end.
func packets(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for ; ; n++ {
		if _, err := r.Next(); err == io.EOF {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestInterruptEndsEveryStatement: those that let time pass end without an error of their
// own, the last one too.
func TestInterruptEndsEveryStatement(t *testing.T) {
	needs(t)
	for _, last := range []string{"run 60s", "wait 60s h holds 10.0.0.9", "stays 60s h lacks 10.0.0.9"} {
		dir := t.TempDir()
		s := startLab(t, dir, "lan lan\nhost h lan:eth0 10.0.0.1/24\nsay ready\n"+last+"\n", "--dir", dir)
		within(t, "the last statement is near", func() bool { return strings.Contains(s.out(), " ready\n") })
		s.Process.Signal(os.Interrupt)
		if err := s.Wait(); err == nil || !strings.Contains(s.out(), "\nFAILED: interrupted at ") {
			t.Errorf("%s: %v\n%s", last, err, s.out())
		}
	}
}

// TestKilledLabLeavesNothing kills a lab with SIGKILL while its nodes run. They die with
// it; its directory goes with the next lab.
func TestKilledLabLeavesNothing(t *testing.T) {
	needs(t)
	dir := t.TempDir()
	s := startLab(t, dir, pair("run 60s\n"))
	var lab string
	within(t, "it makes a directory", func() bool {
		made, _ := filepath.Glob(filepath.Join(dir, dirPrefix+"*"))
		lab = strings.Join(made, " ")
		return len(made) == 1
	})
	s.plays(t, lab)
	s.Process.Signal(syscall.SIGKILL)
	s.Wait()
	s.leavesNothing(t, dir)
	if _, err := os.Stat(filepath.Join(lab, "verdict")); err == nil {
		t.Error("a lab that was killed has a verdict")
	}
	next := startLab(t, dir, "lan lan\nhost h lan:eth0 10.0.0.1/24\n")
	if err := next.Wait(); err != nil {
		t.Errorf("the next lab: %v\n%s", err, next.out())
	}
	if _, err := os.Stat(lab); err == nil {
		t.Errorf("%s is still there", lab)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, dirPrefix+"*", "verdict")); len(left) != 1 {
		t.Errorf("the next lab left the verdicts %v", left)
	}
}

// firstMaster is how soon after its start the command must have a MASTER, at 100 ms, on
// processors that are free.
const firstMaster = time.Second

// TestFirstMasterIsSoon measures from the start of the command to the transition, as the
// node's log dates it. "make lab" runs it: without the race detector, beside nothing else.
func TestFirstMasterIsSoon(t *testing.T) {
	needs(t)
	dir := t.TempDir()
	before := stolen()
	s := startLab(t, dir, pair("run 60s\n"), "--dir", dir)
	log := filepath.Join(dir, "a", "log")
	within(t, "a is MASTER", func() bool { return entered(log, "MASTER") })
	now := moment{processes: map[string]runDelays{"": runDelaysOf(s.Process.Pid)}, stolen: stolen()}
	waited := now.since(moment{stolen: before})
	s.Process.Signal(os.Interrupt)
	s.Wait()
	took := masterAt(t, log).Sub(s.at)
	t.Logf("%v after the start of the command a is MASTER, its threads waited %v for a processor", took.Round(time.Millisecond), waited.Round(time.Millisecond))
	if took > firstMaster+waited {
		t.Errorf("the first MASTER came after %v, want at most %v", took, firstMaster)
	}
}

func masterAt(t *testing.T, log string) time.Time {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		m := logTime.FindStringSubmatch(line)
		if m == nil || !strings.Contains(line, "Entering MASTER") {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	t.Fatalf("no MASTER in\n%s", text)
	return time.Time{}
}

// TestRunSoFarIsACopy looks at a run again and again while it plays: the race detector
// sees whether anything is shared, and what is seen grows.
func TestRunSoFarIsACopy(t *testing.T) {
	needs(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("s", []byte(pair("host c lan:eth0 10.0.0.3/24\nprobe p c udp 10.0.0.1:9\nserve a udp 9\nwait 10s flow p answers\nwait 10s a state MASTER\ncrash a\nwait 10s b state MASTER\nstopflow p\n")))
	if err != nil {
		t.Fatal(err)
	}
	seen, quit, done := map[string]bool{}, make(chan struct{}), make(chan struct{})
	o := Options{Binary: path, Dir: t.TempDir(), Show: func(soFar func() *report.Run) {
		go func() {
			defer close(done)
			for {
				run := soFar()
				for _, st := range run.States {
					seen[st.Node+" "+st.Name] = true
				}
				for _, f := range run.Flows {
					seen["flow "+f.Name] = true
				}
				run.SoFar(80, 24)
				select {
				case <-quit:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
	}}
	r, err := Run(t.Context(), s, o)
	close(quit)
	<-done
	if err != nil || !r.Passed {
		t.Fatal(err, r)
	}
	for _, want := range []string{"a BACKUP", "a MASTER", "a ", "b MASTER", "flow p"} {
		if !seen[want] {
			t.Errorf("%q was never seen, but %v", want, slices.Sorted(maps.Keys(seen)))
		}
	}
}
