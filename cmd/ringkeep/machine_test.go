package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringkeep/ringkeep/netlab/vm"
)

// programFile is this test as a file of the program's name, which makes it the program.
func programFile(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "ringkeep")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestMachineLab plays scenarios with the kernel's IPVS from the command line: what it prints,
// its exit status and the folders of both runs come back from the machine.
func TestMachineLab(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	t.Parallel()
	if missing := vm.Missing(); missing != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	files, err := filepath.Glob("../../netlab/scenarios/ipvs-sync-*.txtar")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	dir := filepath.Join(t.TempDir(), "result")
	out, err := exec.Command(programFile(t), append([]string{"lab", "run", "--kernel", "debian", "--dir", dir}, files...)...).CombinedOutput()
	if err != nil || strings.Count(string(out), "\nPASSED\n") != len(files) {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"1/verdict", "1/lab.pcapng", "2/report.html", "2/n1/log"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s did not come back: %v", name, err)
		}
	}
}
