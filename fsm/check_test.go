package fsm

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Every verdict, reason, event and action has a line of its own for people.
func TestStrings(t *testing.T) {
	seen := map[string]bool{}
	for v := range Verdicts {
		if s := v.String(); s == "" || seen[s] || strings.HasPrefix(s, "Verdict(") {
			t.Errorf("verdict %d: %q", uint8(v), s)
		} else {
			seen[s] = true
		}
	}
	if got := Verdicts.String(); got != "Verdict(26)" {
		t.Errorf("beyond the last: %s", got)
	}
	for r := range Synced + 1 {
		if s := (Cause{Reason: r}).String(); s == "" || seen[s] || strings.HasPrefix(s, "Reason(") {
			t.Errorf("reason %d: %q", uint8(r), s)
		} else {
			seen[s] = true
		}
	}
	for s, want := range map[interface{ String() string }]string{
		Heard{Priority: 5, Interval: time.Second}: "heard invalid IP priority=5 interval=1s",
		LinkChanged{}:         "link down",
		LinkChanged{Up: true}: "link up",
		SourceChanged{}:       "source none",
		SourceChanged{Addr: defaultConfig().Source}:   "source 10.77.0.50",
		Tracked{Name: "chk", Up: true}:                "tracked chk up",
		Numbered{Kind: "file", Name: "tf", Value: -3}: "file tf says -3",
		follow{to: Fault}:                             "follow to FAULT",
		rivalHeard{}:                                  "a fellow hears a lower MASTER",
		Startup{}:                                     "startup",
		VIPLost{Addr: defaultConfig().Source}:         "virtual address 10.77.0.50 removed",
		Shutdown{}:                                    "shutdown",
		Tick{}:                                        "tick",
		SendAdvert{Priority: 7}:                       "send-advert priority=7",
		SendAdvert{Priority: 7, Sequence: 9}:          "send-advert priority=7 sequence=9",
		Changed{From: Init, To: Fault}:                "INIT -> FAULT",
		Notify{Backup}:                                "notify BACKUP",
		NotifyStop{}:                                  "notify STOP",
		PriorityChanged{From: 1, To: 2}:               "priority 1 -> 2",
		State(9):                                      "State(9)",
		Remarks(0):                                    "",
		AddressesDiffer | TwoOwners:                   "addresses differ, two owners",
		Cause{Reason: TrackerFailed, Kind: "script", Name: "chk"}:           "script chk failed",
		Cause{Reason: Outbid, Src: defaultConfig().Source, Priority: 200}:   "advert from 10.77.0.50 priority 200",
		Cause{Reason: Silence, After: 3609375 * time.Microsecond}:           "master down timer expired (3.609375s)",
		Cause{Reason: SourceFound, Src: defaultConfig().Source}:             "source address 10.77.0.50",
		Cause{Reason: Resigned, Src: defaultConfig().Source, After: 1 << 9}: "10.77.0.50 resigned with priority 0, skew time expired (512ns)",
	} {
		if got := s.String(); got != want {
			t.Errorf("%T: %q, want %q", s, got, want)
		}
	}
}

// goodMessage is an advertisement that the default instance accepts.
func goodMessage(c Config) Message {
	h := proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: c.Addrs[0], Dst: group}
	msg := New(c).Advert(200).Append(nil)
	proto.SealVRRP(msg, h.Src, h.Dst, proto.ChecksumMessage)
	p := proto.IPv4(append(h.Append(nil, len(msg)), msg...))
	return Message{IP: proto.IP(p), VRRP: proto.VRRP(p.Payload())}
}

