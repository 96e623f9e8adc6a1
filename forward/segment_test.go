package forward

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/proto"
)

// super is a packet as a local stack hands it over, for the tests: of either family, TCP or
// UDP, to be cut at size, 0 for a packet of its own. Its checksum is partial.
type super struct {
	six, udp bool
	df       bool
	tos, ttl uint8
	id       uint16
	flags    uint8
	seq      uint32
	options  []byte // of TCP
	data     []byte
	size     int
}

var (
	client4, vip4 = netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("10.0.0.100")
	client6, vip6 = netip.MustParseAddr("2001:db8:9::7"), netip.MustParseAddr("2001:db8::100")
)

func (s super) packet() (ip []byte, v proto.Virtio) {
	src, dst, protocol, gso, offset := client4, vip4, proto.ProtocolTCP, byte(proto.GSOTCPv4), 16
	if s.six {
		src, dst, gso = client6, vip6, proto.GSOTCPv6
	}
	t := append(proto.TCPHeader{SrcPort: 40000, DstPort: 80, Seq: s.seq, Ack: 7, Flags: s.flags, Window: 500}.Append(nil), s.options...)
	t[12] = byte(len(t) / 4 << 4)
	if s.udp {
		t, protocol, gso, offset = proto.UDPHeader{SrcPort: 40000, DstPort: 80}.Append(nil, len(s.data)), proto.ProtocolUDP, proto.GSOUDPL4, 6
	}
	header := len(t)
	t = append(t, s.data...)
	binary.BigEndian.PutUint16(t[offset:], proto.Sum(0).AddPseudo(src, dst, protocol, len(t)).Fold())
	if s.six {
		ip = proto.IPv6Header{TrafficClass: s.tos, FlowLabel: 0x12345, NextHeader: protocol, HopLimit: s.ttl, Src: src, Dst: dst}.Append(nil, len(t))
	} else {
		ip = proto.IPv4Header{TOS: s.tos, ID: s.id, DF: s.df, TTL: s.ttl, Protocol: protocol, Src: src, Dst: dst}.Append(nil, len(t))
	}
	v = make(proto.Virtio, proto.VirtioLen)
	v[0] = 1
	start := 14 + len(ip)
	binary.NativeEndian.PutUint16(v[6:], uint16(start))
	binary.NativeEndian.PutUint16(v[8:], uint16(offset))
	if s.size > 0 {
		v[1] = gso
		binary.NativeEndian.PutUint16(v[2:], uint16(start+header))
		binary.NativeEndian.PutUint16(v[4:], uint16(s.size))
	}
	return append(ip, t...), v
}

func drawSuper(t *rapid.T) super {
	s := super{
		six: rapid.Bool().Draw(t, "six"), udp: rapid.Bool().Draw(t, "udp"), df: rapid.Bool().Draw(t, "df"), tos: rapid.Byte().Draw(t, "tos"),
		ttl: rapid.ByteMin(1).Draw(t, "ttl"), id: rapid.Uint16().Draw(t, "id"), flags: rapid.Byte().Draw(t, "flags"), seq: rapid.Uint32().Draw(t, "seq"),
		size: rapid.IntRange(0, 1600).Draw(t, "size"),
	}
	s.options = bytes.Repeat([]byte{1}, 4*rapid.IntRange(0, 10).Draw(t, "options"))
	s.data = rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "data")
	return s
}

// decoded is what gopacket, which knows nothing of our code, reads of a packet.
type decoded struct {
	gopacket.Packet
	id, length int
	tcp        *layers.TCP
	udp        *layers.UDP
	data       []byte
}

func decode(t rapid.TB, b []byte) decoded {
	t.Helper()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	d := decoded{Packet: gopacket.NewPacket(b, first, gopacket.Default)}
	if e := d.ErrorLayer(); e != nil {
		t.Fatalf("%v in %x", e.Error(), b)
	}
	if ip, ok := d.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		d.id, d.length = int(ip.Id), int(ip.Length)
	}
	if ip, ok := d.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
		d.length = int(ip.Length) + 40
	}
	d.tcp, _ = d.Layer(layers.LayerTypeTCP).(*layers.TCP)
	d.udp, _ = d.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if l := d.TransportLayer(); l != nil {
		d.data = l.LayerPayload()
	}
	verify(t, b)
	return d
}

