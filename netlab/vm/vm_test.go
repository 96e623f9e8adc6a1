package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMachineRuns brings output and status back, with modules and with a program that is linked
// dynamically.
func TestMachineRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	m := Machine{Modules: []string{"ip_vs_wrr", "dummy"}, Programs: []string{"ip"}, Files: map[string][]byte{"/etc/motd": []byte("welcome\n")}}
	out := Run(t, m, "cat /etc/motd /proc/net/ip_vs; ip link add d0 type dummy && ip -br link show d0; echo complaint >&2")
	for _, want := range []string{"welcome", "IP Virtual Server version 1.2.1", "d0 ", "complaint"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var seen bytes.Buffer
	began := time.Now()
	r, err := Machine{Folder: "/tmp/result", Counted: true, Watch: &seen}.Run(context.Background(), "sh", "-c",
		"mkdir -p /tmp/result/a; echo good >/tmp/result/a/b; sleep 3600; echo 'it'\"'s\"; exit 7")
	if err != nil || r.Status != 7 || string(r.Output) != "it's\n" || seen.String() != "it's\n" {
		t.Fatalf("status %d, error %v, output %q, watched %q; console %s", r.Status, err, r.Output, seen.String(), r.Console)
	}
	t.Logf("an hour took %v", time.Since(began))
	dir := t.TempDir()
	if err := r.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "a/b")); err != nil || string(text) != "good\n" {
		t.Errorf("%q %v", text, err)
	}
}

// TestUnpackStays refuses names that lead out of the directory.
func TestUnpackStays(t *testing.T) {
	for _, name := range []string{"../out", "/out", "a/../../out"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600}), w.Close()); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := (Result{Folder: b.Bytes()}).Unpack(dir); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
}

// TestWatchEnds passes everything on but the exit status, however it is cut.
func TestWatchEnds(t *testing.T) {
	text := "one\n\ntwo\n" + statusMark + "0\n"
	for size := 1; size <= len(text); size++ {
		var got bytes.Buffer
		w := &watch{to: &got}
		for part := range slices.Chunk([]byte(text), size) {
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != "one\n\ntwo\n" {
			t.Errorf("in pieces of %d: %q", size, got.String())
		}
	}
}

// TestMachineInside runs in a kernel that is not this one.
func TestMachineInside(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if !Inside(t, Machine{}) {
		return
	}
	version, err := os.ReadFile("/proc/version")
	if err != nil || !strings.Contains(string(version), "Debian") || os.Getpid() == 1 {
		t.Errorf("%s %v", version, err)
	}
	t.Logf("%s", version)
}

// TestModuleOrder has every module after those that it needs, once.
func TestModuleOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a kernel package")
	}
	k, err := cachedKernel(context.Background())
	if err != nil {
		t.Skip(err)
	}
	list, err := k.inOrder([]string{"ip_vs_rr", "fou", "ip_vs_rr"})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) int { return slices.Index(list, k.modules[name]) }
	if at("libcrc32c") < 0 || at("ip_vs") < at("nf_conntrack") || at("ip_vs_rr") < at("ip_vs") || at("udp_tunnel") > at("fou") {
		t.Error(list)
	}
	if _, err := k.inOrder([]string{"no_such"}); err == nil {
		t.Error("a module that is not there")
	}
}
