package checks

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperEnv asks this test binary to run a script until it is killed.
const helperEnv = "RINGKEEP_TEST_HELPER"

func TestMain(m *testing.M) {
	if file := os.Getenv(helperEnv); file != "" {
		fmt.Println(Script{Args: []string{"/bin/sh", "-c", "echo $$ > " + file + ".new; mv " + file + ".new " + file + "; exec sleep 60"}}.Run(context.Background()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// needRoot skips a test that must switch users or own files.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func sh(command string) Script { return Script{Args: []string{"/bin/sh", "-c", command}} }

// write makes a file with exactly this mode.
func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

func TestScriptExit(t *testing.T) {
	for _, tt := range []struct {
		command, want string
		ok            bool
	}{
		{"exit 0", "exited with status 0", true},
		{"exit 1", "exited with status 1", false},
		{"exit 255", "exited with status 255", false},
		{"kill -9 $$", "due to signal 9 (killed)", false},
		{"kill -15 $$", "due to signal 15 (terminated)", false},
	} {
		e := sh(tt.command).Run(t.Context())
		if e.String() != tt.want || e.OK() != tt.ok {
			t.Errorf("%s: %s, ok %t", tt.command, e, e.OK())
		}
	}
}

// 3.4: own process group, null device on all three, words passed as they are.
func TestScriptSurroundings(t *testing.T) {
	t.Setenv("IFS", "x")
	t.Setenv("LD_LIBRARY_PATH", "/nowhere")
	t.Setenv("RINGKEEP_KEPT", "kept")
	for what, command := range map[string]string{
		"own group":   `[ "$(cut -d' ' -f5 /proc/$$/stat)" = $$ ]`,
		"stdin":       `[ "$(readlink /proc/$$/fd/0)" = /dev/null ]`,
		"stdout":      `[ "$(readlink /proc/$$/fd/1)" = /dev/null ]`,
		"stderr":      `[ "$(readlink /proc/$$/fd/2)" = /dev/null ]`,
		"environment": `[ "$RINGKEEP_KEPT" = kept ] && [ -z "$LD_LIBRARY_PATH" ]`,
	} {
		if e := sh(command).Run(t.Context()); !e.OK() {
			t.Errorf("%s: %s", what, e)
		}
	}
	quoted := Script{Args: []string{"/bin/sh", "-c", `[ "$1" = "a 'b' \$c" ] && [ $# = 2 ]`, "sh", "a 'b' $c", ""}}
	if e := quoted.Run(t.Context()); !e.OK() {
		t.Errorf("words: %s", e)
	}
}

func TestScriptFiles(t *testing.T) {
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), "[ \"$1\" = \"a b\" ] && exit 7\n", 0o755)
	shebang := write(t, filepath.Join(dir, "shebang"), "#!/bin/sh\nexit 8\n", 0o755)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(shebang, link); err != nil {
		t.Fatal(err)
	}
	mode := write(t, filepath.Join(dir, "mode"), "#!/bin/sh\n", 0o644)
	binary := write(t, filepath.Join(dir, "binary"), "\x00\x01\x02", 0o755)
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{plain, "a b"}, "exited with status 7"},
		{[]string{shebang}, "exited with status 8"},
		{[]string{link}, "exited with status 8"},
		{[]string{"shebang"}, "exited with status 8"},
		{[]string{"nosuch"}, "run nosuch: not found in PATH"},
		{[]string{dir + "/nosuch"}, "run " + dir + "/nosuch: no such file or directory"},
		{[]string{mode}, "run " + mode + ": permission denied"},
		{[]string{binary}, "run " + binary + ": exec format error"},
		{[]string{dir}, "run " + dir + ": permission denied"},
		{[]string{"<" + mode}, "exited with status 0"},
		{nil, "empty command"},
	} {
		if e := (Script{Args: tt.args}).Run(t.Context()); e.String() != tt.want {
			t.Errorf("%q: %s, want %s", tt.args, e, tt.want)
		}
	}
	if e := (Script{Args: []string{"<" + dir + "/nosuch"}}).Run(t.Context()); e.OK() || e.Err != nil {
		t.Errorf("a file that is not there can be opened: %s", e)
	}
}

