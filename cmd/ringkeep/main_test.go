package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ringkeep": main})
}

// TestScripts runs the command line as a user does. Scripts that start a daemon need
// root and a network namespace of their own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error { // what a txtar file cannot hold
			for name, from := range map[string]string{
				"ok.txtar": "testdata/ok.scenario", "split.txtar": "testdata/split.scenario",
				"leaves.pcap": "../../proto/testdata/captures/beh-addr-del-fault.pcap",
			} {
				text, err := os.ReadFile(from)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				_, err := exec.LookPath("unshare")
				can := os.Geteuid() == 0 && err == nil
				if !can && os.Getenv("CI") == "true" {
					t.Error("needs root and unshare")
				}
				return can, nil
			}
			return false, nil
		},
	})
}

// exits runs a command and holds its exit status against the first argument.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	got := exitOf(ts.Exec(args[1], args[2:]...))
	if want := args[0]; fmt.Sprint(got) != want {
		ts.Fatalf("exit status %d, want %s", got, want)
	}
}
