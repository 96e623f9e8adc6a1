package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stacked starts a director ($@) in a namespace and shows what its kernel has as BACKUP and as
// MASTER; then what is left after the stop.
const stacked = `
show() {
	ip -d -o link show type macvlan; ip -o addr show type macvlan
	(cd /proc/sys/net/ipv4/conf; grep . */arp_* */rp_filter */accept_local */promote_secondaries)
	for f in /proc/sys/net/ipv6/conf/vrrp*; do (cd $f; grep . disable_ipv6 addr_gen_mode autoconf forwarding); done
}
ip link add eth0 type veth peer name peer0
ip link set eth0 up; ip link set peer0 up; ip link set lo up
ip addr add 10.0.0.11/24 dev eth0
while ! ip -6 addr show dev eth0 | grep -q "fe80.*link $"; do sleep 0.1; done
"$@" >$LOG 2>&1 &
wait_for() { for i in $(seq 100); do eval "$1" && return; sleep 0.1; done; echo "never: $1"; }
wait_for "ip link show vrrp6.51 2>/dev/null | grep -q UP"
sleep 0.5
show; echo ----
wait_for "ip addr | grep -q 10.0.0.101 && ip addr | grep -q 2001:db8::101"
sleep 0.2
show; echo ----
`

const stoppedAfter = `kill -TERM $!; wait $!; show 2>/dev/null; true`

const stackedConf = `
vrrp_instance V4 {
    version 3
    interface eth0
    virtual_router_id 51
    priority 200
    use_vmac
    virtual_ipaddress {
        10.0.0.100/24
        10.0.0.101
    }
}
vrrp_instance V6 {
    version 3
    interface eth0
    virtual_router_id 51
    priority 200
    use_vmac
    virtual_ipaddress {
        fe80::100
        2001:db8::100/64
        2001:db8::101
    }
}
`

// ownWays is what differs by intention: the alias by which ours are known, who added an
// address, the link-local address of the interface below, which ours does not put on the
// macvlan, and arp_announce (RFC 9568 §8.1.2). Interface numbers differ anyway.
var ownWays = regexp.MustCompile(`(?m)^.*\bfe80::[0-9a-f:]*ff:fe.*\n|^eth0/arp_announce.*\n| *\\\s+alias [^\\\n]*|^\d+: |\bproto (keepalived|0x52)\b| *$`)

func unshared(t *testing.T, script, name string, args ...string) []string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-n", "-m", "bash", "-c", script, name}, args...)...)
	cmd.Env = append(os.Environ(), "LOG="+filepath.Join(dir, name))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return strings.Split(string(out), "----\n")
}

// binaryAndFile finds the program, as testscript made it, and writes the configuration.
func binaryAndFile(t *testing.T, conf string) (binary, file string) {
	t.Helper()
	binary, err := exec.LookPath("ringkeep")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "node.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return binary, file
}

// TestMacvlansAsKeepalivedMakesThem has both programs run one file, and compares what their
// kernels have: as BACKUP, as MASTER, and after the end.
func TestMacvlansAsKeepalivedMakesThem(t *testing.T) {
	keepalivedOrSkip(t)
	t.Parallel()
	binary, file := binaryAndFile(t, stackedConf)
	pids := filepath.Join(t.TempDir(), "pid")
	ours := unshared(t, stacked+stoppedAfter, "ringkeep", binary, "run", "-f", file)
	theirs := unshared(t, stacked+stoppedAfter, "keepalived", "keepalived", "-n", "-l", "-f", file, "-p", pids, "-r", pids+"v")
	for i, when := range []string{"BACKUP", "MASTER", "after the stop"} {
		a, b := ownWays.ReplaceAllString(ours[i], ""), ownWays.ReplaceAllString(theirs[i], "")
		if when == "after the stop" { // keepalived 2.2.7 leaves two switches of the interface below
			a, b = strings.ReplaceAll(a, "eth0/arp_ignore:0", ""), strings.ReplaceAll(b, "eth0/arp_ignore:1", "")
			a, b = strings.ReplaceAll(a, "eth0/arp_filter:0", ""), strings.ReplaceAll(b, "eth0/arp_filter:1", "")
		}
		if a != b {
			t.Errorf("%s: ringkeep\n%s\nkeepalived\n%s", when, a, b)
		}
		if when == "MASTER" && (!strings.Contains(a, "vrrp.51") || !strings.Contains(a, "2001:db8::101/128")) {
			t.Errorf("no MASTER: %s", a)
		}
	}
}

// mended removes the macvlan of a MASTER and sets it down, and waits for it with its address.
const mended = stacked + `
n=$(cat /sys/class/net/vrrp.51/ifindex)
ip link del vrrp.51
wait_for 'ip addr show vrrp.51 2>/dev/null | grep -q 10.0.0.100/24'
[ $n != $(cat /sys/class/net/vrrp.51/ifindex) ] || echo "still the old one"
ip link set vrrp6.51 down
wait_for 'ip addr show vrrp6.51 | grep -q 2001:db8::101'
ip -d -o link show type macvlan
kill -TERM $!; wait $!; ip -o link show type macvlan; grep -E "put back|level=ERROR" $LOG
`

// A macvlan that another program removes or sets down is put back with its addresses, and the
// log says so.
func TestMacvlanIsPutBack(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	binary, file := binaryAndFile(t, stackedConf)
	got := unshared(t, mended, "ringkeep", binary, "run", "-f", file)[2]
	for _, want := range []string{
		"link/ether 00:00:5e:00:01:33", "link/ether 00:00:5e:00:02:33",
		`msg="interface with the virtual MAC removed by another program, put back" instance=V4 iface=vrrp.51`,
		`msg="interface with the virtual MAC set down by another program, put back" instance=V6 iface=vrrp6.51`,
		`msg="virtual address removed by another program, put back" instance=V4 vip=10.0.0.100`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(got, "never:") || strings.Contains(got, "still the old one") || strings.Contains(got, "level=ERROR") || t.Failed() {
		t.Errorf("got\n%s", got)
	}
}
