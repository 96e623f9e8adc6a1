package node

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

func TestElectionTakeoverAndReturn(t *testing.T) {
	w := newWorld(t, with(instanceConf(150)), with(instanceConf(100)))
	w.start(0)
	w.start(1)
	w.run(10 * time.Second)
	w.expect("3.4140625s 0 VI_1 BACKUP -> MASTER", "3.4140625s 0 add 10.0.0.100/32 eth0")

	w.log = nil
	w.kill(0) // its last advertisement was at 9.4140625s
	w.run(20 * time.Second)
	w.expect("13.0235375s 1 VI_1 BACKUP -> MASTER (master down timer expired (3.609375s))", "1 add 10.0.0.100/32 eth0")

	w.log = nil
	w.nodes[0] = newWorld(t, with(instanceConf(150))).nodes[0]
	w.start(0)
	w.run(30 * time.Second)
	w.expect("0 VI_1 BACKUP -> MASTER", "1 VI_1 MASTER -> BACKUP (advert from 10.0.0.1 priority 150)", "1 remove 10.0.0.100/32 eth0")

	w.log = nil
	w.step(0, Stop{})
	w.run(32 * time.Second)
	w.expect("30s 0 VI_1 MASTER -> INIT (shutdown)", "30s 0 remove", "30.609475s 1 VI_1 BACKUP -> MASTER (10.0.0.1 resigned with priority 0, skew time expired (609.375ms))")
}

func TestUnicastPeersAreResolvedByARP(t *testing.T) {
	a, b := instanceConf(150), instanceConf(100)
	a.UnicastPeers, b.UnicastPeers = config.Peers{{Addr: addrOf(1)}}, config.Peers{{Addr: addrOf(0)}}
	w := newWorld(t, with(a), with(b))
	w.start(0)
	w.start(1)
	// The peers' own stacks answer ARP: play them.
	for i, n := range w.nodes {
		reply := proto.AppendEthernet(nil, macOf(i), macOf(1-i), proto.EtherTypeARP)
		reply = proto.ARPMessage{Op: proto.ARPReply, SenderMAC: macOf(1 - i), Sender: addrOf(1 - i), TargetMAC: macOf(i), Target: addrOf(i)}.Append(reply)
		n.Step(w.now, Received{Port: 1, Frame: reply}, nil)
	}
	w.run(8 * time.Second)
	if w.nodes[0].instances[0].fsm.State().String() != "MASTER" || w.nodes[1].instances[0].fsm.State().String() != "BACKUP" {
		t.Fatalf("states: %v", w.log)
	}
}

// A peer behind a router gets its advertisements by the router's MAC, until it
// is on the link.
func TestUnicastPeerBehindARouter(t *testing.T) {
	c := instanceConf(255)
	peer, router := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("10.0.0.254")
	c.UnicastPeers = config.Peers{{Addr: peer}}
	n := newWorld(t, with(c)).nodes[0]
	if got := n.Peers(); len(got) != 1 || got[0] != (Peer{1, peer}) {
		t.Fatalf("peers %v", got)
	}
	sent := func(out []Action) (asked, adverts int) {
		for _, a := range out {
			s, ok := a.(Send)
			if !ok {
				continue
			}
			eth := proto.Ethernet(s.Frame)
			if arp, err := proto.ParseARP(eth.Payload()); err == nil && eth.Type() == proto.EtherTypeARP && arp.Target() == router {
				asked++
			}
			if ip, err := proto.ParseIPv4(eth.Payload()); err == nil && ip.Dst() == peer && eth.Dst() == macOf(7) {
				adverts++
			}
		}
		return asked, adverts
	}
	n.Step(0, Routed{Peer: Peer{1, peer}, Via: router}, nil)
	if asked, _ := sent(n.Step(0, Start{}, nil)); asked != 1 {
		t.Fatalf("asked for the router %d times at the start", asked)
	}
	reply := proto.AppendEthernet(nil, macOf(0), macOf(7), proto.EtherTypeARP)
	reply = proto.ARPMessage{Op: proto.ARPReply, SenderMAC: macOf(7), Sender: router, TargetMAC: macOf(0), Target: addrOf(0)}.Append(reply)
	n.Step(0, Received{Port: 1, Frame: reply}, nil)
	if _, adverts := sent(n.Step(time.Second, Tick{}, nil)); adverts != 1 {
		t.Fatalf("%d advertisements by the router", adverts)
	}
	n.Step(1500*time.Millisecond, Routed{Peer: Peer{1, peer}}, nil)
	if _, adverts := sent(n.Step(2*time.Second, Tick{}, nil)); adverts != 1 {
		t.Fatalf("%d advertisements after a virtual address has hidden the route", adverts)
	}
	n.Step(2500*time.Millisecond, AddressChanged{Port: 1, Prefix: netip.MustParsePrefix("192.0.2.1/24"), Present: true}, nil)
	n.Step(2500*time.Millisecond, Routed{Peer: Peer{1, peer}}, nil)
	if _, adverts := sent(n.Step(3*time.Second, Tick{}, nil)); adverts != 0 {
		t.Fatalf("%d advertisements by the router to a peer on the link", adverts)
	}
}

