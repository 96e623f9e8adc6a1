package replay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// frame is one of a recording.
type frame struct {
	at      time.Duration
	host    string
	data    []byte
	comment string
}

// lan is two directors and what they send, recorded as the lab does: a little late, as
// processes are woken, and every frame once.
type lan struct {
	t      *testing.T
	now    time.Duration
	hosts  map[string]*host
	frames []frame
	drop   func(from string, f []byte) string // the statement that drops a frame to the other
}

type host struct {
	conf  string
	links []node.Link
	model *model.Model
	on    bool
	wakes int // how often it was woken
}

func newLAN(t *testing.T, a, b string) *lan {
	return &lan{t: t, hosts: map[string]*host{"a": {conf: conf(a), links: links(1)}, "b": {conf: conf(b), links: links(2)}}}
}

// conf is a configuration of VRID 51 with more lines in its block.
func conf(lines string) string {
	return "vrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n virtual_ipaddress {\n 10.0.0.100\n }\n" + lines + "\n}\n"
}

func links(i byte) []node.Link {
	return []node.Link{{Name: "lo", Loopback: true, Up: true}, {
		Name: "eth0", MAC: proto.MAC{2, 0, 0, 0, 0, i}, Up: true, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 24)},
	}}
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, messages := config.Parse("x.conf", []byte(text), config.Options{ConfigID: "x"})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	return cfg
}

// start starts a process: it joins the group, and begins a few milliseconds later.
func (l *lan) start(name string) {
	h := l.hosts[name]
	report := []byte{0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 18}
	f := proto.AppendEthernet(nil, proto.MAC{1, 0, 0x5e, 0, 0, 0x16}, h.links[1].MAC, proto.EtherTypeIPv4)
	f = append(proto.IPv4Header{TTL: 1, Protocol: 2, Src: h.links[1].Prefixes[0].Addr(), Dst: netip.MustParseAddr("224.0.0.22")}.Append(f, len(report)), report...)
	if !strings.Contains(h.conf, "unicast_peer") {
		l.frames = append(l.frames, frame{at: l.now, host: name, data: f})
	}
	var err error
	if h.model, err = model.New(parse(l.t, h.conf), h.links, func(at time.Duration, a node.Action) { l.did(name, a) }); err != nil {
		l.t.Fatal(err)
	}
	h.on = true
	l.now += 3 * time.Millisecond
	h.model.Start(l.now)
}

func (l *lan) did(from string, a node.Action) {
	s, ok := a.(node.Send)
	if !ok {
		return
	}
	if _, asks := model.Asked(s.Frame); asks {
		return
	}
	f := frame{at: l.now, host: from, data: s.Frame}
	to := map[string]string{"a": "b", "b": "a"}[from]
	other := l.hosts[to]
	if l.drop != nil {
		if statement := l.drop(from, s.Frame); statement != "" {
			f.comment = "to " + to + ": dropped by: " + statement
		}
	}
	l.frames = append(l.frames, f)
	if other.on && f.comment == "" {
		other.model.Hear(l.now, 1, s.Frame)
	}
}

func (l *lan) run(d time.Duration) {
	for until := l.now + d; ; {
		next, who := until, (*host)(nil)
		for _, name := range []string{"a", "b"} {
			h := l.hosts[name]
			if !h.on {
				continue
			}
			if at, ok := h.model.Deadline(); ok && at < next {
				next, who = at, h
			}
		}
		if who == nil {
			l.now = until
			return
		}
		who.wakes++
		l.now = max(l.now, next+time.Duration(who.wakes*7%10)*100*time.Microsecond)
		who.model.Tick(l.now)
	}
}

