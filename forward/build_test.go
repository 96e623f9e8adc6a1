package forward

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/ringkeep/ringkeep/proto"
)

// shape is what the words behind `SRC > DST` say of a packet.
type shape struct {
	protocol uint8
	flags    uint8 // of TCP, or the chunk type of SCTP
	ttl      uint8
	fragment int  // offset in bytes
	more     bool // fragments follow
	icmp     bool // an error about the packet, from a router
	options  bool // a hop-by-hop header (IPv6)
	data     int
}

// build makes the packet `SRC > DST WORD...`, with all checksums.
func build(t testing.TB, words []string) []byte {
	s := shape{protocol: proto.ProtocolUDP, ttl: 64}
	for _, w := range words[3:] {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch {
		case flagBits[w] != 0 || w == "TCP":
			s.protocol, s.flags = proto.ProtocolTCP, s.flags|flagBits[w]
		case key == "sctp":
			s.protocol, s.flags = proto.ProtocolSCTP, uint8(n)
		case key == "ttl":
			s.ttl = uint8(n)
		case key == "frag":
			s.fragment = n
		case key == "data":
			s.data = n
		case w == "mf":
			s.more = true
		case w == "options":
			s.options = true
		case w == "icmp":
			s.icmp = true
		default:
			t.Fatalf("unknown word %s", w)
		}
	}
	return s.packet(netip.MustParseAddrPort(words[0]), netip.MustParseAddrPort(words[2]))
}

func (s shape) packet(src, dst netip.AddrPort) []byte {
	b := s.around(s.transport(src, dst), src.Addr(), dst.Addr(), s.protocol)
	if !s.icmp {
		return b
	}
	typ, protocol, router := proto.ICMPUnreachable, proto.ProtocolICMP, netip.MustParseAddr("192.0.2.1")
	if src.Addr().Is6() {
		typ, protocol, router = 1, proto.ProtocolICMPv6, netip.MustParseAddr("2001:db8:9::1")
	}
	m := append([]byte{typ, 3, 0, 0, 0, 0, 0, 0}, b...)
	whole := shape{ttl: 64}.around(m, router, src.Addr(), protocol)
	p, _ := parse(whole)
	p.sealICMP()
	return whole
}

func (s shape) transport(src, dst netip.AddrPort) []byte {
	data := make([]byte, s.data)
	for i := range data {
		data[i] = byte(i)
	}
	switch s.protocol {
	case proto.ProtocolTCP:
		b := append(proto.TCPHeader{SrcPort: src.Port(), DstPort: dst.Port(), Flags: s.flags}.Append(nil), data...)
		proto.SealTCP(b, src.Addr(), dst.Addr())
		return b
	case proto.ProtocolSCTP:
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, s.flags, 0, 0, 4)
		sealSCTP(b)
		return b
	}
	b := append(proto.UDPHeader{SrcPort: src.Port(), DstPort: dst.Port()}.Append(nil, len(data)), data...)
	proto.SealUDP(b, src.Addr(), dst.Addr())
	return b
}

// around puts the IP header before a payload, of which a fragment has all all the same.
func (s shape) around(payload []byte, src, dst netip.Addr, protocol uint8) []byte {
	if src.Is4() {
		b := append(proto.IPv4Header{ID: 1, TTL: s.ttl, Protocol: protocol, Src: src, Dst: dst}.Append(nil, len(payload)), payload...)
		at := uint16(s.fragment / 8)
		if s.more {
			at |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], at)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], proto.Checksum(b[:20]))
		return b
	}
	if s.fragment > 0 || s.more {
		at := uint16(s.fragment)
		if s.more {
			at |= 1
		}
		payload = append([]byte{protocol, 0, byte(at >> 8), byte(at), 0, 0, 0, 1}, payload...)
		protocol = 44
	}
	if s.options {
		payload = append([]byte{protocol, 0, 1, 4, 0, 0, 0, 0}, payload...)
		protocol = 0
	}
	return append(proto.IPv6Header{HopLimit: s.ttl, NextHeader: protocol, Src: src, Dst: dst}.Append(nil, len(payload)), payload...)
}

// ends writes the addresses and ports of a packet, of an ICMP error those of the quoted one, too.
func ends(b []byte) string {
	p, err := parse(b)
	if err != nil {
		return err.Error()
	}
	if p.later {
		return fmt.Sprintf("%v > %v", p.src.netip(), p.dst.netip())
	}
	if p.protocol == proto.ProtocolICMP || p.protocol == proto.ProtocolICMPv6 {
		return fmt.Sprintf("%v > %v about %s", p.src.netip(), p.dst.netip(), ends(p.payload[8:]))
	}
	sport, dport, _ := proto.Ports(p.payload)
	return fmt.Sprintf("%v > %v", addrPort(p.src, sport), addrPort(p.dst, dport))
}

// sound checks every checksum of a packet; of fragments that of the header only.
func sound(b []byte) error {
	p, err := parse(b)
	if err != nil {
		return err
	}
	src, dst := p.src.netip(), p.dst.netip()
	least := map[uint8]int{proto.ProtocolTCP: 20, proto.ProtocolUDP: 8, proto.ProtocolICMP: 4, proto.ProtocolICMPv6: 4, proto.ProtocolSCTP: sctpHeader}
	switch {
	case !p.later && len(p.payload) < least[p.protocol]:
		return fmt.Errorf("the payload has no whole header")
	case !p.ip.ChecksumOK():
		return fmt.Errorf("the checksum of the header is wrong")
	case p.later:
	case p.protocol == proto.ProtocolTCP && !proto.TCP(p.payload).ChecksumOK(src, dst),
		p.protocol == proto.ProtocolUDP && !proto.UDP(p.payload).ChecksumOK(src, dst),
		(p.protocol == proto.ProtocolICMP || p.protocol == proto.ProtocolICMPv6) && !p.icmpOK():
		return fmt.Errorf("the checksum of the payload is wrong")
	case p.protocol == proto.ProtocolSCTP:
		sum := binary.LittleEndian.Uint32(p.payload[8:])
		if sealSCTP(p.payload); sum != binary.LittleEndian.Uint32(p.payload[8:]) {
			return fmt.Errorf("the checksum of SCTP is wrong")
		}
	}
	return nil
}
