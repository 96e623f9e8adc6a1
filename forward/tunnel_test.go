package forward

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/proto"
)

var (
	near4, far4 = netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.1.21")
	near6, far6 = netip.MustParseAddr("2001:db8::11"), netip.MustParseAddr("2001:db8:1::21")
	tunnels     = []Tunnel{{}, {Type: GUE, Port: 6080}, {Type: GUE, Sum: Sum, Port: 6080}, {Type: GUE, Sum: RemoteSum, Port: 6080}, {Type: GRE}, {Type: GRE, Sum: Sum}}
)

func tunnelName(t Tunnel) string {
	return []string{"IPIP", "GUE", "GRE"}[t.Type] + []string{"", " csum", " remcsum"}[t.Sum]
}

// wrapped is a packet in a tunnel.
func wrapped(tunnel Tunnel, six, partial bool, inner []byte) []byte {
	e := entry{Tunnel: tunnel, src: near4, dst: far4, seed: 1}
	if six {
		e.src, e.dst = near6, far6
	}
	o := outside{id: 0x1234, remote: partial && tunnel.Sum == RemoteSum}
	if p, err := parse(inner); err == nil {
		o.sumFrom = len(inner) - len(p.payload)
		o.sumAt = o.sumFrom + sumOffset(p.protocol)
	}
	b := append(bytes.Repeat([]byte{0xdd}, e.headerLen(six, o.remote)), inner...)
	e.wrap(b, o)
	return b
}

// The headers, byte for byte: RFC 2003 §3.1, RFC 4213 §3.5, RFC 2473 §5.1, RFC 2784 §2.1,
// and GUE as draft-ietf-intarea-gue §3 and Linux's fou.h have it. The packets inside have
// TTL 61 and class 0x03, congestion experienced, which becomes 0x02 outside.
func TestTunnelHeaders(t *testing.T) {
	inner4, _ := super{tos: 3, ttl: 61, df: true, udp: true, data: []byte("data")}.packet()
	inner6, _ := super{six: true, tos: 3, ttl: 61, udp: true, data: []byte("data")}.packet()
	const outer4, outer6 = "0a00000b 0a000115", "20010db8000000000000000000000011 20010db8000100000000000000000021"
	for _, c := range []struct {
		tunnel     Tunnel
		six, inner bool // outside and inside
		want       string
	}{
		{tunnels[0], false, false, "45020034 12344000 3d04 1671 " + outer4},
		{tunnels[0], false, true, "45020048 12340000 3d29 5638 " + outer4},
		{tunnels[0], true, false, "60200000 0020 04 3d " + outer6},
		{tunnels[0], true, true, "60200000 0034 29 3d " + outer6},
		{tunnels[4], false, false, "45020038 12344000 3d2f 1642 " + outer4 + "0000 0800"},
		{tunnels[4], true, true, "60200000 0038 2f 3d " + outer6 + "0000 86dd"},
		{tunnels[5], false, true, "45020050 12340000 3d2f 562a " + outer4 + "8000 86dd 35e1 0000"},
		{tunnels[1], false, false, "45020040 12344000 3d11 1658 " + outer4 + "FLOW 17c0 002c 0000 0004 0000"},
		{tunnels[1], true, true, "60200000 0040 11 3d " + outer6 + "FLOW 17c0 0040 0000 0029 0000"},
		{tunnels[2], true, false, "60200000 002c 11 3d " + outer6 + "FLOW 17c0 002c CSUM 0004 0000"},
		{tunnels[3], false, false, "45020048 12344000 3d11 1650 " + outer4 + "FLOW 17c0 0034 CSUM 0204 0001 80000000 0014 001a"},
		{tunnels[3], false, true, "4502005c 12340000 3d11 563c " + outer4 + "FLOW 17c0 0048 CSUM 0229 0001 80000000 0028 002e"},
	} {
		inner := inner4
		if c.inner {
			inner = inner6
		}
		got := wrapped(c.tunnel, c.six, true, inner)
		want := strings.ReplaceAll(c.want, " ", "")
		if at := strings.Index(want, "FLOW") / 2; at > 0 {
			if port := binary.BigEndian.Uint16(got[at:]); port < 49152 {
				t.Errorf("%s: source port %d", tunnelName(c.tunnel), port)
			}
			want = strings.Replace(want, "FLOW", hex.EncodeToString(got[at:at+2]), 1)
		}
		if at := strings.Index(want, "CSUM") / 2; at > 0 { // tshark verifies it
			want = strings.Replace(want, "CSUM", hex.EncodeToString(got[at:at+2]), 1)
		}
		if have := hex.EncodeToString(got[:len(got)-len(inner)]); have != want {
			t.Errorf("%s, six outside %t, inside %t:\ngot  %s\nwant %s", tunnelName(c.tunnel), c.six, c.inner, have, want)
		}
		if !bytes.Equal(got[len(got)-len(inner):], inner) {
			t.Errorf("%s: the packet inside has changed", tunnelName(c.tunnel))
		}
	}
}

