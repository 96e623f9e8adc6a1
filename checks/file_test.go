package checks

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadNumber reads what the reference says of the contents.
func TestReadNumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	if n, err := ReadNumber(path); n != 0 || err != nil {
		t.Errorf("a file that is missing: %d %v", n, err)
	}
	for text, want := range map[string]int{
		"": 0, "\n": 0, "x": 0, "5": 5, " -30\n": -30, "+7": 7, "12abc": 12, "0x1f": 31, "0x": 0, "0xg": 0, "010": 8, "08": 0, "-0x10": -16,
		"2147483647": 1<<31 - 1, "-2147483648": -1 << 31, "1\n2": 1, strings.Repeat(" ", 126) + "12": 1,
	} {
		os.WriteFile(path, []byte(text), 0o600)
		if n, err := ReadNumber(path); n != want || err != nil {
			t.Errorf("%q: %d %v, want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"2147483648", "-2147483649", "99999999999999999999"} {
		os.WriteFile(path, []byte(text), 0o600)
		if n, err := ReadNumber(path); err == nil {
			t.Errorf("%q: %d, want an error", text, n)
		}
	}
}

func TestWriteNumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	for _, step := range []struct {
		value     int
		overwrite bool
		want      int
	}{{5, false, 5}, {6, false, 5}, {7, true, 7}} {
		if err := WriteNumber(path, step.value, step.overwrite); err != nil {
			t.Fatal(err)
		}
		if n, _ := ReadNumber(path); n != step.want {
			t.Errorf("%+v: %d", step, n)
		}
	}
}

// TestFileIsWatched changes a real file in every way that counts.
func TestFileIsWatched(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	os.Mkdir(dir, 0o700)
	path, other := filepath.Join(dir, "n"), filepath.Join(dir, "other")
	w, err := WatchFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	said, ended := make(chan int, 100), make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx, func() { n, _ := ReadNumber(path); said <- n })
	}()
	await := func(what string, want int) {
		t.Helper()
		for deadline := time.After(20 * time.Second); ; {
			select {
			case n := <-said:
				if n == want {
					return
				}
			case <-deadline:
				t.Fatalf("%s: nothing said %d", what, want)
			}
		}
	}
	os.WriteFile(path, []byte("1\n"), 0o600)
	await("written", 1)
	os.WriteFile(other, []byte("2\n"), 0o600)
	os.Rename(other, path)
	await("renamed into place", 2)
	os.Rename(path, other)
	await("renamed away", 0)
	os.Rename(other, path)
	await("and back", 2)
	os.Remove(path)
	await("deleted", 0)
	os.RemoveAll(dir)
	os.Mkdir(dir, 0o700)
	os.WriteFile(path, []byte("3\n"), 0o600)
	await("in a directory that was made anew", 3)
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
	}
}

func TestBlindFileSystem(t *testing.T) {
	if _, err := WatchFile("/proc/uptime"); err == nil || !strings.Contains(err.Error(), "proc") {
		t.Errorf("a file in /proc: %v", err)
	}
}

// TestFileIsReadWhenItIsWritten: what happens beside it is no reason to look, unless a link
// leads there.
func TestFileIsReadWhenItIsWritten(t *testing.T) {
	dir := t.TempDir()
	path, data := filepath.Join(dir, "n"), filepath.Join(dir, "data")
	os.Mkdir(data, 0o700)
	w, err := WatchFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan bool, 1000)
	go w.Run(ctx, func() { told <- true })
	for range 100 {
		os.WriteFile(filepath.Join(dir, "beside"), []byte("x"), 0o600)
	}
	os.WriteFile(path, []byte("1"), 0o600)
	eventually(t, "it is told of the file", func() bool { return len(told) > 0 })
	if n := len(told); n > 3 {
		t.Errorf("told %d times", n)
	}
	os.WriteFile(filepath.Join(data, "n"), []byte("2"), 0o600)
	os.Symlink("data/n", filepath.Join(dir, "link"))
	os.Rename(filepath.Join(dir, "link"), path)
	eventually(t, "it is told of the link", func() bool { return len(told) > 1 })
	before := len(told)
	os.Rename(data, filepath.Join(dir, "other"))
	eventually(t, "it is told of what the link leads through", func() bool { return len(told) > before })
}
