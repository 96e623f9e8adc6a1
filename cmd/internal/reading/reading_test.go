package reading

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

var (
	ownMAC  = proto.MAC{2, 0, 0, 0, 0, 5}
	peerMAC = proto.MAC{2, 0, 0, 0, 0, 9}
	group   = netip.MustParseAddr("224.0.0.18")
	own     = netip.MustParseAddr("10.0.0.5")
	higher  = netip.MustParseAddr("10.0.0.9")
	lower   = netip.MustParseAddr("10.0.0.2")
	vip     = netip.MustParseAddr("10.0.0.100")
)

func links() []node.Link {
	return []node.Link{
		{Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Name: "eth0", MAC: ownMAC, Up: true, Prefixes: []netip.Prefix{netip.PrefixFrom(own, 24)}},
		{Name: "eth1", MAC: proto.MAC{2, 0, 0, 0, 1, 5}, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.5/24")}},
	}
}

// parse makes the configuration of VI_1 with more lines in its block.
func parse(t *testing.T, lines string) *config.Config {
	t.Helper()
	text := `vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 51
	priority 150
	virtual_ipaddress { 10.0.0.100 }
	` + lines + "\n}\n"
	cfg, messages := config.Parse("lb1.conf", []byte(text), config.Options{ConfigID: "lb1"})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	return cfg
}

func reader(t *testing.T, lines string) *Reader {
	t.Helper()
	r, err := New(parse(t, lines), links())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sent is a VRRP message of another router, well-formed unless a case spoils it.
type sent struct {
	proto.Advert
	src, dst netip.Addr
	ttl      uint8
	protocol uint8
	mac      proto.MAC
	sequence uint32 // above 0: with an authentication header of the key "x"
	spoil    func(frame []byte)
}

func advert(priority uint8) *sent {
	return &sent{
		Advert: proto.Advert{Version: 2, VRID: 51, Priority: priority, Interval: time.Second, Addrs: []netip.Addr{vip}},
		src:    higher, dst: group, ttl: 255, protocol: proto.ProtocolVRRP, mac: proto.MAC{1, 0, 0x5e, 0, 0, 0x12},
	}
}

func (s *sent) frame() []byte {
	msg := s.Append(nil)
	form := proto.ChecksumMessage
	if s.Version == 3 {
		form = proto.ChecksumPseudo
	}
	proto.SealVRRP(msg, s.src, s.dst, form)
	f := proto.AppendEthernet(nil, s.mac, peerMAC, proto.EtherTypeIPv4)
	h := proto.IPv4Header{TTL: s.ttl, Protocol: s.protocol, Src: s.src, Dst: s.dst}
	if s.sequence > 0 {
		h.Protocol = proto.ProtocolAH
		msg = append(proto.AppendAH(nil, s.src, s.sequence), msg...)
	}
	f = append(h.Append(f, len(msg)), msg...)
	if s.sequence > 0 {
		proto.SealAH(proto.IPv4(proto.Ethernet(f).Payload()), [8]byte{'x'}, false)
	}
	if s.spoil != nil {
		s.spoil(f)
	}
	return f
}

// resealed writes bytes into the authentication header, and the ICV for them.
func resealed(at int, b ...byte) func(frame []byte) {
	return func(frame []byte) {
		p := proto.IPv4(proto.Ethernet(frame).Payload())
		copy(p.Payload()[at:], b)
		proto.SealAH(p, [8]byte{'x'}, false)
	}
}

func in(state string) States { return func(string) (string, uint8) { return state, 0 } }

// The cases of RFC 9568 §6.4 for each state, and the rules of §7.1 that refuse.
func TestVerdicts(t *testing.T) {
	with := func(s *sent, f func(s *sent)) *sent { f(s); return s }
	from := func(s *sent, src netip.Addr) *sent { s.src = src; return s }
	v3 := func(s *sent) *sent { s.Version, s.Interval = 3, 2*time.Second; return s }
	ah := func(n uint32) *sent { s := advert(200); s.AuthType, s.sequence = 2, n; return s }
	const header = "authentication {\nauth_type AH\nauth_pass x\n}"
	for _, c := range []struct {
		rule, lines, state string
		sent               *sent
		want               string
	}{
		{"§6.4.1", "", "INIT", advert(200), "ignored: VI_1 is in INIT and takes no part"},
		{"§6.4.1", "", "FAULT", advert(0), "ignored: VI_1 is in FAULT and takes no part"},

		{"§6.4.2 priority 0", "", "BACKUP", advert(0), "priority 0: VI_1 takes over after its skew time of 414.0625ms"},
		{"§6.1 skew in version 3", "version 3", "BACKUP", v3(advert(0)), "priority 0: VI_1 takes over after its skew time of 828.125ms (interval differs)"},
		{"§6.4.2 higher", "", "BACKUP", advert(200), "accepted, resets the master down timer of VI_1"},
		{"§6.4.2 equal", "", "BACKUP", from(advert(150), lower), "accepted, resets the master down timer of VI_1"},
		{"§6.4.2 lower, preempt", "", "BACKUP", advert(100), "discarded: 100 is lower than 150, the master down timer of VI_1 runs on"},
		{"§6.4.2 lower, nopreempt", "nopreempt", "BACKUP", advert(100), "accepted, resets the master down timer of VI_1: 100 is lower than 150, but it does not preempt"},
		{"lower, preempt delay", "preempt_delay 60", "BACKUP", advert(100), "accepted, resets the master down timer of VI_1: 100 is lower than 150, but the preempt delay of 1m0s comes first"},

		{"§6.4.3 priority 0", "", "MASTER", advert(0), "priority 0: VI_1 (MASTER, priority 150) advertises at once"},
		{"§6.4.3 higher", "", "MASTER", advert(200), "VI_1 yields: 200 is higher than 150"},
		{"§6.4.3 higher, nopreempt", "nopreempt", "MASTER", advert(200), "VI_1 yields: 200 is higher than 150"},
		{"§6.4.3 equal, higher address", "", "MASTER", advert(150), "VI_1 yields: 150 is its own priority, and 10.0.0.9 is higher than 10.0.0.5"},
		{"§6.4.3 equal, lower address", "", "MASTER", from(advert(150), lower), "accepted: VI_1 (MASTER, priority 150) goes on, the sender has the same and 10.0.0.2 is lower than 10.0.0.5 and is answered"},
		{"§6.4.3 lower", "", "MASTER", advert(100), "accepted: VI_1 (MASTER, priority 150) goes on, the sender is lower and is answered"},
		{"RFC 3768 §6.4.3 lower", "lower_prio_no_advert", "MASTER", advert(100), "accepted: VI_1 (MASTER, priority 150) goes on, the sender is lower"},
		{"no state known", "", "", advert(100), "accepted by VI_1"},

		{"§7.1 TTL", "", "BACKUP", with(advert(200), func(s *sent) { s.ttl = 254 }), "ignored: bad ttl (TTL 254: it came through a router)"},
		{"§7.1 version", "", "BACKUP", v3(advert(200)), "ignored: wrong version (version 3, VI_1 speaks 2)"},
		{"§7.1 checksum", "", "BACKUP", with(advert(200), func(s *sent) { s.spoil = func(f []byte) { f[40] ^= 1 } }), "ignored: bad checksum"},
		{"§7.1 checksum, in INIT too", "", "INIT", with(advert(200), func(s *sent) { s.spoil = func(f []byte) { f[40] ^= 1 } }), "ignored: bad checksum"},
		{"RFC 3768 §7.1 interval", "", "BACKUP", with(advert(200), func(s *sent) { s.Interval = 3 * time.Second }), "ignored: wrong interval (3s, VI_1 has 1s)"},
		{"RFC 3768 §5.3.6", "authentication {\nauth_type PASS\nauth_pass x\n}", "BACKUP", advert(200), "ignored: wrong auth type (type 0, VI_1 has PASS)"},
		{"RFC 2338 §5.3.6", "authentication {\nauth_type PASS\nauth_pass x\n}", "BACKUP", with(advert(200), func(s *sent) { s.AuthType = 1 }), "ignored: wrong password"},
		{"§5.2.5", "version 3", "BACKUP", with(v3(advert(200)), func(s *sent) { s.Addrs = nil }), "ignored: no addresses"},
		{"§7.1 VRID", "", "BACKUP", with(advert(200), func(s *sent) { s.VRID = 52 }), "no instance has VRID 52"},
		{"protocol", "", "BACKUP", ah(1), "ignored: wrong protocol (an authentication header, VI_1 has none)"},
		{"protocol", "authentication {\nauth_type PASS\nauth_pass x\n}", "BACKUP", ah(1), "ignored: wrong protocol (an authentication header, VI_1 has PASS)"},
		{"protocol", header, "BACKUP", advert(200), "ignored: wrong protocol (no authentication header)"},
		{"RFC 2402", header, "BACKUP", ah(1), "accepted, resets the master down timer of VI_1"},
		{"RFC 2402 §3.4.4", header, "BACKUP", with(ah(1), func(s *sent) { s.spoil = func(f []byte) { f[46] ^= 1 } }), "ignored: wrong icv"},
		{"RFC 2402 §3.4.3", header, "BACKUP", with(ah(1), func(s *sent) { s.spoil = resealed(8, 0, 0, 0, 0) }), "ignored: replayed (sequence number 0)"},
		{"RFC 2402 §2.4", header, "BACKUP", with(ah(1), func(s *sent) { s.spoil = resealed(4, 9, 9, 9, 9) }), "ignored: wrong spi (9.9.9.9, sent by 10.0.0.9)"},
		{"RFC 2402 §2.1", header, "BACKUP", with(ah(1), func(s *sent) { s.spoil = resealed(0, 4) }), ""},
		{"RFC 2402 §2.2", header, "BACKUP", with(ah(1), func(s *sent) { s.spoil = resealed(1, 9) }), "ignored: bad length (44 bytes)"},
		{"own address", "", "BACKUP", from(advert(200), own), "ignored: own address 10.0.0.5"},
		{"to us alone", "", "BACKUP", with(advert(200), func(s *sent) { s.dst, s.mac = own, ownMAC }), "ignored: wrong destination (10.0.0.5, VI_1 listens to the group)"},
		{"to the group", "unicast_peer { 10.0.0.9 }", "BACKUP", advert(200), "ignored: wrong destination (224.0.0.18, VI_1 has unicast peers)"},
		{"unicast", "unicast_peer { 10.0.0.9 }", "BACKUP", with(advert(200), func(s *sent) { s.dst, s.mac, s.ttl = own, ownMAC, 9 }), "accepted, resets the master down timer of VI_1"},
		{"no peer", "unicast_peer { 10.0.0.7 }", "BACKUP", with(advert(200), func(s *sent) { s.dst, s.mac = own, ownMAC }), "ignored: unknown sender (10.0.0.9 is no peer of VI_1)"},
		{"no peer, but", "unicast_peer { 10.0.0.7 }\n@ringkeep check_unicast_src off", "BACKUP", with(advert(200), func(s *sent) { s.dst, s.mac = own, ownMAC }), "accepted, resets the master down timer of VI_1"},
		{"peer afar", "unicast_peer {\n10.0.0.9 min_ttl 254\n}", "BACKUP", with(advert(200), func(s *sent) { s.dst, s.mac, s.ttl = own, ownMAC, 253 }), "ignored: bad ttl (TTL 253, the peer has others)"},
		{"to another MAC", "", "BACKUP", with(advert(200), func(s *sent) { s.mac = peerMAC }), "ignored: to the MAC of another host"},

		{"§7.1 addresses", "", "BACKUP", with(advert(200), func(s *sent) { s.Addrs = []netip.Addr{own} }), "accepted, resets the master down timer of VI_1 (addresses differ)"},
	} {
		if got := reader(t, c.lines).Verdict("eth0", c.sent.frame(), in(c.state)); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.rule, c.state, got, c.want)
		}
	}
}

