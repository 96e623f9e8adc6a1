package proto

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	client6 = netip.MustParseAddr("2001:db8:2::7")
	vip6    = netip.MustParseAddr("2001:db8::64")
)

// packet6 is an IPv6 packet of the client for the VIP; header is an extension header, of
// which the first byte says what it is, and becomes the number of the payload.
func packet6(protocol uint8, payload []byte, header ...byte) IPv6 {
	next := protocol
	if len(header) > 0 {
		next, header[0] = header[0], protocol
	}
	h := IPv6Header{NextHeader: next, HopLimit: 61, Src: client6, Dst: vip6}
	b := h.Append(nil, len(header)+len(payload))
	return IPv6(append(append(b, header...), payload...))
}

func segment6(h TCPHeader, data int) []byte {
	h.SrcPort, h.DstPort = 40000, 80
	b := append(h.Append(nil), make([]byte, data)...)
	SealTCP(b, client6, vip6)
	return b
}

func decode6(t *testing.T, b []byte) gopacket.Packet {
	t.Helper()
	p, err := ParseIPv6(b)
	if err != nil || len(p) != len(b) {
		t.Fatalf("answer %x: %v", b, err)
	}
	if p.Src() != vip6 || p.Dst() != client6 || p.HopLimit() != replyTTL {
		t.Errorf("answer goes from %s to %s, hop limit %d", p.Src(), p.Dst(), p.HopLimit())
	}
	return gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
}

// RFC 9293 §3.10.7.1, over IPv6.
func TestAppendReset6(t *testing.T) {
	syn := TCPHeader{Seq: 1000, Flags: TCPSyn}
	options, fragment := []byte{ip6Destination, 0, 1, 4, 0, 0, 0, 0}, []byte{ip6Fragment, 0, 0, 1, 0, 0, 0, 9}
	for _, c := range []struct {
		name string
		in   IPv6
		want string // "" is no answer
	}{
		{"SYN", packet6(ProtocolTCP, segment6(syn, 0)), "seq 0 ack 1001 true"},
		{"ACK", packet6(ProtocolTCP, segment6(TCPHeader{Seq: 1, Ack: 5000, Flags: TCPAck}, 100)), "seq 5000 ack 0 false"},
		{"behind options", packet6(ProtocolTCP, segment6(syn, 7), bytes.Clone(options)...), "seq 0 ack 1008 true"},
		{"first fragment", packet6(ProtocolTCP, segment6(syn, 0), bytes.Clone(fragment)...), ""},
		{"a fragment that is all", packet6(ProtocolTCP, segment6(syn, 0), ip6Fragment, 0, 0, 0, 0, 0, 0, 9), "seq 0 ack 1001 true"},
		{"RST", packet6(ProtocolTCP, segment6(TCPHeader{Seq: 1000, Flags: TCPRst}, 0)), ""},
		{"UDP", packet6(ProtocolUDP, segment6(syn, 0)), ""},
		{"cut header", packet6(ProtocolTCP, segment6(syn, 0)[:19]), ""},
	} {
		got := AppendReset6(dirty(), c.in)
		if c.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: answered with %x", c.name, got)
			}
			continue
		}
		l, ok := decode6(t, got).Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok {
			t.Fatalf("%s: %x", c.name, got)
		}
		if have := fmt.Sprintf("seq %d ack %d %t", l.Seq, l.Ack, l.ACK); have != c.want || !l.RST || l.SrcPort != 80 || l.DstPort != 40000 {
			t.Errorf("%s: %s from %d to %d, want %s", c.name, have, l.SrcPort, l.DstPort, c.want)
		}
		if !TCP(got[IPv6Len:]).ChecksumOK(vip6, client6) {
			t.Errorf("%s: checksum", c.name)
		}
	}
}

// RFC 4443 §2.4: what is quoted (c), and what is never answered (e).
func TestAppendICMP6Errors(t *testing.T) {
	udp := append(UDPHeader{SrcPort: 40000, DstPort: 53}.Append(nil, 4), "data"...)
	icmp := func(typ byte) IPv6 { return packet6(ProtocolICMPv6, []byte{typ, 0, 0, 0, 0, 0, 0, 0}) }
	change := func(f func(p IPv6)) IPv6 { p := packet6(ProtocolUDP, udp); f(p); return p }
	for _, c := range []struct {
		name  string
		in    IPv6
		quote int // 0 is no answer
	}{
		{"datagram", packet6(ProtocolUDP, udp), 52},
		{"long datagram", packet6(ProtocolUDP, bytes.Repeat(udp, 200)), 1232},
		{"behind options", packet6(ProtocolUDP, udp, ip6Destination, 0, 1, 4, 0, 0, 0, 0), 60},
		{"first fragment", packet6(ProtocolUDP, udp, ip6Fragment, 0, 0, 1, 0, 0, 0, 9), 60},
		{"later fragment", packet6(ProtocolUDP, udp, ip6Fragment, 0, 0, 8, 0, 0, 0, 9), 0},
		{"echo request", icmp(128), 48},
		{"ICMP error", icmp(1), 0},
		{"an error not known yet", icmp(127), 0},
		{"redirect", icmp(137), 0},
		{"cut ICMP", packet6(ProtocolICMPv6, nil), 0},
		{"cut extension header", packet6(ip6Destination, []byte{17, 0}), 0},
		{"from a group", change(func(p IPv6) { p[ip6Src] = 0xff }), 0},
		{"to a group", change(func(p IPv6) { p[ip6Dst] = 0xff }), 0},
		{"from ::", change(func(p IPv6) { clear(p[ip6Src:ip6Dst]) }), 0},
		{"from ::1", change(func(p IPv6) { clear(p[ip6Src:ip6Dst]); p[ip6Dst-1] = 1 }), 0},
		{"to itself", change(func(p IPv6) { copy(p[ip6Src:], p[ip6Dst:ip6Dst+16]) }), 0},
	} {
		for _, e := range []struct {
			typ, code uint8
			build     func([]byte, IPv6) []byte
		}{{1, 4, AppendPortUnreachable6}, {3, 0, AppendTimeExceeded6}} {
			got := e.build(dirty(), c.in)
			if c.quote == 0 {
				if len(got) != 0 {
					t.Errorf("%s: answered with %x", c.name, got)
				}
				continue
			}
			l, ok := decode6(t, got).Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			sum := Sum(0).AddPseudo(vip6, client6, ProtocolICMPv6, len(got)-IPv6Len).Add(got[IPv6Len:]).Fold()
			if !ok || l.TypeCode != layers.CreateICMPv6TypeCode(e.typ, e.code) || sum != 0xffff || len(got) > 1280 {
				t.Fatalf("%s: %x", c.name, got)
			}
			if quoted := got[IPv6Len+8:]; !bytes.Equal(quoted, c.in[:c.quote]) || got[IPv6Len+4]|got[IPv6Len+7] != 0 {
				t.Errorf("%s: quotes %d bytes, want %d", c.name, len(quoted), c.quote)
			}
		}
	}
}
