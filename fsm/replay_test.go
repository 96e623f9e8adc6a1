package fsm

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/proto"
)

// Replays put an instance in the place of a real router in a recording: it hears what
// the router heard, and what it would have sent is printed beside what the router
// sent. Times count from the first frame.

const captures = "../proto/testdata/captures"

type frame struct {
	at time.Duration
	ip proto.IP
}

// readFrames returns the IP packets of a classic pcap file of little-endian
// microseconds, which is what all the recordings are.
func readFrames(t *testing.T, name string) []frame {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(captures, name+".pcap"))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 {
		t.Fatalf("%s: not a pcap file", name)
	}
	var list []frame
	var first time.Duration
	for b = b[24:]; len(b) >= 16; {
		word := func(i int) time.Duration { return time.Duration(binary.LittleEndian.Uint32(b[4*i:])) }
		at, size := word(0)*time.Second+word(1)*time.Microsecond, int(word(2))
		data := b[16 : 16+size]
		b = b[16+size:]
		if first == 0 {
			first = at
		}
		e, err := proto.ParseEthernet(data)
		if err != nil || e.Type() != proto.EtherTypeIPv4 && e.Type() != proto.EtherTypeIPv6 {
			continue
		}
		if ip, err := proto.ParseIP(e.Payload()); err == nil {
			list = append(list, frame{at - first, ip})
		}
	}
	return list
}

// replay is one run. The router joins its group when it starts, which is when the
// instance is started; it is shut down when the router resigns for good.
type replay struct {
	r       *rig
	out     *strings.Builder
	events  []timed         // what no packet shows
	changes bool            // print transitions and the beginning of terms only
	spoke   bool            // the router is MASTER, by what it heard and sent
	taken   []time.Duration // when the instance became MASTER
	terms   []time.Duration // when the router did
}

func (p *replay) printf(at time.Duration, who, format string, a ...any) {
	fmt.Fprintf(p.out, "%10.6f %-5s %s\n", at.Seconds(), who, fmt.Sprintf(format, a...))
}

// tell prints the actions of the instance that can be compared with the recording.
func (p *replay) tell(ev Event) {
	garps := 0
	for _, a := range p.r.in.Step(p.r.now, ev, nil) {
		switch a := a.(type) {
		case Changed:
			p.printf(p.r.now, "ours", "%s, %s", a, a.Cause)
			if a.To == Master {
				p.taken = append(p.taken, p.r.now)
			}
		case SendAdvert:
			if !p.changes || a.Priority == 0 {
				p.printf(p.r.now, "ours", "%s", a)
			}
		case SendGARP:
			garps++
		}
	}
	if garps > 0 && !p.changes {
		p.printf(p.r.now, "ours", "send-garp ×%d", garps)
	}
}

// timed is an event that the recording shows only by what followed from it.
type timed struct {
	at time.Duration
	ev Event
}

// events reads TIME/link/up, TIME/link/down, TIME/source/ADDRESS and TIME/TRACKER/up or
// down. A moment that shows in nothing else is the wire's reaction, less the timer.
func (a args) events() []timed {
	var list []timed
	for _, s := range a.vals["events"] {
		w := strings.Split(s, "/")
		at, err := time.ParseDuration(w[0])
		if err != nil || len(w) != 3 {
			a.d.Fatalf(a.t, "event %q: %v", s, err)
		}
		var ev Event = Tracked{Kind: "script", Name: w[1], Up: w[2] == "up"}
		switch w[1] {
		case "link":
			ev = LinkChanged{Up: w[2] == "up"}
		case "source":
			ev = SourceChanged{Addr: a.parseAddr(w[2])}
		}
		list = append(list, timed{at, ev})
	}
	return list
}