// RFC 3168 §9.1.1, full functionality: CE inside is ECT(0) outside, all else is copied.
func TestECNOfTunnels(t *testing.T) {
	for _, six := range []bool{false, true} {
		for tos := range 256 {
			inner, _ := super{six: six, tos: uint8(tos), ttl: 9}.packet()
			want := tos
			if tos&3 == 3 {
				want--
			}
			if got := classOf(inner); int(got) != want {
				t.Errorf("six %t: %#x becomes %#x", six, tos, got)
			}
		}
	}
}

// A flow keeps its source port, its fragments among themselves too; others differ.
func TestFlowPorts(t *testing.T) {
	e := entry{seed: 7}
	seen := map[uint16]int{}
	for i := range uint16(1000) {
		p, _ := super{ttl: 9, data: []byte{1}}.packet()
		binary.BigEndian.PutUint16(p[20:], i)
		port := e.flow(p)
		seen[port]++
		if p[8]--; e.flow(p) != port || port < dynamicPorts {
			t.Fatalf("port %d, then %d", port, e.flow(p))
		}
		p[6] = 0x20 // the first fragment
		first := e.flow(p)
		p[6], p[7], p[20] = 0, 1, 99
		if later := e.flow(p); first != later {
			t.Fatalf("fragments with %d and %d", first, later)
		}
	}
	if len(seen) < 900 {
		t.Errorf("%d ports for 1000 flows", len(seen))
	}
}