func TestScriptUser(t *testing.T) {
	needRoot(t)
	is := func(option, want string) string { return fmt.Sprintf(`[ "$(id %s)" = "%s" ]`, option, want) }
	nobody, err := lookup("nobody", "")
	if err != nil {
		t.Fatal(err)
	}
	gid := strconv.Itoa(int(nobody.gid))
	for _, tt := range []struct{ user, group, command string }{
		{"nobody", "", is("-u", strconv.Itoa(int(nobody.uid)))},
		{"nobody", "", is("-g", gid)},
		{"nobody", "", is("-G", gid)}, // root's supplementary groups are gone
		{"nobody", "daemon", is("-gn", "daemon")},
		{"nobody", ":daemon", is("-gn", "daemon")},
		{"", "daemon", is("-gn", "daemon")},
		{"root", "", is("-u", "0")},
	} {
		s := sh(tt.command)
		s.User, s.Group = tt.user, tt.group
		if e := s.Run(t.Context()); !e.OK() {
			t.Errorf("user %q group %q: %s: %s", tt.user, tt.group, tt.command, e)
		}
	}
	s := sh("exit 0")
	if s.User = "nosuchuser"; s.Run(t.Context()).String() != `unknown user "nosuchuser"` {
		t.Errorf("unknown user: %s", s.Run(t.Context()))
	}
	if s.User, s.Group = "", "nosuchgroup"; s.Run(t.Context()).String() != `unknown group "nosuchgroup"` {
		t.Errorf("unknown group: %s", s.Run(t.Context()))
	}
}

// gone reports whether a process is no more, or waits to be reaped by whoever
// inherited it.
func gone(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	return err != nil || strings.HasPrefix(rest, "Z")
}

func readWord(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// begun is a timeout at which a shell has read its first lines, on a busy machine too.
const begun = time.Second

// 7.14: SIGTERM at the timeout, SIGKILL to the whole group 2 s later.
func TestScriptTimeoutKillsTheGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	s := sh("trap '' TERM; sleep 60 & echo $! > " + file + "; while :; do sleep 1; done")
	s.Timeout = begun
	start := time.Now()
	e := s.Run(t.Context())
	if took := time.Since(start); took < s.Timeout+killGrace || took > s.Timeout+killGrace+10*time.Second {
		t.Errorf("took %s", took)
	}
	if !e.TimedOut || e.Signal != syscall.SIGKILL || e.OK() || e.String() != "timed out after 1s" {
		t.Errorf("%+v: %s", e, e)
	}
	child := readWord(file)
	eventually(t, "the script's child is gone", func() bool { return child != "" && gone(child) })
}

// A script that dies of the SIGTERM gets its group killed at once.
func TestScriptTimeoutTerm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	s := sh("(trap '' TERM; while :; do sleep 1; done) & echo $! > " + file + "; wait")
	s.Timeout = begun
	start := time.Now()
	e := s.Run(t.Context())
	if took := time.Since(start); !e.TimedOut || e.Signal != syscall.SIGTERM || took >= begun+killGrace {
		t.Errorf("%+v after %s", e, took)
	}
	child := readWord(file)
	eventually(t, "the rest of the group is gone", func() bool { return child != "" && gone(child) })
}

// One that traps it and leaves by itself shows its status; it was told to go.
func TestScriptTimeoutTrapped(t *testing.T) {
	s := sh("trap 'exit 3' TERM; while :; do sleep 0.05; done")
	s.Timeout = begun
	if e := s.Run(t.Context()); !e.TimedOut || e.Status != 3 || e.OK() {
		t.Errorf("%+v", e)
	}
}

func TestScriptCalledOff(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if e := sh("exec sleep 60").Run(ctx); e.Err != context.DeadlineExceeded || e.TimedOut || e.OK() {
		t.Errorf("%+v", e)
	}
	if e := sh("exit 0").Run(ctx); e.Err != context.DeadlineExceeded {
		t.Errorf("started after the end: %+v", e)
	}
}

// What a script leaves behind when it ends in time is its own affair.
func TestScriptLeavesADaemon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	s := sh("sleep 60 & echo $! > " + file)
	s.Timeout = 5 * time.Second
	if e := s.Run(t.Context()); !e.OK() {
		t.Fatal(e)
	}
	pid, err := strconv.Atoi(readWord(file))
	if err != nil {
		t.Fatal(err)
	}
	if gone(strconv.Itoa(pid)) {
		t.Error("the child was killed")
	}
	syscall.Kill(pid, syscall.SIGKILL)
}

// A run that is killed takes its scripts along.
func TestScriptEndsWithUs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the script runs", func() bool { return readWord(file) != "" })
	cmd.Process.Kill()
	cmd.Wait()
	pid := readWord(file)
	eventually(t, "the script is gone", func() bool { return gone(pid) })
}

// A locked thread that ends takes only its own script's life, never before the end
// of Run: the child of a goroutine that stays locked lives on beside it.
func TestScriptOnALockedThread(t *testing.T) {
	got := make(chan Exit)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		got <- sh("sleep 0.2").Run(t.Context())
	}()
	if e := <-got; !e.OK() {
		t.Error(e)
	}
}

func TestEnvironment(t *testing.T) {
	in := "A=1\nIFS=x\nLD_PRELOAD=y\nLD_LIBRARY_PATH=z\nIFSX=2"
	var out []string
	for s := bufio.NewScanner(strings.NewReader(in)); s.Scan(); {
		out = append(out, s.Text())
	}
	if got := strings.Join(environment(out), " "); got != "A=1 IFSX=2" {
		t.Errorf("got %s", got)
	}
}
