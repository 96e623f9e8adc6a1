package status

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	r.AddBFD(90*time.Second, []node.BFDView{
		{Name: "uplink", From: netip.MustParseAddr("192.0.2.1"), Neighbor: netip.MustParseAddr("192.0.2.254"), State: proto.BFDUp, Remote: proto.BFDUp, Own: 0x8cad512d, Theirs: 7,
			Interval: 50 * time.Millisecond, Detection: 150 * time.Millisecond, Since: 5 * time.Second, Cause: "neighbour signals Init", BFDCounts: node.BFDCounts{Sent: 1700, Received: 1702}},
		{Name: "far", Neighbor: netip.MustParseAddr("2001:db8::9"), State: proto.BFDDown, Remote: proto.BFDDown, Diag: proto.BFDTimeExpired, Own: 0x8cad512e,
			Interval: time.Second, Since: 80 * time.Second, Cause: "control detection time expired (12.5ms)", BFDCounts: node.BFDCounts{Sent: 10, Received: 3, Refused: 4}},
	})
	r.Add(90*time.Second, []node.InstanceView{
		{Name: "VI_1", Interface: "eth0", VRID: 51, State: "MASTER", Priority: 150, Since: 5 * time.Second, Cause: "master down timer expired (3.4s)", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}},
		{Name: "VI_INNER", Interface: "eth1", VRID: 5, State: "FAULT", Priority: 99, Since: 89 * time.Second, Cause: "link down"},
	}, []node.ServiceView{
		{Key: example[0].Key, Quorum: true, Servers: []node.ServerView{
			{Addr: address("198.51.100.11:80"), Weight: 3, Up: true}, {Addr: address("198.51.100.12:80"), Up: true}, {Addr: address("198.51.100.13:80"), Weight: 1},
			{Addr: address("198.51.100.14:80"), Weight: 5},
		}},
		{Key: example[1].Key, Quorum: true, Servers: []node.ServerView{{Addr: address("198.51.100.21:53"), Weight: 1, Up: true}}},
		{Key: services[2].Key, SorryServer: address("198.51.100.49:25"), Sorry: true, Servers: []node.ServerView{
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

func TestSpan(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0s", 0.9: "0s", 59.99: "59s", 61: "1m1s", 3600: "1h0m", 86399: "23h59m", 86400: "1d0h", 100000: "1d3h"} {
		if got := Span(seconds); got != want {
			t.Errorf("%v: %s, want %s", seconds, got, want)
		}
	}
}