// An owner preempts always (RFC 9568 §6.1), and is MASTER whatever else it hears (§6.4.3).
func TestVerdictsOfAnOwner(t *testing.T) {
	for _, c := range []struct {
		state string
		sent  *sent
		want  string
	}{
		{"BACKUP", advert(100), "discarded: 100 is lower than 255, the master down timer of VI_1 runs on (owner hears a rival)"},
		{"MASTER", advert(254), "accepted: VI_1 (MASTER, priority 255) goes on, the sender is lower and is answered (owner hears a rival)"},
		{"MASTER", advert(255), "VI_1 yields: 255 is its own priority, and 10.0.0.9 is higher than 10.0.0.5 (owner hears a rival, two owners)"},
	} {
		r := reader(t, "nopreempt\npriority 255")
		if got := r.Verdict("eth0", c.sent.frame(), in(c.state)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.state, got, c.want)
		}
	}
}

// Tracking lowers the priority that counts.
func TestEffectivePriorityDecides(t *testing.T) {
	lowered := func(string) (string, uint8) { return "MASTER", 90 }
	if got, want := reader(t, "").Verdict("eth0", advert(100).frame(), lowered), "VI_1 yields: 100 is higher than 90"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestOtherInterfaces(t *testing.T) {
	r, f := reader(t, ""), advert(200).frame()
	if got, want := r.Verdict("eth1", f, in("BACKUP")), "no instance has VRID 51 on eth1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.Verdict("eth7", f, in("BACKUP")); got != "" {
		t.Errorf("got %q from an interface that is none", got)
	}
}

