package proto

import (
	"net/netip"
	"testing"
	"time"
)

// sink keeps results alive, so that nothing is optimised away.
type sink struct {
	addr netip.Addr
	n    uint64
}

// The hot path must not allocate: views, accessors, checksums, appends into room.
func TestNoAllocations(t *testing.T) {
	frame := vectors(t)["V09"]
	syn := packet(ProtocolTCP, segment(TCPHeader{Flags: TCPSyn}, 0))
	datagram := packet(ProtocolUDP, append(UDPHeader{SrcPort: 1, DstPort: 2}.Append(nil, 1000), make([]byte, 1000)...))
	advert := Advert{Version: 3, VRID: 51, Priority: 100, Interval: time.Second, Addrs: []netip.Addr{vip}}
	garp, unreachable := AppendGratuitousARP(nil, Broadcast, vip), AppendPortUnreachable(nil, datagram)
	buf := make([]byte, 0, 2048)
	var s sink
	for name, f := range map[string]func(){
		"advert view": func() { s.readAdvert(frame) },
		"tcp view":    func() { s.readTCP(syn) },
		"ttl":         func() { syn[ip4TTL] = 64; syn.DecrementTTL() },
		"advert": func() {
			msg := advert.Append(buf)
			SealVRRP(msg, client, vip, ChecksumPseudo)
		},
		"garp":        func() { AppendGratuitousARP(buf, Broadcast, vip) },
		"reset":       func() { AppendReset(buf, syn) },
		"unreachable": func() { AppendPortUnreachable(buf, datagram) },
		"exceeded":    func() { AppendTimeExceeded(buf, datagram) },
		"arp view":    func() { s.readARP(garp) },
		"udp view":    func() { s.readUDP(datagram) },
		"icmp view":   func() { s.readICMP(unreachable) },
		"ipv4 view":   func() { s.readIPv4(syn) },
		"udp":         func() { SealUDP(UDPHeader{SrcPort: 1, DstPort: 2}.Append(buf, 0), client, vip) },
		"tcp":         func() { SealTCP(TCPHeader{Flags: TCPSyn}.Append(buf), client, vip) },
		"ipv4": func() {
			IPv4Header{Src: client, Dst: vip}.Append(AppendEthernet(buf, Broadcast, Broadcast, EtherTypeIPv4), 0)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func (s *sink) readAdvert(frame []byte) {
	e, err := ParseEthernet(frame)
	if err != nil {
		panic(err)
	}
	p, err := ParseIPv4(e.Payload())
	if err != nil || !p.ChecksumOK() {
		panic(err)
	}
	v, err := ParseVRRP(p.Payload())
	if err != nil {
		panic(err)
	}
	s.addr = v.Addr(0)
	s.n += uint64(v.ChecksumForm(p.Src(), p.Dst())) + uint64(v.Interval()) + uint64(v.Priority())
}

func (s *sink) readTCP(p IPv4) {
	t, err := ParseTCP(p.Payload())
	if err != nil {
		panic(err)
	}
	s.addr = p.Src()
	s.n += uint64(t.DstPort()) + uint64(t.Seq()) + uint64(t.Flags())
}

func (s *sink) readARP(frame []byte) {
	a, err := ParseARP(Ethernet(frame).Payload())
	if err != nil {
		panic(err)
	}
	for _, m := range [...]MAC{Ethernet(frame).Dst(), Ethernet(frame).Src(), a.SenderMAC(), a.TargetMAC()} {
		s.n += uint64(m[5])
	}
	if s.addr = a.Sender(); a.IsGratuitous() {
		s.addr = a.Target()
	}
	s.n += uint64(a.Op())
}

func (s *sink) readIPv4(p IPv4) {
	if !p.DontFragment() && !p.MoreFragments() && !p.IsFragment() {
		s.n += uint64(p.FragmentOffset())
	}
	s.addr = p.Dst()
	s.n += uint64(p.TOS()) + uint64(p.TotalLen()) + uint64(p.ID()) + uint64(p.TTL()) + uint64(p.Protocol()) + uint64(p.Checksum())
}

func (s *sink) readUDP(p IPv4) {
	u, err := ParseUDP(p.Payload())
	if err != nil || !u.ChecksumOK(p.Src(), p.Dst()) {
		panic("not a datagram")
	}
	src, dst, _ := Ports(u)
	s.n += uint64(src) + uint64(dst) + uint64(u.SrcPort()) + uint64(u.DstPort()) + uint64(u.Checksum()) + uint64(len(u.Payload()))
}

func (s *sink) readICMP(p IPv4) {
	m, err := ParseICMP(p.Payload())
	if err != nil || !m.ChecksumOK() || !m.IsError() {
		panic("not an ICMP error")
	}
	s.n += uint64(m.Type()) + uint64(m.Code()) + uint64(m.Checksum()) + uint64(m.Rest()) + uint64(len(m.Payload()))
}

func BenchmarkDecodeAdvert(b *testing.B) {
	frame := vectors(b)["V09"]
	var s sink
	b.ReportAllocs()
	for b.Loop() {
		s.readAdvert(frame)
	}
}

func BenchmarkEncodeAdvert(b *testing.B) {
	advert := Advert{Version: 3, VRID: 51, Priority: 100, Interval: time.Second, Addrs: []netip.Addr{vip}}
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		msg := advert.Append(buf)
		SealVRRP(msg, client, vip, ChecksumPseudo)
	}
}

func BenchmarkDecrementTTL(b *testing.B) {
	p := packet(ProtocolTCP, segment(TCPHeader{Flags: TCPAck}, 0))
	b.ReportAllocs()
	for b.Loop() {
		p.DecrementTTL()
	}
}

func BenchmarkChecksum1500(b *testing.B) {
	data := make([]byte, 1500)
	b.SetBytes(1500)
	b.ReportAllocs()
	for b.Loop() {
		Checksum(data)
	}
}
