package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// TestPatternsAreGoodForEveryFlow: the checksums stay right when another flow is put in.
func TestPatternsAreGoodForEveryFlow(t *testing.T) {
	for _, tr := range []Traffic{
		{Protocol: proto.ProtocolUDP, Frame: 64}, {Protocol: proto.ProtocolTCP, Frame: 64}, {Protocol: proto.ProtocolTCP, Frame: 1500},
	} {
		f := ring.Frame{Buf: tr.frame(inMAC, proto.TCPAck)}
		seen := map[string]bool{}
		for _, flow := range []int{0, 1, 1023, 1024, 999_999, ring.MaxFlows - 1} {
			ring.PutFlow(f.Data(), flow)
			ip, err := proto.ParseIPv4(f.Data()[14:])
			if err != nil || !ip.ChecksumOK() || len(f.Data()) != tr.Frame {
				t.Fatalf("%+v flow %d: %v, %d bytes", tr, flow, err, len(f.Data()))
			}
			if tr.Protocol == proto.ProtocolTCP {
				if sum := proto.Sum(0).AddPseudo(ip.Src(), ip.Dst(), 6, len(ip.Payload())).Add(ip.Payload()).Fold(); sum != 0xffff {
					t.Errorf("%+v flow %d: TCP checksum wrong: %#x", tr, flow, sum)
				}
			}
			src, dst, _ := proto.Ports(ip.Payload())
			if dst != servicePort || ip.Dst() != vip {
				t.Errorf("%+v flow %d: to %v:%d", tr, flow, ip.Dst(), dst)
			}
			seen[ip.Src().String()+" "+string(rune(src))] = true
		}
		if len(seen) != 6 {
			t.Errorf("%+v: %d flows of 6", tr, len(seen))
		}
	}
}

// TestSuperFrameIsCutByOthers: its header says how, and its checksum field has the sum of the
// pseudo-header, for every flow that it has.
func TestSuperFrameIsCutByOthers(t *testing.T) {
	f := ring.Frame{Buf: Traffic{Protocol: proto.ProtocolTCP, Frame: Super}.frame(inMAC, proto.TCPAck)}
	ring.PutFlow(f.Data(), superFlows-1)
	if v := f.VNet(); !v.Super() || !v.Partial() || v.GSOSize != segment {
		t.Fatalf("%+v", v)
	}
	f.CompleteChecksum()
	ip, err := proto.ParseIPv4(f.Data()[14:])
	if err != nil || len(ip.Payload()) != 20+superData {
		t.Fatalf("%v, %d bytes", err, len(ip.Payload()))
	}
	if sum := proto.Sum(0).AddPseudo(ip.Src(), ip.Dst(), 6, len(ip.Payload())).Add(ip.Payload()).Fold(); sum != 0xffff {
		t.Errorf("checksum wrong: %#x", sum)
	}
}

// TestMeter: what counts is the time in which the counter grows.
func TestMeter(t *testing.T) {
	var m meter
	at := time.Now()
	for i, n := range []uint64{5, 5, 100, 300, 500, 500, 500} {
		m.read(n, at.Add(time.Duration(i)*time.Second))
	}
	if m.rate() != 200 {
		t.Errorf("%v a second, not 200", m.rate())
	}
	if short := (&meter{}); short.rate() != 0 {
		t.Error("a rate without readings")
	}
}

// sample is a report of two rounds.
func sample() *Report {
	r := newReport(Options{Version: "v1", Command: "ringkeep bench"})
	r.remark("without <something>")
	ours := Case{Kind: Forward, Forwarder: Ringkeep, Method: "DR", Scheduler: "wlc", Frame: 64, Flows: someFlows}
	c := Case{Kind: Forward, Forwarder: CBare, Frame: 64, Flows: someFlows}
	lost := Case{Kind: Forward, Forwarder: Kernel, Frame: 64, Flows: someFlows}
	for _, x := range []Case{ours, c, lost} {
		r.add(x)
	}
	for _, round := range [][2]float64{{2400, 2000}, {3000, 2000}, {2000, 2000}} {
		_ = r.take(io.Discard, ours, 100, Values{CPU: round[0], Packets: 1000}, nil)
		_ = r.take(io.Discard, c, 100, Values{CPU: round[1], Packets: 1000}, nil)
	}
	_ = r.take(io.Discard, lost, 0, nil, errors.New("none & nothing"))
	r.finish()
	return r
}

