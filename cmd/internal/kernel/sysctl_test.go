package kernel

import (
	"os"
	"strings"
	"testing"
)

func TestPromoteSecondaries(t *testing.T) {
	namespace(t)
	link(t, "d0")
	read := func() string {
		out, err := os.ReadFile(sysctls + "/d0/promote_secondaries")
		must(t, err)
		return strings.TrimSpace(string(out))
	}
	must(t, os.WriteFile(sysctls+"/d0/promote_secondaries", []byte("0"), 0o644))
	k := open(t)
	must(t, k.PromoteSecondaries("d0"))
	if got := read(); got != "1" {
		t.Errorf("while it runs: %s", got)
	}
	must(t, k.Close())
	if got := read(); got != "0" {
		t.Errorf("after the end: %s", got)
	}
	if err := open(t).PromoteSecondaries("nosuch0"); err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("no interface: %v", err)
	}
}
