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
// addresses in the same order, none before its turn.
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
				continue
			}
			for burst := range slices.Chunk(got.times, len(tt.want)) {
				if i := ahead(burst, tt.gap); i > 0 {
					t.Errorf("%s announced %v %v after the first of a burst, the interval is %v", node, tt.want[i], burst[i]-burst[0], tt.gap)
				}
			}
		}
	}
}

// ahead is the first of a burst that left before its turn, 0 if none did. Turns are counted
// from the first, since who waits for the processor between clock and wire is late with one
// and in time with the next; half an interval is for the first itself.
func ahead(burst []time.Duration, interval time.Duration) int {
	for i, at := range burst {
		if at-burst[0] < time.Duration(i)*interval-interval/2 {
			return i
		}
	}
	return 0
}

// What is late may shorten the time to the next one, what leaves too soon is found.
func TestAhead(t *testing.T) {
	for _, tt := range []struct {
		burst []time.Duration
		want  int
	}{
		{[]time.Duration{7, 107, 207, 307}, 0},
		{[]time.Duration{0, 190, 200, 300, 900, 901}, 0}, // two were late
		{[]time.Duration{40, 100, 200}, 0},               // the first was
		{[]time.Duration{0, 100, 100, 200}, 2},
		{[]time.Duration{0, 100, 200, 210}, 3},
		{[]time.Duration{0, 0}, 1},
	} {
		if got := ahead(tt.burst, 100); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.burst, got, tt.want)
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
