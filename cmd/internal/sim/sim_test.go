package sim

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/netlab"
)

const library = "../../../netlab/scenarios"

var seeds = flag.Int("seeds", 3, "how many seeds of every scenario; heavy ones get fewer")

// heavy scenarios have many frames: what part of the seeds they get.
var heavy = map[string]int{"01-two-node": 10, "demo": 10, "gap-of-a-client": 5, "director-fails": 3, "direct-routing": 3, "real-server-dies": 3, "day": 50,
	"shares-equal": 170, "shares-weighted": 170, "shares-hashed": 170, "shares-kept": 170, "shares-drawn": 170, "shares-one": 170, "mh-servers": 40, "weight-changes": 20}

func scenarios(t testing.TB) []*netlab.Scenario {
	t.Helper()
	files, _ := filepath.Glob(library + "/*.txtar")
	var list []*netlab.Scenario
	for _, f := range files {
		all, err := netlab.LoadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if !s.Needs("namespaces") {
				list = append(list, s)
			}
		}
	}
	if len(list) < 48 {
		t.Fatalf("only %d scenarios", len(list))
	}
	return list
}

// TestScenarios plays every scenario with many seeds: whatever the delays, the losses
// and the order of things that happen at once, it ends as it says, and no invariant is hurt.
func TestScenarios(t *testing.T) {
	total := atomic.Int64{}
	t.Run("all", func(t *testing.T) {
		for _, s := range scenarios(t) {
			name := strings.ReplaceAll(filepath.Base(s.Name), ".txtar", "")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := max(1, *seeds/max(1, heavy[strings.TrimSuffix(filepath.Base(s.File), ".txtar")]))
				for seed := range n {
					r := Run(s, Options{Seed: uint64(seed + 1)})
					if r.Failure != nil {
						t.Fatalf("seed %d: %v\nwhat matters of it:\n%sringkeep sim --replay %d %s", seed+1, r.Failure, Shrink(s, r), seed+1, s.File)
					}
				}
				total.Add(int64(n))
			})
		}
	})
	t.Logf("%d runs", total.Load())
}

