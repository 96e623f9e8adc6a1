package forward

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ringkeep/ringkeep/proto"
)

// The rule of lengths for direct routing over a link with an MTU of 1400 (RFC 1191,
// RFC 8201; super-frames by their segments).
func TestLengths(t *testing.T) {
	for _, c := range []struct {
		name string
		in   super
		want string
	}{
		{"fits exactly", super{df: true, data: make([]byte, 1360)}, "forward"},
		{"DF", super{df: true, data: make([]byte, 1361)}, "too big 1400"},
		{"no DF", super{data: make([]byte, 1361)}, "forward 1396 25"},
		{"no DF, UDP", super{udp: true, data: make([]byte, 2800)}, "forward 1396 1396 76"},
		{"IPv6 fits exactly", super{six: true, data: make([]byte, 1340)}, "forward"},
		{"IPv6", super{six: true, data: make([]byte, 1341)}, "too big 1400"},
		{"super-frame whose segments fit", super{df: true, data: make([]byte, 60000), size: 1360}, "forward"},
		{"super-frame whose segments do not", super{df: true, data: make([]byte, 60000), size: 1361}, "too big 1400"},
		{"super-frame without DF", super{data: make([]byte, 3000), size: 1448}, "forward 1396 112 1396 112 144"},
		{"super-frame of less than a segment", super{six: true, data: make([]byte, 1000), size: 1440}, "forward"},
		{"IPv6 super-frame", super{six: true, udp: true, data: make([]byte, 4000), size: 1353}, "too big 1400"},
	} {
		f := New(Config{MaxConns: 16, Seed: 1})
		k := ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(vip4, 80)}
		server := far4
		if c.in.six {
			k.Addr, server = netip.AddrPortFrom(vip6, 80), far6
		}
		if c.in.udp {
			k.Protocol = proto.ProtocolUDP
		}
		if err := f.AddService(Service{Key: k, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		id, err := f.AddServer(k, Server{Addr: netip.AddrPortFrom(server, 80), Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		f.SetLocal(k.Addr.Addr(), true)
		f.SetPath(int32(id), Path{MTU: 1400})
		c.in.ttl, c.in.flags = 64, proto.TCPSyn|proto.TCPEce|proto.TCPCwr
		ip, v := c.in.packet()
		in := Ingress{Virtio: v}
		d := f.Packet(0, in, ip)
		got := d.Verdict.String()
		if d.MTU > 0 {
			got += fmt.Sprint(" ", d.MTU)
		}
		if d.Rebuild {
			var out Packets
			if !f.Rebuild(d, in, ip, &out) {
				got += " impossible"
			}
			for _, s := range out.Spans {
				decode(t, out.Buf[s.From:s.To])
				got += fmt.Sprint(" ", s.To-s.From)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// icmpAbout is an error of a router about the packet b, of which it quotes the first bytes.
func icmpAbout(b []byte, quote int, typ, code uint8, rest uint32) []byte {
	m := binary.BigEndian.AppendUint32([]byte{typ, code, 0, 0}, rest)
	m = append(m, b[:min(len(b), quote)]...)
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(m[2:], proto.Checksum(m))
		h := proto.IPv4Header{TTL: 60, Protocol: proto.ProtocolICMP, Src: netip.MustParseAddr("10.0.0.254"), Dst: proto.IP(b).Src()}
		return append(h.Append(nil, len(m)), m...)
	}
	h := proto.IPv6Header{HopLimit: 60, NextHeader: proto.ProtocolICMPv6, Src: netip.MustParseAddr("2001:db8::254"), Dst: proto.IP(b).Src()}
	binary.BigEndian.PutUint16(m[2:], proto.Sum(0).AddPseudo(h.Src, h.Dst, proto.ProtocolICMPv6, len(m)).Add(m).Checksum())
	return append(h.Append(nil, len(m)), m...)
}

// told is what gopacket reads of the error that the client gets.
func told(t *testing.T, b []byte, about []byte) string {
	t.Helper()
	if b == nil {
		return "nothing"
	}
	d := decode(t, b)
	src, dst := d.NetworkLayer().NetworkFlow().Endpoints()
	if src.String() != proto.IP(about).Dst().String() || dst.String() != proto.IP(about).Src().String() {
		t.Errorf("from %v to %v", src, dst)
	}
	var words string
	var quoted []byte
	if m, ok := d.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		words, quoted = fmt.Sprintf("%v %d", m.TypeCode, m.Seq), m.Payload
		if proto.Checksum(b[20:]) != 0 {
			t.Errorf("checksum of %x", b)
		}
	} else {
		m := d.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		words, quoted = fmt.Sprintf("%v %d", m.TypeCode, binary.BigEndian.Uint32(m.Payload)), m.Payload[4:]
		if proto.Sum(0).AddPseudo(proto.IP(b).Src(), proto.IP(b).Dst(), 58, len(b)-40).Add(b[40:]).Fold() != 0xffff {
			t.Errorf("checksum of %x", b)
		}
	}
	if !bytes.HasPrefix(about, quoted) || len(quoted) < min(len(about), 100) {
		t.Errorf("quotes %x\nof     %x", quoted, about)
	}
	return words
}

// Errors about the packets of a tunnel come to the director. It learns the MTU and tells
// the client in the words of its own version of IP (RFC 2003 §4, RFC 2473 §8).
func TestErrorsOfTunnels(t *testing.T) {
	const (
		fragment4 = "DestinationUnreachable(FragmentationNeeded) "
		big6      = "PacketTooBig "
	)
	for _, tunnel := range tunnels {
		for i := range 4 {
			outer6, inner6 := i&1 != 0, i&2 != 0
			name := fmt.Sprintf("%s, six outside %t, inside %t", tunnelName(tunnel), outer6, inner6)
			f, _ := tunnelWorld(t, inner6, false, outer6, tunnel, 1500)
			s := super{six: inner6, df: true, ttl: 64, flags: proto.TCPAck, data: make([]byte, 1361)}
			s.opened(t, f)
			sent, inner := s.through(t, f)
			room := 1400 - (len(sent) - len(inner))
			if tunnel.Sum == RemoteSum && len(sent)-len(inner) < tunnel.most(outer6) {
				room -= gueRemoteLen
			}
			big := icmpAbout(sent, 548, 3, 4, 1400)
			unreachable, words := icmpAbout(sent, 548, 3, 1, 0), "DestinationUnreachable(Host) 0"
			if outer6 {
				big, unreachable = icmpAbout(sent, 1232, 2, 0, 1400), icmpAbout(sent, 1232, 1, 4, 0)
			}
			switch {
			case inner6 && outer6:
				words = "DestinationUnreachable(PortUnreachable) 0" // as it was told us
			case inner6:
				words = "DestinationUnreachable(AddressUnreachable) 0"
			}
			d := f.Packet(time.Second, Ingress{}, unreachable)
			if got := told(t, AppendTunnelError(nil, d, unreachable), inner); d.Verdict != TunnelError || got != words {
				t.Errorf("%s: %v, the client is told %s, want %s", name, d.Verdict, got, words)
			}
			if _, again := s.through(t, f); len(again) != len(inner) {
				t.Errorf("%s: an unreachable host has changed the MTU", name)
			}
			d = f.Packet(time.Second, Ingress{}, big)
			want := fragment4 + fmt.Sprint(room)
			if inner6 {
				want = big6 + fmt.Sprint(room)
			}
			if got := told(t, AppendTunnelError(nil, d, big), inner); d.Verdict != TunnelError || got != want {
				t.Errorf("%s: %v, the client is told %s, want %s", name, d.Verdict, got, want)
			}
			ip, v := s.packet()
			f.Expire(10 * time.Minute)
			if d := f.Packet(10*time.Minute, Ingress{Virtio: v}, ip); d.Verdict != TooBig || d.MTU != room {
				t.Errorf("%s: then %v %d, want %d", name, d.Verdict, d.MTU, room)
			}
			f.Expire(10*time.Minute + time.Second)
			ip, v = s.packet()
			if d := f.Packet(10*time.Minute+time.Second, Ingress{Virtio: v}, ip); d.Verdict != Forward {
				t.Errorf("%s: ten minutes later %v", name, d.Verdict)
			}
		}
	}
}

// through sends the packet and returns what leaves, and what is in it.
func (s super) through(t *testing.T, f *Forwarder) (sent, inner []byte) {
	t.Helper()
	ip, v := s.packet()
	in := Ingress{Virtio: v}
	var out Packets
	if d := f.Packet(0, in, ip); !d.Rebuild || !f.Rebuild(d, in, ip, &out) || len(out.Spans) != 1 {
		t.Fatalf("%+v, %d packets", d, len(out.Spans))
	}
	sent = out.Buf[out.Spans[0].From:]
	return sent, sent[len(sent)-len(ip):]
}

// What is not about a tunnel of ours, or forged, teaches nothing; what quotes too little
// teaches the MTU, and who did not ask to be told is not.
func TestOtherErrors(t *testing.T) {
	remade := func(sent []byte, change func(b []byte)) []byte {
		b := bytes.Clone(sent)
		change(b)
		sumIPv4(b)
		return icmpAbout(b, 548, 3, 4, 1400)
	}
	for _, c := range []struct {
		name  string
		df    bool
		build func(sent []byte) []byte
		want  Verdict
		fits  int32
	}{
		{"eight bytes quoted", true, func(b []byte) []byte { return icmpAbout(b, 28, 3, 4, 1400) }, TunnelMTU, 1368},
		{"UDP's header quoted and GUE's", true, func(b []byte) []byte { return icmpAbout(b, 32, 3, 4, 1400) }, TunnelMTU, 1368},
		{"no DF", false, func(b []byte) []byte { return icmpAbout(b, 548, 3, 4, 1400) }, TunnelMTU, 1368},
		{"no MTU told", true, func(b []byte) []byte { return icmpAbout(b, 548, 3, 4, 0) }, TunnelError, 552 - 32},
		{"more than the link's", true, func(b []byte) []byte { return icmpAbout(b, 548, 3, 4, 9000) }, TunnelError, 1468},
		{"time exceeded", true, func(b []byte) []byte { return icmpAbout(b, 548, 11, 0, 0) }, TunnelError, 1468},
		{"redirect", true, func(b []byte) []byte { return icmpAbout(b, 548, 5, 0, 0) }, NotMine, 1468},
		{"wrong checksum", true, func(b []byte) []byte { p := icmpAbout(b, 548, 3, 4, 1400); p[22]++; return p }, NotMine, 1468},
		{"another source", true, func(b []byte) []byte { return remade(b, func(b []byte) { b[15]++ }) }, NotMine, 1468},
		{"another server", true, func(b []byte) []byte { return remade(b, func(b []byte) { b[19]++ }) }, NotMine, 1468},
		{"another port", true, func(b []byte) []byte { return remade(b, func(b []byte) { b[23]++ }) }, NotMine, 1468},
		{"another client", true, func(b []byte) []byte { return remade(b, func(b []byte) { b[32+15]++ }) }, NotMine, 1468},
		{"another tunnel", true, func(b []byte) []byte { return remade(b, func(b []byte) { b[9] = 4 }) }, NotMine, 1468},
		{"a later fragment", true, func(b []byte) []byte { return remade(b, func(b []byte) { b[7] = 1 }) }, NotMine, 1468},
	} {
		f, _ := tunnelWorld(t, false, false, false, tunnels[1], 1500)
		s := super{df: c.df, ttl: 64, flags: proto.TCPAck, data: make([]byte, 1361)}
		s.opened(t, f)
		sent, _ := s.through(t, f)
		p := c.build(sent)
		d := f.Packet(0, Ingress{}, p)
		if d.Verdict != c.want || f.servers[0].fits != c.fits {
			t.Errorf("%s: %v, %d bytes fit, want %v, %d", c.name, d.Verdict, f.servers[0].fits, c.want, c.fits)
		}
	}
}

// FuzzTunnelErrors: whatever a router quotes, nothing panics, and what the client is told
// is well-formed.
func FuzzTunnelErrors(f *testing.F) {
	s := super{df: true, ttl: 64, flags: proto.TCPAck, data: make([]byte, 500)}
	for i, tunnel := range tunnels {
		inner := super{df: true, ttl: 9, data: make([]byte, 100)}.cut(f)[0]
		f.Add(uint8(i), icmpAbout(wrapped(tunnel, false, false, inner), 548, 3, 4, 1400))
		f.Add(uint8(i), icmpAbout(wrapped(tunnel, true, false, inner), 548, 2, 0, 1400))
	}
	f.Fuzz(func(t *testing.T, number uint8, b []byte) {
		tunnel, six := tunnels[int(number)%len(tunnels)], number&64 != 0
		fw, _ := tunnelWorld(t, six, false, number&128 != 0, tunnel, 1500)
		s.six = six
		s.opened(t, fw)
		fixSums(b)
		d := fw.Packet(0, Ingress{}, b)
		if d.Verdict != TunnelError {
			return
		}
		if told := AppendTunnelError(nil, d, b); told != nil {
			if p := gopacket.NewPacket(told, map[bool]gopacket.LayerType{false: layers.LayerTypeIPv4, true: layers.LayerTypeIPv6}[told[0]>>4 == 6], gopacket.Default); p.ErrorLayer() != nil {
				t.Fatalf("%v in %x", p.ErrorLayer().Error(), told)
			}
			verify(t, told)
		}
	})
}

// fixSums lets what is fuzzed pass the checksum of ICMP.
func fixSums(b []byte) {
	p, err := parse(b)
	if err != nil || len(p.payload) < 8 {
		return
	}
	p.payload[2], p.payload[3] = 0, 0
	sum := proto.Sum(0).Add(p.payload)
	if p.ip.Is6() {
		sum = sum.AddPseudo(p.ip.Src(), p.ip.Dst(), proto.ProtocolICMPv6, len(p.payload))
	}
	binary.BigEndian.PutUint16(p.payload[2:], sum.Checksum())
}

// FuzzRebuild: any packet with any virtio header, through every tunnel: what leaves is
// well-formed and fits.
func FuzzRebuild(f *testing.F) {
	for i, s := range []super{
		{df: true, data: make([]byte, 3000), size: 1000}, {six: true, udp: true, data: make([]byte, 3000), size: 1400}, {data: make([]byte, 1800)},
	} {
		s.ttl, s.flags = 64, proto.TCPSyn
		ip, v := s.packet()
		f.Add(uint8(i), []byte(v), ip)
	}
	f.Fuzz(func(t *testing.T, number uint8, v, b []byte) {
		tunnel, six := tunnels[int(number)%len(tunnels)], len(b) > 0 && b[0]>>4 == 6
		fw, _ := tunnelWorld(t, six, len(b) > 9 && (b[9] == 17 || six && b[6] == 17), number&128 != 0, tunnel, 1500)
		in := Ingress{Virtio: v}
		d := fw.Packet(0, in, b)
		if !d.Rebuild {
			return
		}
		var out Packets
		if !fw.Rebuild(d, in, b, &out) {
			return
		}
		var list [][]byte
		for _, s := range out.Spans {
			list = append(list, out.Buf[s.From:s.To])
			if s.To-s.From > 1500 {
				t.Fatalf("%d bytes", s.To-s.From)
			}
		}
		for _, p := range unwrap(t, list, tunnel) {
			if _, err := parse(p); err != nil {
				t.Fatalf("%v: %x", err, p)
			}
		}
	})
}

// With NAT the packet is as it came when its sender is told, and rewritten when it is cut;
// answers are held against the client's link.
func TestLengthsOfNAT(t *testing.T) {
	for _, c := range []struct {
		name      string
		in        super
		back      bool
		want      string
		addresses string // of what leaves
	}{
		{"to the server", super{df: true, data: make([]byte, 1361)}, false, "too big 1400", "192.0.2.7 > 10.0.0.100"},
		{"to the server, cut", super{data: make([]byte, 3000), size: 1448}, false, "forward 1396 112 1396 112 144", "192.0.2.7 > 10.0.1.21"},
		{"to the client", super{df: true, data: make([]byte, 3000), size: 1261}, true, "too big 1300", "10.0.1.21 > 192.0.2.7"},
		{"to the client, fits", super{df: true, data: make([]byte, 3000), size: 1260}, true, "return", "10.0.0.100 > 192.0.2.7"},
		{"to the client, cut", super{udp: true, data: make([]byte, 1500)}, true, "return 1300 248", "10.0.0.100 > 192.0.2.7"},
	} {
		f := New(Config{MaxConns: 16, Seed: 1})
		k := ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(vip4, 80)}
		if c.in.udp {
			k.Protocol = proto.ProtocolUDP
		}
		if err := f.AddService(Service{Key: k, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		id, err := f.AddServer(k, Server{Addr: netip.AddrPortFrom(far4, 80), Method: NAT, Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		f.SetLocal(vip4, true)
		f.SetPath(int32(id), Path{MTU: 1400})
		f.SetPortMTU(3, 1300)
		c.in.ttl, c.in.flags = 64, proto.TCPSyn
		in := Ingress{From: Hop{Port: 3}}
		if c.back {
			open, v := super{udp: c.in.udp, ttl: 64, flags: proto.TCPSyn}.packet()
			in.Virtio = v
			f.Packet(0, in, open)
		}
		ip, v := c.in.packet()
		if in.Virtio = v; c.back {
			c.in.flags = proto.TCPSyn | proto.TCPAck
			p, _ := parse(ip)
			p.redirect(v, destination, toAddr(client4), 40000)
			p.redirect(v, source, toAddr(far4), 80)
		}
		d := f.Packet(0, in, ip)
		got := d.Verdict.String()
		if d.MTU > 0 {
			got += fmt.Sprint(" ", d.MTU)
		}
		out := Packets{Buf: ip, Spans: []Span{{0, len(ip)}}}
		if d.Rebuild {
			if out.Reset(); !f.Rebuild(d, in, bytes.Clone(ip), &out) {
				got += " impossible"
			}
			for _, s := range out.Spans {
				decode(t, out.Buf[s.From:s.To])
				got += fmt.Sprint(" ", s.To-s.From)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		for _, s := range out.Spans {
			left := proto.IP(out.Buf[s.From:s.To])
			if got := fmt.Sprint(left.Src(), " > ", left.Dst()); got != c.addresses {
				t.Errorf("%s: %s, want %s", c.name, got, c.addresses)
			}
		}
	}
}

// Each way keeps what was learned of it for ten minutes of its own.
func TestLearnedIsForgotten(t *testing.T) {
	f := New(Config{MaxConns: 16, Seed: 1})
	if err := f.AddService(Service{Key: web, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		id, err := f.AddServer(web, Server{Addr: serverAddr(i), Method: TUN, Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		f.SetPath(int32(id), Path{MTU: 1500, Source: near4})
	}
	for i, at := range []time.Duration{0, 5 * time.Minute, 2 * time.Minute} {
		f.learn(at, toAddr(serverAddr(i).Addr()), 1400)
	}
	for _, c := range []struct {
		at   time.Duration
		want [3]int32
	}{
		{10*time.Minute - 1, [3]int32{1380, 1380, 1380}},
		{10 * time.Minute, [3]int32{1480, 1380, 1380}},
		{12 * time.Minute, [3]int32{1480, 1380, 1480}},
		{15 * time.Minute, [3]int32{1480, 1480, 1480}},
	} {
		f.Expire(c.at)
		if got := [3]int32{f.servers[0].fits, f.servers[1].fits, f.servers[2].fits}; got != c.want {
			t.Errorf("after %v %v fit, want %v", c.at, got, c.want)
		}
	}
}

// A client of IPv6 never hears of less than 1280 (RFC 8200 §5), and every client hears by
// the neighbour that its packets came from.
func TestToldOfTunnels(t *testing.T) {
	f, _ := tunnelWorld(t, true, false, false, tunnels[0], 1500)
	s := super{six: true, ttl: 64, flags: proto.TCPSyn, data: make([]byte, 1300)}
	ip, _ := s.packet()
	in := Ingress{From: Hop{Port: 3, MAC: proto.MAC{2, 1}}}
	var out Packets
	if d := f.Packet(0, in, ip); !f.Rebuild(d, in, ip, &out) {
		t.Fatal(d)
	}
	d := f.Packet(0, Ingress{}, icmpAbout(out.Buf[out.Spans[0].From:], 548, 3, 4, 1280))
	if d.Verdict != TunnelError || d.MTU != 1280 || f.servers[0].fits != 1260 || d.Hop != in.From {
		t.Errorf("%+v, %d fit", d, f.servers[0].fits)
	}
}