// tunnelWorld is a forwarder with one service of each kind and a TUN server.
func tunnelWorld(t rapid.TB, six, udp, outer6 bool, tunnel Tunnel, mtu int) (*Forwarder, ServiceKey) {
	t.Helper()
	f := New(Config{MaxConns: 16, Seed: 1})
	k := ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(vip4, 80)}
	server, source := far4, near4
	if six {
		k.Addr = netip.AddrPortFrom(vip6, 80)
	}
	if udp {
		k.Protocol = proto.ProtocolUDP
	}
	if outer6 {
		server, source = far6, near6
	}
	if err := f.AddService(Service{Key: k, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	id, err := f.AddServer(k, Server{Addr: netip.AddrPortFrom(server, 80), Method: TUN, Tunnel: tunnel, Weight: 1})
	if err != nil {
		t.Fatal(err)
	}
	f.SetPath(int32(id), Path{MTU: mtu, Source: source})
	f.SetLocal(k.Addr.Addr(), true)
	return f, k
}

// opened sends the packet that opens the connection of a super.
func (s super) opened(t rapid.TB, f *Forwarder) {
	t.Helper()
	ip, v := super{six: s.six, udp: s.udp, flags: proto.TCPSyn, ttl: 64}.packet()
	if d := f.Packet(0, Ingress{Virtio: v}, ip); d.Verdict != Forward {
		t.Fatalf("opening: %v", d.Verdict)
	}
}

// What arrives at the far end of any tunnel, over a link of any MTU, is what the client
// sent, in packets that fit; or the client is told how long they may be.
func TestTunnelsDeliver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSuper(t)
		s.ttl, s.flags = rapid.ByteMin(2).Draw(t, "hops"), proto.TCPAck|proto.TCPPsh
		tunnel := rapid.SampledFrom(tunnels).Draw(t, "tunnel")
		outer6 := rapid.Bool().Draw(t, "outer6")
		mtu := rapid.SampledFrom([]int{600, 1280, 1400, 1500, 9000}).Draw(t, "mtu")
		if outer6 || s.six {
			mtu = max(mtu, 1280)
		}
		f, _ := tunnelWorld(t, s.six, s.udp, outer6, tunnel, mtu)
		s.opened(t, f)
		ip, v := s.packet()
		in := Ingress{Virtio: v}
		d := f.Packet(time.Second, in, ip)
		header := map[bool]int{false: 20, true: 40}
		longest := header[s.six] + 8 + len(s.data)
		if !s.udp {
			longest += 12 + len(s.options)
		}
		if s.size > 0 {
			longest -= max(0, len(s.data)-s.size)
		}
		room := mtu - header[outer6]
		switch {
		case tunnel.Type == GUE && tunnel.Sum == RemoteSum:
			room -= 20
		case tunnel.Type == GUE:
			room -= 12
		case tunnel.Type == GRE && tunnel.Sum == Sum:
			room -= 8
		case tunnel.Type == GRE:
			room -= 4
		}
		if s.six {
			room = max(room, 1280)
		}
		if big := longest > room && (s.six || s.df); big != (d.Verdict == TooBig) || big && d.MTU != room {
			t.Fatalf("%d bytes in %d: %v, MTU %d", longest, room, d.Verdict, d.MTU)
		}
		if d.Verdict == TooBig {
			return
		}
		if d.Verdict != Forward || !d.Rebuild {
			t.Fatalf("%+v", d)
		}
		out := &Packets{Room: 24, Buf: bytes.Repeat([]byte{0xdd}, 9000)[:0]}
		if !f.Rebuild(d, in, ip, out) {
			t.Fatal("not rebuilt")
		}
		var list [][]byte
		end := 0
		for _, span := range out.Spans {
			if span.From != end+24 || !bytes.Equal(out.Buf[end:span.From], make([]byte, 24)) {
				t.Fatalf("span %v after %d", span, end)
			}
			end = span.To
			if list = append(list, out.Buf[span.From:end]); end-span.From > mtu {
				t.Fatalf("%d bytes on a link of %d", end-span.From, mtu)
			}
		}
		var data []byte
		for _, b := range unwrap(t, list, tunnel) {
			inner := decode(t, b)
			data = append(data, inner.data...)
			if got := b[ttlAt(b)]; got != s.ttl-1 {
				t.Fatalf("%d hops left of %d", got, s.ttl)
			}
		}
		if !bytes.Equal(data, s.data) {
			t.Fatalf("%d bytes came out of %d", len(data), len(s.data))
		}
	})
}

func ttlAt(b []byte) int {
	if b[0]>>4 == 6 {
		return 7
	}
	return 8
}

// unwrap is the far end of a tunnel: it puts fragments together and takes what is inside,
// with gopacket as reader, but for GUE, which it does not know.
func unwrap(t rapid.TB, list [][]byte, tunnel Tunnel) (inner [][]byte) {
	t.Helper()
	var parts []byte
	for _, b := range list {
		kind, more, payload := outerOf(t, b)
		if parts = append(parts, payload...); more {
			continue
		}
		whole := append(b[:len(b)-len(payload):len(b)-len(payload)], parts...)
		if b[0]>>4 == 4 && len(parts) > len(payload) { // as one packet, for the checksums
			binary.BigEndian.PutUint16(whole[2:], uint16(len(whole)))
			binary.BigEndian.PutUint16(whole[6:], 0)
			sumIPv4(whole)
		} else if b[0]>>4 == 6 && len(parts) > len(payload) {
			whole = append(append([]byte(nil), b[:40]...), parts...)
			binary.BigEndian.PutUint16(whole[4:], uint16(len(parts)))
			whole[6] = kind
		}
		verify(t, whole)
		inner = append(inner, inside(t, kind, parts, tunnel))
		parts = nil
	}
	if parts != nil {
		t.Fatal("a fragment is missing")
	}
	return inner
}

