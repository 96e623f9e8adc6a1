package kernel

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The kernel's own list of ff02::12, while it is joined; one socket takes all.
func TestJoinIsAMembership6(t *testing.T) {
	namespace(t)
	for i := range 25 {
		link(t, fmt.Sprintf("d%d", i))
	}
	k := open(t)
	for i := range 25 {
		must(t, k.JoinVRRP6(fmt.Sprintf("d%d", i)))
		must(t, k.JoinVRRP6(fmt.Sprintf("d%d", i)))
	}
	if n := memberships6(t); n != 25 {
		t.Errorf("%d interfaces are members, want 25", n)
	}
	if err := k.JoinVRRP6("nosuch0"); err == nil || err.Error() != "join ff02::12: interface nosuch0: does not exist" {
		t.Errorf("got %v", err)
	}
	must(t, k.Close())
	if n := memberships6(t); n != 0 {
		t.Errorf("%d interfaces are members after Close", n)
	}
}

func memberships6(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	must(t, err)
	return strings.Count(string(b), "ff020000000000000000000000000012")
}

// What neighbour advertisements say of a router is the kernel's setting.
func TestLinksTellRouters(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	for value, want := range map[string]bool{"1": true, "0": false} {
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/d0/forwarding", []byte(value), 0o644))
		l, err := k.Link("d0")
		must(t, err)
		if l.Router != want {
			t.Errorf("forwarding %s: router %t", value, l.Router)
		}
	}
}
