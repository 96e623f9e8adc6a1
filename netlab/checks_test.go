package netlab

import (
	"encoding/hex"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// onTheWire are what captures of scenarios must show beside what the scenarios say.
var onTheWire = map[string]func(t *testing.T, capture string){
	"checks-tries": tried, "checks-web": requested, "nat-router": errorsOnce, "reload-keeps": kept,
}

// field lists a field of the packets that a filter lets pass.
func field(t *testing.T, capture, name, filter string) []string {
	t.Helper()
	out, err := exec.Command("tshark", "-r", capture, "-Y", filter, "-T", "fields", "-e", name).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return strings.Fields(string(out))
}

// times lists when, in seconds.
func times(t *testing.T, capture, filter string) (list []float64) {
	t.Helper()
	for _, s := range field(t, capture, "frame.time_relative", filter) {
		at, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, at)
	}
	return list
}

// late is what a time on the wire may be longer than in the file: processes are waited for.
const late = 0.9

// apart tells whether the second time comes this long after the first.
func apart(a, b, want float64) bool { return b-a > want-0.1 && b-a < want+late }

// tried holds the times of tries: the first one second after the start, which shows by the
// question for the server's MAC; delay_loop 3 apart, and 1 after a failure that is tried
// again (acceptance cases 1, 3 and 4).
func tried(t *testing.T, capture string) {
	t.Helper()
	const syn = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.dstport == "
	start := times(t, capture, "arp.opcode == 1 && arp.dst.proto_ipv4 == 10.0.0.21")[0]
	for _, port := range []string{"80", "81", "82"} {
		if first := times(t, capture, syn+port)[0]; !apart(start, first, 1) {
			t.Errorf("port %s: the first try %.3fs after the start", port, first-start)
		}
	}
	tries := times(t, capture, syn+"80")
	refused := times(t, capture, "tcp.flags.reset == 1 && tcp.srcport == 80")
	place := func(i int) int { // of the try that refused[i] answers
		return slices.IndexFunc(tries, func(at float64) bool { return at > refused[i] }) - 1
	}
	if len(refused) < 4 {
		t.Fatalf("refused at %v", refused)
	}
	// The first is a single one, after which a success counts anew; the next three decide.
	one, first := place(0), place(1)
	if one < 1 || first < one+2 || place(2) != first+1 || !apart(tries[one], tries[one+1], 1) || !apart(tries[one-1], tries[one], 3) {
		t.Errorf("tries at %.3f, refused at %.3f", tries, refused)
	}
	if !apart(refused[1], refused[2], 1) || !apart(refused[2], refused[3], 1) || !apart(tries[first-1], tries[first], 3) {
		t.Errorf("the tries that decide at %.3f", refused[1:4])
	}
	if len(refused) > 4 && !apart(refused[3], refused[4], 3) {
		t.Errorf("tried again %.3fs after the server was down", refused[4]-refused[3])
	}
	good := times(t, capture, "http.response.code == 200")
	lost := times(t, capture, "tcp.flags.reset == 1 && tcp.srcport == 82")
	after := slices.DeleteFunc(good, func(at float64) bool { return at < lost[len(lost)-1] })
	if len(after) != 2 || !apart(after[0], after[1], 3) {
		t.Errorf("good answers of the web server after its failure at %.3f, want two", after)
	}
}

// requested holds a request byte for byte (acceptance case 6).
func requested(t *testing.T, capture string) {
	t.Helper()
	for _, request := range []string{
		"GET /headers HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.0.21:80\r\n\r\n",
		"GET /headers HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: 10.0.0.21:80\r\n\r\n",
		"GET /headers HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: url.example\r\n\r\n",
	} {
		if !slices.Contains(field(t, capture, "tcp.payload", "http.request"), hex.EncodeToString([]byte(request))) {
			t.Errorf("nobody asked %q", request)
		}
	}
}

// kept holds what a reload leaves alone and what it does not: the instance that stays says
// priority 0 at the stop alone, those that go say it before, and the addresses that the
// instance has then are announced (acceptance cases 23 and 24).
func kept(t *testing.T, capture string) {
	t.Helper()
	bye := func(vrid string) []float64 {
		return times(t, capture, "vrrp.prio == 0 && vrrp.virt_rtr_id == "+vrid)
	}
	last := times(t, capture, "vrrp.prio == 150 && vrrp.virt_rtr_id == 51")
	one, two, three := bye("51"), bye("52"), bye("53")
	if len(one) != 1 || len(two) != 1 || len(three) != 1 {
		t.Fatalf("priority 0 at %v, %v, %v: want one each", one, two, three)
	}
	if one[0] < last[len(last)-1] || two[0] > one[0]-3 || three[0] > one[0]-3 {
		t.Errorf("priority 0 of the one that stays at %v, of the others at %v and %v", one[0], two[0], three[0])
	}
	for _, a := range []string{"10.0.0.100", "10.0.0.102"} {
		all := times(t, capture, "arp.isgratuitous && arp.src.proto_ipv4 == "+a)
		if !slices.ContainsFunc(all, func(at float64) bool { return at > two[0] }) {
			t.Errorf("%s is announced at %v, and not after the reload at %v", a, all, two[0])
		}
	}
}
