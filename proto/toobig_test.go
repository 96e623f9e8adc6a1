package proto

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

var client16, vip16 = netip.MustParseAddr("2001:db8:9::7"), netip.MustParseAddr("2001:db8::100")

func packet16(next uint8, payload []byte) IPv6 {
	b := IPv6Header{NextHeader: next, HopLimit: 61, Src: client16, Dst: vip16}.Append(nil, len(payload))
	return IPv6(append(b, payload...))
}

// RFC 1191 §4: the MTU stands in the second half of the second word, and the checksum
// covers it. What must not be answered is not.
func TestFragmentationNeeded(t *testing.T) {
	for _, mtu := range []int{68, 1400, 65535} {
		in := packet(ProtocolTCP, segment(TCPHeader{Flags: TCPAck}, 3000))
		got := AppendFragmentationNeeded(dirty(), in, mtu)
		decode(t, got)
		m := ICMP(got[IPv4Len:])
		if m.Type() != 3 || m.Code() != 4 || m.Rest() != uint32(mtu) || !m.ChecksumOK() || !bytes.Equal(m.Payload(), in[:548]) {
			t.Errorf("MTU %d: %x", mtu, m[:8])
		}
	}
	unreachable := packet(ProtocolICMP, []byte{3, 3, 0xfc, 0xfc, 0, 0, 0, 0})
	if got := AppendFragmentationNeeded(dirty(), unreachable, 1400); len(got) != 0 {
		t.Errorf("an error is answered with %x", got)
	}
}

// RFC 4443 §2.4 (e), §3.2.
func TestPacketTooBig(t *testing.T) {
	udp := append(UDPHeader{SrcPort: 40000, DstPort: 53}.Append(nil, 2000), make([]byte, 2000)...)
	change := func(f func(p IPv6)) IPv6 { p := packet16(ProtocolUDP, udp); f(p); return p }
	fragment := func(word byte) IPv6 { return packet16(44, append([]byte{17, 0, 0, word, 0, 0, 0, 1}, udp...)) }
	for _, c := range []struct {
		name string
		in   IPv6
		ok   bool
	}{
		{"datagram", packet16(ProtocolUDP, udp), true},
		{"first fragment", fragment(1), true},
		{"later fragment", fragment(9), false},
		{"echo request", packet16(ProtocolICMPv6, append([]byte{128, 0}, udp...)), true},
		{"ICMPv6 error", packet16(ProtocolICMPv6, append([]byte{1, 0}, udp...)), false},
		{"headers that end nowhere", packet16(60, []byte{17, 200}), false},
		{"to a group", change(func(p IPv6) { p[ip6Dst] = 0xff }), false},
		{"from a group", change(func(p IPv6) { p[ip6Src] = 0xff }), false},
		{"from ::", change(func(p IPv6) { clear(p[ip6Src:ip6Dst]) }), false},
		{"to itself", change(func(p IPv6) { copy(p[ip6Src:ip6Dst], p[ip6Dst:]) }), false},
	} {
		got := AppendPacketTooBig(dirty(), c.in, 1400)
		if !c.ok {
			if len(got) != 0 {
				t.Errorf("%s: answered with %x", c.name, got)
			}
			continue
		}
		p, err := ParseIPv6(got)
		if err != nil || len(p) != len(got) || len(p) > 1280 || p.Src() != vip16 || p.Dst() != client16 {
			t.Fatalf("%s: %v %x", c.name, err, got)
		}
		m := ICMP(p.Payload())
		if m.Type() != 2 || m.Code() != 0 || m.Rest() != 1400 || !bytes.Equal(m.Payload(), c.in[:min(len(c.in), 1232)]) ||
			Sum(0).AddPseudo(vip16, client16, ProtocolICMPv6, len(m)).Add(m).Fold() != 0xffff {
			t.Errorf("%s: %x", c.name, m[:8])
		}
	}
}