func outerOf(t rapid.TB, b []byte) (kind uint8, more bool, payload []byte) {
	if b[0]>>4 == 4 {
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Lazy).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if p.SrcIP.String() != near4.String() || p.DstIP.String() != far4.String() || int(p.Length) != len(b) {
			t.Fatalf("%+v", p)
		}
		return uint8(p.Protocol), p.Flags&layers.IPv4MoreFragments != 0, p.Payload
	}
	packet := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
	p := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if p.SrcIP.String() != near6.String() || p.DstIP.String() != far6.String() || int(p.Length) != len(b)-40 {
		t.Fatalf("%+v", p)
	}
	if f, ok := packet.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment); ok {
		return uint8(f.NextHeader), f.MoreFragments, b[48:]
	}
	return uint8(p.NextHeader), false, b[40:]
}

func inside(t rapid.TB, kind uint8, b []byte, tunnel Tunnel) []byte {
	switch kind {
	case 4, 41:
		if int(kind) != map[byte]int{4: 4, 6: 41}[b[0]>>4] {
			t.Fatalf("protocol %d before %x", kind, b[0])
		}
		return b
	case 47:
		p := gopacket.NewPacket(b, layers.LayerTypeGRE, gopacket.NoCopy)
		g := p.Layer(layers.LayerTypeGRE).(*layers.GRE)
		if e := p.ErrorLayer(); e != nil || g.ChecksumPresent != (tunnel.Sum == Sum) || g.KeyPresent || g.SeqPresent {
			t.Fatalf("%v %+v", e, g)
		}
		if g.ChecksumPresent && proto.Checksum(b) != 0 {
			t.Fatalf("checksum of %x", b)
		}
		return g.Payload
	}
	port := binary.BigEndian.Uint16(b[2:])
	if kind != 17 || port != tunnel.Port || (b[6]|b[7] != 0) != (tunnel.Sum != NoSum) {
		t.Fatalf("protocol %d, UDP %x", kind, b[:8])
	}
	g := b[8:]
	inner := bytes.Clone(g[4+4*(g[0]&31):])
	if g[0]&31 > 0 { // the far end sums from one place to the end, into another
		from, at := binary.BigEndian.Uint16(g[8:]), binary.BigEndian.Uint16(g[10:])
		sum := proto.Checksum(inner[from:])
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(inner[at:], sum)
	}
	return inner
}

// tshark reads the packets of every tunnel: nothing malformed, no checksum wrong. It does
// not know GUE, whose packet it is shown without those headers.
func TestTsharkReadsTunnels(t *testing.T) {
	var frames [][]byte
	var want []string
	blind := map[int]bool{} // no checksum that tshark would see
	for _, tunnel := range tunnels {
		for i := range 8 {
			outer6, inner6, udp := i&1 != 0, i&2 != 0, i&4 != 0
			inner := super{six: inner6, udp: udp, ttl: 61, tos: 3, df: true, data: []byte("hello"), flags: proto.TCPAck}.cut(t)[0]
			b := wrapped(tunnel, outer6, false, inner)
			names := func(six, udp bool) string {
				return map[bool]string{false: "ip:", true: "ipv6:"}[six] + map[bool]string{false: "tcp", true: "udp:data"}[udp]
			}
			outer := map[bool]string{false: "ip:", true: "ipv6:"}[outer6]
			frames = append(frames, b)
			switch tunnel.Type {
			case IPIP:
				want = append(want, outer+names(inner6, udp))
			case GRE:
				want = append(want, outer+"gre:"+names(inner6, udp))
			case GUE:
				blind[len(want)] = tunnel.Sum == NoSum
				want = append(want, outer+"udp:data", names(inner6, udp))
				frames = append(frames, b[len(b)-len(inner):])
			}
		}
	}
	good := len(frames)
	for i := range good { // the same, damaged, so that it is known what tshark verifies
		b := bytes.Clone(frames[i])
		b[len(b)-1] ^= 1
		frames = append(frames, b)
	}
	lines := tshark(t, frames)
	for i, line := range lines[:good] {
		if line != want[i] {
			t.Errorf("frame %d: %s, want %s", i, line, want[i])
		}
		if damaged := lines[good+i]; damaged != want[i]+" BAD" && !blind[i] {
			t.Errorf("frame %d, damaged: %s", i, damaged)
		}
	}
}

