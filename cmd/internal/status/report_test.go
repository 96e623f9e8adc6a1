package status

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

func exampleReport() *Report {
	r := &Report{Version: "v1", Running: 100000, Connections: 5433, Verdicts: map[string]uint64{"forward": 7}, Timeouts: Timeout{900, 120, 300}}
	services := append(example[:2:2], forward.ServiceStatus{
		Service: forward.Service{Key: key(proto.ProtocolTCP, "192.0.2.10:25"), Scheduler: "rr"}, Local: true, Wish: forward.Drain,
		Servers: []forward.ServerStatus{
			{Server: forward.Server{Addr: address("198.51.100.41:25"), Weight: 1}, Present: true, Steering: forward.Drain, Active: 1},
			{Server: forward.Server{Addr: address("198.51.100.42:25"), Weight: 1}, Present: true, Wish: forward.Fail, Steering: forward.Fail},
			{Server: forward.Server{Addr: address("198.51.100.49:25"), Weight: 1}, Present: true, Steering: forward.Drain},
		},
	})
	services[0].Local = true
	r.Refused = []config.Refusal{
		{Of: "vrrp_script lost", Script: "/opt/lost -x", At: "a.conf:3:5", Reason: "not found: /opt/lost: no such file or directory"},
		{Of: "notify_master of vrrp_instance VI_1", Script: "/opt/say", At: "a.conf:9:5", Reason: "unsafe permissions: /opt: writable by others"},
	}
	tcp := &config.Check{Block: config.Block{Pos: config.Pos{File: "a.conf", Line: 30, Column: 9}}, Kind: "TCP_CHECK", Connect: address("198.51.100.11:80")}
	web := &config.Check{Kind: "HTTP_GET", Connect: address("198.51.100.12:8080"), URLs: []*config.URL{{Path: "/a"}, {Path: "/b"}}}
	misc := &config.Check{Kind: "MISC_CHECK", MiscPath: &config.Command{Args: []string{"/opt/load", "12"}}}
	file := &config.Check{Kind: "FILE_CHECK", TrackFile: "weights"}
	ping := &config.Check{Kind: "PING_CHECK", Connect: address("198.51.100.14:80")}
	at := func(ms int) time.Duration { return 90*time.Second - time.Duration(ms)*time.Millisecond }
	r.AddBFD(90*time.Second, []node.BFDView{
		{Name: "uplink", From: netip.MustParseAddr("192.0.2.1"), Neighbor: netip.MustParseAddr("192.0.2.254"), State: proto.BFDUp, Remote: proto.BFDUp, Own: 0x8cad512d, Theirs: 7,
			Interval: 50 * time.Millisecond, Detection: 150 * time.Millisecond, Since: 5 * time.Second, Cause: "neighbour signals Init", BFDCounts: node.BFDCounts{Sent: 1700, Received: 1702}},
		{Name: "far", Neighbor: netip.MustParseAddr("2001:db8::9"), State: proto.BFDDown, Remote: proto.BFDDown, Diag: proto.BFDTimeExpired, Own: 0x8cad512e,
			Interval: time.Second, Since: 80 * time.Second, Cause: "control detection time expired (12.5ms)", BFDCounts: node.BFDCounts{Sent: 10, Received: 3, Refused: 4}},
	})
	r.Add(90*time.Second, []node.InstanceView{
		{Name: "VI_1", Interface: "eth0", VRID: 51, State: "MASTER", Priority: 150, Since: 5 * time.Second, Cause: "master down timer expired (3.4s)", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}},
		{Name: "VI_INNER", Interface: "eth1", VRID: 5, State: "FAULT", Priority: 99, Since: 89 * time.Second, Cause: "link down"},
	}, []node.ScriptView{
		{Name: "chk", Known: true, Last: node.Tried{At: at(1500), Took: 2345678 * time.Nanosecond, Reason: "exited with status 3"}},
		{Name: "new"},
	}, []node.ServiceView{
		{Key: example[0].Key, Quorum: true, Weight: 4, Lost: 2, Gain: 4, Servers: []node.ServerView{
			{Addr: address("198.51.100.11:80"), Weight: 3, Effective: 3, Up: true, Checks: []node.CheckView{
				{Check: tcp, Up: true, Known: true, Shared: 1, Next: 91 * time.Second, Last: node.Tried{At: at(2000), Took: 314 * time.Microsecond, OK: true}},
				{Check: web, Up: true, Known: true, Failures: 1, Left: 2, Last: node.Tried{At: at(4000), Took: 5 * time.Second, URL: 1, Reason: "no answer in 5s"}},
			}},
			{Addr: address("198.51.100.12:80"), Weight: 1, Up: true, Checks: []node.CheckView{
				{Check: misc, Up: true, Known: true, Adjust: -1, Last: node.Tried{At: at(100), Took: time.Second, Exit: 2, Reason: "exited with status 2"}},
				{Check: file, Up: true, Known: true},
			}},
			{Addr: address("198.51.100.13:80"), Weight: 1, Effective: 1, Checks: []node.CheckView{
				{Check: misc, Known: true, Last: node.Tried{At: at(61000), Took: time.Second, Exit: 1, Reason: "exited with status 1"}},
				{Check: file, Known: true, Last: node.Tried{At: at(7000), Reason: "track_file weights says 7"}},
			}},
			{Addr: address("198.51.100.14:80"), Weight: 5, Effective: 5, Checks: []node.CheckView{
				{Check: ping, Suspended: true, Next: 100 * time.Second},
				{Check: tcp, Last: node.Tried{At: at(10), Took: 90 * time.Microsecond, Local: true, Reason: "check not made: bind: cannot assign requested address"}},
			}},
		}},
		{Key: example[1].Key, Quorum: true, Weight: 1, Lost: 1, Gain: 1, Servers: []node.ServerView{{Addr: address("198.51.100.21:53"), Weight: 1, Up: true}}},
		{Key: services[2].Key, Lost: 1, Gain: 3, SorryServer: address("198.51.100.49:25"), Sorry: true, Servers: []node.ServerView{
			{Addr: address("198.51.100.41:25"), Weight: 1, Up: true}, {Addr: address("198.51.100.42:25"), Weight: 1, Up: true},
		}},
	}, services)
	return r
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, string(want))
}

