package proto

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ahKey is the key of the recordings.
var ahKey = [8]byte([]byte("secret12"))

// The ICV of keepalived's frames, and which of the two ways to count the TTL it is
// (RFC 2402 §3.3.3.1.1.1 would always have zero).
func TestICVOfRealFrames(t *testing.T) {
	for _, f := range []struct {
		name     string
		sequence uint32
		unicast  bool
	}{{"V04", 1, false}, {"V05", 2, false}, {"V06", 1, true}} {
		p := packetOf(t, f.name)
		a, err := ParseAH(p.Payload())
		if err != nil || a.Next() != ProtocolVRRP || a.Sequence() != f.sequence || a.SPI() != p.Src() {
			t.Fatalf("%s: %v %v %d %s", f.name, err, a.Next(), a.Sequence(), a.SPI())
		}
		if got := ICV(p, ahKey, f.unicast); got != a.ICV() {
			t.Errorf("%s: ICV %x, the frame has %x", f.name, got, a.ICV())
		}
		if got := ICV(p, ahKey, !f.unicast); got == a.ICV() {
			t.Errorf("%s: the TTL makes no difference", f.name)
		}
		if got := ICV(p, [8]byte([]byte("secret13")), f.unicast); got == a.ICV() {
			t.Errorf("%s: the key makes no difference", f.name)
		}
	}
}

func packetOf(t testing.TB, name string) IPv4 {
	t.Helper()
	p, err := ParseIPv4(Ethernet(bytes.Clone(vectors(t)[name])).Payload())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a router may change does not count; all else does (RFC 2402 §3.3.3.1.1).
func TestICVCoverage(t *testing.T) {
	p := packetOf(t, "V04")
	want := ICV(p, ahKey, false)
	for i := range p {
		p[i] ^= 0x10
		mutable := i == ip4TOS || i == ip4Fragment || i == ip4Fragment+1 || i == ip4Checksum || i == ip4Checksum+1 ||
			i >= IPv4Len+ahICV && i < IPv4Len+AHLen
		if i != 0 && mutable != (ICV(p, ahKey, false) == want) {
			t.Errorf("byte %d: changes the ICV: %t", i, mutable)
		}
		p[i] ^= 0x10
	}
}

// Our frames are keepalived's, bit by bit.
func TestAppendAH(t *testing.T) {
	for name, priority := range map[string]uint8{"V04": 100, "V05": 0, "V06": 100} {
		want := packetOf(t, name)
		a := AH(want.Payload())
		msg := Advert{
			Version: 2, VRID: 51, Priority: priority, AuthType: VRRPAuthAH, Interval: time.Second,
			Addrs: []netip.Addr{addr("10.77.0.100"), addr("10.77.0.101")},
		}.Append(nil)
		SealVRRP(msg, want.Src(), want.Dst(), ChecksumMessage)
		h := IPv4Header{TOS: VRRPTOS, ID: want.ID(), TTL: VRRPTTL, Protocol: ProtocolAH, Src: want.Src(), Dst: want.Dst()}
		got := h.Append(dirty(), AHLen+len(msg))
		got = append(AppendAH(got, want.Src(), a.Sequence()), msg...)
		SealAH(got, ahKey, name == "V06")
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, want)
		}
	}
}

