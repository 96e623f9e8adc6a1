package node

import (
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// TestTrackedFile: what is read before the start counts from the start, and a file that
// nobody tracks is not watched.
func TestTrackedFile(t *testing.T) {
	c := instanceConf(100)
	c.TrackFiles = config.Tracks{{Name: "tf", Weight: 10}}
	cfg := with(c)
	cfg.TrackFiles = []*config.TrackFile{{Name: "other", File: "/o"}, {Name: "tf", File: "/f"}}
	w := newWorld(t, cfg)
	if files := w.nodes[0].Files(); files[0] != nil || files[1] == nil {
		t.Fatalf("watches %v", files)
	}
	w.step(0, FileRead{File: 1, Value: 3})
	w.start(0)
	for _, step := range []struct {
		value int
		want  uint8
	}{{3, 130}, {3, 130}, {-3, 70}, {100, 254}} {
		w.step(0, FileRead{File: 1, Value: step.value})
		if got := w.nodes[0].instances[0].fsm.Priority(); got != step.want {
			t.Errorf("%d gives %d, want %d", step.value, got, step.want)
		}
	}
	w.step(0, FileRead{File: 1, Value: -30})
	w.expect("VI_1 BACKUP -> FAULT (file tf failed)")
}

// processConf is an instance that needs a process.
func processConf(p *config.TrackProcess) *config.Config {
	c := instanceConf(100)
	c.TrackProcesses = config.Tracks{{Name: p.Name}}
	cfg := with(c)
	cfg.TrackProcesses = []*config.TrackProcess{p}
	return cfg
}

// TestTrackedProcessQuorum: quorum and quorum_max, without a delay.
func TestTrackedProcessQuorum(t *testing.T) {
	for _, c := range []struct {
		conf string
		good map[int]bool
	}{
		{"", map[int]bool{0: false, 1: true, 9: true}},
		{"quorum 2", map[int]bool{1: false, 2: true, 9: true}},
		{"quorum 2\nquorum_max 3", map[int]bool{1: false, 2: true, 3: true, 4: false}},
		{"quorum_max 0", map[int]bool{0: true, 1: false}},
	} {
		cfg, _ := config.Parse("x", []byte("vrrp_track_process p {\nprocess x\n"+c.conf+"\n}\n"), config.Options{})
		for count, want := range c.good {
			w := newWorld(t, processConf(cfg.TrackProcesses[0]))
			w.start(0)
			if len(w.log) > 0 {
				t.Fatalf("takes part before anybody counted: %v", w.log)
			}
			w.step(0, ProcessesCounted{Process: 0, Count: count})
			if want {
				w.expect("VI_1 INIT -> BACKUP (process p ok)")
			} else {
				w.expect("VI_1 INIT -> FAULT (process p failed)")
			}
		}
	}
}

// TestTrackedProcessDelays: a loss counts when it has lasted for terminate_delay, a return
// for fork_delay; one that is shorter never happened.
func TestTrackedProcessDelays(t *testing.T) {
	w := newWorld(t, processConf(&config.TrackProcess{Name: "p", Quorum: 2, ForkDelay: time.Second, TerminateDelay: 3 * time.Second}))
	count := func(at time.Duration, n int) {
		w.run(at)
		w.step(0, ProcessesCounted{Process: 0, Count: n})
	}
	w.start(0)
	count(0, 2)
	count(10*time.Second, 1)
	count(12*time.Second, 2)
	count(20*time.Second, 1)
	count(22*time.Second, 0)
	count(30*time.Second, 2)
	w.run(35 * time.Second)
	w.expect("0s 0 VI_1 INIT -> BACKUP", "MASTER", "23s 0 VI_1 MASTER -> FAULT (process p failed)", "31s 0 VI_1 FAULT -> BACKUP (process p ok)")
}

// TestTrackedInterfaceWeights: an interface that is not the own one moves the priority by
// its weight, and without one decides about FAULT (reference 3.2).
func TestTrackedInterfaceWeights(t *testing.T) {
	for _, c := range []struct {
		track    config.Track
		up, down uint8 // 0: FAULT
	}{
		{config.Track{Weight: 20}, 120, 100},
		{config.Track{Weight: -20}, 100, 80},
		{config.Track{Weight: 20, Reverse: true}, 80, 100},
		{config.Track{Weight: -20, Reverse: true}, 100, 120},
		{config.Track{}, 100, 0},
		{config.Track{Reverse: true}, 0, 100},
	} {
		in := instanceConf(100)
		c.track.Name = "lo"
		in.TrackInterfaces = config.Tracks{c.track}
		w := newWorld(t, with(in))
		w.start(0)
		for range 2 { // down, and up again
			for _, step := range []struct {
				up   bool
				want uint8
			}{{true, c.up}, {false, c.down}} {
				w.step(0, LinkChanged{Port: 0, Up: step.up})
				got := w.nodes[0].instances[0].fsm.Priority()
				if w.nodes[0].instances[0].fsm.State() == fsm.Fault {
					got = 0
				}
				if got != step.want {
					t.Errorf("%+v, up %v: %d, want %d", c.track, step.up, got, step.want)
				}
			}
		}
	}
}

// TestDontTrackPrimary: the own interface is no reason for FAULT, at the start and later.
func TestDontTrackPrimary(t *testing.T) {
	for _, dont := range []bool{false, true} {
		in := instanceConf(100)
		in.DontTrackPrimary = dont
		w := newWorld(t, with(in))
		w.step(0, LinkChanged{Port: 1, MAC: macOf(0)})
		w.start(0)
		w.step(0, LinkChanged{Port: 1, MAC: macOf(0), Up: true})
		w.run(5 * time.Second)
		w.step(0, LinkChanged{Port: 1, MAC: macOf(0)})
		want := fsm.Master
		if !dont {
			want = fsm.Fault
		}
		if got := w.nodes[0].instances[0].fsm.State(); got != want {
			t.Errorf("dont_track_primary %v: %v with its link down, want %v", dont, got, want)
		}
	}
}

// TestInitFail: one success is enough at the start, as measured (reference 3.1).
func TestInitFail(t *testing.T) {
	in := instanceConf(100)
	in.TrackScripts = config.Tracks{{Name: "chk"}}
	cfg := with(in)
	cfg.Scripts = []*config.Script{{Name: "chk", Interval: time.Second, Rise: 3, Fall: 3, InitFail: true}}
	w := newWorld(t, cfg)
	w.start(0)
	w.step(0, ScriptDone{Script: 0, OK: true})
	w.expect("0s 0 VI_1 INIT -> BACKUP (script chk ok)")
}