func BenchmarkTunnel(b *testing.B) {
	for _, c := range []struct {
		name   string
		tunnel Tunnel
		in     super
	}{
		{"ipip-64", tunnels[0], super{df: true, data: make([]byte, 24)}},
		{"ipip-super", tunnels[0], super{df: true, data: make([]byte, 64000), size: 1428}},
		{"gue-csum-super", tunnels[2], super{df: true, data: make([]byte, 64000), size: 1408}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, _ := tunnelWorld(b, false, false, false, c.tunnel, 1500)
			c.in.ttl, c.in.flags = 64, proto.TCPSyn
			ip, v := c.in.packet()
			in := Ingress{Virtio: v}
			out := Packets{Room: 24}
			b.SetBytes(int64(len(ip)))
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				ip[8]++
				if d := f.Packet(0, in, ip); !f.Rebuild(d, in, ip, &out) {
					b.Fatal(d.Verdict)
				}
			}
		})
	}
}

// A packet of IPv6 of 1280 bytes passes every tunnel, if need be in two parts (RFC 2473
// §7.1); the sender of a longer one hears of 1280.
func TestLeastMTUOfTunnels(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		f, _ := tunnelWorld(t, true, false, outer6, tunnels[0], 1280)
		s := super{six: true, ttl: 9, flags: proto.TCPSyn, data: make([]byte, 1220)}
		ip, _ := s.packet()
		out := Packets{}
		if d := f.Packet(0, Ingress{}, ip); d.Verdict != Forward || !f.Rebuild(d, Ingress{}, ip, &out) || len(out.Spans) != 2 {
			t.Errorf("six outside %t: %+v, %v", outer6, d, out.Spans)
		}
		s.data = make([]byte, 1221)
		ip, _ = s.packet()
		if d := f.Packet(0, Ingress{}, ip); d.Verdict != TooBig || d.MTU != 1280 {
			t.Errorf("six outside %t: %+v", outer6, d)
		}
	}
}

// What must stay in the director: a packet that no header can be put before, and any while
// no address is known that it could come from.
func TestTunnelsRefuse(t *testing.T) {
	f, _ := tunnelWorld(t, false, false, false, tunnels[0], 0)
	s := super{ttl: 9, flags: proto.TCPSyn, data: make([]byte, 65535-40)}
	ip, _ := s.packet()
	var out Packets
	if d := f.Packet(0, Ingress{}, ip); !d.Rebuild || f.Rebuild(d, Ingress{}, ip, &out) {
		t.Errorf("%+v, %d packets of %d bytes", d, len(out.Spans), len(ip))
	}
	s.data = nil
	ip, _ = s.packet()
	if d := f.Packet(0, Ingress{}, ip); !f.Rebuild(d, Ingress{}, ip, &out) {
		t.Error("a short packet is refused")
	}
	f.SetPath(0, Path{MTU: 1500})
	if d := f.Packet(0, Ingress{}, ip); !d.Rebuild || f.Rebuild(d, Ingress{}, ip, &out) {
		t.Errorf("%+v, from nowhere", d)
	}
	f.SetPath(0, Path{MTU: 60, Source: near4})
	if f.servers[0].fits != 68 {
		t.Errorf("%d bytes fit a link of 60", f.servers[0].fits)
	}
	f, _ = tunnelWorld(t, false, false, false, tunnels[3], 1500)
	sctp := append(proto.IPv4Header{TTL: 9, Protocol: proto.ProtocolSCTP, Src: client4, Dst: vip4}.Append(nil, 16), make([]byte, 16)...)
	out.Reset()
	if !f.Rebuild(Decision{Verdict: Forward}, Ingress{}, sctp, &out) || len(out.Buf) != 20+12+len(sctp) {
		t.Errorf("SCTP: %x", out.Buf)
	}
	ip = s.cut(t)[0]
	out.Reset()
	if d := f.Packet(0, Ingress{}, ip); !f.Rebuild(d, Ingress{}, ip, &out) || out.Buf[20+8] != 0 {
		t.Errorf("a packet with its checksum leaves it to the far end: %x", out.Buf)
	}
}
