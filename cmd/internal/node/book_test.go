package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// forged is an advertisement; zero values are those of a good one of VRID 51.
type forged struct {
	src, dst      netip.Addr
	mac           proto.MAC
	vrid, ttl     uint8
	version, auth uint8
	interval      time.Duration
	addrs         []netip.Addr
	surplus       int
	damaged       bool
	ah            bool
}

func (f forged) frame() []byte {
	or := func(v, otherwise uint8) uint8 {
		if v == 0 {
			return otherwise
		}
		return v
	}
	if !f.dst.IsValid() {
		f.dst = vrrpGroup
	}
	if f.interval == 0 {
		f.interval = time.Second
	}
	if f.addrs == nil {
		f.addrs = []netip.Addr{netip.MustParseAddr("10.0.0.100")}
	}
	msg := proto.Advert{Version: or(f.version, 2), VRID: or(f.vrid, 51), Priority: 50, AuthType: f.auth, Interval: f.interval, Addrs: f.addrs}.Append(nil)
	msg = append(msg, make([]byte, f.surplus)...)
	proto.SealVRRP(msg, f.src, f.dst, proto.ChecksumMessage)
	if f.damaged {
		msg[7] ^= 1
	}
	if f.ah {
		msg = append(proto.AppendAH(nil, f.src, 1), msg...)
	}
	h := proto.IPv4Header{TTL: or(f.ttl, 255), Protocol: proto.ProtocolVRRP, Src: f.src, Dst: f.dst}
	if f.ah {
		h.Protocol = proto.ProtocolAH
	}
	eth := proto.AppendEthernet(nil, vrrpGroupMAC, f.mac, proto.EtherTypeIPv4)
	return append(h.Append(eth, len(msg)), msg...)
}

// reports lists what a node tells about frames.
func reports(n *Node, now time.Duration, frames ...[]byte) (list []string) {
	for _, f := range frames {
		for _, a := range n.Step(now, Received{Port: 1, Frame: f, At: now}, nil) {
			switch a := a.(type) {
			case Refused:
				list = append(list, a.Verdict.String()+": "+a.Why)
			case Remarked:
				list = append(list, Advice(a.Remarks))
			}
		}
	}
	return list
}