// TestRatiosAreMediansOfRounds, and goals are judged by them.
func TestRatiosAreMediansOfRounds(t *testing.T) {
	r := sample()
	if got := r.Ratios[0]; got.Beside != CBare || got.Metric != CPU || got.Median != 1.2 || got.Low != 1 || got.High != 1.5 {
		t.Errorf("%+v", got)
	}
	if len(r.Goals) != 1 || !r.Goals[0].Met || r.Goals[0].Got != 1.2 {
		t.Errorf("%+v", r.Goals)
	}
	r.Ratios[0].Median = 1.3
	if g := goals(r); g[0].Met {
		t.Errorf("%+v", g)
	}
}

// line is what benchstat reads: a name without blanks, a count, values with units.
var line = regexp.MustCompile(`^Benchmark[A-Z][^\s]*\t\d+(\t-?[0-9.e+]+ [A-Za-z0-9/-]+)+$`)

// wellFormed looks at all the forms of a report.
func wellFormed(t *testing.T, r *Report, series int) {
	t.Helper()
	dir := t.TempDir()
	page, err := r.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "bench.txt"))
	lines := 0
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "Benchmark") {
			if lines++; !line.MatchString(strings.TrimSuffix(l, "\n")) {
				t.Errorf("not Go's benchmark format: %q", l)
			}
		}
	}
	if lines == 0 || !bytes.HasPrefix(text, []byte("goos: linux\n")) {
		t.Errorf("no results in\n%s", text)
	}
	data, _ := os.ReadFile(filepath.Join(dir, "bench.json"))
	var back Report
	if err := json.Unmarshal(data, &back); err != nil || len(back.Series) != series {
		t.Errorf("JSON: %v, %d series of %d", err, len(back.Series), series)
	}
	html, _ := os.ReadFile(page)
	for d := xml.NewDecoder(bytes.NewReader(html)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("page: %v", err)
		}
	}
	if n := bytes.Count(html, []byte("<svg ")); n == 0 || bytes.Contains(html, []byte("ZgotmplZ")) || bytes.Contains(html, []byte("NaN")) {
		t.Errorf("page with %d plots", n)
	}
	if regexp.MustCompile(`(src|href)="|url\(`).Match(html) {
		t.Error("the page loads something")
	}
	var b bytes.Buffer
	if err := r.Text(&b); err != nil || b.Len() == 0 {
		t.Errorf("text: %v", err)
	}
}

func TestReportIsWellFormed(t *testing.T) {
	r := sample()
	wellFormed(t, r, 3)
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2400 cpu-ns/packet", "(2000 to 3000)", "1.20 of c-bare", "not measured: none & nothing", "✓ CPU per packet", "without <something>"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestPlanComparesLikeWithLike: every case of the daemon stands beside others, but for what
// only it does; names tell cases apart.
func TestPlanComparesLikeWithLike(t *testing.T) {
	r := &Report{}
	seen := map[string]bool{}
	for _, c := range plan(Options{Methods: []string{"DR", "NAT", "TUN"}}) {
		if seen[c.Name()] {
			t.Errorf("%s twice", c.Name())
		}
		seen[c.Name()] = true
		r.add(c)
	}
	for _, g := range r.groups() {
		kinds := map[string]bool{}
		for _, s := range g {
			kinds[s.Forwarder] = true
		}
		alone := g[0].Kind == Rest
		if !kinds[Ringkeep] || len(kinds) > 1 == alone {
			t.Errorf("%s%s: %v", g[0].Kind, g[0].group(), kinds)
		}
	}
	for _, want := range []string{
		"Forward/forwarder=ringkeep/method=NAT/scheduler=wlc/frame=64/flows=10000", "Forward/forwarder=go-bare/frame=64/flows=1000000",
		"NewConnections/forwarder=ringkeep/method=DR/scheduler=mh", "PingPong/forwarder=c-bare/answers=through",
	} {
		if !seen[want] {
			t.Errorf("no %s", want)
		}
	}
}

// TestSmoke runs the daemon itself for a moment, in most of the ways in which it is measured.
func TestSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it needs root and the daemon")
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("skipped: network namespaces and XDP need root")
	}
	binary := filepath.Join(t.TempDir(), "ringkeep")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/ringkeep").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	r, err := Run(t.Context(), Options{
		Binary: binary, Methods: []string{"DR"}, Rounds: 1, Quick: true, Version: "test", Command: "go test", Out: &out,
		Only: regexp.MustCompile(`^(Forward/.*ringkeep.*/frame=(64|super)|Forward/.*kernel.*/frame=64|PingPong/.*ringkeep|Bulk/.*ringkeep|NewC|Rest)`),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Series {
		if s.Failed != "" || len(s.Rounds) != 1 {
			t.Errorf("%s: %d rounds, %s", s.Name, len(s.Rounds), s.Failed)
		}
	}
	wellFormed(t, r, len(r.Series))
	if t.Failed() || testing.Verbose() {
		t.Log(out.String())
	}
}