// TestSeedIsTheRun holds that one seed gives the same time line, byte for byte, and
// another seed another.
func TestSeedIsTheRun(t *testing.T) {
	for _, name := range []string{"lossy", "flapping-node", "director-fails"} {
		s, err := netlab.Load(filepath.Join(library, name+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		play := func(seed uint64) string {
			var b strings.Builder
			Run(s, Options{Seed: seed, Out: &b})
			return b.String()
		}
		a, b, c := play(7), play(7), play(8)
		if a != b {
			t.Errorf("%s: one seed, two runs", name)
		}
		if a == c || len(a) < 1000 {
			t.Errorf("%s: two seeds, one run of %d bytes", name, len(a))
		}
	}
}

// TestManyHoursAMinute measures how much virtual time of a quiet pair fits into a
// minute of one processor.
func TestManyHoursAMinute(t *testing.T) {
	s, err := netlab.Load(filepath.Join(library, "day.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime(t)
	r := Run(s, Options{Seed: 1})
	took := threadTime(t) - start
	if r.Failure != nil {
		t.Fatal(r.Failure)
	}
	perMinute := r.Elapsed.Hours() / took.Minutes()
	t.Logf("%.0f virtual hours a minute, %d frames", perMinute, r.Frames)
	if perMinute < 1000/raceFactor {
		t.Errorf("%.0f virtual hours a minute, want 1000", perMinute)
	}
}

// threadTime is how long this thread has had a processor.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// TestYear lets a pair advertise for a year: some 31.5 million advertisements, one MASTER, no
// invariant hurt.
func TestYear(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of one processor")
	}
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(library, "day.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := netlab.Parse("year", []byte(strings.Replace(string(text), "run 24h", "run 8760h", 1)))
	if err != nil {
		t.Fatal(err)
	}
	r := Run(s, Options{Seed: 1})
	if r.Failure != nil {
		t.Fatal(r.Failure)
	}
	if r.Elapsed < 8760*time.Hour || r.Frames < 31_500_000 || len(r.Transitions) != 3 {
		t.Fatalf("%v, %d frames, transitions %v", r.Elapsed, r.Frames, r.Transitions)
	}
}

// TestReportOfARun collects what the report shows, and does not change the run by it.
func TestReportOfARun(t *testing.T) {
	s, err := netlab.Load(filepath.Join(library, "gap-of-a-client.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	plain, recorded := Run(s, Options{Seed: 5}), Run(s, Options{Seed: 5, Record: true})
	if fmt.Sprint(plain.Transitions) != fmt.Sprint(recorded.Transitions) {
		t.Errorf("transitions %v, recorded %v", plain.Transitions, recorded.Transitions)
	}
	r := recorded.Report
	lost, took := 0, 0
	for _, p := range r.Packets {
		for _, d := range p.To {
			if strings.HasPrefix(d.Verdict, "accepted, resets the master down timer of VI_1") {
				took++
			}
			if d.Lost != "" {
				lost++
			}
		}
	}
	if len(r.States) < 7 || took < 3 || lost > 0 || len(r.Flows) != 1 || len(r.Flows[0].Gaps) != 2 || len(r.Faults) != 2 || len(r.Holdings) < 4 {
		t.Errorf("%d states, %d adverts accepted, %d lost, flows %+v, faults %+v, holdings %v", len(r.States), took, lost, r.Flows, r.Faults, r.Holdings)
	}
	if gap := r.Flows[0].Gaps[0]; gap.To-gap.From < 3600*time.Millisecond || gap.To-gap.From > 3700*time.Millisecond {
		t.Errorf("gap %v", gap)
	}
}

// TestTrySeedFiles breaks the pairs that people have, without a change to their files.
func TestTrySeedFiles(t *testing.T) {
	const seeds = "../config/testdata/seed/"
	for pattern, surprise := range map[string]string{
		"01-*.conf": "master still has 192.168.31.100, and answers for it", "02-*.conf": "master still has 172.16.60.129, and answers for it",
		"03-*.conf": "node1 still has 192.168.20.187, and answers for it", "05-*.conf": "node1 still has 10.244.81.8, and answers for it",
		"07-*.conf": "nobody reaches 10.244.81.8 at backup: it is in another network", "08-*.conf": "master still has 10.0.0.100, and answers for it",
	} {
		names, _ := filepath.Glob(seeds + pattern)
		var files []File
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, File{Name: name, Text: text})
		}
		head, findings, err := Try(files)
		if err != nil || len(files) < 2 {
			t.Errorf("%s: %d files, %v", pattern, len(files), err)
			continue
		}
		told := false
		for _, f := range findings {
			told = told || f.Remark == surprise
			if f.Before == "" || f.Back == "" || strings.Contains(f.Before+f.Back, " and ") {
				t.Errorf("%s: %+v", pattern, f)
			}
		}
		if !told {
			t.Errorf("%s: nobody says %q\n%s%+v", pattern, surprise, head, findings)
		}
	}
}

// TestShrink holds that of a long failing scenario the statements remain that matter.
func TestShrink(t *testing.T) {
	text := `lan lan
host client lan:eth0 10.0.0.1/24
host other lan:eth0 10.0.0.2/24
node a ringkeep lan:eth0 10.0.0.11/24
node b ringkeep lan:eth0 10.0.0.12/24
up a
run 1s
up b
wait 9s a state MASTER
serve a udp 53
run 2s
drop a to b vrrp 20 frames
run 10s
drop b to a vrrp 1 frames
run 9s
stop a
wait 1ms b state FAULT
-- a.conf --
` + instance(150) + "-- b.conf --\n" + instance(100)
	s, err := netlab.Parse("long", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := Run(s, Options{Seed: 1})
	if r.Failure == nil {
		t.Fatal("passes")
	}
	small := Shrink(s, r)
	if n := strings.Count(small, "\n"); n > 9 || !strings.Contains(small, "20 frames") {
		t.Errorf("%v\nshrinks to\n%s", r.Failure, small)
	}
}

func instance(priority int) string {
	return fmt.Sprintf("vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\npriority %d\nvirtual_ipaddress {\n10.0.0.100/24\n}\n}\n", priority)
}

// mutantVariable has the test program play the library until an invariant is hurt.
const mutantVariable = "RINGKEEP_SIM_MUTANT"

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(1000) // the runs hold little, and throw much away
	if os.Getenv(mutantVariable) != "" {
		os.Exit(firstBreach())
	}
	os.Exit(m.Run())
}

// firstBreach plays the scenarios that are not heavy, without a look at what these expect, and
// prints the first that hurts an invariant.
func firstBreach() (status int) {
	files, _ := filepath.Glob(library + "/*.txtar")
	for _, file := range files {
		all, err := netlab.LoadAll(file)
		if err != nil {
			fmt.Println(err)
			return 2
		}
		for _, s := range all {
			if s.Needs("namespaces") || heavy[strings.TrimSuffix(filepath.Base(file), ".txtar")] > 0 {
				continue
			}
			for seed := range uint64(3) {
				if r := Run(s, Options{Seed: seed + 1, InvariantsOnly: true}); r.Failure != nil {
					fmt.Printf("%s: FAILED with seed %d: %v\n", s.Name, seed+1, r.Failure)
					return 1
				}
			}
		}
	}
	return 0
}

// TestMutantsAreCaught builds this test with one mistake after the other in the state
// machine, and holds that an invariant catches each in the library's scenarios.
func TestMutantsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program many times")
	}
	t.Parallel()
	a, err := txtar.ParseFile("testdata/mutants.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) < 30 {
		t.Fatalf("only %d mutants", len(a.Files))
	}
	limit := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for _, f := range a.Files {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			mutant(t, f)
		})
	}
	wg.Wait()
}

func mutant(t *testing.T, f txtar.File) {
	t.Helper()
	path, _, _ := strings.Cut(f.Name, ": ")
	old, fresh, ok := strings.Cut(string(f.Data), "\n====\n")
	path, err := filepath.Abs(filepath.Join("../../..", path))
	if err != nil {
		t.Error(err)
		return
	}
	text, err := os.ReadFile(path)
	fresh = strings.TrimSuffix(fresh, "\n")
	if err != nil || !ok || strings.Count(string(text), old) == 0 {
		t.Errorf("%s: the text to be replaced is not in the file (%v)", f.Name, err)
		return
	}
	dir, err := os.MkdirTemp("", "ringkeep-mutant-")
	if err != nil {
		t.Error(err)
		return
	}
	defer os.RemoveAll(dir)
	overlay, _ := json.Marshal(map[string]map[string]string{"Replace": {path: filepath.Join(dir, "mutant.go")}})
	binary := filepath.Join(dir, "mutant")
	os.WriteFile(filepath.Join(dir, "mutant.go"), []byte(strings.Replace(string(text), old, fresh, 1)), 0o600)
	os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", f.Name, err, out)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), mutantVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%s: no invariant catches it", f.Name)
		return
	}
	for line := range strings.SplitSeq(string(out), "\n") {
		if _, what, ok := strings.Cut(line, ": FAILED with "); ok {
			t.Logf("%s: %.120s", f.Name, what)
			return
		}
	}
	t.Errorf("%s: %v\n%.500s", f.Name, err, out)
}
