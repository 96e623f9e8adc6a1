package vm

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// limit is how long a test's machine may run: far more than it needs, on a busy host too.
const limit = 12 * time.Minute

// parallel is how many parallel subtests run at a time in a machine, which has one processor:
// those that wait side by side.
const parallel = "8"

// T is what this package needs of a *testing.T.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatal(args ...any)
	Skip(args ...any)
}

// Run runs a shell command in a machine for a test, which fails unless it ends with status
// 0, and returns what it printed. Where the peers are not installed the test is skipped,
// with CI=true in the environment it fails.
func Run(t T, m Machine, command string) string {
	t.Helper()
	return run(t, m, "sh", "-c", command)
}

// Inside runs the calling test in a machine and returns false; there it returns true:
//
//	if !vm.Inside(t, machine) {
//		return
//	}
//
// The rest of the test is what the machine's kernel sees. Its log comes back.
func Inside(t T, m Machine) bool {
	t.Helper()
	if os.Getenv("RINGKEEP_VM") != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.Programs = append(m.Programs[:len(m.Programs):len(m.Programs)], self)
	t.Logf("%s", run(t, m, self, "-test.v", "-test.parallel", parallel, "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$"))
	return false
}

func run(t T, m Machine, argv ...string) string {
	t.Helper()
	if missing := Missing(); missing != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := m.Run(ctx, argv...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 {
		t.Fatal(fmt.Sprintf("status %d\n%s\nconsole:\n%s", r.Status, r.Output, tail(r.Console)))
	}
	return string(r.Output)
}
