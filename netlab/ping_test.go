package netlab

import (
	order "encoding/binary"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// TestToldGaps: what the process of a probe tells later counts as it happened.
func TestToldGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := &flow{began: start, told: true}
		f.news = sync.NewCond(&f.mu)
		r, w := io.Pipe()
		go f.listen(r)
		tell := func(ms int, sign int64) {
			at := start.Add(time.Duration(ms) * time.Millisecond)
			w.Write(order.NativeEndian.AppendUint64(nil, uint64(sign*at.UnixNano())))
		}
		time.Sleep(200 * time.Millisecond)
		f.mark()
		time.Sleep(45 * time.Millisecond)
		got := make(chan time.Duration, 1)
		go func() {
			gap, _ := f.longest()
			got <- gap
		}()
		for _, ms := range []int{1, 100, 150, 210, 170, 235, 240} { // the longest, of 99 ms, is before mark; one comes late
			tell(ms, 1)
		}
		tell(244, -1)
		synctest.Wait()
		if len(got) > 0 {
			t.Fatalf("the gap is %v before all is told", <-got)
		}
		tell(245, -1)
		if d := <-got; d != 60*time.Millisecond {
			t.Errorf("the longest gap since mark is %v, not 60ms", d)
		}
		if f.answers != 7 {
			t.Errorf("%d answers of 7", f.answers)
		}
		w.Close()
		time.Sleep(155 * time.Millisecond)
		if d, _ := f.longest(); d != 160*time.Millisecond { // with nobody left to tell
			t.Errorf("the longest gap is %v at the end, not 160ms", d)
		}
	})
}

// TestPingsAgreeWithTheCapture takes the longest gap between the answers from the capture too,
// over a bridge of the kernel.
func TestPingsAgreeWithTheCapture(t *testing.T) {
	needs(t)
	s, err := Parse("s", []byte(`lan lan bridge
host a lan:eth0 10.0.0.1/24
host b lan:eth0 10.0.0.2/24
probe p a icmp 10.0.0.2
wait 2s flow p answers
run 50ms
mark
partition a | b
run 300ms
heal
run 50ms
expect gap p 290ms 5s
mark
run 100ms
expect gap p 0s 250ms
partition a | b
ask a udp 10.0.0.2:9 nobody
`))
	if err != nil {
		t.Fatal(err)
	}
	r, out := play(t, s)
	if !r.Passed {
		t.Fatal(out)
	}
	var last time.Time
	var longest time.Duration
	answers := 0
	err = pcap.Each(r.Capture, func(p pcap.Packet, _ []pcap.Interface) {
		eth, err := proto.ParseEthernet(p.Data)
		if err != nil || eth.Type() != proto.EtherTypeIPv4 || p.Interface != "b:eth0" {
			return
		}
		ip, err := proto.ParseIPv4(eth.Payload())
		if err != nil || ip.Protocol() != proto.ProtocolICMP || ip.Payload()[0] != proto.ICMPEchoReply {
			return
		}
		if answers++; answers > 1 {
			longest = max(longest, p.At.Sub(last))
		}
		last = p.At
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Report.Measures[0].Got; (got - longest).Abs() > 5*time.Millisecond {
		t.Errorf("the longest gap is %v in the capture, the probe's is %v", longest, got)
	}
	if told := r.Report.Flows[0].Answered; told < 100 || answers < 100 {
		t.Errorf("%d answers in the capture, the probe has %d", answers, told)
	}
}