// FuzzCheckAH: whatever is changed in a packet, it is heard only where that does not
// count: the type of service, the fragment field and the header checksum, of which Check
// demands that the latter two are right.
func FuzzCheckAH(f *testing.F) {
	c := defaultConfig()
	c.AuthType, c.Auth = proto.VRRPAuthAH, [8]byte([]byte("secret12"))
	h := proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolAH, Src: c.Addrs[0], Dst: group}
	msg := New(c).Advert(200).Append(nil)
	proto.SealVRRP(msg, h.Src, h.Dst, proto.ChecksumMessage)
	good := append(proto.AppendAH(h.Append(nil, proto.AHLen+len(msg)), h.Src, 1), msg...)
	proto.SealAH(good, c.Auth, false)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := proto.ParseIPv4(b)
		if err != nil {
			return
		}
		changed := proto.IPv4(bytes.Clone(p))
		in, m := New(c), messageIn(proto.IP(p))
		if in.Check(m) != Accepted {
			return
		}
		changed[1], changed[6], changed[7], changed[10], changed[11] = 0, 0, 0, good[10], good[11]
		if !bytes.Equal(changed, good) {
			t.Fatalf("accepted %x", b)
		}
		if m.Heard().Sequence != 1 {
			t.Fatalf("sequence %d", m.Heard().Sequence)
		}
	})
}

// Judging a flood of frames must not allocate.
func TestCheckDoesNotAllocate(t *testing.T) {
	for _, version := range []uint8{2, 3} {
		c := defaultConfig()
		c.Version = version
		in, m := New(c), goodMessage(c)
		if v := in.Check(m); v != Accepted {
			t.Fatal(v)
		}
		if n := testing.AllocsPerRun(100, func() { in.Check(m); in.Remark(m) }); n != 0 {
			t.Errorf("version %d: %v allocations", version, n)
		}
	}
	c := defaultConfig()
	c.AuthType = proto.VRRPAuthAH
	m := goodMessage(c)
	m.IP = append(proto.AppendAH(proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolAH, Src: c.Addrs[0], Dst: group}.Append(nil, proto.AHLen+len(m.VRRP)), c.Addrs[0], 1), m.VRRP...)
	proto.SealAH(proto.IPv4(m.IP), c.Auth, false)
	in := New(c)
	if v := in.Check(m); v != Accepted {
		t.Fatal(v)
	}
	if n := testing.AllocsPerRun(100, func() { in.Check(m); in.Remark(m) }); n != 0 {
		t.Errorf("authentication header: %v allocations", n)
	}
}

// What cannot happen is loud: an event of no known kind.
func TestUnknownEventPanics(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "FAULT") {
			t.Errorf("panic %v must name the state", r)
		}
	}()
	in := New(Config{})
	in.Step(0, Startup{}, nil)
	in.Step(0, odd{}, nil)
}

type odd struct{ Tick }

// FuzzCheck: no frame makes the judge panic, and what it accepts is what it says: an
// advertisement of the VRID from one hop away whose checksum holds (conformance 67).
func FuzzCheck(f *testing.F) {
	for _, version := range []uint8{2, 3} {
		c := defaultConfig()
		c.Version = version
		f.Add([]byte(goodMessage(c).IP), version)
	}
	f.Fuzz(func(t *testing.T, b []byte, version uint8) {
		p, err := proto.ParseIPv4(b)
		if err != nil {
			return
		}
		c := defaultConfig()
		c.Version = 2 + version%2
		in, m := New(c), Message{IP: proto.IP(p), VRRP: proto.VRRP(p.Payload())}
		if in.Check(m) != Accepted {
			return
		}
		v, err := proto.ParseVRRP(m.VRRP)
		if err != nil || v.VRID() != 51 || v.Version() != c.Version || p.TTL() != 255 || p.Dst() != group ||
			v.ChecksumForm(p.Src(), p.Dst()) == proto.ChecksumBad || v.Interval() == 0 {
			t.Fatalf("accepted %x", b)
		}
		_ = in.Remark(m).String()
		out := in.Step(0, Startup{}, nil)
		out = in.Step(time.Millisecond, m.Heard(), out)
		if at, ok := in.Deadline(); !ok || at <= time.Millisecond || in.State() != Backup {
			t.Fatalf("%x: %v", b, out)
		}
	})
}

// One VRID is two virtual routers, one for each family (RFC 9568 §5.2.3).
func TestCheckOtherFamily(t *testing.T) {
	c := defaultConfig()
	c.Version = 3
	m := goodMessage(c)
	c.IPv6 = true
	if v := New(c).Check(m); v != WrongProtocol {
		t.Errorf("IPv4 at an instance of IPv6: %s", v)
	}
}