func TestScriptFaultMovesTheAddress(t *testing.T) {
	c := instanceConf(101)
	c.NoPreempt = true
	c.TrackScripts = []config.Track{{Name: "chk"}}
	cfg := with(c)
	cfg.Scripts = []*config.Script{{Name: "chk", Interval: 2 * time.Second, Rise: 3, Fall: 2}}
	w := newWorld(t, cfg)
	ok := true
	answer := func() { w.step(0, ScriptDone{Script: 0, OK: ok}) }
	w.start(0)
	w.run(time.Second)
	if len(w.log) != 0 {
		t.Fatalf("took part before the script answered: %v", w.log)
	}
	answer()
	for at := 2 * time.Second; at <= 40*time.Second; at += 2 * time.Second {
		w.run(at)
		ok = at < 10*time.Second || at > 20*time.Second
		answer()
	}
	w.expect("1s 0 VI_1 INIT -> BACKUP", "BACKUP -> MASTER", "12s 0 VI_1 MASTER -> FAULT (script chk failed)", "12s 0 remove",
		"26s 0 VI_1 FAULT -> BACKUP", "BACKUP -> MASTER")
}

func TestNotifyArguments(t *testing.T) {
	c := instanceConf(150)
	c.NotifyMaster = &config.Command{Args: []string{"/m.sh", "MASTER"}}
	c.Notify = &config.Command{Args: []string{"/n.sh"}}
	w := newWorld(t, with(c))
	w.start(0)
	w.run(5 * time.Second)
	w.step(0, Stop{})
	w.expect("notify /n.sh INSTANCE VI_1 BACKUP 150", "notify /m.sh MASTER", "notify /n.sh INSTANCE VI_1 MASTER 150", "notify /n.sh INSTANCE VI_1 STOP 150")
}

func TestUnknownInterfaceNamesThePosition(t *testing.T) {
	c := instanceConf(100)
	c.Interface = "eth7"
	c.Pos = config.Pos{File: "a.conf", Line: 3, Column: 5}
	_, err := New(with(c), []Link{{Name: "lo"}, {Name: "eth0"}}, 1)
	if want := "a.conf:3:5: interface eth7 does not exist (this host has lo, eth0)"; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func webService(servers ...byte) *config.VirtualServer {
	vs := &config.VirtualServer{
		Addr: netip.MustParseAddrPort("10.0.0.100:80"), Protocol: 6, Scheduler: "rr", Method: config.Method{Forwarding: "DR"}, Quorum: 1,
	}
	for _, s := range servers {
		addr := netip.AddrPortFrom(addrOf(int(s)-1), 80)
		vs.RealServers = append(vs.RealServers, &config.RealServer{Addr: addr, Weight: 1, Checks: []*config.Check{{Kind: "TCP_CHECK",
			Connect: addr, Retry: 1, DelayLoop: 6 * time.Second, DelayBeforeRetry: time.Second, ConnectTimeout: time.Second,
		}}})
	}
	return vs
}

// syn is the frame of a client that opens a connection to the service.
func syn(port uint16, flags uint8) []byte {
	f := proto.AppendEthernet(nil, macOf(0), proto.MAC{2, 0, 0, 0, 9, 9}, proto.EtherTypeIPv4)
	f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: addrOf(8), Dst: netip.MustParseAddr("10.0.0.100")}.Append(f, 20)
	return proto.TCPHeader{SrcPort: port, DstPort: 80, Flags: flags}.Append(f)
}