// RFC 2473 §8, RFC 4213 §3.4: what the sender of a packet in a tunnel hears, by the
// versions of IP outside and inside.
func TestTunnelErrors(t *testing.T) {
	in4, in6 := IP(packet(ProtocolUDP, make([]byte, 8))), IP(packet16(ProtocolUDP, make([]byte, 8)))
	for _, c := range []struct {
		name           string
		inner          IP
		six            bool
		typ, code      uint8
		mtu            int
		wantT, wantC   uint8
		wantSecondWord uint32
	}{
		{"4 in 4", in4, false, 3, 13, 0, 3, 13, 0},
		{"4 in 4, TTL", in4, false, 11, 0, 0, 11, 0, 0},
		{"4 in 6", in4, true, 1, 0, 0, 3, 1, 0},
		{"6 in 6", in6, true, 3, 0, 0, 3, 0, 0},
		{"6 in 4", in6, false, 3, 13, 0, 1, 3, 0},
		{"4 in 6, too big", in4, true, 2, 0, 1360, 3, 4, 1360},
		{"6 in 4, too big", in6, false, 3, 4, 1380, 2, 0, 1380},
	} {
		got := IP(AppendTunnelError(dirty(), c.inner, c.six, c.typ, c.code, c.mtu))
		m := ICMP(got.Payload())
		if m.Type() != c.wantT || m.Code() != c.wantC || m.Rest() != c.wantSecondWord || got.Dst() != c.inner.Src() || !bytes.Equal(m.Payload(), c.inner) {
			t.Errorf("%s: %x", c.name, got)
		}
	}
}

// tshark verifies the checksums and finds what is quoted; the last two are damaged.
func TestTsharkReadsTooBig(t *testing.T) {
	syn6 := TCPHeader{SrcPort: 40000, DstPort: 80, Flags: TCPSyn}.Append(nil)
	SealTCP(syn6, client16, vip16)
	framed := func(typ uint16, build func(b []byte) []byte) []byte {
		return build(AppendEthernet(dirty(), mac("02:00:00:00:77:02"), VirtualMAC(51), typ))
	}
	four := func(b []byte) []byte {
		return AppendFragmentationNeeded(b, packet(ProtocolTCP, segment(TCPHeader{Seq: 1, Flags: TCPSyn}, 0)), 1400)
	}
	six := func(b []byte) []byte { return AppendPacketTooBig(b, packet16(ProtocolTCP, syn6), 1400) }
	far := func(b []byte) []byte {
		return AppendTunnelError(b, IP(packet16(ProtocolTCP, syn6)), false, 3, 1, 0)
	}
	frames := [][]byte{framed(EtherTypeIPv4, four), framed(EtherTypeIPv6, six), framed(EtherTypeIPv6, far), framed(EtherTypeIPv4, four), framed(EtherTypeIPv6, six)}
	frames[3][EthernetLen+IPv4Len+7]++
	binary.BigEndian.PutUint16(frames[4][EthernetLen+IPv6Len+6:], 1401)
	want := []string{
		"ip:icmp:ip:tcp\t3\t4\t1400\t1\t\t\t", "ipv6:icmpv6:ipv6:tcp\t\t\t\t\t2\t1400\t1", "ipv6:icmpv6:ipv6:tcp\t\t\t\t\t1\t\t1",
		"ip:icmp:ip:tcp\t3\t4\t1401\t0\t\t\t", "ipv6:icmpv6:ipv6:tcp\t\t\t\t\t2\t1401\t0",
	}
	var list []captured
	for _, f := range frames {
		list = append(list, captured{data: f})
	}
	fields := []string{"frame.protocols", "icmp.type", "icmp.code", "icmp.mtu", "icmp.checksum.status", "icmpv6.type", "icmpv6.mtu", "icmpv6.checksum.status"}
	for i, line := range tshark(t, writeCapture(t, list), fields) {
		if got := line[len("eth:ethertype:"):]; got != want[i] {
			t.Errorf("frame %d: %q, want %q", i, got, want[i])
		}
	}
}