// verify sums as RFC 1071 says, two bytes at a time: the header of IPv4, and TCP or UDP
// with the pseudo-header, which must come out as all ones.
func verify(t rapid.TB, b []byte) {
	t.Helper()
	sum := func(parts ...[]byte) (s uint32) {
		for _, p := range parts {
			for i, x := range p {
				if i%2 == 0 {
					s += uint32(x) << 8
				} else {
					s += uint32(x)
				}
				s = s&0xffff + s>>16
			}
		}
		return s
	}
	addrs, next, transport := b[8:min(40, len(b))], b[6], b[min(40, len(b)):]
	if b[0]>>4 == 4 {
		header := int(b[0]&15) * 4
		if sum(b[:header]) != 0xffff {
			t.Fatalf("header checksum of %x", b)
		}
		addrs, next, transport = b[12:20], b[9], b[header:]
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return // a fragment
		}
	}
	if next != 6 && (next != 17 || transport[6]|transport[7] == 0) {
		return
	}
	if n := len(transport); sum(addrs, []byte{0, next, byte(n >> 8), byte(n)}, transport) != 0xffff {
		t.Fatalf("checksum of %x", b)
	}
}

// cut lists the segments of a super-frame.
func (s super) cut(t rapid.TB) [][]byte {
	t.Helper()
	ip, v := s.packet()
	p, err := parse(ip)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := segmentsOf(p, v, false)
	if !ok {
		t.Fatal("not to be cut")
	}
	var list [][]byte
	longest := c.longest()
	for c.rest {
		list = append(list, c.append([]byte("dirty"))[5:])
		if n := len(list[len(list)-1]); n > longest {
			t.Fatalf("a segment of %d bytes, the longest being %d", n, longest)
		}
	}
	return list
}

// What a network card does with a super-frame, by the rules of Linux's software
// segmentation: the data is the same, everything else is as if the segments had been sent
// one by one.
func TestSegments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSuper(t)
		list := s.cut(t)
		var data []byte
		for i, b := range list {
			d, first, last := decode(t, b), i == 0, i == len(list)-1
			if d.length != len(b) {
				t.Fatalf("%d: length %d of %d", i, d.length, len(b))
			}
			if !s.six && d.id != int(s.id+uint16(i)) {
				t.Fatalf("%d: id %d after %d", i, d.id, s.id)
			}
			if s.size > 0 && !last && len(d.data) != s.size || last && len(list) > 1 && len(d.data) == 0 {
				t.Fatalf("%d: %d bytes of %d", i, len(d.data), s.size)
			}
			if s.udp {
				if int(d.udp.Length) != len(d.data)+8 || d.udp.SrcPort != 40000 {
					t.Fatalf("%d: %+v", i, d.udp)
				}
			} else {
				if d.tcp.Seq != s.seq+uint32(len(data)) || d.tcp.Ack != 7 || d.tcp.Window != 500 {
					t.Fatalf("%d: %+v", i, d.tcp)
				}
				want := s.flags
				if !last {
					want &^= 0x01 | 0x08
				}
				if !first {
					want &^= 0x80
				}
				if got := b[len(b)-len(d.data)-len(s.options)-20+13]; got != want {
					t.Fatalf("%d: flags %#x, want %#x", i, got, want)
				}
			}
			data = append(data, d.data...)
		}
		if !bytes.Equal(data, s.data) {
			t.Fatalf("%d bytes came out of %d", len(data), len(s.data))
		}
		if s.size == 0 && len(list) != 1 {
			t.Fatalf("%d packets of one", len(list))
		}
	})
}

// A header that asks for what the packet is not.
func TestSegmentsRefused(t *testing.T) {
	tcp4, v := super{data: make([]byte, 3000), size: 1000}.packet()
	udp6, _ := super{six: true, udp: true, data: make([]byte, 3000)}.packet()
	for _, c := range []struct {
		name string
		ip   []byte
		gso  byte
		size uint16
		ok   bool
	}{
		{"TCPv4", tcp4, proto.GSOTCPv4, 1000, true},
		{"with ECN", tcp4, proto.GSOTCPv4 | 0x80, 1000, true},
		{"TCPv6 for IPv4", tcp4, proto.GSOTCPv6, 1000, false},
		{"UDP for TCP", tcp4, proto.GSOUDPL4, 1000, false},
		{"UDP", udp6, proto.GSOUDPL4, 1000, true},
		{"TCPv6 for UDP", udp6, proto.GSOTCPv6, 1000, false},
		{"UFO", udp6, 3, 1000, false},
		{"no size", tcp4, proto.GSOTCPv4, 0, false},
		{"a thousand segments", tcp4, proto.GSOTCPv4, 3, true},
		{"too many segments", tcp4, proto.GSOTCPv4, 2, false},
	} {
		v[1] = c.gso
		binary.NativeEndian.PutUint16(v[4:], c.size)
		p, err := parse(c.ip)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := segmentsOf(p, v, false); ok != c.ok {
			t.Errorf("%s: %t", c.name, ok)
		}
	}
}