func TestParseAH(t *testing.T) {
	whole := packetOf(t, "V04").Payload()
	longer := bytes.Clone(whole)
	longer[ahLength]++
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"whole", whole, nil}, {"the header alone", whole[:24], nil}, {"a byte less", whole[:23], ErrShort},
		{"nothing", nil, ErrShort}, {"another length", longer, ErrLength},
	} {
		if _, err := ParseAH(c.b); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestVRRPIn(t *testing.T) {
	ah := packetOf(t, "V04")
	tunnel := packetOf(t, "V04")
	tunnel.Payload()[0] = 4 // RFC 2402 §2.1: IP in IP
	damaged := packetOf(t, "V04")
	damaged.Payload()[ahLength] = 9
	tcp := packetOf(t, "V01")
	tcp[ip4Protocol] = ProtocolTCP
	for _, c := range []struct {
		name string
		p    IPv4
		size int
		ok   bool
	}{{"VRRP", packetOf(t, "V01"), 24, true}, {"AH", ah, 24, true}, {"AH of something else", tunnel, 24, false}, {"damaged AH", damaged, 0, true}, {"TCP", tcp, 0, false}} {
		if msg, ok := VRRPIn(IP(c.p)); len(msg) != c.size || ok != c.ok {
			t.Errorf("%s: %d bytes, %t", c.name, len(msg), ok)
		}
	}
	six := IPv6Header{HopLimit: 255, NextHeader: ProtocolAH}.Append(nil, len(ah.Payload()))
	if _, ok := VRRPIn(IP(append(six, ah.Payload()...))); ok {
		t.Error("AH over IPv6 is taken for VRRP")
	}
}

// The longest message that there can be, too.
func TestICVDoesNotAllocate(t *testing.T) {
	long := IPv4Header{Protocol: ProtocolAH, Src: client, Dst: vip}.Append(nil, AHLen+vrrpAddrs+4*255+vrrpAuthLen)
	long = append(long, make([]byte, AHLen+vrrpAddrs+4*255+vrrpAuthLen)...)
	for _, p := range []IPv4{packetOf(t, "V04"), long} {
		if n := testing.AllocsPerRun(100, func() { SealAH(p, ahKey, true) }); n != 0 {
			t.Errorf("%d bytes: %v allocations", len(p), n)
		}
	}
}

func FuzzAH(f *testing.F) {
	seedPayloads(f, ethernetPayload)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseIPv4(b)
		if err != nil || p.Protocol() != ProtocolAH {
			return
		}
		_, _ = VRRPIn(IP(p))
		a, err := ParseAH(p.Payload())
		if err != nil {
			return
		}
		again := AppendAH(dirty(), a.SPI(), a.Sequence())
		copy(again[2:4], a[2:4]) // reserved
		icv := a.ICV()
		copy(again[ahICV:], icv[:])
		again = append(again, a.Payload()...)
		if a.Next() == ProtocolVRRP && !bytes.Equal(again, a) {
			t.Errorf("%x\nbecame %x", []byte(a), again)
		}
		SealAH(p, ahKey, false)
		if ICV(p, ahKey, false) != AH(p.Payload()).ICV() {
			t.Errorf("%x: the ICV that was filled in is not the one that is asked for", []byte(p))
		}
	})
}

// gopacket and tshark are the other decoders of the header.
func TestAHAgainstGopacket(t *testing.T) {
	compared := 0
	for _, name := range captures(t) {
		for i, c := range readCapture(t, name) {
			l, ok := gopacket.NewPacket(c.data, layers.LayerTypeEthernet, gopacket.NoCopy).Layer(layers.LayerTypeIPSecAH).(*layers.IPSecAH)
			p, err := ParseIPv4(Ethernet(c.data).Payload())
			if !ok || err != nil || p.Protocol() != ProtocolAH {
				continue
			}
			a, err := ParseAH(p.Payload())
			if err != nil {
				t.Fatal(err)
			}
			ours := fmt.Sprintf("%d %d %d %x", a.Next(), uint32Of(a.SPI().As4()), a.Sequence(), a.ICV())
			theirs := fmt.Sprintf("%d %d %d %x", uint8(l.NextHeader), l.SPI, l.Seq, l.AuthenticationData)
			if compared++; ours != theirs {
				t.Errorf("%s frame %d:\nours   %s\ntheirs %s", name, i+1, ours, theirs)
			}
		}
	}
	if compared < 20 {
		t.Errorf("compared %d headers only", compared)
	}
}

func uint32Of(b [4]byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func TestAHAgainstTshark(t *testing.T) {
	file, frames := mergeCaptures(t)
	lines := tshark(t, file, []string{"frame.number", "ah.spi", "ah.sequence", "ah.icv", "vrrp.prio"}, "-Y", "ah && !icmp")
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscan(line, &n); err != nil {
			t.Fatal(err)
		}
		p, err := ParseIPv4(Ethernet(frames[n-1]).Payload())
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAH(p.Payload())
		if err != nil {
			t.Fatal(err)
		}
		ours := fmt.Sprintf("%d\t0x%08x\t%d\t%x\t%d", n, uint32Of(a.SPI().As4()), a.Sequence(), a.ICV(), VRRP(a.Payload()).Priority())
		if ours != line {
			t.Errorf("%s:\nours   %q\ntheirs %q", Describe(frames[n-1]), ours, line)
		}
	}
	if len(lines) < 20 {
		t.Errorf("tshark compared %d frames only", len(lines))
	}
}
