package checks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// record collects what a notifier reports.
type record struct {
	mu   sync.Mutex
	done []Done
}

func (r *record) add(d Done) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, d)
}

func (r *record) all() []Done {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Scripts of one queue follow each other; one that overlapped would find the mark
// of its predecessor.
func TestNotifierKeepsOrder(t *testing.T) {
	dir := t.TempDir()
	var r record
	n := NewNotifier(r.add)
	for i := range 10 {
		for _, queue := range []string{"VI_1", "VI_2"} {
			mark, log := filepath.Join(dir, queue+".mark"), filepath.Join(dir, queue)
			n.Enqueue(queue, sh(fmt.Sprintf("mkdir %s && echo %d >> %s && sleep 0.01 && rmdir %s", mark, i, log, mark)))
		}
	}
	if err := n.Close(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, queue := range []string{"VI_1", "VI_2"} {
		b, err := os.ReadFile(filepath.Join(dir, queue))
		if got := strings.Join(strings.Fields(string(b)), " "); err != nil || got != "0 1 2 3 4 5 6 7 8 9" {
			t.Errorf("%s ran %s, %v", queue, got, err)
		}
	}
	for _, d := range r.all() {
		if !d.Exit.OK() {
			t.Errorf("%s %q: %s", d.Queue, d.Script.Args, d.Exit)
		}
	}
	if len(r.all()) != 20 {
		t.Errorf("%d reports, want 20", len(r.all()))
	}
}

func TestNotifierQueuesAreBesideEachOther(t *testing.T) {
	var r record
	n := NewNotifier(r.add)
	n.Enqueue("slow", sh("exec sleep 60"))
	n.Enqueue("quick", sh("exit 4"))
	eventually(t, "the quick one is done", func() bool { return len(r.all()) == 1 })
	if d := r.all()[0]; d.Queue != "quick" || d.Exit.Status != 4 {
		t.Errorf("got %+v", d)
	}
	start := time.Now()
	if err := n.Close(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed with %v", err)
	}
	if took := time.Since(start); took > 20*time.Second { // of a minute that the slow one takes
		t.Errorf("Close took %s", took)
	}
	if d := r.all(); len(d) != 2 || d[1].Exit.Err == nil {
		t.Errorf("the slow one ended as %+v", d)
	}
}

// A queue behind a script that hangs drops its oldest, and says so.
func TestNotifierIsBounded(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	var r record
	n := NewNotifier(r.add)
	n.Enqueue("VI_1", sh("while [ ! -e "+release+" ]; do sleep 0.02; done"))
	eventually(t, "the first one runs", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queues["VI_1"].waiting) == 0
	})
	for i := range 2*maxQueued + 10 {
		n.Enqueue("VI_1", Script{Args: []string{"/bin/true", fmt.Sprint(i)}})
	}
	write(t, release, "", 0o644)
	if err := n.Close(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	var ran, dropped []Done
	for _, d := range r.all()[1:] {
		if errors.Is(d.Exit.Err, ErrDropped) {
			dropped = append(dropped, d)
		} else {
			ran = append(ran, d)
		}
	}
	if len(dropped) != maxQueued || len(ran) != maxQueued {
		t.Fatalf("%d ran, %d dropped", len(ran), len(dropped))
	}
	if got := dropped[maxQueued-1].Exit.String(); !strings.HasSuffix(got, "and 10 more") {
		t.Errorf("the last drop says %q", got)
	}
	if got := ran[maxQueued-1].Script.Args[1]; got != fmt.Sprint(2*maxQueued+9) {
		t.Errorf("the last to run was %s", got)
	}
}

func TestNotifierIdleCostsNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	var r record
	n := NewNotifier(r.add)
	for i := range 50 {
		n.Enqueue(fmt.Sprint(i), Script{Args: []string{"/bin/true"}})
	}
	eventually(t, "all queues are gone", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queues) == 0 && runtime.NumGoroutine() <= before
	})
	if err := n.Close(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	n.Enqueue("late", Script{Args: []string{"/bin/true"}})
	if len(r.all()) != 50 || len(n.queues) != 0 {
		t.Errorf("%d reports, %d queues", len(r.all()), len(n.queues))
	}
}

// Close ends even where a script ignores SIGTERM.
func TestNotifierCloseKills(t *testing.T) {
	var r record
	n := NewNotifier(r.add)
	file := filepath.Join(t.TempDir(), "runs")
	n.Enqueue("VI_1", sh("trap '' TERM; echo > "+file+"; while :; do sleep 1; done"))
	n.Enqueue("VI_1", sh("exit 0"))
	eventually(t, "it runs", func() bool { _, err := os.Stat(file); return err == nil })
	start := time.Now()
	if err := n.Close(within(t, 0)); err == nil {
		t.Error("no error")
	}
	if took := time.Since(start); took > killGrace+10*time.Second {
		t.Errorf("Close took %s", took)
	}
	if d := r.all(); len(d) != 2 || d[0].Exit.Signal == 0 || !errors.Is(d[1].Exit.Err, ErrDropped) {
		t.Errorf("reports %+v", d)
	}
}