// Each mistake is named with the peer's address, and with what to change.
func TestRefusalsSayWhatToChange(t *testing.T) {
	peer := addrOf(1)
	for _, tt := range []struct {
		global, inside string
		sent           forged
		want           string
	}{
		{"log_unknown_vrids", "", forged{vrid: 52, addrs: []netip.Addr{peer}}, "wrong vrid: 10.0.0.2 sends VRID 52 on eth0, no instance here has it (VI_1 has 51); if it belongs together, give both the same virtual_router_id"},
		{"", "", forged{vrid: 52}, "wrong vrid: 10.0.0.2 sends VRID 52 on eth0, no instance here has it (VI_1 has 51); it is for 10.0.0.100 of VI_1: give both the same virtual_router_id"},
		{"", "", forged{vrid: 52, addrs: []netip.Addr{peer}}, ""},
		{"", "", forged{version: 3}, "wrong version: 10.0.0.2 speaks version 3, VI_1 version 2; set the same vrrp_version, or version, on both nodes"},
		{"", "", forged{damaged: true}, "bad checksum: the message from 10.0.0.2 is damaged; look for a faulty card or program there"},
		{"", "", forged{ttl: 254}, "bad ttl: from 10.0.0.2 with TTL 254: it came through a router, or is forged; put both nodes on one link, or use unicast_peer"},
		{"", "", forged{auth: 1}, "wrong auth type: 10.0.0.2 has auth_type PASS, VI_1 has none; set the same auth_type on both nodes"},
		{"", "", forged{ah: true, auth: 2}, "wrong protocol: 10.0.0.2 sends an authentication header, VI_1 has auth_type none; set the same auth_type on both nodes"},
		{"", "authentication {\nauth_type PASS\nauth_pass one\n}", forged{auth: 1}, "wrong password: 10.0.0.2 has another auth_pass than VI_1; set the same auth_pass on both nodes"},
		{"", "authentication {\nauth_type AH\nauth_pass one\n}", forged{}, "wrong protocol: 10.0.0.2 sends no authentication header, VI_1 has auth_type AH; set the same auth_type on both nodes"},
		{"", "authentication {\nauth_type AH\nauth_pass one\n}", forged{ah: true, auth: 2}, "wrong icv: 10.0.0.2 has another auth_pass than VI_1, or the packet was changed on its way; set the same auth_pass, and unicast_peer on both nodes or on none"},
		{"", "", forged{interval: 3 * time.Second}, "wrong interval: 10.0.0.2 sends every 3s, VI_1 every 1s; set the same advert_int on both nodes"},
		{"", "", forged{surplus: 3}, "bad length: the message from 10.0.0.2 is too long: 23 bytes for 1 addresses, of 20"},
		{"", "", forged{surplus: 28}, "bad length: the message from 10.0.0.2 is too long by what auth_hmac adds; set auth_hmac on both nodes or on none"},
		{"", "", forged{dst: netip.MustParseAddr("224.0.0.99")}, "wrong destination: 10.0.0.2 sends to the group 224.0.0.99, VI_1 hears another; set the same mcast_dst_ip, or vrrp_mcast_group4 and vrrp_mcast_group6, on both nodes"},
		{"", "", forged{dst: addrOf(0)}, "wrong destination: 10.0.0.2 sends to the host 10.0.0.1, VI_1 hears its group; set unicast_peer on both nodes or on none"},
		{"", "unicast_peer { 10.0.0.3 }", forged{}, "wrong destination: 10.0.0.2 sends to the group 224.0.0.18, VI_1 has unicast peers; set unicast_peer on both nodes or on none"},
		{"vrrp_check_unicast_src", "unicast_peer { 10.0.0.3 }", forged{dst: addrOf(0)}, "unknown sender: 10.0.0.2 is no unicast_peer of VI_1; add it there, or stop it from sending here"},
		{"", "auth_hmac {\nkey 1 " + hmacKey + "\n}", forged{}, "no hmac: 10.0.0.2 sends without auth_hmac, which VI_1 enforces; set auth_hmac there, or mode permissive here"},
		{"", "auth_hmac {\nkey 1 " + hmacKey + "\n}", forged{surplus: 28}, "wrong hmac: 10.0.0.2 has another key of auth_hmac than VI_1; set the same keys, with the same numbers, on both nodes"},
		{"", "version 3", forged{version: 3, interval: time.Millisecond}, "zero interval: 10.0.0.2 says that its interval is 0; set advert_int there to 0.01 or more"},
		{"", "priority 50", forged{}, "equal priority; give the nodes different priorities: of equal ones the greater address wins"},
		{"", "", forged{addrs: []netip.Addr{peer}}, "addresses differ; list the same virtual_ipaddress on both nodes"},
		{"", "", forged{src: addrOf(0), mac: macOf(8)}, "own source: 02:00:00:00:00:09 sends with 10.0.0.1, an address of this node; give one of them another address"},
		{"", "", forged{src: addrOf(0), mac: macOf(0)}, ""},
		{"", "", forged{}, ""},
	} {
		n := newWorld(t, parsed(t, oneInstance(tt.global, "virtual_ipaddress { 10.0.0.100 }\n"+tt.inside))).nodes[0]
		n.Step(0, Start{}, nil)
		if !tt.sent.src.IsValid() {
			tt.sent.src = peer
		}
		if got := strings.Join(reports(n, time.Second, tt.sent.frame()), " | "); got != tt.want {
			t.Errorf("%+v\ngot  %s\nwant %s", tt.sent, got, tt.want)
		}
	}
}

