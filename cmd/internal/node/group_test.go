package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// pairOf is a sync group VG_1 of VI_1 and VI_2, with scripts for everything.
func pairOf(priority uint8) *config.Config {
	script := func(name string) *config.Command { return &config.Command{Args: []string{name}} }
	first, second := instanceConf(priority), instanceConf(priority)
	second.Name, second.VRID = "VI_2", 52
	second.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.101/32")}}
	for _, in := range []*config.Instance{first, second} {
		in.NotifyMaster, in.Notify = script("/im"), script("/i")
	}
	cfg := with(first, second)
	cfg.SyncGroups = []*config.SyncGroup{{
		Name: "VG_1", Members: config.Names{"VI_1", "VI_2"}, Notify: script("/g"),
		NotifyMaster: script("/gm"), NotifyBackup: script("/gb"), NotifyFault: script("/gf"), NotifyStop: script("/gs"),
	}}
	return cfg
}

// notes are the notifications in the log of node 0, without their times.
func notes(w *world) string {
	var list []string
	for _, l := range w.log {
		if _, what, ok := strings.Cut(l, " 0 notify "); ok {
			list = append(list, what)
		}
	}
	w.log = nil
	return strings.Join(list, "; ")
}

// TestGroupNotifications: at the start the group is told first, at a transition last, and
// when it stops after all instances (reference 4.2); its priority is 0.
func TestGroupNotifications(t *testing.T) {
	w := newWorld(t, pairOf(150))
	w.start(0)
	want := func(when, list string) {
		t.Helper()
		if got := notes(w); got != list {
			t.Errorf("%s:\ngot  %s\nwant %s", when, got, list)
		}
	}
	want("start", "/gb; /g GROUP VG_1 BACKUP 0; /i INSTANCE VI_1 BACKUP 150; /i INSTANCE VI_2 BACKUP 150")
	w.run(4 * time.Second)
	want("election", "/im; /i INSTANCE VI_2 MASTER 150; /im; /i INSTANCE VI_1 MASTER 150; /gm; /g GROUP VG_1 MASTER 0")
	w.step(0, LinkChanged{Port: 1, MAC: macOf(0)})
	want("link down", "/i INSTANCE VI_1 FAULT 150; /i INSTANCE VI_2 FAULT 150; /gf; /g GROUP VG_1 FAULT 0")
	w.step(0, Stop{})
	want("stop", "/i INSTANCE VI_1 STOP 150; /i INSTANCE VI_2 STOP 150; /gs; /g GROUP VG_1 STOP 0")
}

// TestGroupTracksForEveryMember: what the group tracks counts for each member, with its
// weight; what a member names itself counts once.
func TestGroupTracksForEveryMember(t *testing.T) {
	cfg := pairOf(150)
	cfg.Scripts = []*config.Script{{Name: "chk", Interval: time.Second, Rise: 1, Fall: 1}, {Name: "own", Interval: time.Second, Rise: 1, Fall: 1}}
	cfg.SyncGroups[0].TrackScripts = config.Tracks{{Name: "chk", Weight: -60}, {Name: "own", Weight: -10}}
	cfg.SyncGroups[0].TrackingWeight = true
	cfg.Instances[1].TrackScripts = config.Tracks{{Name: "own", Weight: -20}}
	w := newWorld(t, cfg)
	w.start(0)
	w.step(0, ScriptDone{Script: 0, OK: false})
	w.step(0, ScriptDone{Script: 1, OK: false})
	for i, want := range []uint8{150 - 60 - 10, 150 - 60 - 20} {
		if got := w.nodes[0].instances[i].fsm.Priority(); got != want {
			t.Errorf("VI_%d has priority %d, want %d", i+1, got, want)
		}
	}
}

// TestGroupTrackInterface: an interface that the group tracks takes all members.
func TestGroupTrackInterface(t *testing.T) {
	cfg := pairOf(150)
	cfg.SyncGroups[0].TrackInterfaces = config.Tracks{{Name: "lo"}}
	w := newWorld(t, cfg)
	w.start(0)
	w.run(4 * time.Second)
	w.step(0, LinkChanged{Port: 0})
	w.expect("VI_1 MASTER -> FAULT (interface lo failed)", "VI_2 MASTER -> FAULT (with VI_1 of sync group VG_1)")
	w.log = nil
	w.step(0, LinkChanged{Port: 0, Up: true})
	w.expect("VI_2 FAULT -> BACKUP (interface lo ok)", "VI_1 FAULT -> BACKUP (with VI_2 of sync group VG_1)")
}

// TestGroupLeavesDisabledMembersOut: the others still agree.
func TestGroupLeavesDisabledMembersOut(t *testing.T) {
	cfg := pairOf(150)
	cfg.Instances[1].Disabled = "it cannot be started"
	w := newWorld(t, cfg)
	w.start(0)
	w.run(4 * time.Second)
	w.expect("VI_1 BACKUP -> MASTER")
	if slices.ContainsFunc(w.log, func(l string) bool { return strings.Contains(l, "VI_2") }) {
		t.Errorf("the member that cannot be started takes part: %v", w.log)
	}
}
