package loop

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

// bench is a loop on a wire in memory, in virtual time, with another port that hears
// everything and can speak.
type bench struct {
	*ringtest.Wire
	loop  *Loop
	other *ringtest.Port
	host  *host
	log   bytes.Buffer
}

// host records what happens to addresses, in the order of what is on the wire.
type host struct {
	other *ringtest.Port
	done  []string
}

func (h *host) AddAddress(a kernel.Address) error {
	h.done = append(h.done, fmt.Sprintf("add %v on %s after %d frames", a.Prefix, a.Interface, len(h.other.Take())))
	return nil
}

func (h *host) RemoveAddress(a kernel.Address) error {
	h.done = append(h.done, fmt.Sprintf("remove %v on %s after %d frames", a.Prefix, a.Interface, len(h.other.Take())))
	return nil
}

func (h *host) Block(list []kernel.Address) error {
	h.done = append(h.done, fmt.Sprintf("block %d after %d frames", len(list), len(h.other.Take())))
	return nil
}

func (h *host) Unblock(list []kernel.Address) error {
	h.done = append(h.done, fmt.Sprintf("unblock %d after %d frames", len(list), len(h.other.Take())))
	return nil
}

func (h *host) AddRoute(r kernel.Route) (bool, error) {
	h.done = append(h.done, fmt.Sprintf("add route to %v after %d frames", r.To, len(h.other.Take())))
	return true, nil
}

func (h *host) RemoveRoute(r kernel.Route) error {
	h.done = append(h.done, fmt.Sprintf("remove route to %v after %d frames", r.To, len(h.other.Take())))
	return nil
}

func (h *host) AddRule(r kernel.Rule) (bool, error) {
	h.done = append(h.done, fmt.Sprintf("add rule %d after %d frames", r.Preference, len(h.other.Take())))
	return true, nil
}

func (h *host) RemoveRule(r kernel.Rule) error {
	h.done = append(h.done, fmt.Sprintf("remove rule %d after %d frames", r.Preference, len(h.other.Take())))
	return nil
}

var (
	ownMAC   = proto.MAC{2, 0, 0, 0, 0, 1}
	otherMAC = proto.MAC{2, 0, 0, 0, 0, 2}
	own      = netip.MustParseAddr("10.0.0.1")
	other    = netip.MustParseAddr("10.0.0.2")
	vip      = netip.MustParseAddr("10.0.0.100")
)