// Fragments of IPv4, reassembled as RFC 791 §3.2 says, are the packet; fragments of a
// fragment too. Options that are not to be copied stand in the first only.
func TestFragments4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSuper(t)
		s.six, s.df, s.size = false, false, 0
		whole := s.cut(t)[0]
		options := rapid.SampledFrom([][]byte{nil, {7, 3, 4, 0x94, 4, 0, 0, 0}, {1, 0x83, 3, 4}}).Draw(t, "options")
		ip := slices.Concat(whole[:20], options, whole[20:])
		ip[0] += byte(len(options) / 4)
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		sumIPv4(ip)
		header := 20 + len(options)
		again := []byte(nil)
		offset := 0
		var halves func(b []byte, mtu int)
		halves = func(b []byte, mtu int) {
			c, ok := piecesOf(b, mtu, 9)
			if !ok {
				t.Fatal("no room")
			}
			for c.rest() {
				f := c.append([]byte("dirty"))[5:]
				if len(f) > mtu {
					t.Fatalf("%d bytes in %d", len(f), mtu)
				}
				if mtu > 200 && len(f) > 100 {
					halves(f, 100)
					continue
				}
				d := decode(t, f).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
				if int(d.FragOffset)*8 != offset || int(d.Length) != len(f) || d.Id != s.id || d.TTL != s.ttl || d.TOS != s.tos {
					t.Fatalf("%+v at %d", d, offset)
				}
				want := bytes.Clone(options)
				if offset > 0 && len(want) > 3 && want[1] == 3 && want[0] == 7 { // record route goes, router alert stays
					copy(want, []byte{1, 1, 1})
				}
				if !bytes.Equal(f[20:header], want) {
					t.Fatalf("options %x at %d", f[20:header], offset)
				}
				again, offset = append(again, f[header:]...), offset+len(f)-header
				if more := d.Flags&layers.IPv4MoreFragments != 0; more == (len(again) == len(ip)-header) {
					t.Fatalf("more %t after %d of %d", more, len(again), len(ip)-header)
				}
			}
		}
		halves(ip, rapid.IntRange(80, 1500).Draw(t, "mtu"))
		if !bytes.Equal(again, ip[header:]) {
			t.Fatalf("%x came out of %x", again, ip[header:])
		}
	})
}

// The same for packets of IPv6 that the director made (RFC 8200 §4.5).
func TestFragments6(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSuper(t)
		s.six, s.size = true, 0
		ip := s.cut(t)[0]
		c, ok := piecesOf(ip, rapid.IntRange(100, 1500).Draw(t, "mtu"), 0xabcdef12)
		if !ok {
			t.Fatal("no room")
		}
		var again []byte
		for c.rest() {
			f := c.append(nil)
			d := gopacket.NewPacket(f, layers.LayerTypeIPv6, gopacket.Default)
			h, ok := d.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
			if !ok || int(h.FragmentOffset)*8 != len(again) || h.Identification != 0xabcdef12 || uint8(h.NextHeader) != ip[6] {
				t.Fatalf("%v", d)
			}
			if l := d.Layer(layers.LayerTypeIPv6).(*layers.IPv6); int(l.Length)+40 != len(f) || l.HopLimit != s.ttl || l.TrafficClass != s.tos {
				t.Fatalf("%+v", l)
			}
			again = append(again, f[48:]...)
			if h.MoreFragments == (len(again) == len(ip)-40) {
				t.Fatalf("more %t after %d", h.MoreFragments, len(again))
			}
		}
		if !bytes.Equal(again, ip[40:]) {
			t.Fatalf("%x came out of %x", again, ip[40:])
		}
	})
}

// SCTP has no super-frames here, and one that left its checksum to a device was completed before
// (TestSCTPKeepsItsChecksum).
func TestSegmentsSCTP(t *testing.T) {
	ip := build(t, strings.Fields("10.0.2.1:1 > 10.0.0.100:9 sctp=1"))
	p := parsedBytes(t, ip)
	if s, ok := segmentsOf(p, nil, false); !ok || !bytes.Equal(s.append(nil), ip) || s.rest {
		t.Error("not its own only segment")
	}
	_, v := super{data: []byte{1}}.packet()
	for _, gso := range []byte{0, proto.GSOTCPv4} {
		v[1] = gso
		if _, ok := segmentsOf(p, v, false); ok {
			t.Errorf("taken with a virtio header of the kind %d", gso)
		}
	}
}

// No fragment has a partial checksum or is a super-frame.
func TestSegmentsOfFragments(t *testing.T) {
	for _, fragment := range [][2]byte{{0x20, 0}, {0, 9}} {
		ip, v := super{data: make([]byte, 100)}.packet()
		copy(ip[6:], fragment[:])
		p, err := parse(ip)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := segmentsOf(p, v, false); ok {
			t.Errorf("fragment %x is taken", fragment)
		}
		if s, ok := segmentsOf(p, nil, false); !ok || !bytes.Equal(s.append(nil), ip) {
			t.Errorf("fragment %x without a virtio header", fragment)
		}
	}
}
