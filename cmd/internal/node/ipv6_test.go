package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

func addr6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(i + 1)})
}

// conf6 is an instance over IPv6; the address that it does not advertise is of IPv4.
func conf6(priority uint8) *config.Instance {
	c := instanceConf(priority)
	c.Version, c.UnicastTTL = 3, 64
	c.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("fe80::100/64")}, {Prefix: netip.MustParsePrefix("2001:db8::100/64")}}
	c.Excluded = []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.200/32")}}
	return c
}

// world6 gives every node addresses of both families. The global one comes first, and is
// no source (RFC 9568 §5.1.2.1).
func world6(t *testing.T, cfgs ...*config.Config) *world {
	w := &world{t: t}
	for i, c := range cfgs {
		global := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i + 1)})
		n, err := New(c, []Link{
			{Name: "lo", Loopback: true, Up: true},
			{Name: "eth0", MAC: macOf(i), Up: true, Router: i == 1, Prefixes: []netip.Prefix{netip.PrefixFrom(addrOf(i), 24), netip.PrefixFrom(global, 64), netip.PrefixFrom(addr6(i), 64)}},
		}, 1)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes, w.alive = append(w.nodes, n), append(w.alive, false)
	}
	return w
}

// sent describes the frames among actions.
func sent(actions []Action) (list []string) {
	for _, a := range actions {
		if s, ok := a.(Send); ok {
			list = append(list, proto.Describe(s.Frame))
		}
	}
	return list
}

func TestElectionOverIPv6(t *testing.T) {
	w := world6(t, with(conf6(150)), with(conf6(100)))
	if u := w.nodes[0].Uses()[1]; !u.Control || !slices.Equal(u.Groups, []netip.Addr{vrrpGroup6}) {
		t.Errorf("uses %+v", u)
	}
	w.start(0)
	w.start(1)
	w.run(10 * time.Second)
	w.expect("3.4140625s 0 VI_1 BACKUP -> MASTER", "0 add fe80::100/64 eth0", "0 add 2001:db8::100/64 eth0", "0 add 10.0.0.200/32 eth0")
	w.log = nil
	w.step(0, Stop{})
	w.run(12 * time.Second)
	w.expect("10s 0 remove fe80::100/64", "10s 0 remove 10.0.0.200/32", "10.609475s 1 VI_1 BACKUP -> MASTER (fe80::1 resigned with priority 0")
}

// The frames of a new MASTER, in their order (RFC 9568 §6.4.2): the second node forwards
// IPv6 and says so.
func TestFramesOverIPv6(t *testing.T) {
	c := conf6(255)
	c.GARPMasterRepeat = 1
	for i, flags := range []string{"override", "router,override"} {
		n := world6(t, with(c), with(c)).nodes[i]
		got := sent(n.Step(0, Start{}, nil))
		from := macOf(i).String()
		want := []string{
			from + " > 33:33:00:00:00:12 " + addr6(i).String() + " > ff02::12 hop limit 255 class c0, VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header: fe80::100 2001:db8::100",
			from + " > 33:33:00:00:00:01 fe80::100 > ff02::1 hop limit 255 class 00, neighbour advertisement (" + flags + "): fe80::100 is at " + from,
			from + " > 33:33:00:00:00:01 2001:db8::100 > ff02::1 hop limit 255 class 00, neighbour advertisement (" + flags + "): 2001:db8::100 is at " + from,
			from + " > ff:ff:ff:ff:ff:ff gratuitous ARP: 10.0.0.200 is at " + from,
		}
		if len(got) != len(want) {
			t.Fatalf("sent %q", got)
		}
		for k := range want {
			if got[k] != want[k] {
				t.Errorf("frame %d:\ngot  %s\nwant %s", k, got[k], want[k])
			}
		}
	}
}

