package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ringkeep/ringkeep/netlab/report"
)

// Options is what a run is given.
type Options struct {
	Binary  string    // path of the ringkeep binary: for nodes and for their start
	Out     io.Writer // the time line, as it happens
	Dir     string    // for the capture and the logs; a new temporary one if empty
	Verbose bool      // the nodes' log lines as well
	Seed    uint64    // of what is left to chance on the wire
	Columns int       // of the terminal that the report's text is printed for; 0 for none
	// Show is told, before anything is built, what gives the run so far; it may be asked
	// at any time, by any goroutine. May be nil.
	Show func(soFar func() *report.Run)
	// Read tells what a node's configuration says; nil where nothing is to be judged.
	Read func(m Machine, conf []byte) ([]Router, Reader, error)
}

// Result is how a run ended.
type Result struct {
	Passed  bool
	Failure error // names the statement's position
	Dir     string
	Capture string

	Transitions []Transition
	Report      *report.Run
}

// Transition is a change of state of an instance, as its node's log told it.
type Transition struct {
	At                    time.Duration // since the start of the lab
	Node, Instance, State string
	Waited                time.Duration // until then all processes of the lab together, for a processor
}

// ErrInterrupted is the failure of a run that its context ended; the statement that was
// being carried out is named behind it.
var ErrInterrupted = errors.New("interrupted")

// lab is one run.
type lab struct {
	scenario  *Scenario
	options   Options
	ctx       context.Context
	wireSpace *space
	wire      *wire
	observer  *observer
	record    *Record
	live      *live
	hosts     map[string]*host
	order     []*host
	bridges   map[string]netlink.Link // lan to the kernel's bridge that it is
	flows     map[string]*flow
	garps     map[string]time.Time
	dir       string
	lock      *os.File
	marked    moment           // at mark
	measured  []report.Measure // what expectations found, for the end
	opened    atomic.Int64     // connections of connect flows

	interfaceLock interfaceLock

	mu          sync.Mutex
	violation   error
	transitions []Transition
	looked      moment        // at the last of them
	waited      time.Duration // until then, for processors
}

// Run plays a scenario and cleans up after it, also when ctx ends it. The error is for
// a lab that could not be run; a scenario that fails is a result.
func Run(ctx context.Context, s *Scenario, o Options) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &lab{
		scenario: s, options: o, ctx: ctx, hosts: map[string]*host{}, bridges: map[string]netlink.Link{},
		flows: map[string]*flow{}, garps: map[string]time.Time{},
	}
	l.record = NewRecord(s, "real time, in namespaces")
	l.live = newLive(l)
	defer l.close()
	if err := l.open(); err != nil {
		return nil, err
	}
	if o.Show != nil {
		o.Show(l.soFar)
	}
	r := &Result{Dir: l.dir, Capture: filepath.Join(l.dir, "lab.pcapng")}
	r.Failure = l.play(r.Capture)
	l.live.stop()
	if err := l.violated(); r.Failure == nil && err != nil {
		r.Failure = fmt.Errorf("%s: %w", s.Name, err)
	}
	r.Passed = r.Failure == nil
	l.mu.Lock()
	r.Transitions = l.transitions
	l.mu.Unlock()
	end := l.live.now()
	for _, f := range l.flows {
		l.record.Flow(f.report(l, end))
	}
	r.Report = l.record.Report(end, r.Failure, l.measured, r.Capture)
	l.conclude(r)
	return r, nil
}

// dirPrefix names the temporary directories of labs.
const dirPrefix = "ringkeep-lab-"

func (l *lab) open() (err error) {
	if err := l.scenario.checkKernel(); err != nil {
		return err
	}
	sweep()
	if l.dir = l.options.Dir; l.dir == "" {
		l.dir, err = os.MkdirTemp("", dirPrefix)
	} else {
		err = os.MkdirAll(l.dir, 0o755)
	}
	if err != nil {
		return err
	}
	if l.lock, err = lockDir(l.dir); err != nil {
		return err
	}
	if l.wire, err = newWire(l.options.Seed); err != nil {
		return err
	}
	l.wireSpace, err = newSpace()
	if errors.Is(err, syscall.EPERM) {
		return errors.New("no privilege to make network namespaces: run as root, or allow user namespaces")
	}
	return err
}

// lockDir marks a directory as in use; the lock ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	return f, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// sweep removes the directories of labs that were killed before they could print
// where their capture is: those without a verdict, whose lock nobody holds.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "verdict")); err == nil {
			continue
		}
		f, err := os.Open(filepath.Join(dir, "lock"))
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(dir)
		}
		f.Close()
	}
}