// save writes the frames as the lab does.
func (l *lan) save() string {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), "lab.pcapng")
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	w, err := pcap.NewWriter(f, []pcap.Interface{{Name: "a:eth0", Description: "lan lan"}, {Name: "b:eth0", Description: "lan lan"}})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range l.frames {
		if err := w.Write(int(f.host[0]-'a'), time.Unix(1700000000, 0).Add(f.at), f.data, len(f.data), f.comment); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func (l *lan) replay(name string) *Result {
	l.t.Helper()
	r, err := Run(l.save(), parse(l.t, l.hosts[name].conf), Options{Place: model.Place{Node: name}, Tolerance: 50 * time.Millisecond})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// agrees demands that both directors did as the rules say, and spoke.
func (l *lan) agrees(what string) {
	l.t.Helper()
	said := 0
	for _, name := range []string{"a", "b"} {
		r := l.replay(name)
		said += r.Adverts
		if r.Difference != nil {
			l.t.Errorf("%s: %s: %v\n%v", what, name, r.Begun, r.Difference)
		}
	}
	if said < 3 {
		l.t.Errorf("%s: %d advertisements", what, said)
	}
}

// number is the packet that a host says something in, for the nth time.
func (l *lan) number(host string, s Said, nth int) int {
	l.t.Helper()
	for i, f := range l.frames {
		if said, ok := say(f.data); ok && f.host == host && said == s {
			if nth--; nth == 0 {
				return i + 1
			}
		}
	}
	l.t.Fatalf("%s says no %v", host, s)
	return 0
}

func pair(t *testing.T) *lan {
	l := newLAN(t, "priority 150", "priority 100")
	l.start("b")
	l.start("a")
	l.run(10 * time.Second)
	return l
}

func TestAgrees(t *testing.T) {
	pair(t).agrees("a pair")

	l := pair(t)
	l.hosts["a"].model.Stop(l.now)
	l.hosts["a"].on = false
	l.run(4 * time.Second)
	l.start("a")
	l.run(8 * time.Second)
	l.agrees("stop and preemption")

	l = newLAN(t, "version 3\nadvert_int 0.1\npriority 255", "version 3\nadvert_int 0.1")
	l.start("b")
	l.run(2 * time.Second)
	l.start("a")
	l.run(2 * time.Second)
	l.agrees("an owner, tenths of seconds")

	l = newLAN(t, "priority 150\nunicast_peer {\n10.0.0.2\n}", "nopreempt\npriority 200\nunicast_peer {\n10.0.0.1\n}")
	l.start("a")
	l.run(5 * time.Second)
	l.start("b")
	l.run(9 * time.Second)
	l.hosts["a"].on = false
	l.run(9 * time.Second)
	if r := l.replay("b"); r.Difference != nil || r.Adverts < 3 {
		t.Errorf("unicast: %v", r)
	}

	l = newLAN(t, "priority 150", "priority 100")
	l.start("b")
	l.run(2 * time.Second)
	l.drop = func(from string, f []byte) string {
		if l.now > 8*time.Second && l.now < 14*time.Second && from == "a" {
			return "drop a to b vrrp"
		}
		return ""
	}
	l.start("a")
	l.run(20 * time.Second)
	l.agrees("a fault of the network")
	if l.number("b", advert(100), 1) == 0 {
		t.Error("it was not felt")
	}
}

func advert(priority uint8) Said { return Said{VRID: 51, Priority: priority, To: group} }

// A capture may begin when the directors have long been what they are.
func TestAgreesFromTheMiddle(t *testing.T) {
	l := pair(t)
	l.run(10 * time.Second)
	l.frames = slices.DeleteFunc(l.frames, func(f frame) bool { return f.at < 11*time.Second })
	r := l.replay("a")
	if r.Difference != nil || r.Adverts < 8 || len(r.Begun) != 1 || !strings.HasSuffix(r.Begun[0], "it was MASTER before packet 1, its first advertisement") {
		t.Errorf("%+v", r)
	}
}

// Two that take over together: the one does not read the other's advertisement any more,
// and hears it as MASTER.
func TestTakingOverTogether(t *testing.T) {
	l, unread := newLAN(t, "priority 100", "priority 100"), false
	l.drop = func(from string, f []byte) string {
		if said, ok := say(f); ok && from == "b" && said.VRID != 0 && !unread {
			unread = true
			return "it is under way"
		}
		return ""
	}
	l.start("b")
	l.now -= 2700 * time.Microsecond
	l.start("a")
	l.run(8 * time.Second)
	for i := range l.frames {
		l.frames[i].comment = ""
	}
	first := l.number("a", advert(100), 1)
	if b := l.frames[l.number("b", advert(100), 1)-1]; b.at > l.frames[first-1].at || l.frames[first-1].at-b.at > race {
		t.Fatalf("b speaks at %v, a at %v", b.at, l.frames[first-1].at)
	}
	if r := l.replay("a"); r.Difference != nil || !strings.Contains(fmt.Sprint(r.Begun), "fits to") {
		t.Errorf("%v\n%v", r.Begun, r.Difference)
	}
}

// Whether a MASTER answers another just before or just after its own timer is chance.
func TestRepetitionIsNoDifference(t *testing.T) {
	for after, agrees := range map[time.Duration]bool{3 * time.Millisecond: true, 20 * time.Millisecond: false} {
		l := pair(t)
		n := l.number("a", advert(150), 3)
		extra := l.frames[n-1]
		extra.at += after
		l.frames = slices.Insert(l.frames, n, extra)
		if d := l.replay("a").Difference; (d == nil) != agrees {
			t.Errorf("after %v: %v", after, d)
		}
	}
}

// What is changed in a recording is found at that packet, by the node it concerns alone.
func TestFindsWhatWasChanged(t *testing.T) {
	garp := Said{VIP: netip.MustParseAddr("10.0.0.100")}
	for _, c := range []struct {
		name   string
		change func(l *lan) int
		want   string
	}{
		{"an advertisement is missing", func(l *lan) int {
			n := l.number("a", advert(150), 4)
			l.frames = slices.Delete(l.frames, n-1, n)
			return n
		}, "expected advertisement of VRID 51, priority 150, to 224.0.0.18; seen nothing"},
		{"the last ones are missing", func(l *lan) int {
			n := l.number("a", advert(150), 4)
			l.frames = l.frames[:n-1]
			l.frames = append(l.frames, frame{at: 9 * time.Second, host: "b", data: proto.AppendGratuitousARP(nil, proto.MAC{2, 0, 0, 0, 0, 2}, netip.MustParseAddr("10.0.0.2"))})
			return n
		}, "expected advertisement of VRID 51, priority 150, to 224.0.0.18; seen nothing"},
		{"another priority", func(l *lan) int {
			n := l.number("a", advert(150), 4)
			f := l.frames[n-1].data
			f[14+20+2] = 140
			return n
		}, "expected advertisement of VRID 51, priority 150, to 224.0.0.18; seen advertisement of VRID 51, priority 140, to 224.0.0.18"},
		{"one gratuitous ARP too few", func(l *lan) int {
			n := l.number("a", garp, 6)
			l.frames = slices.Delete(l.frames, n-1, n+4)
			return n
		}, "expected gratuitous ARP of 10.0.0.100; seen nothing"},
		{"one too many", func(l *lan) int {
			n := l.number("a", advert(150), 3)
			extra := l.frames[n-1]
			extra.at += 500 * time.Millisecond
			l.frames = slices.Insert(l.frames, n, extra)
			return n + 1
		}, "expected nothing; seen advertisement of VRID 51, priority 150, to 224.0.0.18"},
		{"80 ms late", func(l *lan) int {
			n := l.number("a", advert(150), 4)
			l.frames[n-1].at += 80 * time.Millisecond
			return n
		}, "expected advertisement of VRID 51, priority 150, to 224.0.0.18; seen nothing"},
		{"another VRID", func(l *lan) int {
			n := l.number("a", advert(150), 2)
			l.frames[n-1].data[14+20+1] = 52
			return n
		}, "expected advertisement of VRID 51, priority 150, to 224.0.0.18; seen advertisement of VRID 52, priority 150, to 224.0.0.18"},
		{"a VRID beside", func(l *lan) int {
			n := l.number("a", advert(150), 3)
			extra := l.frames[n-1]
			extra.at, extra.data = extra.at+500*time.Millisecond, slices.Clone(extra.data)
			extra.data[14+20+1] = 52
			l.frames = slices.Insert(l.frames, n, extra)
			return n + 1
		}, "expected nothing; seen advertisement of VRID 52, priority 150, to 224.0.0.18"},
	} {
		l := pair(t)
		n := c.change(l)
		d := l.replay("a").Difference
		if d == nil {
			t.Errorf("%s: agrees", c.name)
			continue
		}
		if got := told(d); d.Number != n || got != c.want {
			t.Errorf("%s: packet %d, want %d: %s\n%v", c.name, d.Number, n, got, d)
		}
	}
}

func told(d *Difference) string {
	expected, seen := "nothing", "nothing"
	if d.Expected != nil {
		expected = d.Expected.Said.String()
	}
	if d.Seen != nil {
		seen = d.Seen.String()
	}
	return fmt.Sprintf("expected %s; seen %s", expected, seen)
}

// A MASTER that is killed says nothing: that is no order.
func TestFindsACrash(t *testing.T) {
	l := pair(t)
	l.hosts["a"].on = false
	crash := l.now
	l.run(10 * time.Second)
	d := l.replay("a").Difference
	if d == nil || d.At < crash || d.At > crash+time.Second || d.Silence != -1 || !strings.Contains(d.String(), "a crash, a freeze or a cut link") {
		t.Fatalf("%v", d)
	}
	if r := l.replay("b"); r.Difference != nil {
		t.Errorf("the other: %v", r.Difference)
	}
}

// Recordings of keepalived 2.2.7 are replayed as well: what it did is what the rules say,
// to the crash.
func TestRecordingsOfKeepalived(t *testing.T) {
	for _, c := range []struct {
		file, own, lines string
		missing          time.Duration // 0: all agrees
		adverts          int
	}{
		{"session-v2-1s", "10.77.0.2", "priority 100", 0, 13},
		{"session-v2-1s", "10.77.0.1", "priority 150", 6444586 * time.Microsecond, 3},
		{"inj-v2-backup-rx-prio0", "10.77.0.50", "priority 100", 0, 3},
	} {
		text := strings.ReplaceAll(conf(c.lines), "10.0.0.100", "10.77.0.100")
		r, err := Run(filepath.Join("../../../proto/testdata/captures", c.file+".pcap"), parse(t, text),
			Options{Place: model.Place{Own: []netip.Addr{netip.MustParseAddr(c.own)}}, Tolerance: 50 * time.Millisecond})
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		d := r.Difference
		if (d != nil) != (c.missing > 0) || d != nil && (d.Seen != nil || (d.At-c.missing).Abs() > time.Millisecond) || r.Adverts != c.adverts {
			t.Errorf("%s of %s: %d advertisements, %v", c.file, c.own, r.Adverts, d)
		}
	}
}

func TestWhatCannotBeReplayed(t *testing.T) {
	l := pair(t)
	path, cfg := l.save(), parse(t, l.hosts["a"].conf)
	for _, c := range []struct {
		path  string
		place model.Place
		want  string
	}{
		{path, model.Place{Node: "z"}, "the capture has no interface of z that the configuration names (eth0)"},
		{path, model.Place{}, "the capture does not show the address of eth0: name it with --own"},
		{newLAN(t, "", "").save(), model.Place{Node: "a"}, "holds no packets"},
		{filepath.Join(t.TempDir(), "none"), model.Place{Node: "a"}, "no such file"},
	} {
		if _, err := Run(c.path, cfg, Options{Place: c.place, Tolerance: time.Millisecond}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	n := l.number("a", advert(150), 1)
	l.frames[n-1].data = l.frames[n-1].data[:40]
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := pcap.NewWriter(f, []pcap.Interface{{Name: "a:eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(0, time.Unix(1, 0), l.frames[0].data, len(l.frames[0].data), ""), w.Write(0, time.Unix(2, 0), l.frames[n-1].data, 54, ""), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(path, cfg, Options{Place: model.Place{Node: "a", Own: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, Tolerance: time.Millisecond}); err == nil || !strings.HasSuffix(err.Error(), "packet 2 was not recorded whole") {
		t.Errorf("cut short: %v", err)
	}
}
