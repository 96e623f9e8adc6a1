package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// paced is a node with two instances on one interface, one of them with an address on
// another, and one of IPv6; what it announces is noted with its time.
type paced struct {
	n    *Node
	said []string
}

func newPaced(t *testing.T, change func(*config.Config)) *paced {
	a, b, c := instanceConf(150), instanceConf(150), instanceConf(150)
	a.Addresses = config.Addresses{vip("10.0.0.101/32", ""), vip("10.0.0.102/32", "eth1")}
	b.Name, b.VRID, b.Addresses = "VI_2", 52, config.Addresses{vip("10.0.0.201/32", ""), vip("10.0.0.202/32", "")}
	c.Name, c.Version, c.Addresses = "VI_6", 3, config.Addresses{vip("fe80::77/128", ""), vip("2001:db8::77/128", "")}
	for _, in := range []*config.Instance{a, b, c} {
		in.GARPMasterRepeat, in.GARPMasterDelay = 2, 0
	}
	cfg := with(a, b, c)
	change(cfg)
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64")}
	n, err := New(cfg, []Link{{Name: "lo", Loopback: true, Up: true}, {Name: "eth0", Up: true, Prefixes: prefixes}, {Name: "eth1", Up: true}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return &paced{n: n}
}

func vip(prefix, device string) config.Address {
	return config.Address{Prefix: netip.MustParsePrefix(prefix), Device: device}
}

func (p *paced) step(now time.Duration, ev Event) {
	for _, a := range p.n.Step(now, ev, nil) {
		send, ok := a.(Send)
		if !ok {
			continue
		}
		what := ""
		eth := proto.Ethernet(send.Frame)
		switch eth.Type() {
		case proto.EtherTypeARP:
			arp, _ := proto.ParseARP(eth.Payload())
			what = arp.Target().String()
		case proto.EtherTypeIPv6:
			if ip, err := proto.ParseIPv6(eth.Payload()); err == nil && ip.NextHeader() == 58 {
				what = ip.Src().String()
			} else {
				what = "advert"
			}
		default:
			what = "advert"
		}
		p.said = append(p.said, fmt.Sprintf("%v eth%d %s", now, send.Port-1, what))
	}
}

// run lets time pass to the given moment, and returns what was announced meanwhile.
func (p *paced) run(until time.Duration) []string {
	p.said = nil
	for {
		at, ok := p.n.Deadline()
		if !ok || at > until {
			return slices.DeleteFunc(slices.Clone(p.said), func(s string) bool { return strings.HasSuffix(s, "advert") })
		}
		p.step(at, Tick{})
	}
}

// became is when all instances become MASTER: three intervals and the skew time.
const became = 3*time.Second + 106*time.Second/256

func hold(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPacedByInterface is vrrp_garp_interval and vrrp_gna_interval: the first announcement
// leaves at once, the others in the order of the file, each address once however many rounds
// were asked for. The other interface has a budget of its own. So does keepalived 2.2.7.
func TestPacedByInterface(t *testing.T) {
	p := newPaced(t, func(c *config.Config) {
		c.Global.GARPInterval, c.Global.GNAInterval = 100*time.Millisecond, 50*time.Millisecond
	})
	p.step(0, Start{})
	hold(t, p.run(became+time.Second),
		"3.4140625s eth0 10.0.0.101", "3.4140625s eth1 10.0.0.102", "3.4140625s eth0 fe80::77",
		"3.4640625s eth0 fe80::77",
		"3.5140625s eth0 10.0.0.101", "3.5140625s eth0 2001:db8::77", "3.5140625s eth1 10.0.0.102",
		"3.6140625s eth0 10.0.0.201", "3.7140625s eth0 10.0.0.202")
}

// TestPacedByGroup is a garp_group of two interfaces, which share one budget. It says nothing
// of neighbour advertisements, so that these are not held back there, whatever global_defs says.
func TestPacedByGroup(t *testing.T) {
	p := newPaced(t, func(c *config.Config) {
		c.Global.GARPInterval, c.Global.GNAInterval = 100*time.Millisecond, 50*time.Millisecond
		c.GARPGroups = []*config.GARPGroup{{GARPInterval: 30 * time.Millisecond, Interface: "eth0", Interfaces: config.Names{"eth1"}}}
		c.Instances[0].GARPMasterRepeat, c.Instances[1].GARPMasterRepeat, c.Instances[2].GARPMasterRepeat = 1, 1, 1
	})
	p.step(0, Start{})
	hold(t, p.run(became+time.Second),
		"3.4140625s eth0 10.0.0.101", "3.4140625s eth0 fe80::77", "3.4140625s eth0 2001:db8::77",
		"3.4440625s eth1 10.0.0.102", "3.4740625s eth0 10.0.0.201", "3.5040625s eth0 10.0.0.202")
}

// TestPacedUntilMasterNoMore drops what waits of an instance that loses its role, and of no
// other. Its advertisements were not held back.
func TestPacedUntilMasterNoMore(t *testing.T) {
	p := newPaced(t, func(c *config.Config) { c.Global.GARPInterval = 600 * time.Millisecond })
	p.step(0, Start{})
	p.run(became)
	if first := p.said[0]; first != "3.4140625s eth0 advert" {
		t.Errorf("first of all leaves %q", first)
	}
	p.said = nil
	p.step(became+time.Millisecond, Received{Port: 1, Frame: advertFrame(51, 200), At: became + time.Millisecond})
	if got := p.n.instances[0].fsm.State().String(); got != "BACKUP" {
		t.Fatalf("VI_1 is %s", got)
	}
	hold(t, p.run(became+2*time.Second), "4.0140625s eth0 10.0.0.201", "4.6140625s eth0 10.0.0.202")
	if p.n.pacers[p.n.ports[1].pace.garp].waiting != 0 {
		t.Error("something waits for ever")
	}
}

// TestPacingAllocatesNothing but the frames.
func TestPacingAllocatesNothing(t *testing.T) {
	p := newPaced(t, func(c *config.Config) { c.Global.GARPInterval = time.Second })
	p.step(0, Start{})
	p.run(became)
	in, addr := &p.n.instances[1], netip.MustParseAddr("10.0.0.201")
	if got := testing.AllocsPerRun(100, func() {
		p.n.dropAnnouncements(in)
		p.n.announce(in, addr)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// advertFrame is an advertisement of version 2 of another router.
func advertFrame(vrid, priority uint8) []byte {
	src, addrs := netip.MustParseAddr("10.0.0.9"), []netip.Addr{netip.MustParseAddr("10.0.0.101"), netip.MustParseAddr("10.0.0.102")}
	msg := proto.Advert{Version: 2, VRID: vrid, Priority: priority, Interval: time.Second, Addrs: addrs}.Append(nil)
	proto.SealVRRP(msg, src, vrrpGroup, proto.ChecksumMessage)
	f := proto.AppendEthernet(nil, vrrpGroupMAC, proto.MAC{2, 9}, proto.EtherTypeIPv4)
	h := proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: src, Dst: vrrpGroup}
	return append(h.Append(f, len(msg)), msg...)
}