func TestAnnouncements(t *testing.T) {
	garp := func(a netip.Addr) []byte { return proto.AppendGratuitousARP(nil, peerMAC, a) }
	request := proto.ARPMessage{Op: proto.ARPRequest, SenderMAC: peerMAC, Sender: higher, Target: vip}.Append(
		proto.AppendEthernet(nil, proto.Broadcast, peerMAC, proto.EtherTypeARP))
	for _, c := range []struct {
		frame       []byte
		state, want string
	}{
		{garp(vip), "BACKUP", "announces 10.0.0.100 at 02:00:00:00:00:09, a virtual address of VI_1"},
		{garp(vip), "MASTER", "announces 10.0.0.100 at 02:00:00:00:00:09, a virtual address of VI_1, which is MASTER here"},
		{garp(higher), "MASTER", "announces 10.0.0.9 at 02:00:00:00:00:09"},
		{request, "MASTER", ""},
	} {
		if got := reader(t, "").Verdict("eth0", c.frame, in(c.state)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// The words are held against what a node does that hears the frame: for every state,
// priority and sender, with every way to preempt.
func TestWordsAreDeeds(t *testing.T) {
	for _, lines := range []string{"", "nopreempt", "preempt_delay 60", "lower_prio_no_advert", "priority 255"} {
		for _, state := range []string{"INIT", "BACKUP", "MASTER"} {
			for _, p := range []uint8{0, 100, 149, 150, 151, 254, 255} {
				for _, src := range []netip.Addr{lower, higher} {
					s := advert(p)
					s.src = src
					deeds(t, lines, state, s)
				}
			}
		}
	}
}

func deeds(t *testing.T, lines, state string, s *sent) {
	t.Helper()
	cfg := parse(t, lines)
	n, err := node.New(cfg, links(), 1)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Second
	var out []node.Action
	if state != "INIT" {
		out = n.Step(now, node.Start{}, nil)
	}
	if state == "MASTER" && !slices.ContainsFunc(out, becomes("MASTER")) {
		now, _ = n.Deadline()
		n.Step(now, node.Tick{}, nil)
	}
	if state == "BACKUP" && slices.ContainsFunc(out, becomes("MASTER")) {
		return // no owner is BACKUP at its start
	}
	before, _ := n.Deadline()
	now += 300 * time.Millisecond
	out = n.Step(now, node.Received{Port: 1, Frame: s.frame(), At: now}, nil)
	after, _ := n.Deadline()

	r, err := New(cfg, links())
	if err != nil {
		t.Fatal(err)
	}
	word := r.Verdict("eth0", s.frame(), in(state))
	name := fmt.Sprintf("%q %s priority %d from %s: %s", lines, state, s.Priority, s.src, word)
	check := func(what string, said, done bool) {
		if said != done {
			t.Errorf("%s: %s is %t", name, what, done)
		}
	}
	check("yielding", strings.Contains(word, "yields"), slices.ContainsFunc(out, becomes("BACKUP")))
	check("answering", strings.Contains(word, "answered") || strings.Contains(word, "advertises at once"), slices.ContainsFunc(out, advertises))
	check("a moved timer in BACKUP", strings.Contains(word, "resets") || strings.Contains(word, "skew time"), state == "BACKUP" && after != before)
}

func becomes(state string) func(a node.Action) bool {
	return func(a node.Action) bool {
		c, ok := a.(node.Changed)
		return ok && c.To.String() == state
	}
}

func advertises(a node.Action) bool {
	s, ok := a.(node.Send)
	return ok && proto.Ethernet(s.Frame).Type() == proto.EtherTypeIPv4
}

// What the judge is told follows from RFC 9568 §6.1 and, in version 2, RFC 3768 §6.1.
func TestRouters(t *testing.T) {
	machine := netlab.Machine{Name: "lb1", NICs: []netlab.NIC{{LAN: "lan", Iface: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(own, 24)}}}}
	got := Routers(parse(t, "version 3\nadvert_int 2\nnopreempt\nvirtual_ipaddress_excluded {\n10.0.0.200\n2001:db8::1\n}"), machine)
	want := netlab.Router{
		Node: "lb1", Instance: "VI_1", LAN: "lan", Interface: "eth0", VRID: 51, Priority: 150, Interval: 2 * time.Second, Skew: 2 * time.Second, NoPreempt: true,
		Down: 6*time.Second + 828125*time.Microsecond, Slowest: 8 * time.Second, GARPRepeat: 5, GARPDelay: 5 * time.Second,
		VIPs: []netip.Addr{vip, netip.MustParseAddr("10.0.0.200"), netip.MustParseAddr("2001:db8::1")}, Addr: own,
	}
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if v2 := Routers(parse(t, "advert_int 2"), machine); v2[0].Skew != time.Second || v2[0].Down != 6*time.Second+414062500 {
		t.Fatalf("version 2: %+v", v2[0])
	}
}