func newBench(t *testing.T, cfg *config.Config) *bench {
	t.Helper()
	n, err := node.New(cfg, []node.Link{{Name: "eth0", MAC: ownMAC, Up: true, Prefixes: []netip.Prefix{netip.PrefixFrom(own, 24)}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Wire: ringtest.NewWire()}
	control, service := b.Port("control", ownMAC), b.Port("service", ownMAC)
	b.other = b.Port("other", otherMAC)
	b.host = &host{other: b.other}
	poller := b.NewPoller()
	poller.Add(control, 1)
	poller.Add(service, 2)
	filter, err := ring.ControlFilter(ownMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := control.SetFilter(filter); err != nil {
		t.Fatal(err)
	}
	filter, err = ring.ServiceFilter([]ring.Match{{Protocol: 6, Dst: netip.PrefixFrom(vip, 32), DstPorts: [2]uint16{80, 80}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.SetFilter(filter); err != nil {
		t.Fatal(err)
	}
	b.loop = New(Config{
		Node: n, Ports: []Sockets{{Control: control, Service: service}}, Poller: poller, Host: b.host,
		Log: slog.New(slog.NewTextHandler(&b.log, nil)), Clock: b.Now, Wall: b.Now,
	})
	return b
}

// run lets the loop run for a virtual time.
func (b *bench) run(t *testing.T, until time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b.At(until, cancel)
	if err := b.loop.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func instance(priority uint8) *config.Config {
	return &config.Config{Instances: []*config.Instance{{
		Name: "VI_1", Interface: "eth0", VRID: 51, Priority: priority, Version: 2, AdvertInterval: time.Second,
		DownTimerAdverts: 3, GARPMasterRepeat: 5, Addresses: []config.Address{{Prefix: netip.PrefixFrom(vip, 32)}},
	}}}
}

// advert is a frame of the other node.
func advert(priority uint8) []byte {
	msg := proto.Advert{Version: 2, VRID: 51, Priority: priority, Interval: time.Second, Addrs: []netip.Addr{vip}}.Append(nil)
	group := netip.MustParseAddr("224.0.0.18")
	proto.SealVRRP(msg, other, group, proto.ChecksumMessage)
	f := proto.AppendEthernet(nil, proto.MAC{1, 0, 0x5e, 0, 0, 0x12}, otherMAC, proto.EtherTypeIPv4)
	return append(proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: other, Dst: group}.Append(f, len(msg)), msg...)
}

// TestMasterAnnouncesBeforeAndAfterTheAddress: the advertisement leaves before the
// address comes up, the gratuitous ARP after; at the end priority 0 leaves before the
// address goes.
func TestMasterAnnouncesBeforeAndAfterTheAddress(t *testing.T) {
	b := newBench(t, instance(100))
	b.run(t, 6*time.Second)
	want := []string{
		"add 10.0.0.100/32 on eth0 after 1 frames",    // the advertisement at 3.609 s
		"remove 10.0.0.100/32 on eth0 after 8 frames", // 5 ARPs, 2 advertisements, priority 0
	}
	if !slices.Equal(b.host.done, want) {
		t.Fatalf("got %q\nlog:\n%s", b.host.done, b.log.String())
	}
	if rest := b.other.Take(); len(rest) != 0 {
		t.Fatalf("%d frames after the end", len(rest))
	}
	for _, line := range []string{`msg="(VI_1) Entering MASTER STATE"`, `reason="master down timer expired (3.609375s)"`, `msg="(VI_1) Stopped"`} {
		if !strings.Contains(b.log.String(), line) {
			t.Errorf("no %s in\n%s", line, b.log.String())
		}
	}
}

// TestRoutesFollowTheAddress: routes come after it and before the gratuitous ARP, then
// rules; they go first. Static ones frame all that.
func TestRoutesFollowTheAddress(t *testing.T) {
	cfg := instance(100)
	cfg.Instances[0].Routes = config.Routes{{To: netip.MustParsePrefix("192.0.2.0/24"), Device: "eth0"}}
	cfg.Instances[0].Rules = config.Rules{{Preference: 7, Table: "100", SuppressPrefixLength: -1}}
	cfg.StaticAddresses = config.Addresses{{Prefix: netip.MustParsePrefix("10.0.0.3/24"), Device: "eth0"}}
	cfg.StaticRoutes = config.Routes{{To: netip.MustParsePrefix("198.51.100.0/24"), Device: "eth0"}}
	b := newBench(t, cfg)
	b.run(t, 4*time.Second)
	want := []string{
		"add 10.0.0.3/24 on eth0 after 0 frames", "add route to 198.51.100.0/24 after 0 frames",
		"add 10.0.0.100/32 on eth0 after 1 frames", "add route to 192.0.2.0/24 after 0 frames", "add rule 7 after 0 frames",
		"remove rule 7 after 6 frames", "remove route to 192.0.2.0/24 after 0 frames", "remove 10.0.0.100/32 on eth0 after 0 frames", // 5 ARPs, priority 0
		"remove route to 198.51.100.0/24 after 0 frames", "remove 10.0.0.3/24 on eth0 after 0 frames",
	}
	if !slices.Equal(b.host.done, want) {
		t.Fatalf("got %q\nlog:\n%s", b.host.done, b.log.String())
	}
}

// TestBlockFramesTheAddress: packets to it are dropped from before it is there until after it
// is gone; the advertisement and priority 0 do not wait for that.
func TestBlockFramesTheAddress(t *testing.T) {
	cfg := instance(100)
	cfg.Instances[0].NoAccept = true
	b := newBench(t, cfg)
	b.run(t, 4*time.Second)
	want := []string{
		"block 1 after 1 frames", "add 10.0.0.100/32 on eth0 after 0 frames",
		"remove 10.0.0.100/32 on eth0 after 6 frames", "unblock 1 after 0 frames", // 5 ARPs, priority 0
	}
	if !slices.Equal(b.host.done, want) {
		t.Fatalf("got %q\nlog:\n%s", b.host.done, b.log.String())
	}
}

// TestAdvertCountsFromItsArrival: an advertisement that is already in the ring when
// the timer is looked at keeps the node BACKUP.
func TestAdvertCountsFromItsArrival(t *testing.T) {
	b := newBench(t, instance(100))
	for at := time.Second; at < 10*time.Second; at += time.Second {
		b.At(at, func() { b.other.Send(advert(200)) })
	}
	// The last one at 9 s: MASTER 3.609375 s later.
	b.run(t, 13*time.Second)
	if !strings.Contains(b.log.String(), "Entering MASTER STATE") || strings.Count(b.log.String(), "Entering MASTER") != 1 {
		t.Fatalf("log:\n%s", b.log.String())
	}
	if b.host.done[0] != "add 10.0.0.100/32 on eth0 after 1 frames" {
		t.Fatalf("got %q", b.host.done)
	}
}

// TestServiceFramesAreForwarded: the first waits for the server's MAC, and all leave
// with it.
func TestServiceFramesAreForwarded(t *testing.T) {
	cfg := instance(255)
	server := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.7"), 80)
	serverMAC := proto.MAC{2, 0, 0, 0, 0, 7}
	cfg.VirtualServers = []*config.VirtualServer{{
		Addr: netip.AddrPortFrom(vip, 80), Protocol: 6, Scheduler: "rr", Method: config.Method{Forwarding: "DR"}, Quorum: 1,
		RealServers: []*config.RealServer{{Addr: server, Weight: 1}},
	}}
	b := newBench(t, cfg)
	syn := func(port uint16) []byte {
		f := proto.AppendEthernet(nil, ownMAC, otherMAC, proto.EtherTypeIPv4)
		f = proto.IPv4Header{TTL: 64, Protocol: 6, Src: other, Dst: vip}.Append(f, 20)
		return proto.TCPHeader{SrcPort: port, DstPort: 80, Flags: proto.TCPSyn}.Append(f)
	}
	var forwarded int
	b.At(100*time.Millisecond, func() { b.other.Send(syn(1)) })
	b.At(200*time.Millisecond, func() {
		reply := proto.AppendEthernet(nil, ownMAC, serverMAC, proto.EtherTypeARP)
		b.other.Take()
		b.other.Send(proto.ARPMessage{Op: proto.ARPReply, SenderMAC: serverMAC, Sender: server.Addr(), TargetMAC: ownMAC, Target: own}.Append(reply))
	})
	b.At(300*time.Millisecond, func() { b.other.Send(syn(2)) })
	b.At(400*time.Millisecond, func() {
		for _, f := range b.other.Take() {
			if eth := proto.Ethernet(f.Frame); eth.Dst() == serverMAC && eth.Src() == ownMAC && proto.IPv4(eth.Payload()).TTL() == 63 {
				forwarded++
			}
		}
	})
	b.run(t, 500*time.Millisecond)
	if forwarded != 2 {
		t.Fatalf("%d frames forwarded\n%s", forwarded, b.log.String())
	}
}

// TestDeletedDeviceEndsNothing: the loop goes on without the interface and stops in
// good order.
func TestDeletedDeviceEndsNothing(t *testing.T) {
	b := newBench(t, instance(100))
	b.At(5*time.Second, func() {
		b.loop.Ports[0].Control.(*ringtest.Port).Delete()
		b.loop.Post(node.LinkChanged{Port: 0, MAC: ownMAC, Up: false})
	})
	b.run(t, 20*time.Second)
	if !strings.Contains(b.log.String(), "Entering FAULT STATE") || !strings.Contains(b.log.String(), "(VI_1) Stopped") {
		t.Fatalf("log:\n%s", b.log.String())
	}
}

// TestAdvertisementCountsBeforeItsTimer: one that waits in the ring when the loop looks at a timer
// late keeps a BACKUP what it is, whatever else there is to do, and whatever stands before it.
func TestAdvertisementCountsBeforeItsTimer(t *testing.T) {
	for name, first := range map[string]func(*bench) error{
		"an event":     func(b *bench) error { b.loop.Post(node.Programmed{}); return nil },
		"a reload":     func(b *bench) error { b.loop.Do(func() { b.loop.Reload(instance(100), nil, func() {}) }); return nil },
		"another node": func(b *bench) error { return b.other.Send(advert(50)) },
	} {
		b := newBench(t, instance(100))
		late := time.Duration(0)
		b.loop.Clock = func() time.Duration { return b.Now() + late }
		b.loop.Wall = b.loop.Clock
		send := func(f func(*bench) error) {
			if err := f(b); err != nil {
				t.Error(err)
			}
		}
		higher := func(b *bench) error { return b.other.Send(advert(200)) }
		b.At(time.Second, func() { send(higher) })
		b.At(2*time.Second, func() {
			send(first)
			send(higher)
			late = 2700 * time.Millisecond // the timer of the first one is over by 100 ms
		})
		b.run(t, 3*time.Second)
		if log := b.log.String(); strings.Contains(log, "MASTER") {
			t.Errorf("%s first:\n%s", name, log)
		}
	}
}

// atOnce is a poller that never waits.
type atOnce struct{}

func (atOnce) Wait(time.Duration, []int) (int, error) { return 0, nil }
func (atOnce) Wake()                                  {}

// A turn that finds nothing allocates nothing.
func TestTurnDoesNotAllocate(t *testing.T) {
	b, _, _ := bfdBench(t)
	b.loop.ctx, b.loop.Poller = t.Context(), atOnce{}
	if n := testing.AllocsPerRun(100, func() {
		if err := b.loop.turn(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}
