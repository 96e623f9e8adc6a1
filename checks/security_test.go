package checks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes what a test needs below a directory that is safe by itself.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree {
	needRoot(t)
	root := t.TempDir()
	for _, d := range []string{filepath.Dir(root), root} { // made for us alone by testing
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tree{t, root}
}

func (x tree) dir(name string, mode os.FileMode) string {
	x.t.Helper()
	path := filepath.Join(x.root, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		x.t.Fatal(err)
	}
	return path
}

func (x tree) file(name string, mode os.FileMode) string {
	x.t.Helper()
	return write(x.t, filepath.Join(x.root, name), "#!/bin/sh\nexit 0\n", mode)
}

func (x tree) link(target, name string) string {
	x.t.Helper()
	path := filepath.Join(x.root, name)
	if err := os.Symlink(target, path); err != nil {
		x.t.Fatal(err)
	}
	return path
}

func (x tree) own(path string, uid, gid int) string {
	x.t.Helper()
	if err := os.Lchown(path, uid, gid); err != nil {
		x.t.Fatal(err)
	}
	return path
}

// The table of 3.4 and case 7.19: what is unsafe runs while script security is off,
// and what cannot run never does.
func TestSecurityVerdicts(t *testing.T) {
	x := newTree(t)
	x.dir("safe", 0o755)
	good := x.file("safe/good", 0o755)
	x.dir("open", 0o777)
	x.file("open/s", 0o755)
	x.dir("sticky", 0o777|os.ModeSticky)
	x.file("sticky/s", 0o755)
	x.own(x.dir("group", 0o775), 0, 1)
	x.file("group/s", 0o755)
	x.own(x.dir("rootgroup", 0o775), 0, 0)
	x.file("rootgroup/s", 0o755)
	x.own(x.dir("owned", 0o755), 1, 0)
	x.file("owned/s", 0o755)
	x.own(x.file("safe/owned", 0o755), 1, 1)
	x.own(x.file("safe/group", 0o775), 0, 1)
	x.file("safe/others", 0o757)
	x.file("safe/noexec", 0o644)
	x.link(x.root+"/open/s", "safe/tounsafe")
	x.link("../safe/good", "open/tosafe")
	x.link("../open/tosafe", "safe/through") // both ends are safe, the middle is not
	x.link("good", "safe/near")
	x.own(x.link("good", "safe/foreignlink"), 1, 1)
	x.link("loop", "safe/loop")
	x.link("safe", "dirlink")
	for _, tt := range []struct {
		path   string
		reason Reason
		blame  string
	}{
		{"safe/good", Safe, "safe/good"},
		{"safe/../safe//./good", Safe, "safe/good"},
		{"sticky/s", Safe, "sticky/s"},
		{"rootgroup/s", Safe, "rootgroup/s"},
		{"safe/near", Safe, "safe/good"},
		{"dirlink/good", Safe, "safe/good"},
		{"open/s", Unsafe, "open: writable by others"},
		{"group/s", Unsafe, "group: writable by group 1"},
		{"owned/s", Unsafe, "owned: owned by uid 1, not by root"},
		{"safe/owned", Unsafe, "safe/owned: owned by uid 1, not by root"},
		{"safe/group", Unsafe, "safe/group: writable by group 1"},
		{"safe/others", Unsafe, "safe/others: writable by others"},
		{"safe/tounsafe", Unsafe, "open: writable by others"},
		{"open/tosafe", Unsafe, "open: writable by others"},
		{"safe/through", Unsafe, "open: writable by others"},
		{"safe/foreignlink", Unsafe, "safe/foreignlink: owned by uid 1, not by root"},
		{"safe/nosuch", NotFound, "safe/nosuch: no such file or directory"},
		{"safe/good/x", NotFound, "safe/good: not a directory"},
		{"safe", NotFound, "safe: not a regular file"},
		{"safe/loop", NotFound, "safe/loop: too many levels of symbolic links"},
		{"safe/noexec", NotExecutable, "safe/noexec: for uid:gid 0:0"},
	} {
		s := Script{Args: []string{x.root + "/" + tt.path}}
		v, off := s.Check(SecurityOptions{Enabled: true}), s.Check(SecurityOptions{})
		where := v.Path
		if v.Detail != "" {
			where += ": " + v.Detail
		}
		if v.Reason != tt.reason || where != x.root+"/"+tt.blame {
			t.Errorf("%s: %s", tt.path, v)
		}
		if v.Run != (tt.reason == Safe) || off.Run != (tt.reason == Safe || tt.reason == Unsafe) || off.Reason != v.Reason {
			t.Errorf("%s: runs with security %t, without %t", tt.path, v.Run, off.Run)
		}
	}
	t.Setenv("PATH", x.root+"/safe")
	if v := (Script{Args: []string{"good"}}).Check(SecurityOptions{}); !v.Run || !v.Bare || v.Path != good {
		t.Errorf("bare name: %+v", v)
	}
	if v := (Script{Args: []string{"nosuch"}}).Check(SecurityOptions{}); v.Run || v.String() != "not found: nosuch: not in PATH" {
		t.Errorf("bare name: %s", v)
	}
}

// The paths of scripts that run without the rights of root are nobody's business,
// but their user must be able to run them.
func TestSecurityForOthers(t *testing.T) {
	x := newTree(t)
	if _, err := lookup("nobody", "nogroup"); err != nil {
		t.Fatal(err)
	}
	x.dir("open", 0o777)
	x.file("open/s", 0o755)
	x.own(x.file("open/setuid", 0o755), 0, 0)
	if err := os.Chmod(x.root+"/open/setuid", 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(x.own(x.file("open/setgid", 0o755), 1, 0), 0o755|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	x.dir("closed", 0o700)
	x.file("closed/s", 0o755)
	x.file("rootonly", 0o750)
	for _, tt := range []struct {
		path, user, group string
		want              Reason
	}{
		{"open/s", "nobody", "", Safe},
		{"open/s", "nobody", "root", Unsafe}, // group 0 is root's right too
		{"open/setuid", "nobody", "", Unsafe},
		{"open/setgid", "nobody", "", Unsafe},
		{"closed/s", "nobody", "", NotAccessible},
		{"rootonly", "nobody", "", NotExecutable},
		{"rootonly", "nobody", "root", Safe},
		{"open/s", "nosuchuser", "", UnknownAccount},
		{"open/s", "nobody", "nosuchgroup", UnknownAccount},
	} {
		v := Script{Args: []string{x.root + "/" + tt.path}, User: tt.user, Group: tt.group}.Check(SecurityOptions{Enabled: true})
		if v.Reason != tt.want {
			t.Errorf("%s as %s:%s: %s, want %s", tt.path, tt.user, tt.group, v, tt.want)
		}
	}
}

func TestReasonWords(t *testing.T) {
	var words []string
	for r := Safe; r <= UnknownAccount+1; r++ {
		words = append(words, r.String())
	}
	want := "safe, unsafe permissions, not found, not accessible, not executable, unknown account, reason 6"
	if got := strings.Join(words, ", "); got != want {
		t.Errorf("got %s", got)
	}
	if v := (Script{}).Check(SecurityOptions{}); v.Run || v.Reason != NotFound {
		t.Errorf("empty command: %s", v)
	}
	if v := (Script{Args: []string{"</etc/x"}}).Check(SecurityOptions{Enabled: true}); !v.Run {
		t.Errorf("open test: %s", v)
	}
}