// until lets time pass, with the events of that time.
func (p *replay) until(end time.Duration) {
	for len(p.events) > 0 && p.events[0].at <= end {
		e := p.events[0]
		p.events = p.events[1:]
		p.tick(e.at)
		p.printf(e.at, "event", "%s", e.ev)
		if e.ev == (LinkChanged{}) {
			p.spoke = false // its last word did not get out
		}
		p.tell(e.ev)
	}
	p.tick(end)
}

func (p *replay) tick(end time.Duration) {
	for {
		at, ok := p.r.in.Deadline()
		if !ok || at > end {
			p.r.now = end
			return
		}
		p.r.now = at
		p.tell(Tick{})
	}
}

// wire prints what the router in whose place we are sent.
func (p *replay) wire(f frame, m Message) {
	v, sent := m.VRRP, SendAdvert{Priority: m.VRRP.Priority(), Sequence: m.Heard().Sequence}
	begins := v.Priority() > 0 && !p.spoke
	p.spoke = v.Priority() > 0
	if begins {
		p.terms = append(p.terms, f.at)
	}
	if begins || !p.changes || v.Priority() == 0 {
		p.printf(f.at, "wire", "%s", sent)
	}
}

// hear gives the instance what another router sent.
func (p *replay) hear(f frame) {
	m := messageIn(f.ip)
	v := p.r.in.Check(m)
	if !p.changes {
		p.printf(f.at, "heard", "%s priority %d: %s", f.ip.Src(), m.VRRP.Priority(), v)
	}
	if v == Accepted {
		p.spoke = p.spoke && m.VRRP.Priority() <= p.r.cfg.Priority
		p.tell(m.Heard())
	}
}

func messageIn(ip proto.IP) Message {
	msg, _ := proto.VRRPIn(ip)
	return Message{IP: ip, VRRP: proto.VRRP(msg)}
}

func isVRRP(ip proto.IP) bool {
	_, ok := proto.VRRPIn(ip)
	return ok
}

// run plays the frames to the end.
func (p *replay) run(frames []frame, start time.Duration) {
	own := p.r.cfg.Source
	p.r.now = start
	p.tell(Startup{})
	for i, f := range frames {
		p.until(max(f.at, start))
		switch {
		case !isVRRP(f.ip) || f.ip.Is6() != own.Is6():
		case f.ip.Src() != own:
			p.hear(f)
		case f.at < start: // of the process before
		default:
			m := messageIn(f.ip)
			p.wire(f, m)
			if m.VRRP.Priority() == 0 && !speaksLater(frames[i+1:], own) {
				p.tell(Shutdown{})
			}
		}
	}
}

func speaksLater(frames []frame, own netip.Addr) bool {
	for _, f := range frames {
		if isVRRP(f.ip) && f.ip.Src() == own {
			return true
		}
	}
	return false
}

// starts is when the router that own belongs to first showed up.
func starts(frames []frame, own netip.Addr) time.Duration {
	for _, f := range frames {
		if f.ip.Src() == own {
			return f.at
		}
	}
	return 0
}

// check demands that the instance became MASTER when the router did.
func (p *replay) check(t *testing.T, within time.Duration) {
	if len(p.taken) != len(p.terms) {
		t.Errorf("MASTER %d times, the router %d times:\n%s", len(p.taken), len(p.terms), p.out)
		return
	}
	for i := range p.taken {
		if d := (p.taken[i] - p.terms[i]).Abs(); d > within {
			t.Errorf("MASTER at %s, the router at %s", p.taken[i], p.terms[i])
		}
	}
}

func TestReplays(t *testing.T) {
	datadriven.Walk(t, "testdata/replay", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a := newArgs(t, d)
			cfg := a.config()
			frames := readFrames(t, a.str("capture", ""))
			p := &replay{r: &rig{t: t, in: New(cfg), cfg: cfg}, out: &strings.Builder{}, changes: a.has("changes"), events: a.events()}
			p.run(frames, a.dur("start", starts(frames, cfg.Source)))
			if a.has("within") {
				p.check(t, a.dur("within", 0))
			}
			return p.out.String()
		})
	})
}