// The MAC of a unicast peer is asked for by neighbour discovery, on the port of the
// instance where the peer is link-local, and believed from this link only (RFC 4861
// §7.1.2).
func TestUnicastPeersAreResolvedByNDP(t *testing.T) {
	c := conf6(255)
	peer := addr6(6)
	c.UnicastPeers = config.Peers{{Addr: peer}}
	n := world6(t, with(c)).nodes[0]
	asked := sent(n.Step(0, Start{}, nil))[0]
	if want := "02:00:00:00:00:01 > 33:33:ff:00:00:07 fe80::1 > ff02::1:ff00:7 hop limit 255 class 00, who has fe80::7, tell fe80::1 at 02:00:00:00:00:01"; asked != want {
		t.Fatalf("asked\n%s\nwant\n%s", asked, want)
	}
	answer := proto.AppendNDP(nil, macOf(0), macOf(6), peer, addr6(0), proto.NDPMessage{Type: proto.NeighbourAdvertisement, Solicited: true, Target: peer, MAC: macOf(6)})
	const hopLimit = 14 + 7
	answer[hopLimit] = 254
	n.Step(0, Received{Port: 1, Frame: answer}, nil)
	if got := sent(n.Step(time.Second, Tick{}, nil)); len(got) != 1 { // the next question
		t.Fatalf("a peer behind a router is believed: %q", got)
	}
	answer[hopLimit] = 255
	n.Step(time.Second, Received{Port: 1, Frame: answer}, nil)
	want := "02:00:00:00:00:01 > 02:00:00:00:00:07 fe80::1 > fe80::7 hop limit 64 class c0, VRRPv3 vrid 51 priority 255 interval 1s checksum pseudo-header: fe80::100 2001:db8::100"
	if got := sent(n.Step(2*time.Second, Tick{}, nil)); len(got) != 1 || got[0] != want {
		t.Fatalf("sent\n%q\nwant\n%s", got, want)
	}
}

// One VRID is two virtual routers, one for each family (RFC 9568 §5.2.3): neither hears
// the other's advertisements.
func TestFamiliesAreApart(t *testing.T) {
	six := conf6(100)
	six.Name = "VI_6"
	w := world6(t, with(instanceConf(150)), with(instanceConf(100), six))
	w.start(0)
	w.start(1)
	w.run(10 * time.Second)
	w.expect("0 VI_1 BACKUP -> MASTER", "1 VI_6 BACKUP -> MASTER")
	if got := w.nodes[1].instances[0].fsm.State().String(); got != "BACKUP" {
		t.Errorf("VI_1 is %s: %q", got, w.log)
	}
}

// Without a link-local address nothing can be sent (RFC 9568 §5.1.2.1).
func TestNoLinkLocalAddressIsAFault(t *testing.T) {
	w := world6(t, with(conf6(100)))
	w.start(0)
	w.step(0, AddressChanged{Port: 1, Prefix: netip.PrefixFrom(addr6(0), 64)})
	w.expect("0 VI_1 BACKUP -> FAULT (no source address)")
}

// Who is not MASTER says nothing over IPv6: neither at the start nor until its timer fires
// (RFC 9568 §6.4.1, §6.4.2); then it announces each address, as advertised ones and in
// their order, after the advertisement.
func TestBackupOverIPv6IsSilent(t *testing.T) {
	n := world6(t, with(conf6(100))).nodes[0]
	if got := sent(n.Step(0, Start{}, nil)); got != nil {
		t.Fatalf("sent at the start: %q", got)
	}
	at, _ := n.Deadline()
	if got := sent(n.Step(at-1, Tick{}, nil)); got != nil {
		t.Fatalf("sent before the timer: %q", got)
	}
	got := sent(n.Step(at, Tick{}, nil))
	if len(got) != 1+5*3 || !strings.Contains(got[0], "VRRPv3") || !strings.Contains(got[1], "fe80::100 is at") || !strings.Contains(got[2], "2001:db8::100 is at") {
		t.Errorf("sent by the new MASTER: %q", got)
	}
}

// FRR may advertise from the link-local virtual address, which a MASTER holds as well: that
// is no frame of its own, and a better router is obeyed.
func TestAdvertFromTheVirtualAddressIsHeard(t *testing.T) {
	for src, want := range map[string]string{"fe80::100": "BACKUP", "fe80::1": "MASTER"} { // the other is its own
		w := world6(t, with(conf6(100)))
		w.start(0)
		w.run(5 * time.Second)
		from, group := netip.MustParseAddr(src), netip.MustParseAddr("ff02::12")
		msg := proto.Advert{Version: 3, VRID: 51, Priority: 200, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("fe80::100")}}.Append(nil)
		proto.SealVRRP(msg, from, group, proto.ChecksumPseudo)
		f := proto.AppendEthernet(nil, proto.GroupMAC6(group), proto.VirtualMAC6(51), proto.EtherTypeIPv6)
		f = append(proto.IPv6Header{HopLimit: 255, NextHeader: proto.ProtocolVRRP, Src: from, Dst: group}.Append(f, len(msg)), msg...)
		if !w.nodes[0].local(from) {
			t.Fatalf("%v is not there", from)
		}
		w.step(0, Received{Port: 1, Frame: f})
		if got := w.nodes[0].instances[0].fsm.State().String(); got != want {
			t.Errorf("from %v it is %s, want %s", from, got, want)
		}
	}
}
