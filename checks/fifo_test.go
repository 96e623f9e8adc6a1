package checks

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Lines wait for a reader, in order; at the end it sees the end, and the pipe is gone.
func TestFIFOKeepsLinesForItsReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	f, err := OpenFIFO(path, "", "")
	if err != nil {
		t.Fatal(err)
	}
	f.WriteLine(`INSTANCE "VI_1" BACKUP 150`)
	f.WriteLine(`INSTANCE "VI_1" MASTER 150`)
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := bufio.NewScanner(r)
	for _, want := range []string{`INSTANCE "VI_1" BACKUP 150`, `INSTANCE "VI_1" MASTER 150`} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("got %q, want %q", lines.Text(), want)
		}
	}
	f.WriteLine("last")
	if lost := f.Close(); lost != 0 {
		t.Errorf("%d lines lost", lost)
	}
	if !lines.Scan() || lines.Text() != "last" || lines.Scan() {
		t.Errorf("after the end: %q", lines.Text())
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the pipe is still there: %v", err)
	}
}

// Without a reader the pipe fills up: what has no room is lost, and nobody waits.
func TestFIFONeverWaits(t *testing.T) {
	f, err := OpenFIFO(filepath.Join(t.TempDir(), "events"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		f.WriteLine(strings.Repeat("x", 1000))
	}
	if lost := f.Close(); lost < 900 || lost == 1000 {
		t.Errorf("%d of 1000 lines lost", lost)
	}
}

// A pipe that was there stays; another file is refused, and stays too.
func TestFIFOLeavesWhatItDidNotMake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	first, err := OpenFIFO(path, "", "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenFIFO(path, "", "")
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	first.Close()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFIFO(path, "", ""); err == nil || !strings.Contains(err.Error(), "is no named pipe") {
		t.Errorf("a file: %v", err)
	}
	if _, err := OpenFIFO(path+"2", "nobody-of-this-name", ""); err == nil || !strings.Contains(err.Error(), "unknown user") {
		t.Errorf("a user: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "x" {
		t.Errorf("the file: %q, %v", text, err)
	}
}
