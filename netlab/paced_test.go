package netlab

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// said is what one node announced: the addresses in their order, and the times.
type said struct {
	addrs []string
	times []time.Duration
}

// pacedAlike compares what keepalived and ringkeep have announced with one file: the same
// addresses in the same order, never less than the interval apart.
func pacedAlike(t *testing.T, capture string) {
	t.Helper()
	for _, tt := range []struct {
		filter, field string
		gap           time.Duration
		want          []string // of a burst
	}{
		{"arp.isgratuitous", "arp.dst.proto_ipv4", 100 * time.Millisecond,
			[]string{"10.0.0.101", "10.0.0.101", "10.0.0.102", "10.0.0.103", "10.1.0.201", "10.1.0.202"}},
		{"icmpv6.type == 136 && icmpv6.nd.na.flag.s == 0", "icmpv6.nd.na.target_address", 80 * time.Millisecond,
			[]string{"fe80::100", "fe80::100", "2001:db8::100"}},
	} {
		both := slices.Concat(tt.want, tt.want) // the second burst 2 s later
		for _, node := range []string{"k", "r"} {
			got := announcements(t, capture, tt.filter, tt.field, node)
			if !slices.Equal(got.addrs, both) {
				t.Errorf("%s announced %v, not %v", node, got.addrs, both)
			}
			for i := 1; i < len(got.times); i++ {
				// keepalived's own timers are a millisecond or two early now and then.
				if gap := got.times[i] - got.times[i-1]; gap < tt.gap-3*time.Millisecond || gap > tt.gap+time.Second && i != len(tt.want) {
					t.Errorf("%s announced %s %v after %s, the interval is %v", node, got.addrs[i], gap, got.addrs[i-1], tt.gap)
				}
			}
		}
	}
}

// announcements reads from a capture what a node announced, on all its ports.
func announcements(t *testing.T, capture, filter, field, node string) said {
	t.Helper()
	out, err := exec.Command("tshark", "-r", capture, "-Y", filter, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.time_epoch", "-e", field).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var s said
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 || !strings.HasPrefix(f[0], node) {
			continue
		}
		at, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		s.addrs, s.times = append(s.addrs, f[2]), append(s.times, time.Duration(at*1e9))
	}
	return s
}
