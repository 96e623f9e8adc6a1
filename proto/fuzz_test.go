package proto

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// Fuzzing: no parser and no accessor panics, and what is acceptable is encoded to the
// same bytes again. Seeds are the frames of real routers.

func seedPayloads(f *testing.F, cut func(frame []byte) []byte) {
	f.Helper()
	known := map[string]bool{}
	add := func(b []byte) {
		if !known[string(b)] {
			known[string(b)] = true
			f.Add(b)
		}
	}
	for _, frame := range vectors(f) {
		add(cut(frame))
	}
	for _, name := range captures(f) {
		for _, c := range readCapture(f, name) {
			add(cut(c.data))
		}
	}
	add([]byte{})
}

func ethernetPayload(frame []byte) []byte { return frame[EthernetLen:] }

func ipPayload(frame []byte) []byte {
	p, err := ParseIPv4(frame[EthernetLen:])
	if err != nil {
		return frame[EthernetLen:]
	}
	return p.Payload()
}

func FuzzEthernet(f *testing.F) {
	seedPayloads(f, func(frame []byte) []byte { return frame })
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = Describe(b)
		e, err := ParseEthernet(b)
		if err != nil {
			return
		}
		again := append(AppendEthernet(dirty(), e.Dst(), e.Src(), e.Type()), e.Payload()...)
		if !bytes.Equal(again, b) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}

func FuzzARP(f *testing.F) {
	seedPayloads(f, ethernetPayload)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseARP(b)
		if err != nil {
			return
		}
		again := ARPMessage{Op: a.Op(), SenderMAC: a.SenderMAC(), Sender: a.Sender(), TargetMAC: a.TargetMAC(), Target: a.Target()}.Append(dirty())
		if !bytes.Equal(again, a) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}

func FuzzIPv4(f *testing.F) {
	seedPayloads(f, ethernetPayload)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseIPv4(b)
		if err != nil {
			return
		}
		for _, build := range []func([]byte, IPv4) []byte{AppendReset, AppendPortUnreachable, AppendTimeExceeded} {
			checkReply(t, p, build(dirty(), p))
		}
		ok := p.ChecksumOK()
		if ok && !p.IsFragment() && p.HeaderLen() == IPv4Len && p[ip4Fragment]&0x80 == 0 && p.Checksum() != 0xffff {
			h := IPv4Header{TOS: p.TOS(), ID: p.ID(), DF: p.DontFragment(), TTL: p.TTL(), Protocol: p.Protocol(), Src: p.Src(), Dst: p.Dst()}
			if again := append(h.Append(dirty(), len(p.Payload())), p.Payload()...); !bytes.Equal(again, p) {
				t.Errorf("%x\nbecame %x", []byte(p), again)
			}
		}
		if p.DecrementTTL(); p.ChecksumOK() != ok {
			t.Errorf("a hop changed the validity of %x", []byte(p))
		}
	})
}

// checkReply wants a whole packet with good checksums, or nothing.
func checkReply(t *testing.T, in IPv4, out []byte) {
	if len(out) == 0 {
		return
	}
	p, err := ParseIPv4(out)
	if err != nil || len(p) != len(out) || !p.ChecksumOK() || p.Src() != in.Dst() || p.Dst() != in.Src() {
		t.Fatalf("answer to %x: %x, %v", []byte(in), out, err)
	}
	if p.Protocol() == ProtocolTCP {
		if s, err := ParseTCP(p.Payload()); err != nil || !s.ChecksumOK(p.Src(), p.Dst()) || s.Flags()&TCPRst == 0 {
			t.Fatalf("reset for %x: %x, %v", []byte(in), out, err)
		}
	} else if m, err := ParseICMP(p.Payload()); err != nil || !m.ChecksumOK() || !m.IsError() {
		t.Fatalf("error about %x: %x, %v", []byte(in), out, err)
	}
}

func FuzzTCP(f *testing.F) {
	seedPayloads(f, ipPayload)
	f.Add(segment(TCPHeader{Seq: 1, Flags: TCPSyn}, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseTCP(b)
		if err != nil {
			return
		}
		_ = s.SegmentLen()
		h := TCPHeader{SrcPort: s.SrcPort(), DstPort: s.DstPort(), Seq: s.Seq(), Ack: s.Ack(), Flags: s.Flags(), Window: binary.BigEndian.Uint16(s[tcpWindow:])}
		again := append(h.Append(dirty()), s.Payload()...)
		SealTCP(again, client, vip)
		plain := s.HeaderLen() == tcpLen && s[tcpOffset]&15 == 0 && s[18] == 0 && s[19] == 0
		if plain && s.ChecksumOK(client, vip) && binary.BigEndian.Uint16(s[tcpChecksum:]) != 0xffff && !bytes.Equal(again, s) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}

func FuzzUDP(f *testing.F) {
	seedPayloads(f, ipPayload)
	f.Add(append(UDPHeader{SrcPort: 1, DstPort: 2}.Append(nil, 1), 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ParseUDP(b)
		if err != nil {
			return
		}
		again := append(UDPHeader{SrcPort: u.SrcPort(), DstPort: u.DstPort()}.Append(dirty(), len(u.Payload())), u.Payload()...)
		SealUDP(again, client, vip)
		if u.Checksum() != 0 && u.ChecksumOK(client, vip) && !bytes.Equal(again, u) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}

func FuzzICMP(f *testing.F) {
	seedPayloads(f, ipPayload)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseICMP(b)
		if err != nil {
			return
		}
		_, _, _, _, _, _ = m.Type(), m.Code(), m.Checksum(), m.Rest(), m.IsError(), m.ChecksumOK()
		if len(m.Payload())+icmpLen != len(b) {
			t.Errorf("%x: payload %x", b, m.Payload())
		}
	})
}

func FuzzVRRP(f *testing.F) {
	seedPayloads(f, ipPayload)
	src, dst := addr("10.77.0.1"), addr("224.0.0.18")
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseVRRP(b)
		if err != nil {
			return
		}
		a, form := advertOf(v), v.ChecksumForm(src, dst)
		again := a.Append(dirty())
		if SealVRRP(again, src, dst, form); form == ChecksumBad || v.Checksum() == 0xffff {
			copy(again[vrrpChecksum:], b[vrrpChecksum:vrrpAddrs]) // no encoder makes these
		}
		clean := v.Type() == VRRPAdvertisement && len(v) == v.Size() && (v.Version() == 2 || v[vrrpInterval]>>4 == 0)
		if clean && !bytes.Equal(again, b) {
			t.Errorf("%x\nbecame %x", b, again)
		}
		if v.Interval() < 0 || v.Interval() > 255*time.Second {
			t.Errorf("%x: interval %s", b, v.Interval())
		}
	})
}
