package vm

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
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
	r, err := Machine{}.Run(context.Background(), "sh", "-c", "echo 'it'\"'s\"; exit 7")
	if err != nil || r.Status != 7 || string(r.Output) != "it's\n" {
		t.Errorf("status %d, error %v, output %q; console %s", r.Status, err, r.Output, r.Console)
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
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
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
