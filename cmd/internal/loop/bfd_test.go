package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/proto"
)

// datagrams are the sockets of BFD in memory.
type datagrams struct {
	waiting []kernel.Datagram
	sent    []string
	fails   error
	now     func() time.Duration
}

func (d *datagrams) Receive(most int, each func(kernel.Datagram)) (n int) {
	for ; n < most && len(d.waiting) > 0; n++ {
		one := d.waiting[0]
		d.waiting = d.waiting[1:]
		each(one)
	}
	return n
}

func (d *datagrams) Send(p kernel.BFDPath, payload []byte, last bool) error {
	m, err := proto.ParseBFD(payload)
	if err != nil {
		return err
	}
	d.sent = append(d.sent, fmt.Sprintf("%v %v to %v ttl %d last=%v", d.now(), m.State(), p.To, p.TTL, last))
	return d.fails
}

func bfdBench(t *testing.T) (*bench, *datagrams, netip.Addr) {
	neighbor := netip.MustParseAddr("10.0.0.2")
	cfg := instance(100)
	cfg.BFDs = []*config.BFD{{
		Name: "b", Neighbor: neighbor, MinRX: 50 * time.Millisecond, MinTX: 50 * time.Millisecond, IdleTX: time.Second, Multiplier: 3, TTL: 255, HopLimit: 64, VRRP: true, Checker: true,
	}}
	cfg.Instances[0].TrackBFDs = config.Tracks{{Name: "b"}}
	b, d := newBench(t, cfg), &datagrams{}
	d.now = b.Now
	b.loop.BFD = d
	return b, d, neighbor
}

// TestBFDPacketCountsBeforeItsTimer: one that waits in the socket when the detection time is
// over keeps the session Up; without one it is Down, and says so.
func TestBFDPacketCountsBeforeItsTimer(t *testing.T) {
	b, d, neighbor := bfdBench(t)
	arrives := func(at time.Duration, state proto.BFDState, wake bool) {
		b.At(at, func() {
			m := proto.BFDMessage{State: state, Multiplier: 3, Mine: 9, Yours: b.loop.Node.BFDs()[0].Own, MinTX: 100 * time.Millisecond, MinRX: 10 * time.Second}
			d.waiting = append(d.waiting, kernel.Datagram{From: neighbor, To: own, TTL: 255, Payload: m.Append(nil)})
			if wake {
				b.loop.Poller.Wake()
			}
		})
	}
	arrives(time.Second, proto.BFDInit, true)
	arrives(1100*time.Millisecond, proto.BFDUp, true)
	arrives(1400*time.Millisecond, proto.BFDUp, false) // when the detection time ends
	b.run(t, 4*time.Second)
	log := b.log.String()
	for _, want := range []string{
		`msg="(b) Entering Up state" from=Down to=Up neighbour=10.0.0.2 reason="neighbour signals Init"`,
		`msg="(b) Entering Down state" from=Up to=Down neighbour=10.0.0.2 reason="control detection time expired (300ms)" local_diagnostic="Control Detection Time Expired"`,
		`msg="(VI_1) Entering FAULT STATE" instance=VI_1 vrid=51 priority=100 from=BACKUP to=FAULT reason="bfd b failed"`,
		`msg="(b) Entering AdminDown state"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
	up := slices.IndexFunc(d.sent, func(s string) bool { return strings.Contains(s, " Up to ") })
	if i := slices.IndexFunc(d.sent[up:], func(s string) bool { return strings.Contains(s, " Down to ") }); !strings.HasPrefix(d.sent[up+i], "1.7s ") {
		t.Errorf("Down too early: %q", d.sent)
	}
	if last := d.sent[len(d.sent)-1]; !strings.HasSuffix(last, " Down to 10.0.0.2 ttl 255 last=true") {
		t.Errorf("its last word is %s", last)
	}
}

// TestBFDSendErrors: what hinders packets is told once, and again when it is something else.
func TestBFDSendErrors(t *testing.T) {
	b, d, _ := bfdBench(t)
	d.fails = errors.New("network is unreachable")
	b.At(5500*time.Millisecond, func() { d.fails = nil })
	b.At(8500*time.Millisecond, func() { d.fails = errors.New("operation not permitted") })
	b.run(t, 12*time.Second)
	log := b.log.String()
	if n := strings.Count(log, "network is unreachable"); n != 1 {
		t.Errorf("told %d times\n%s", n, log)
	}
	if n := strings.Count(log, "operation not permitted"); n != 1 || len(d.sent) < 9 {
		t.Errorf("told %d times of %d packets\n%s", n, len(d.sent), log)
	}
}

// TestBFDPacketsOfALongEvent: what came while something took long counts before the detection
// time, however much it is, and whatever else there is to do.
func TestBFDPacketsOfALongEvent(t *testing.T) {
	b, d, neighbor := bfdBench(t)
	late := time.Duration(0)
	b.loop.Clock = func() time.Duration { return b.Now() + late }
	b.loop.Wall = b.loop.Clock
	packet := func(state proto.BFDState) kernel.Datagram {
		m := proto.BFDMessage{State: state, Multiplier: 3, Mine: 9, Yours: b.loop.Node.BFDs()[0].Own, MinTX: 100 * time.Millisecond, MinRX: 10 * time.Second}
		return kernel.Datagram{From: neighbor, To: own, TTL: 255, Payload: m.Append(nil)}
	}
	stranger := kernel.Datagram{From: netip.MustParseAddr("10.0.0.9"), To: own, TTL: 255}
	b.At(time.Second, func() {
		d.waiting = append(d.waiting, packet(proto.BFDInit))
		b.loop.Poller.Wake()
	})
	b.At(1100*time.Millisecond, func() {
		b.loop.Do(func() {
			late = time.Second
			d.waiting = append(slices.Repeat([]kernel.Datagram{stranger}, 2*batchSize), packet(proto.BFDUp))
		})
		if err := b.other.Send(advert(200)); err != nil { // its time is that of after
			t.Error(err)
		}
	})
	b.run(t, 1200*time.Millisecond)
	if log := b.log.String(); strings.Contains(log, "detection time expired") {
		t.Errorf("Down with a packet in its socket:\n%s", log)
	}
}
