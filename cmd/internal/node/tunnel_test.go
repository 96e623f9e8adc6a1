package node

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// tunnelled is a director with a service of one TUN server, whose address is added to it by
// hand, on a link with an MTU of 1500.
func tunnelled(t *testing.T, server string, tunnel forward.Tunnel) *world {
	t.Helper()
	cfg := with(instanceConf(150))
	cfg.VirtualServers = append(cfg.VirtualServers, webService())
	w := newWorld(t, cfg)
	n := w.nodes[0]
	n.ports[1].prefixes = append(n.ports[1].prefixes, netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64"))
	w.start(0)
	w.step(0, LinkChanged{Port: 1, MAC: macOf(0), Up: true, MTU: 1500})
	w.run(4 * time.Second)
	s := forward.Server{Addr: netip.AddrPortFrom(netip.MustParseAddr(server), 80), Method: forward.TUN, Tunnel: tunnel, Weight: 1}
	id, err := n.fwd.AddServer(n.services[0].keys[0], s)
	if err != nil {
		t.Fatal(err)
	}
	n.hops = append(n.hops, -1)
	n.aim(w.now, id)
	n.out = nil
	return w
}

// big is a frame of the client with so many bytes of data.
func big(data int, df bool) []byte {
	f := syn(1000, proto.TCPAck)
	f = append(f, make([]byte, data)...)
	binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
	if df {
		f[20] = 0x40
	}
	f[24], f[25] = 0, 0
	binary.BigEndian.PutUint16(f[24:], proto.Checksum(f[14:34]))
	return f
}

// opened has the server answer ARP and the client open its connection.
func (w *world) opened(t *testing.T) {
	t.Helper()
	w.step(0, Received{Port: 1, Frame: arpFrom(2)})
	var b Batch
	w.nodes[0].Frame(w.now, 1, make([]byte, 10), syn(1000, proto.TCPSyn), &b)
	if b.Verdicts[0].Fate != Rebuilt {
		t.Fatalf("opening: %v", b.Verdicts)
	}
}

// lengths are those of the packets that were built, which must go from the director to the
// server.
func lengths(t *testing.T, b *Batch) (list []int) {
	t.Helper()
	for _, f := range b.Built {
		eth := proto.Ethernet(f.Buf[proto.VirtioLen:])
		if !bytes.Equal(f.Buf[:proto.VirtioLen], make([]byte, proto.VirtioLen)) || eth.Dst() != macOf(2) || eth.Src() != macOf(0) || f.Port != 1 {
			t.Fatalf("frame %x by port %d", f.Buf[:24], f.Port)
		}
		ip, err := proto.ParseIP(eth.Payload())
		if err != nil || len(ip) != len(eth.Payload()) || ip.Src() != addrOf(0) || ip.Dst() != addrOf(2) || eth.Type() != proto.EtherTypeIPv4 || !ip.ChecksumOK() {
			t.Fatalf("%v in %x", err, eth)
		}
		list = append(list, len(ip))
	}
	return list
}

// A packet for a TUN server waits for the server's MAC inside its tunnel, and leaves from
// the director's address, not from a virtual one.
func TestTunnelFrames(t *testing.T) {
	w := tunnelled(t, "10.0.0.3", forward.Tunnel{})
	n := w.nodes[0]
	var b Batch
	n.Frame(w.now, 1, make([]byte, 10), syn(1000, proto.TCPSyn), &b)
	if b.Verdicts[0].Fate != Held || len(b.Built) != 0 {
		t.Fatalf("first frame: %v, %d built", b.Verdicts, len(b.Built))
	}
	out := n.Step(w.now, Received{Port: 1, Frame: arpFrom(2)}, nil)
	s := out[0].(Send)
	b.Built = []Built{{Port: int32(s.Port), Buf: append(s.Head, s.Frame...)}}
	if l := lengths(t, &b); len(out) != 1 || l[0] != 60 {
		t.Fatalf("%d actions, %v", len(out), l)
	}
	for _, c := range []struct {
		data int
		df   bool
		want []int
	}{{100, true, []int{160}}, {1440, true, []int{1500}}, {1441, false, []int{1500, 21}}, {5000, false, []int{1500, 1500, 1500, 620}}} {
		b.Reset()
		n.Frame(w.now, 1, nil, big(c.data, c.df), &b)
		if l := lengths(t, &b); b.Verdicts[0].Fate != Rebuilt || len(l) != len(c.want) || l[len(l)-1] != c.want[len(l)-1] || l[0] != c.want[0] {
			t.Errorf("%d bytes: %v, %v, want %v", c.data, b.Verdicts, l, c.want)
		}
	}
}

// A super-frame becomes a frame for every segment, and nothing is allocated for it.
func TestTunnelSuperFrames(t *testing.T) {
	w := tunnelled(t, "10.0.0.3", forward.Tunnel{Type: forward.GUE, Sum: forward.Sum, Port: 6080})
	w.opened(t)
	head := make([]byte, 10)
	head[0], head[1] = 1, proto.GSOTCPv4
	binary.NativeEndian.PutUint16(head[4:], 1400)
	frame := big(60000, true)
	var b Batch
	round := func() {
		b.Reset()
		copy(frame[22:26], []byte{64, 6, 0, 0})
		binary.BigEndian.PutUint16(frame[24:], proto.Checksum(frame[14:34]))
		w.nodes[0].Frame(w.now, 1, head, frame, &b)
	}
	round()
	if l := lengths(t, &b); len(l) != 43 || l[0] != 1400+40+32 || l[42] != 1200+40+32 {
		t.Fatalf("%v", l)
	}
	if got := testing.AllocsPerRun(100, round); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// replied is the one packet that was answered with.
func replied(t *testing.T, b *Batch, to proto.MAC) proto.IP {
	t.Helper()
	if len(b.Actions) != 1 {
		t.Fatalf("%v, %v", b.Verdicts, b.Actions)
	}
	eth := proto.Ethernet(b.Actions[0].(Send).Frame)
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil || eth.Dst() != to || eth.Src() != macOf(0) || ip.Dst() != addrOf(8) {
		t.Fatalf("%v: %x", err, eth)
	}
	return ip
}

// The client hears how much fits: of the link, of a link whose MTU was lowered, and of the
// way to the server when a router tells.
func TestTooBigIsTold(t *testing.T) {
	client := proto.MAC{2, 0, 0, 0, 9, 9}
	w := tunnelled(t, "10.0.0.3", forward.Tunnel{})
	w.opened(t)
	n := w.nodes[0]
	var b Batch
	mtu := func(data int) uint32 {
		b.Reset()
		n.Frame(w.now, 1, nil, big(data, true), &b)
		m := proto.ICMP(replied(t, &b, client).Payload())
		if m.Type() != 3 || m.Code() != 4 || !m.ChecksumOK() {
			t.Fatalf("%x", m)
		}
		return m.Rest()
	}
	if got := mtu(1441); got != 1480 {
		t.Errorf("MTU %d of the link", got)
	}
	w.step(0, LinkChanged{Port: 1, MAC: macOf(0), Up: true, MTU: 1400})
	if got := mtu(1341); got != 1380 {
		t.Errorf("MTU %d of the lower link", got)
	}
	b.Reset()
	n.Frame(w.now, 1, nil, big(1300, true), &b)
	quoted := b.Built[0].Buf[24:200]
	m := append([]byte{3, 4, 0, 0, 0, 0, 0x05, 0x14}, quoted...) // 1300
	binary.BigEndian.PutUint16(m[2:], proto.Checksum(m))
	f := proto.AppendEthernet(nil, macOf(0), macOf(6), proto.EtherTypeIPv4)
	f = proto.IPv4Header{TTL: 60, Protocol: proto.ProtocolICMP, Src: addrOf(6), Dst: addrOf(0)}.Append(f, len(m))
	b.Reset()
	n.Frame(w.now, 1, nil, append(f, m...), &b)
	ip := replied(t, &b, client)
	if m := proto.ICMP(ip.Payload()); m.Rest() != 1280 || ip.Src() != netip.MustParseAddr("10.0.0.100") {
		t.Errorf("told %v, MTU %d", ip.Src(), m.Rest())
	}
	if got := mtu(1300); got != 1280 {
		t.Errorf("MTU %d of the way", got)
	}
}

// A server behind a router gets its frames by the router's MAC; so does one of another
// family than the service. One of the link goes its own way again.
func TestTunnelBehindARouter(t *testing.T) {
	const far, router = "2001:db8:7::3", "fe80::254"
	w := tunnelled(t, far, forward.Tunnel{})
	n := w.nodes[0]
	if n.hops[0] != -1 {
		t.Fatalf("hop %d without a route", n.hops[0])
	}
	to := Peer{AnyPort, netip.MustParseAddr(far)}
	out := n.Step(w.now, Routed{Peer: to, Via: netip.MustParseAddr(router), Out: 1}, nil)
	if len(out) != 1 || n.hops[0] < 0 || n.neighbours[n.hops[0]].addr.String() != router {
		t.Fatalf("%v, hop %d", out, n.hops[0])
	}
	n.learn(w.now, int(n.hops[0]), macOf(7))
	var b Batch
	n.Frame(w.now, 1, nil, syn(1000, proto.TCPSyn), &b)
	eth := proto.Ethernet(b.Built[0].Buf[proto.VirtioLen:])
	ip := proto.IP(eth.Payload())
	if eth.Dst() != macOf(7) || eth.Type() != proto.EtherTypeIPv6 || ip.Dst() != to.Addr || ip.Src().String() != "2001:db8::1" {
		t.Fatalf("%x", eth)
	}
	w.step(0, AddressChanged{Port: 1, Prefix: netip.MustParsePrefix("2001:db8:7::1/64"), Present: true})
	n.Step(w.now, Routed{Peer: to}, nil)
	if nb := n.neighbours[n.hops[0]]; nb.addr != to.Addr {
		t.Errorf("the hop of a server on the link is %v", nb.addr)
	}
}
