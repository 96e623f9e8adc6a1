package node

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// parsed is the configuration of a file, with every default.
func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, messages := config.Parse("test.conf", []byte(text), config.Options{})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	return cfg
}

// oneInstance is a file with one instance.
func oneInstance(global, inside string) string {
	return "global_defs {\n" + global + "\n}\nvrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\n" + inside + "\n}\n"
}

// firstFrames is the node of a file, which becomes MASTER at once, and what it sends then.
func firstFrames(t *testing.T, global, inside string) (*Node, []string) {
	n := world6(t, parsed(t, oneInstance(global, inside+"\npriority 255"))).nodes[0]
	return n, sent(n.Step(0, Start{}, nil))
}

// Advertisements go to the group of the file, with the MAC that belongs to it, and it is
// joined: mcast_dst_ip, or vrrp_mcast_group4 and vrrp_mcast_group6, or the standard one.
func TestGroups(t *testing.T) {
	const four, six = "virtual_ipaddress { 10.0.0.100 }", "virtual_ipaddress { fe80::100 }"
	const globals = "vrrp_mcast_group4 224.0.1.99\nvrrp_mcast_group6 ff02::99"
	for _, tt := range []struct {
		global, inside, to string
		use                Use
	}{
		{"", four, "> 01:00:5e:00:00:12 10.0.0.1 > 224.0.0.18", Use{Control: true, Groups: []netip.Addr{vrrpGroup}}},
		{"", six, "> 33:33:00:00:00:12 fe80::1 > ff02::12", Use{Control: true, Groups: []netip.Addr{vrrpGroup6}}},
		{globals, four, "> 01:00:5e:00:01:63 10.0.0.1 > 224.0.1.99", Use{Control: true, Groups: []netip.Addr{netip.MustParseAddr("224.0.1.99")}}},
		{globals, six, "> 33:33:00:00:00:99 fe80::1 > ff02::99", Use{Control: true, Groups: []netip.Addr{netip.MustParseAddr("ff02::99")}}},
		{globals, "mcast_dst_ip 239.129.2.3\n" + four, "> 01:00:5e:01:02:03 10.0.0.1 > 239.129.2.3", Use{Control: true, Groups: []netip.Addr{netip.MustParseAddr("239.129.2.3")}}},
		{globals, "mcast_dst_ip ff02::1:2\n" + six, "> 33:33:00:01:00:02 fe80::1 > ff02::1:2", Use{Control: true, Groups: []netip.Addr{netip.MustParseAddr("ff02::1:2")}}},
	} {
		n, frames := firstFrames(t, tt.global, tt.inside)
		if len(frames) == 0 || !strings.Contains(frames[0], tt.to+" ") {
			t.Errorf("%q: sent %.1q, want %s", tt.inside, frames, tt.to)
		}
		if u := n.Uses()[1]; u.Control != tt.use.Control || !slices.Equal(u.Groups, tt.use.Groups) {
			t.Errorf("%q: uses %+v, want %+v", tt.inside, u, tt.use)
		}
	}
}

// Which version and checksum is sent, by what the file says. "version 2" over IPv6 is
// keepalived's own; the vrrp_version of the file does not reach IPv6.
func TestFormsOfTheFile(t *testing.T) {
	const four, six = "virtual_ipaddress { 10.0.0.100 }\n", "virtual_ipaddress { fe80::100 }\n"
	for _, tt := range []struct{ global, inside, want string }{
		{"", four, "VRRPv2 vrid 51 priority 255 interval 1s checksum message"},
		{"", four + "version 3", "VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header"},
		{"", four + "version 3\nv3_checksum_as_v2", "VRRPv3 vrid 51 priority 255 interval 1s checksum message"},
		{"vrrp_version 3\nv3_checksum_as_v2", four, "VRRPv3 vrid 51 priority 255 interval 1s checksum message"},
		{"vrrp_version 3\nv3_checksum_as_v2", four + "v3_checksum_as_v2 off", "VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header"},
		{"v3_checksum_as_v2", four, "VRRPv2 vrid 51 priority 255 interval 1s checksum message"},
		{"v3_checksum_as_v2", six, "VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header"},
		{"vrrp_version 2", six, "VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header"},
		{"", six + "version 2", "VRRPv2 vrid 51 priority 255 interval 1s checksum pseudo-header"},
		{"vrrp_strict", six + "version 2", "VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header"},
	} {
		if _, frames := firstFrames(t, tt.global, tt.inside); len(frames) == 0 || !strings.Contains(frames[0], tt.want+":") {
			t.Errorf("%q %q: sent %.1q, want %s", tt.global, tt.inside, frames, tt.want)
		}
	}
}

