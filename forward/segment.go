package forward

import (
	"encoding/binary"

	"github.com/ringkeep/ringkeep/proto"
)

// segments cuts a super-frame into the packets that its sender meant, as a network card
// would (VIRTIO 1.2 §5.1.6.2): TCP and UDP with gso_size bytes of data each, the last with
// what is left, every checksum complete. A packet that is none is its own only segment.
type segments struct {
	ip        proto.IP
	transport int // where TCP or UDP begins
	data      int // where the data begins
	size      int // of data in a segment
	at        int // what was given out, from data on
	protocol  uint8
	remote    bool // leave the pseudo-header's sum in the checksum field
	rest      bool // there is more
}

// segmentsOf is ok if the kind of super-frame and the packet agree. A packet that is
// none must have its checksum made complete where remote is not asked for.
func segmentsOf(p packet, v proto.Virtio, remote bool) (s segments, ok bool) {
	s = segments{ip: p.ip, transport: len(p.ip) - len(p.payload), protocol: p.protocol, remote: remote, rest: true}
	s.data, s.size = s.transport, len(p.payload)
	if !v.Super() && !v.Partial() {
		return s, true
	}
	switch p.protocol {
	case proto.ProtocolTCP:
		t, err := proto.ParseTCP(p.payload)
		if err != nil {
			return s, false
		}
		s.data += t.HeaderLen()
	case proto.ProtocolUDP:
		if _, err := proto.ParseUDP(p.payload); err != nil {
			return s, false
		}
		s.data += udpLen
	default:
		return s, false
	}
	if s.size = len(p.ip) - s.data; v.Super() {
		s.size = v.GSOSize()
	}
	if v.Super() && (s.size == 0 || (len(p.ip)-s.data)/s.size > mostSegments) {
		return s, false
	}
	return s, s.agrees(v.GSO()) && !p.later && !p.first
}

// mostSegments bounds what a frame becomes: Linux's smallest segments of TCP have 48 bytes
// of data (tcp_min_snd_mss), of which 1366 fill the longest packet.
const mostSegments = 1366

// udpLen is the length of UDP's header.
const udpLen = 8

func (s *segments) agrees(gso uint8) bool {
	switch gso {
	case 0:
		return true
	case proto.GSOTCPv4:
		return s.protocol == proto.ProtocolTCP && !s.ip.Is6()
	case proto.GSOTCPv6:
		return s.protocol == proto.ProtocolTCP && s.ip.Is6()
	case proto.GSOUDPL4:
		return s.protocol == proto.ProtocolUDP
	}
	return false
}

// longest is the length of the longest segment.
func (s *segments) longest() int { return min(len(s.ip), s.data+s.size) }

// append appends the next segment to b; rest tells whether there is one.
func (s *segments) append(b []byte) []byte {
	from := s.data + s.at
	to := min(len(s.ip), from+s.size)
	at := len(b)
	b = append(b, s.ip[:s.data]...)
	b = append(b, s.ip[from:to]...)
	number := 0
	if s.at > 0 {
		number = s.at / s.size
	}
	s.finish(b[at:], number, to == len(s.ip))
	s.at += s.size
	s.rest = to < len(s.ip)
	return b
}

// finish corrects the headers of segment number n.
func (s *segments) finish(b []byte, n int, last bool) {
	if s.data == s.transport {
		return // as it came
	}
	if s.ip.Is6() {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-proto.IPv6Len))
	} else {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], proto.IPv4(s.ip).ID()+uint16(n))
		sumIPv4(b)
	}
	t := b[s.transport:]
	if s.protocol == proto.ProtocolTCP {
		binary.BigEndian.PutUint32(t[4:], proto.TCP(s.ip[s.transport:]).Seq()+uint32(n*s.size))
		if n > 0 {
			t[13] &^= proto.TCPCwr
		}
		if !last {
			t[13] &^= proto.TCPFin | proto.TCPPsh
		}
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	s.seal(t)
}

// seal fills in the checksum of a segment of TCP or UDP, or, for who completes it
// himself, the sum of its pseudo-header.
func (s *segments) seal(t []byte) {
	src, dst := s.ip.Src(), s.ip.Dst()
	switch {
	case s.remote:
		sum := proto.Sum(0).AddPseudo(src, dst, s.protocol, len(t))
		binary.BigEndian.PutUint16(t[sumOffset(s.protocol):], sum.Fold())
	case s.protocol == proto.ProtocolTCP:
		proto.SealTCP(t, src, dst)
	default:
		proto.SealUDP(t, src, dst)
	}
}

// sumOffset is where the checksum stands in the header of TCP or UDP.
func sumOffset(protocol uint8) int {
	if protocol == proto.ProtocolTCP {
		return 16
	}
	return 6
}

// sumIPv4 fills in the checksum of an IPv4 header.
func sumIPv4(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], proto.Checksum(b[:proto.IPv4(b).HeaderLen()]))
}
