package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// moved starts a director ($@) with the file $CONF in a namespace, shows what its kernel has when it
// is MASTER, stops it, and shows what is left.
const moved = `
show() { ip -d -o addr; cat /proc/sys/net/ipv4/conf/*/promote_secondaries; ip -d route show table all; ip -6 -d route show table all; ip -d rule; ip -6 -d rule; }
for i in 0 1; do
	ip link add eth$i type veth peer name peer$i
	echo 0 >/proc/sys/net/ipv6/conf/eth$i/addr_gen_mode; echo 1 >/proc/sys/net/ipv6/conf/eth$i/addr_gen_mode
	ip link set eth$i up; ip link set peer$i up
	ip addr add 10.$i.0.11/24 dev eth$i
done
ip link set lo up
sleep 0.1
"$@" >$LOG 2>&1 &
for i in $(seq 100); do
	ip rule | grep -q ^999: && break
	sleep 0.1
done
sleep 0.5
show; echo ----
kill -TERM $!; wait $!; show; echo ----; cat $LOG
`

// neverEqual is what two namespaces have each in its own way: interface numbers, what the
// kernel makes of its own, who added an address (keepalived's build is older than that), and a
// lifetime of 1000 s.
var neverEqual = regexp.MustCompile(`(?m)^.*\b(fe80|ff00)::.*\n|@\S+|^\d+: |\bproto (keepalived|0x52)\b|\b(1000|99\d)sec\b`)

// TestRoutesAsKeepalivedMakesThem has both programs become MASTER with one file, and
// compares what ip shows of their kernels.
func TestRoutesAsKeepalivedMakesThem(t *testing.T) {
	keepalivedOrSkip(t)
	t.Parallel()
	dir := t.TempDir()
	run := func(name string, args ...string) (there, left, log string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "unshare", append([]string{"-n", "-m", "sh", "-c", moved, name}, args...)...)
		cmd.Env = append(os.Environ(), "LOG="+filepath.Join(dir, name))
		out, err := cmd.CombinedOutput()
		parts := strings.Split(string(out), "----\n")
		if err != nil || len(parts) != 3 {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return neverEqual.ReplaceAllString(parts[0], ""), neverEqual.ReplaceAllString(parts[1], ""), parts[2]
	}
	ringkeep, err := exec.LookPath("ringkeep") // as testscript made it
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		conf string
		has  []string // so that two empty answers are not equal
		gone string
	}{
		{"testdata/routes.conf", []string{"192.0.12.0/24 via 10.0.0.3", "lookup 77"}, "192.0.2.0"},
		{"testdata/addresses.conf", []string{"eth0:vip", "deprecated", "2001:db8::4/128", "10.0.0.112"}, "10.5.0.2"},
	} {
		want, leftBy, theirs := run("keepalived", "keepalived", "-n", "-l", "-P", "-f", tt.conf, "-p", filepath.Join(dir, "k.pid"), "-r", filepath.Join(dir, "v.pid"))
		got, left, log := run("ringkeep", ringkeep, "run", "-f", tt.conf)
		if got != want {
			t.Errorf("%s: while MASTER:\n%s\nringkeep:\n%s\nkeepalived:\n%s", tt.conf, differing(got, want), log, theirs)
		}
		if left != leftBy {
			t.Errorf("%s: after the end:\n%s\nringkeep:\n%s", tt.conf, differing(left, leftBy), log)
		}
		if slices.ContainsFunc(tt.has, func(s string) bool { return !strings.Contains(want, s) }) || strings.Contains(leftBy, tt.gone) {
			t.Errorf("%s: keepalived's tables:\n%s\nleft:\n%s", tt.conf, want, leftBy)
		}
	}
}

// differing lists the lines that only one of two texts has.
func differing(got, want string) string {
	var b strings.Builder
	mine, theirs := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, side := range []struct {
		name     string
		has, not []string
	}{{"ringkeep:   ", mine, theirs}, {"keepalived: ", theirs, mine}} {
		known := map[string]int{}
		for _, line := range side.not {
			known[line]++
		}
		for _, line := range side.has {
			if known[line]--; known[line] < 0 {
				b.WriteString(side.name + line + "\n")
			}
		}
	}
	return b.String()
}