func arpFrom(i int) []byte {
	f := proto.AppendEthernet(nil, macOf(0), macOf(i), proto.EtherTypeARP)
	return proto.ARPMessage{Op: proto.ARPReply, SenderMAC: macOf(i), Sender: addrOf(i), TargetMAC: macOf(0), Target: addrOf(0)}.Append(f)
}

func serviceWorld(t *testing.T) *world {
	cfg := with(instanceConf(150))
	cfg.VirtualServers = []*config.VirtualServer{webService(3, 4)}
	w := newWorld(t, cfg)
	w.checks["10.0.0.3:80"], w.checks["10.0.0.4:80"] = true, true
	w.start(0)
	w.run(4 * time.Second)
	return w
}

func TestFramesWaitForTheNeighbourAndAreShared(t *testing.T) {
	w := serviceWorld(t)
	n := w.nodes[0]
	var b Batch
	n.Frame(w.now, 1, make([]byte, 10), syn(1000, proto.TCPSyn), &b)
	if b.Verdicts[0].Fate != Held {
		t.Fatalf("first frame: %v", b.Verdicts)
	}
	// rr starts at the head of the list, where the server added last stands.
	out := n.Step(w.now, Received{Port: 1, Frame: arpFrom(3)}, nil)
	if len(out) != 1 || proto.Ethernet(out[0].(Send).Frame).Dst() != macOf(3) {
		t.Fatalf("after the answer: %v", out)
	}
	n.Step(w.now, Received{Port: 1, Frame: arpFrom(2)}, nil)
	for i := range uint16(10) {
		b.Reset()
		f := syn(2000+i, proto.TCPSyn)
		n.Frame(w.now, 1, make([]byte, 10), f, &b)
		if want := macOf(2 + int(i)%2); b.Verdicts[0].Fate != Forwarded || proto.Ethernet(f).Dst() != want || proto.Ethernet(f).Src() != macOf(0) {
			t.Fatalf("frame %d: %v to %v, want %v", i, b.Verdicts, proto.Ethernet(f).Dst(), want)
		}
		if !proto.IPv4(f[14:]).ChecksumOK() || proto.IPv4(f[14:]).TTL() != 63 {
			t.Fatalf("frame %d: header %x", i, f[14:34])
		}
	}
}

func TestMidstreamWithoutConnectionIsReset(t *testing.T) {
	w := serviceWorld(t)
	var b Batch
	w.nodes[0].Frame(w.now, 1, nil, syn(1000, proto.TCPAck), &b)
	if b.Verdicts[0].Fate != Dropped || len(b.Actions) != 1 {
		t.Fatalf("got %v %v", b.Verdicts, b.Actions)
	}
	ip, err := proto.ParseIPv4(b.Actions[0].(Send).Frame[14:])
	if err != nil || proto.TCP(ip.Payload()).Flags() != proto.TCPRst || ip.Dst() != addrOf(8) {
		t.Fatalf("answer %x: %v", b.Actions[0].(Send).Frame, err)
	}
}

// TestBackupDoesNotForward: packets to a virtual address that is another node's are left to
// the kernel as they are, which routes them to that node or drops them.
func TestBackupDoesNotForward(t *testing.T) {
	w := serviceWorld(t)
	w.step(0, Stop{})
	var b Batch
	f := syn(1000, proto.TCPSyn)
	w.nodes[0].Frame(w.now, 1, nil, f, &b)
	if b.Verdicts[0].Fate != Delivered || len(b.Actions) != 0 || !bytes.Equal(f, syn(1000, proto.TCPSyn)) {
		t.Fatalf("got %v %v", b.Verdicts, b.Actions)
	}
	if !w.nodes[0].GivesBack() || newWorld(t, with(instanceConf(150))).nodes[0].GivesBack() {
		t.Error("services need the local stack, and nothing else does")
	}
	if c := w.nodes[0].Forwarder().Counter(forward.NotLocal); c != 1 {
		t.Fatalf("counted %d", c)
	}
}