// play runs the statements: first those that build the lab, wherever they stand, then
// the others in order.
func (l *lab) play(capture string) error {
	l.printf("%s\n", l.scenario.Name)
	for _, st := range l.scenario.Statements {
		if err := l.build(st); err != nil {
			return st.Errorf(0, "%v", err)
		}
	}
	if len(l.order) == 0 {
		return fmt.Errorf("%s: declares no host", l.scenario.Name)
	}
	l.observer = &observer{l: l, elections: map[RouterID]*election{}}
	l.wire.watchers = append(l.wire.watchers, l.observer.frame)
	var routers []Router
	for _, h := range l.order {
		if h.node != nil {
			routers = append(routers, h.node.routers...)
		}
	}
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	if err := l.interfaceLock.watch(ctx, l.wireSpace); err != nil {
		return err
	}
	l.live.start(routers)
	if err := l.wire.start(capture); err != nil {
		return err
	}
	for _, st := range l.scenario.Statements {
		l.record.Step(l.live.now(), st)
		err := l.execute(st)
		if l.ctx.Err() != nil { // whatever came of the statement
			return fmt.Errorf("%w at %w", ErrInterrupted, st.Errorf(0, "%s", st))
		}
		if err != nil {
			return st.Errorf(0, "%s: %v", st, err)
		}
		if err := l.violated(); err != nil {
			return st.Errorf(0, "during %s: %v", st, err)
		}
	}
	return nil
}

func (l *lab) close() {
	l.live.stop()
	for _, h := range l.order {
		if h.node != nil && h.node.running() {
			h.node.end(syscall.SIGKILL)
		}
		for _, end := range h.servers {
			end()
		}
		for _, end := range h.ends {
			end.close()
		}
	}
	for _, f := range l.flows {
		f.cancel()
	}
	if l.wire != nil {
		l.wire.stop()
	}
	for _, h := range l.order {
		h.close()
	}
	if l.wireSpace != nil {
		l.wireSpace.close()
	}
	if l.lock != nil {
		l.lock.Close()
	}
}

// conclude prints how it went, with what is needed to find out why.
func (l *lab) conclude(r *Result) {
	for name, f := range l.flows {
		if s := f.summary(); s != "" {
			l.say("flow "+name, "%s", s)
		}
	}
	l.printFindings(r)
	verdict := "PASSED"
	if !r.Passed {
		verdict = "FAILED: " + r.Failure.Error()
		if !errors.Is(r.Failure, ErrInterrupted) {
			l.printLogs()
		}
	}
	os.WriteFile(filepath.Join(l.dir, "verdict"), []byte(verdict+"\n"), 0o644)
	l.printf("%s\nlogs: %s\ncapture: %s\n", verdict, r.Dir, r.Capture)
	page, err := r.Report.Files(l.dir)
	if err != nil {
		page = "not written: " + err.Error()
	}
	l.printf("report: %s\n", page)
	l.mu.Lock()
	l.options.Out = nil // what the nodes still do until they are ended is no part of the run
	l.mu.Unlock()
}

// printFindings prints the report, or what was measured where there is no room for it.
func (l *lab) printFindings(r *Result) {
	if l.options.Columns > 0 {
		var text strings.Builder
		r.Report.Text(&text, l.options.Columns)
		l.printf("\n%s\n", text.String())
		return
	}
	for _, line := range l.measured {
		l.printf("measured %s\n", Found(line))
	}
}

func (l *lab) printLogs() {
	for _, h := range l.order {
		if h.node == nil {
			continue
		}
		l.printf("--- log of %s\n", h.name)
		for _, line := range h.node.tail(15) {
			l.printf("    %s\n", line)
		}
	}
}

func (l *lab) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.options.Out != nil {
		fmt.Fprintf(l.options.Out, format, args...)
	}
}

// say prints a line of the time line.
func (l *lab) say(who, format string, args ...any) {
	l.sayAt(time.Since(l.wire.started), who, format, args...)
}

func (l *lab) sayAt(at time.Duration, who, format string, args ...any) {
	l.printf("%9.3fs  %-10s %s\n", at.Seconds(), who, fmt.Sprintf(format, args...))
}

// command prints what an operator would type to the same effect.
func (l *lab) command(format string, args ...any) {
	if l.options.Verbose {
		l.printf("           $ %s\n", fmt.Sprintf(format, args...))
	}
}

// violate notes the first breach of an invariant.
func (l *lab) violate(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.violation == nil {
		l.violation = fmt.Errorf(format, args...)
	}
}

func (l *lab) violated() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.violation
}

// filesOf are the archive's files that belong to a node alone.
func (l *lab) filesOf(name string) map[string][]byte {
	files := map[string][]byte{}
	for f, data := range l.scenario.Files {
		if path, ok := strings.CutPrefix(f, name+":"); ok {
			files[path] = data
		}
	}
	return files
}
