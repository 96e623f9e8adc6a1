package kernel

import (
	"fmt"
	"net/netip"
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
		must(t, k.JoinGroup(fmt.Sprintf("d%d", i), vrrpGroup6()))
		must(t, k.JoinGroup(fmt.Sprintf("d%d", i), vrrpGroup6()))
	}
	if n := memberships6(t); n != 25 {
		t.Errorf("%d interfaces are members, want 25", n)
	}
	if err := k.JoinGroup("nosuch0", vrrpGroup6()); err == nil || err.Error() != "join ff02::12: interface nosuch0: does not exist" {
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

// Another group is joined beside the standard one, and reported by the kernel too.
func TestJoinOtherGroups(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	must(t, k.JoinGroup("d0", vrrpGroup()))
	must(t, k.JoinGroup("d0", vrrpGroup6()))
	for _, group := range []string{"224.0.0.99", "ff02::99", "ff02::99"} {
		must(t, k.JoinGroup("d0", netip.MustParseAddr(group)))
	}
	four, err := os.ReadFile("/proc/thread-self/net/igmp")
	must(t, err)
	six, err := os.ReadFile("/proc/thread-self/net/igmp6")
	must(t, err)
	for _, want := range []string{"120000E0", "630000E0"} { // the addresses as the kernel holds them
		if !strings.Contains(string(four), want) {
			t.Errorf("no %s in\n%s", want, four)
		}
	}
	if memberships6(t) != 1 || strings.Count(string(six), "ff020000000000000000000000000099") != 1 {
		t.Errorf("got\n%s", six)
	}
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