// TestRealServerOfAnotherNode: a BACKUP with the virtual address on lo is one of the MASTER's
// real servers. What it is sent is for its local stack, and is not shared out a second time.
func TestRealServerOfAnotherNode(t *testing.T) {
	cfg := with(instanceConf(150))
	cfg.VirtualServers = []*config.VirtualServer{webService(3, 4)}
	w := newWorld(t, cfg)
	w.checks["10.0.0.3:80"] = true
	fate := func() Fate {
		var b Batch
		w.nodes[0].Frame(w.now, 1, make([]byte, 10), syn(1000, proto.TCPSyn), &b)
		return b.Verdicts[0].Fate
	}
	w.start(0)
	w.step(0, AddressChanged{Port: 0, Prefix: netip.MustParsePrefix("10.0.0.100/32"), Present: true})
	if got := fate(); got != Delivered {
		t.Errorf("as BACKUP: %v", got)
	}
	w.run(4 * time.Second)
	if got := fate(); got != Held {
		t.Errorf("as MASTER: %v", got)
	}
	w.log = nil
	w.step(0, AddressChanged{Port: 0, Prefix: netip.MustParsePrefix("10.0.0.100/32")})
	w.step(0, AddressChanged{Port: 0, Prefix: netip.MustParsePrefix("10.0.0.100/32"), Present: true})
	if len(w.log) > 0 {
		t.Errorf("of the loopback: %v", w.log)
	}
	w.step(0, Stop{})
	if got := fate(); got != Delivered {
		t.Errorf("after MASTER: %v", got)
	}
}

func TestServerGoesDownAfterItsRetriesAndComesBack(t *testing.T) {
	w := serviceWorld(t)
	w.run(10 * time.Second)
	w.checks["10.0.0.3:80"] = false
	w.run(20 * time.Second)
	w.expect("server 10.0.0.3:80 up=false")
	if s := w.nodes[0].Forwarder().Services()[0]; len(s.Servers) != 1 {
		t.Fatalf("pool: %+v", s.Servers)
	}
	w.checks["10.0.0.4:80"] = false
	w.run(40 * time.Second)
	w.expect("server 10.0.0.4:80 up=false", "quorum up=false")
	w.checks["10.0.0.3:80"] = true
	w.run(60 * time.Second)
	w.expect("quorum up=false", "server 10.0.0.3:80 up=true", "quorum up=true")
}

func TestSorryServerStepsInAndOut(t *testing.T) {
	cfg := with(instanceConf(150))
	vs := webService(3)
	vs.SorryServer = &config.RealServer{Addr: netip.MustParseAddrPort("127.0.0.1:80"), Weight: 1}
	vs.RealServers[0].InhibitOnFailure = true
	cfg.VirtualServers = []*config.VirtualServer{vs}
	w := newWorld(t, cfg)
	w.start(0)
	w.run(20 * time.Second)
	w.expect("server 10.0.0.3:80 up=false", "quorum up=false")
	var b Batch
	w.nodes[0].Frame(w.now, 1, nil, syn(1, proto.TCPSyn), &b)
	if b.Verdicts[0].Fate != Delivered {
		t.Fatalf("got %v", b.Verdicts)
	}
	w.checks["10.0.0.3:80"] = true
	w.run(30 * time.Second)
	w.expect("server 10.0.0.3:80 up=true", "quorum up=true")
	if s := w.nodes[0].Forwarder().Services()[0]; len(s.Servers) != 2 || s.Servers[0].Weight != 1 || s.Servers[1].Present {
		t.Fatalf("pool: %+v", s.Servers)
	}
}

