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
	client = netip.MustParseAddr("192.0.2.7")
	vip    = netip.MustParseAddr("10.0.0.100")
)

// packet is an IPv4 packet of the client for the VIP.
func packet(protocol uint8, payload []byte) IPv4 {
	b := IPv4Header{ID: 7, TTL: 61, Protocol: protocol, Src: client, Dst: vip}.Append(nil, len(payload))
	return IPv4(append(b, payload...))
}

func segment(h TCPHeader, data int) []byte {
	h.SrcPort, h.DstPort = 40000, 80
	b := append(h.Append(nil), make([]byte, data)...)
	SealTCP(b, client, vip)
	return b
}

// decode reads a packet with the second decoder, checksums verified by ours.
func decode(t *testing.T, b []byte) gopacket.Packet {
	t.Helper()
	p, err := ParseIPv4(b)
	if err != nil || len(p) != len(b) || !p.ChecksumOK() {
		t.Fatalf("answer %x: %v", b, err)
	}
	if p.Src() != vip || p.Dst() != client {
		t.Errorf("answer goes from %s to %s", p.Src(), p.Dst())
	}
	return gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
}

// RFC 9293 §3.10.7.1: what a closed port answers.
func TestAppendReset(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want string // "" is no answer
	}{
		{"SYN", segment(TCPHeader{Seq: 1000, Flags: TCPSyn}, 0), "seq 0 ack 1001 true"},
		{"SYN with data", segment(TCPHeader{Seq: 1000, Flags: TCPSyn}, 10), "seq 0 ack 1011 true"},
		{"FIN without ACK", segment(TCPHeader{Seq: 1000, Flags: TCPFin}, 5), "seq 0 ack 1006 true"},
		{"sequence wraps", segment(TCPHeader{Seq: 0xffffffff, Flags: TCPSyn}, 0), "seq 0 ack 0 true"},
		{"ACK", segment(TCPHeader{Seq: 1000, Ack: 5000, Flags: TCPAck}, 100), "seq 5000 ack 0 false"},
		{"FIN ACK", segment(TCPHeader{Seq: 1000, Ack: 5000, Flags: TCPFin | TCPAck}, 0), "seq 5000 ack 0 false"},
		{"RST", segment(TCPHeader{Seq: 1000, Flags: TCPRst}, 0), ""},
		{"cut header", segment(TCPHeader{Seq: 1000, Flags: TCPSyn}, 0)[:19], ""},
	} {
		got := AppendReset(dirty(), packet(ProtocolTCP, c.in))
		if c.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: answered with %x", c.name, got)
			}
			continue
		}
		p := decode(t, got)
		l, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok {
			t.Fatalf("%s: %v", c.name, p)
		}
		if have := fmt.Sprintf("seq %d ack %d %t", l.Seq, l.Ack, l.ACK); have != c.want || !l.RST || l.SrcPort != 80 || l.DstPort != 40000 {
			t.Errorf("%s: %s from %d to %d, want %s", c.name, have, l.SrcPort, l.DstPort, c.want)
		}
		if !TCP(got[IPv4Len:]).ChecksumOK(vip, client) {
			t.Errorf("%s: checksum", c.name)
		}
	}
}

// RFC 1122 §3.2.2 and RFC 1812 §4.3.2: what is quoted, and what is never answered.
func TestAppendICMPErrors(t *testing.T) {
	udp := append(UDPHeader{SrcPort: 40000, DstPort: 53}.Append(nil, 4), "data"...)
	echo, unreachable := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, []byte{3, 3, 0xfc, 0xfc, 0, 0, 0, 0}
	change := func(f func(p IPv4)) IPv4 { p := packet(ProtocolUDP, udp); f(p); return p }
	for _, c := range []struct {
		name  string
		in    IPv4
		quote int // 0 is no answer
	}{
		{"datagram", packet(ProtocolUDP, udp), 32},
		{"long datagram", packet(ProtocolUDP, bytes.Repeat(udp, 100)), 548},
		{"first fragment", change(func(p IPv4) { p[ip4Fragment] = 0x20 }), 32},
		{"later fragment", change(func(p IPv4) { p[ip4Fragment+1] = 1 }), 0},
		{"echo request", packet(ProtocolICMP, echo), 28},
		{"ICMP error", packet(ProtocolICMP, unreachable), 0},
		{"cut ICMP", packet(ProtocolICMP, echo[:4]), 0},
		{"from a group", change(func(p IPv4) { p[ip4Src] = 224 }), 0},
		{"from loopback", change(func(p IPv4) { p[ip4Src] = 127 }), 0},
		{"to itself", change(func(p IPv4) { copy(p[ip4Src:], p[ip4Dst:ip4Dst+4]) }), 0},
		{"from 0.0.0.0", change(func(p IPv4) { copy(p[ip4Src:], []byte{0, 0, 0, 0}) }), 0},
		{"from broadcast", change(func(p IPv4) { copy(p[ip4Src:], []byte{255, 255, 255, 255}) }), 0},
		{"to a group", change(func(p IPv4) { p[ip4Dst] = 224 }), 0},
		{"to broadcast", change(func(p IPv4) { copy(p[ip4Dst:], []byte{255, 255, 255, 255}) }), 0},
	} {
		for _, e := range []struct {
			typ, code uint8
			build     func([]byte, IPv4) []byte
		}{{3, 3, AppendPortUnreachable}, {11, 0, AppendTimeExceeded}} {
			got := e.build(dirty(), c.in)
			if c.quote == 0 {
				if len(got) != 0 {
					t.Errorf("%s: answered with %x", c.name, got)
				}
				continue
			}
			p := decode(t, got)
			l, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if !ok || l.TypeCode != layers.CreateICMPv4TypeCode(e.typ, e.code) || !ICMP(got[IPv4Len:]).ChecksumOK() {
				t.Fatalf("%s: %v", c.name, p)
			}
			if !bytes.Equal(l.Payload, c.in[:c.quote]) {
				t.Errorf("%s: quotes %d bytes, want %d", c.name, len(l.Payload), c.quote)
			}
		}
	}
}

// Appending keeps what the slice holds already.
func TestAppendKeepsPrefix(t *testing.T) {
	prefix := []byte("before")
	a := Advert{Version: 2, Addrs: []netip.Addr{vip}}
	for name, got := range map[string][]byte{
		"advert":   a.Append(bytes.Clone(prefix)),
		"garp":     AppendGratuitousARP(bytes.Clone(prefix), Broadcast, vip),
		"reset":    AppendReset(bytes.Clone(prefix), packet(ProtocolTCP, segment(TCPHeader{Flags: TCPSyn}, 0))),
		"icmp":     AppendPortUnreachable(bytes.Clone(prefix), packet(ProtocolUDP, make([]byte, 8))),
		"ethernet": AppendEthernet(bytes.Clone(prefix), Broadcast, Broadcast, EtherTypeARP),
	} {
		if !bytes.HasPrefix(got, prefix) || len(got) == len(prefix) {
			t.Errorf("%s: %x", name, got)
		}
	}
	if ip, err := ParseIPv4(IPv4Header{Src: client, Dst: vip}.Append(bytes.Clone(prefix), 0)[len(prefix):]); err != nil || !ip.ChecksumOK() {
		t.Error("the checksum of a header must not cover what is before it")
	}
}