// A mistake is told once and counted; told again when it is another one, and when it comes
// back after it was gone.
func TestMistakesAreToldAgain(t *testing.T) {
	n := newWorld(t, with(instanceConf(100))).nodes[0]
	n.Step(0, Start{}, nil)
	for _, s := range []struct {
		at       time.Duration
		interval time.Duration
		times    int
		want     int
	}{
		{1 * time.Second, 2 * time.Second, 50, 1},
		{30 * time.Second, 2 * time.Second, 50, 0},
		{80 * time.Second, 2 * time.Second, 1, 0},  // 50 s later
		{85 * time.Second, 3 * time.Second, 50, 1}, // another one
		{140 * time.Second, 3 * time.Second, 1, 0},
		{201 * time.Second, 3 * time.Second, 9, 1}, // it was gone for a minute
	} {
		n.instances[0].fsm.Step(s.at, fsm.Heard{Priority: 200, Src: addrOf(5)}, nil) // it stays BACKUP
		frame := forged{src: addrOf(1), interval: s.interval}.frame()
		got := 0
		for range s.times {
			got += len(reports(n, s.at, frame))
		}
		if got != s.want {
			t.Errorf("at %v: told %d times", s.at, got)
		}
	}
	got := n.Tallies()
	if len(got) != 1 || got[0].Instance != "VI_1" || got[0].Refused != 161 || len(got[0].Mistakes) != 1 || got[0].Mistakes[0] != (Mistake{addrOf(1), 51, fsm.WrongInterval, 161}) {
		t.Errorf("counted %+v", got)
	}
}

// A forger of many addresses and VRIDs makes the node keep and say no more than is bounded,
// and everything is counted.
func TestForgersAreBounded(t *testing.T) {
	n := newWorld(t, parsed(t, oneInstance("log_unknown_vrids", "virtual_ipaddress { 10.0.0.100 }"))).nodes[0]
	n.Step(0, Start{}, nil)
	told, sent := 0, uint64(0)
	for i := range 40000 {
		now := time.Duration(i) * 15 * time.Millisecond // ten minutes
		src := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
		n.instances[0].fsm.Step(now, fsm.Heard{Priority: 200, Src: addrOf(5)}, nil)
		told += len(reports(n, now, forged{src: src, damaged: true}.frame(), forged{src: src, vrid: uint8(100 + i%100)}.frame()))
		sent++
	}
	in, port := &n.instances[0].book, &n.ports[1].book
	if len(in.notes) > notesKept || len(port.notes) > notesKept || cap(in.notes) > 2*notesKept {
		t.Errorf("%d and %d notes, room for %d", len(in.notes), len(port.notes), cap(in.notes))
	}
	if most := 2 * (reportsKept + int(10*time.Minute/reportEvery)); told > most || told < reportsKept {
		t.Errorf("told %d times, must be %d at most", told, most)
	}
	for _, tally := range n.Tallies() {
		var sum uint64
		for _, m := range tally.Mistakes {
			sum += m.Count
		}
		if tally.Refused != sent || sum != sent {
			t.Errorf("%s %s: %d refused, %d listed, of %d", tally.Instance, tally.Interface, tally.Refused, sum, sent)
		}
	}
	if len(n.Tallies()) != 2 {
		t.Errorf("%d tallies", len(n.Tallies()))
	}
}

// A refusal that is only counted allocates what hearing does, and no text.
func TestCountingIsCheap(t *testing.T) {
	n := newWorld(t, with(instanceConf(100))).nodes[0]
	n.Step(0, Start{}, nil)
	key := mistake{addrOf(1), 51, fsm.BadChecksum}
	n.instances[0].book.add(0, key, 0)
	if got := testing.AllocsPerRun(100, func() { n.instances[0].book.add(0, key, 0) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// At the stop the counters are told, of instances and of interfaces.
func TestCountersAreToldAtTheStop(t *testing.T) {
	n := newWorld(t, with(instanceConf(100))).nodes[0]
	n.Step(0, Start{}, nil)
	for i := range 3 {
		reports(n, time.Duration(i)*time.Second, forged{src: addrOf(1), ttl: 9}.frame(), forged{src: addrOf(2), vrid: 77}.frame())
	}
	var got []string
	for _, a := range n.Step(4*time.Second, Stop{}, nil) {
		if tally, ok := a.(Tally); ok {
			got = append(got, fmt.Sprintf("%s %s: %s", tally.Instance, tally.Interface, tally))
		}
	}
	const want = "VI_1 eth0: 3 refused, 0 accepted with a remark; 10.0.0.2 bad ttl ×3\n eth0: 3 refused, 0 accepted with a remark; 10.0.0.3 VRID 77 ×3"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