func TestOverview(t *testing.T) { golden(t, "overview.txt", exampleReport().String()) }

func TestJSON(t *testing.T) {
	text, err := json.MarshalIndent(exampleReport(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", string(text)+"\n")
	var b []byte
	for i := range exampleConns {
		b = AppendJSON(b, 0, &exampleConns[i])
	}
	golden(t, "conns.json", string(b))
}

func TestExplainInWords(t *testing.T) {
	view := &node.ServiceView{Servers: []node.ServerView{
		{Addr: address("198.51.100.11:80"), Up: true}, {Addr: address("198.51.100.12:80"), Up: true}, {Addr: address("198.51.100.13:80"), Weight: 1}, {Addr: address("198.51.100.14:80"), Weight: 4},
	}}
	flow := forward.Flow{Protocol: proto.ProtocolTCP, Client: address("203.0.113.9:51822"), Virtual: address("192.0.2.10:80")}
	conn := exampleConns[0]
	conn.Began, conn.By, conn.Packets, conn.Expires = 30*time.Second, "wlc", 12, 990*time.Second
	template := exampleConns[2]
	template.Began, template.By, template.Expires = 20*time.Second, "rr", 400*time.Second
	service := &example[0]
	var b strings.Builder
	for _, e := range []forward.Explanation{
		{Flow: flow, Conn: &conn, Service: service, Verdict: forward.Forward, Server: conn.Server},
		{Flow: flow, Conn: &conn, Template: &template, Service: service, Verdict: forward.Forward, Server: conn.Server},
		{Flow: flow, Conn: &conn, Service: service, Verdict: forward.ServerGone, Server: address("198.51.100.13:80")},
		{Flow: flow, Service: service, Verdict: forward.Forward, Server: conn.Server},
		{Flow: flow, Template: &template, Service: service, Verdict: forward.Deliver, Server: conn.Server},
		{Flow: flow, Service: service, Verdict: forward.Forward, Server: conn.Server, Fails: true},
		{Flow: flow, Service: service, Verdict: forward.NoDestination},
		{Flow: flow, Service: service, Verdict: forward.NotLocal},
		{Flow: flow, Service: service, Verdict: forward.TableFull},
		{Flow: flow, Service: service, Verdict: forward.NoConn},
		{Flow: flow},
	} {
		b.WriteString(Explain(&e, view, 90*time.Second) + "\n")
	}
	golden(t, "explain.txt", b.String())
}

// TestServiceOfSeveral: what the first of two virtual servers says, and the servers of both.
func TestServiceOfSeveral(t *testing.T) {
	k := key(proto.ProtocolTCP, "192.0.2.10:80")
	a, b, c := address("198.51.100.11:80"), address("198.51.100.12:80"), address("198.51.100.13:80")
	present := func(at netip.AddrPort) forward.ServerStatus {
		return forward.ServerStatus{Server: forward.Server{Addr: at, Weight: 1}, Present: true}
	}
	var r Report
	r.Add(0, nil, nil, []node.ServiceView{
		{Key: k, Kernel: true, Quorum: true, Servers: []node.ServerView{{Addr: a}, {Addr: b}}},
		{Key: k, Kernel: true, Servers: []node.ServerView{{Addr: b, Up: true}, {Addr: c, Up: true}}},
	}, []forward.ServiceStatus{{Service: forward.Service{Key: k}, Servers: []forward.ServerStatus{present(b), present(c)}}})
	var got []string
	for _, s := range r.Services[0].Servers {
		got = append(got, fmt.Sprintf("%v %v", s.Address, s.Up))
	}
	want := []string{"198.51.100.11:80 false", "198.51.100.12:80 true", "198.51.100.13:80 true"}
	if len(r.Services) != 1 || !r.Services[0].Quorum || !slices.Equal(got, want) {
		t.Errorf("quorum %v, %q", r.Services[0].Quorum, got)
	}
}

func TestSpan(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0s", 0.9: "0s", 59.99: "59s", 61: "1m1s", 3600: "1h0m", 86399: "23h59m", 86400: "1d0h", 100000: "1d3h"} {
		if got := Span(seconds); got != want {
			t.Errorf("%v: %s, want %s", seconds, got, want)
		}
	}
}

// TestWhyTheWeightIsZero names what takes a server's weight away.
func TestWhyTheWeightIsZero(t *testing.T) {
	misc := node.CheckView{Check: &config.Check{Kind: "MISC_CHECK"}, Adjust: -3}
	file := node.CheckView{Check: &config.Check{Kind: "FILE_CHECK"}, Adjust: -4}
	for _, tt := range []struct {
		server  Server
		service node.ServiceView
		view    node.ServerView
		want    string
	}{
		{Server{Listed: true, Weight: 3}, node.ServiceView{}, node.ServerView{Up: true, Weight: 3, Effective: 3}, ""},
		{Server{Listed: true, Reason: "weight 0"}, node.ServiceView{}, node.ServerView{Up: true}, "weight 0 in the file"},
		{Server{Listed: true, Reason: "weight 0"}, node.ServiceView{}, node.ServerView{Up: true, Weight: 3, Checks: []node.CheckView{misc, file, misc}}, "weight 0 by MISC_CHECK and FILE_CHECK"},
		{Server{Listed: true, Reason: "weight 0"}, node.ServiceView{}, node.ServerView{Weight: 3, Effective: 3, Inhibit: true}, "down, weight 0 by inhibit_on_failure"},
		{Server{}, node.ServiceView{}, node.ServerView{Weight: 3, Effective: 3, Inhibit: true}, "down"},
		{Server{Steering: "serve"}, node.ServiceView{Sorry: true}, node.ServerView{Up: true, Weight: 3, Effective: 3}, "the sorry server stands in"},
		{Server{Steering: "serve", Listed: true, Reason: "weight 0"}, node.ServiceView{Sorry: true}, node.ServerView{Up: true, Weight: 3, Effective: 3, Inhibit: true}, "the sorry server stands in"},
		{Server{Steering: "serve", Listed: true, Weight: 3}, node.ServiceView{Sorry: true}, node.ServerView{Up: true, Weight: 3, Effective: 3}, ""}, // is the sorry server, too
		{Server{Steering: "drain", Listed: true, Reason: "drained, by an operator"}, node.ServiceView{Sorry: true}, node.ServerView{Up: true, Weight: 3, Effective: 3}, "drained, by an operator"},
	} {
		if got := reasonOf(&tt.server, &tt.service, &tt.view); got != tt.want {
			t.Errorf("%+v of %+v: %q, want %q", tt.view, tt.service, got, tt.want)
		}
	}
}