// renew makes a frame that was forwarded arrive again.
func renew(f []byte) {
	f[22] = 64
	proto.Ethernet(f).SetDst(macOf(0))
}

func TestFrameDoesNotAllocate(t *testing.T) {
	w := serviceWorld(t)
	n := w.nodes[0]
	n.Step(w.now, Received{Port: 1, Frame: arpFrom(2)}, nil)
	n.Step(w.now, Received{Port: 1, Frame: arpFrom(3)}, nil)
	var b Batch
	n.Frame(w.now, 1, nil, syn(1, proto.TCPSyn), &b)
	f := syn(1, proto.TCPAck)
	if got := testing.AllocsPerRun(1000, func() {
		b.Reset()
		renew(f)
		n.Frame(w.now, 1, nil, f, &b)
	}); got != 0 {
		t.Fatalf("%v allocations a frame", got)
	}
	if b.Verdicts[0].Fate != Forwarded {
		t.Fatalf("measured %v", b.Verdicts)
	}
}

func BenchmarkFrame(b *testing.B) {
	cfg := with(instanceConf(150))
	cfg.VirtualServers = []*config.VirtualServer{webService(3, 4)}
	w := newWorld(&testing.T{}, cfg)
	w.checks["10.0.0.3:80"], w.checks["10.0.0.4:80"] = true, true
	w.start(0)
	w.run(4 * time.Second)
	n := w.nodes[0]
	n.Step(w.now, Received{Port: 1, Frame: arpFrom(2)}, nil)
	n.Step(w.now, Received{Port: 1, Frame: arpFrom(3)}, nil)
	var batch Batch
	n.Frame(w.now, 1, nil, syn(1, proto.TCPSyn), &batch)
	f := syn(1, proto.TCPAck)
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		renew(f)
		n.Frame(w.now, 1, nil, f, &batch)
	}
	if batch.Verdicts[0].Fate != Forwarded {
		b.Fatalf("measured %v", batch.Verdicts)
	}
}

// TestRepeatedAddressKeepsTheSource: the kernel may tell of an address again; the
// first of an interface stays the source of the advertisements.
func TestRepeatedAddressKeepsTheSource(t *testing.T) {
	w := newWorld(t, with(instanceConf(150)))
	second := netip.MustParsePrefix("10.0.0.50/24")
	w.start(0)
	w.step(0, AddressChanged{Port: 1, Prefix: second, Present: true})
	w.step(0, AddressChanged{Port: 1, Prefix: netip.PrefixFrom(addrOf(0), 24), Present: true})
	if got := w.nodes[0].instances[0].source; got != addrOf(0) {
		t.Fatalf("source is %v", got)
	}
	w.step(0, AddressChanged{Port: 1, Prefix: netip.PrefixFrom(addrOf(0), 24)})
	if got := w.nodes[0].instances[0].source; got != second.Addr() {
		t.Fatalf("source is %v", got)
	}
}

// TestAddressesOnAnotherInterface: gratuitous ARP leaves by the device of the address.
func TestAddressesOnAnotherInterface(t *testing.T) {
	c := instanceConf(255)
	c.Addresses[0].Device = "eth1"
	other := proto.MAC{2, 0, 0, 0, 1, 1}
	n, err := New(with(c), []Link{
		{Name: "eth0", MAC: macOf(0), Up: true, Prefixes: []netip.Prefix{netip.PrefixFrom(addrOf(0), 24)}},
		{Name: "eth1", MAC: other, Up: true},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if uses := n.Uses(); !uses[1].Control || uses[1].Groups != nil || !slices.Equal(uses[0].Groups, []netip.Addr{vrrpGroup}) {
		t.Fatalf("uses %+v", uses)
	}
	garps := 0
	for _, a := range n.Step(0, Start{}, nil) {
		if s, ok := a.(Send); ok && s.Port == 1 && proto.Ethernet(s.Frame).Src() == other {
			garps++
		}
	}
	if garps != 5 {
		t.Fatalf("%d gratuitous ARPs on eth1", garps)
	}
}