// Version 2 over IPv6 to the byte as keepalived sends it, but for the flow label, which its
// kernel adds.
func TestVersion2OverIPv6OfKeepalived(t *testing.T) {
	cfg := parsed(t, oneInstance("", "version 2\npriority 100\nvirtual_ipaddress { fe80::77:100\n2001:db8:77::100 }"))
	mac := proto.MAC{2, 0, 0, 0, 0x77, 1}
	n, err := New(cfg, []Link{{Name: "eth0", MAC: mac, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("fe80::ff:fe00:7701/64")}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	n.Step(0, Start{}, nil)
	at, _ := n.Deadline()
	want := bytes.Clone(vector(t, "V16"))
	copy(want[14:18], []byte{0x6c, 0, 0, 0})
	if got := n.Step(at, Tick{}, nil)[1].(Send).Frame; !bytes.Equal(got, want) {
		t.Errorf("got\n%x\nwant\n%x", got, want)
	}
}

// hmacConf is auth_hmac with one key.
func hmacConf(priority int, mode, key string) string {
	return oneInstance("", "priority "+map[bool]string{true: "150", false: "100"}[priority > 100]+"\nvirtual_ipaddress { 10.0.0.100 }\nauth_hmac {\nkey 7 "+key+"\nmode "+mode+"\n}")
}

const (
	hmacKey  = "0123456789abcdef0123456789abcdef"
	hmacKey2 = "hex:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

// clocked is a world whose nodes know the time of day.
func clocked(t *testing.T, files ...string) *world {
	var list []*config.Config
	for _, f := range files {
		list = append(list, parsed(t, f))
	}
	w := newWorld(t, list...)
	for i, n := range w.nodes {
		if !n.AsksClock() {
			t.Fatalf("node %d asks no clock", i)
		}
		n.Step(0, Clock{Offset: 1704067200 * time.Second}, nil)
		w.start(i)
	}
	return w
}

// Nodes with the same key elect one of them, through a takeover and a return; a node that
// was started anew is heard, as its clock went on.
func TestHMACBetweenNodes(t *testing.T) {
	w := clocked(t, hmacConf(150, "enforce", hmacKey), hmacConf(100, "enforce", hmacKey))
	w.run(10 * time.Second)
	w.kill(0)
	w.run(20 * time.Second)
	w.nodes[0] = newWorld(t, parsed(t, hmacConf(150, "enforce", hmacKey))).nodes[0]
	w.nodes[0].Step(w.now, Clock{Offset: 1704067200 * time.Second}, nil)
	w.start(0)
	w.run(30 * time.Second)
	w.expect("0 VI_1 BACKUP -> MASTER", "1 VI_1 BACKUP -> MASTER", "0 VI_1 BACKUP -> MASTER", "1 VI_1 MASTER -> BACKUP (advert from 10.0.0.1 priority 150)")
	if log := strings.Join(w.log, "\n"); strings.Contains(log, "refused") {
		t.Fatal(log)
	}
}

// A roll-out, step by step: at every one of them the lesser node hears the better one.
func TestHMACRollOut(t *testing.T) {
	for _, modes := range [][2]string{{"receive-only", "receive-only"}, {"permissive", "receive-only"}, {"receive-only", "permissive"}, {"permissive", "permissive"}, {"enforce", "permissive"}, {"permissive", "enforce"}, {"enforce", "enforce"}} {
		w := clocked(t, hmacConf(150, modes[0], hmacKey), hmacConf(100, modes[1], hmacKey))
		w.run(20 * time.Second)
		w.expect("0 VI_1 BACKUP -> MASTER")
		if log := strings.Join(w.log, "\n"); strings.Contains(log, "1 VI_1 BACKUP -> MASTER") || strings.Contains(log, "refused") {
			t.Errorf("%v:\n%s", modes, log)
		}
	}
}

// What keeps nodes apart is said by both sides.
func TestHMACMistakes(t *testing.T) {
	plain := oneInstance("", "priority 100\nvirtual_ipaddress { 10.0.0.100 }")
	for _, tt := range []struct {
		other string
		clock time.Duration
		want  string
	}{
		{hmacConf(100, "enforce", hmacKey2), 0, "wrong hmac"},
		{hmacConf(100, "enforce", hmacKey), time.Minute, "stale"},
		{plain, 0, "bad length"},
	} {
		w := newWorld(t, parsed(t, hmacConf(150, "enforce", hmacKey)), parsed(t, tt.other))
		w.nodes[0].Step(0, Clock{Offset: 1704067200 * time.Second}, nil)
		w.nodes[1].Step(0, Clock{Offset: 1704067200*time.Second + tt.clock}, nil)
		w.start(0)
		w.start(1)
		w.run(10 * time.Second)
		w.expect("1 refused 10.0.0.1: "+tt.want, "1 VI_1 BACKUP -> MASTER")
	}
}

// owner_ignore_adverts, and strict mode in version 2 (RFC 3768 §7.1): the owner hears
// nobody. In version 3 it does (erratum 8298).
func TestOwnersThatHearNobody(t *testing.T) {
	const vip = "virtual_ipaddress { 10.0.0.100 }\n"
	for _, tt := range []struct {
		global, inside string
		deaf           bool
	}{
		{"", vip, false}, {"", vip + "owner_ignore_adverts", true}, {"vrrp_owner_ignore_adverts", vip, true},
		{"vrrp_owner_ignore_adverts", vip + "owner_ignore_adverts off", false},
		{"vrrp_strict", vip, true}, {"vrrp_strict", vip + "version 3", false}, {"vrrp_strict", vip + "owner_ignore_adverts off", false},
	} {
		owner := parsed(t, oneInstance(tt.global, tt.inside+"\npriority 255"))
		w := newWorld(t, owner, owner)
		w.start(0)
		w.start(1)
		w.run(10 * time.Second)
		if deaf := w.nodes[0].instances[0].fsm.State() == w.nodes[1].instances[0].fsm.State(); deaf != tt.deaf {
			t.Errorf("%q %q: both owners are MASTER: %v\n%s", tt.global, tt.inside, deaf, strings.Join(w.log, "\n"))
		}
	}
}

// unicast_fault_no_peer stays in FAULT without peers, where the default is the group.
func TestUnicastFaultNoPeer(t *testing.T) {
	w := newWorld(t, parsed(t, oneInstance("", "unicast_fault_no_peer\nvirtual_ipaddress { 10.0.0.100 }")), parsed(t, oneInstance("", "unicast_fault_no_peer\nunicast_peer { 10.0.0.1 }\nvirtual_ipaddress { 10.0.0.100 }")))
	w.start(0)
	w.start(1)
	w.run(10 * time.Second)
	w.expect("0 VI_1 INIT -> FAULT (no unicast_peer)", "1 VI_1 BACKUP -> MASTER")
	if u := w.nodes[0].Uses()[1]; u.Groups != nil {
		t.Errorf("uses %+v", u)
	}
}

// no_virtual_ipaddress: nodes without an address elect one of them all the same, in both
// versions.
func TestNoVirtualAddress(t *testing.T) {
	for _, version := range []string{"2", "3"} {
		inside := "no_virtual_ipaddress\nversion " + version
		w := newWorld(t, parsed(t, oneInstance("", inside+"\npriority 150")), parsed(t, oneInstance("", inside)))
		w.start(0)
		w.start(1)
		w.run(20 * time.Second)
		w.expect("0 VI_1 BACKUP -> MASTER")
		if log := strings.Join(w.log, "\n"); strings.Contains(log, "1 VI_1 BACKUP -> MASTER") || strings.Contains(log, "refused") {
			t.Errorf("version %s:\n%s", version, log)
		}
	}
}

// old_unicast_checksum sums the multicast group for a peer; the word never is what happens
// without it.
func TestOldUnicastChecksum(t *testing.T) {
	const inside = "version 3\nunicast_peer { 10.0.0.2 }\nvirtual_ipaddress { 10.0.0.100 }\n"
	for keyword, old := range map[string]bool{"": false, "old_unicast_checksum never": false, "old_unicast_checksum": true} {
		n := newWorld(t, parsed(t, oneInstance("", inside+keyword))).nodes[0]
		msg := n.message(&n.instances[0], fsm.SendAdvert{Priority: 100, Src: addrOf(0)}, addrOf(1))
		want := map[bool]netip.Addr{true: vrrpGroup, false: addrOf(1)}[old]
		if form := proto.VRRP(msg).ChecksumForm(addrOf(0), want); form != proto.ChecksumPseudo {
			t.Errorf("%q: the checksum does not hold for %v", keyword, want)
		}
	}
}
