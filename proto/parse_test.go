package proto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseMAC(t *testing.T) {
	for _, c := range []struct {
		in, out string
		ok      bool
	}{
		{"02:00:00:00:77:01", "02:00:00:00:77:01", true},
		{"AB:cd:EF:00:00:01", "ab:cd:ef:00:00:01", true},
		{"ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff", true},
		{"", "", false},
		{"02:00:00:00:77", "", false},
		{"02:00:00:00:77:01:02", "", false},
		{"02:00:00:00:77:1", "", false},
		{"02:00:00:00:77:0g", "", false},
		{"02:00:00:00:77:+1", "", false},
		{"02-00-00-00-77-01", "", false},
	} {
		m, err := ParseMAC(c.in)
		if (err == nil) != c.ok || c.ok && m.String() != c.out {
			t.Errorf("ParseMAC(%q) = %s, %v", c.in, m, err)
		}
	}
	if m := mac("01:00:5e:00:00:12"); !m.IsGroup() || m.IsBroadcast() || m.IsZero() {
		t.Error("01:00:5e:00:00:12 is a group")
	}
	if !Broadcast.IsGroup() || !Broadcast.IsBroadcast() || !(MAC{}).IsZero() {
		t.Error("broadcast and zero")
	}
	if got := VirtualMAC(51).String(); got != "00:00:5e:00:01:33" { // RFC 9568 §7.3
		t.Errorf("virtual MAC %s", got)
	}
}

func TestParseEthernet(t *testing.T) {
	if _, err := ParseEthernet(make([]byte, 13)); !errors.Is(err, ErrShort) {
		t.Errorf("13 bytes: %v", err)
	}
	b := AppendEthernet(dirty(), Broadcast, mac("02:00:00:00:77:01"), EtherTypeVLAN)
	e, err := ParseEthernet(b)
	if err != nil || e.Type() != EtherTypeVLAN || len(e.Payload()) != 0 {
		t.Fatalf("type %04x, %v", e.Type(), err)
	}
	e.SetDst(mac("02:00:00:00:77:02"))
	e.SetSrc(mac("02:00:00:00:77:03"))
	if want := unhex("020000007702 020000007703 8100"); !bytes.Equal(b, want) {
		t.Errorf("set: %x", b)
	}
}

// RFC 826, "Packet Reception": other hardware and protocols are not for us.
func TestParseARP(t *testing.T) {
	request := "0001 0800 06 04 0001 020000007701 0a4d0001 000000000000 0a4d0002"
	for _, c := range []struct {
		name, in string
		err      error
	}{
		{"request", request, nil},
		{"padded", request + strings.Repeat("ee", 18), nil},
		{"cut", request[:len(request)-2], ErrShort},
		{"empty", "", ErrShort},
		{"other hardware", "0006" + request[4:], ErrType},
		{"other protocol", strings.Replace(request, "0800", "86dd", 1), ErrType},
		{"long hardware address", strings.Replace(request, " 06 ", " 08 ", 1), ErrType},
		{"long protocol address", strings.Replace(request, " 04 ", " 10 ", 1), ErrType},
	} {
		a, err := ParseARP(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err != nil {
			continue
		}
		m := ARPMessage{Op: a.Op(), SenderMAC: a.SenderMAC(), Sender: a.Sender(), TargetMAC: a.TargetMAC(), Target: a.Target()}
		want := ARPMessage{Op: ARPRequest, SenderMAC: mac("02:00:00:00:77:01"), Sender: addr("10.77.0.1"), Target: addr("10.77.0.2")}
		if m != want || a.IsGratuitous() || len(a) != 28 {
			t.Errorf("%s: %+v", c.name, m)
		}
	}
	// A probe for an address that nobody has yet (RFC 5227 §2.1.1).
	probe := ARPMessage{Op: ARPRequest, Target: addr("10.77.0.2")}.Append(dirty())
	if a, err := ParseARP(probe); err != nil || a.Sender() != addr("0.0.0.0") {
		t.Errorf("probe: %x, %v", probe, err)
	}
}

// RFC 791 §3.1: the header length is five words at least, the total length covers it.
func TestParseIPv4(t *testing.T) {
	good := "45c0 0018 0001 0000 ff70 0000 0a4d0001 e0000012 01020304"
	for _, c := range []struct {
		name, in string
		payload  string
		err      error
	}{
		{"plain", good, "01020304", nil},
		{"padding is cut", good + "eeeeeeeeee", "01020304", nil},
		{"no payload", strings.Replace(good, "0018", "0014", 1), "", nil},
		{"options", strings.Replace(good, "45c0", "46c0", 1), "", nil},
		{"short header", "45c0 0018 0001", "", ErrShort},
		{"shorter than its total length", good[:len(good)-2], "", ErrShort},
		{"version 6", "6" + good[1:], "", ErrVersion},
		{"header of 16 bytes", "44" + good[2:], "", ErrLength},
		{"header beyond the total", "47" + good[2:], "", ErrLength},
		{"total length 0", strings.Replace(good, "0018", "0000", 1), "", ErrLength},
	} {
		p, err := ParseIPv4(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		} else if err == nil && !bytes.Equal(p.Payload(), unhex(c.payload)) {
			t.Errorf("%s: payload %x", c.name, p.Payload())
		}
	}
}

// RFC 791 §3.1: flags, and the offset in units of eight bytes.
func TestIPv4Fragments(t *testing.T) {
	for _, c := range []struct {
		word              string
		df, mf, part      bool
		offset, headerLen int
	}{
		{"0000", false, false, false, 0, 20},
		{"4000", true, false, false, 0, 20},
		{"2000", false, true, true, 0, 20},
		{"00b9", false, false, true, 1480, 20},
		{"3fff", false, true, true, 65528, 20},
	} {
		p, err := ParseIPv4(unhex("4500 0014 1234" + c.word + "4011 0000 0a000001 0a000002"))
		if err != nil {
			t.Fatal(err)
		}
		if p.DontFragment() != c.df || p.MoreFragments() != c.mf || p.IsFragment() != c.part || p.FragmentOffset() != c.offset {
			t.Errorf("%s: df %t mf %t part %t offset %d", c.word, p.DontFragment(), p.MoreFragments(), p.IsFragment(), p.FragmentOffset())
		}
	}
}

// RFC 1624 §3: after every hop the checksum is what a full computation gives.
func TestDecrementTTL(t *testing.T) {
	for protocol := range 256 {
		b := IPv4Header{ID: uint16(protocol * 251), TTL: 255, Protocol: uint8(protocol), Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}.Append(dirty(), 0)
		p, err := ParseIPv4(b)
		if err != nil {
			t.Fatal(err)
		}
		for ttl := 254; ttl >= 0; ttl-- {
			p.DecrementTTL()
			if int(p.TTL()) != ttl || !p.ChecksumOK() {
				t.Fatalf("protocol %d ttl %d: %x", protocol, p.TTL(), b)
			}
		}
	}
}

// RFC 9293 §3.1: the data offset; RFC 768: the length.
func TestParseTransport(t *testing.T) {
	tcp := "c000 0050 00000001 00000002 5012 ffff 0000 0000"
	for _, c := range []struct {
		name, in string
		err      error
	}{
		{"plain", tcp, nil},
		{"options", strings.Replace(tcp, "5012", "6012", 1) + "01010101", nil},
		{"cut", tcp[:len(tcp)-2], ErrShort},
		{"options cut", strings.Replace(tcp, "5012", "6012", 1), ErrShort},
		{"header of 16 bytes", strings.Replace(tcp, "5012", "4012", 1), ErrLength},
	} {
		s, err := ParseTCP(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("TCP %s: %v, want %v", c.name, err, c.err)
		} else if err == nil && (s.SrcPort() != 0xc000 || s.DstPort() != 80 || s.Seq() != 1 || s.Ack() != 2 ||
			s.Flags() != TCPSyn|TCPAck || s.SegmentLen() != 1 || len(s.Payload()) != 0) {
			t.Errorf("TCP %s: %x", c.name, s)
		}
	}
	for _, c := range []struct {
		name, in string
		err      error
	}{
		{"plain", "0035 c000 000a 0000 0102", nil},
		{"padding is cut", "0035 c000 000a 0000 0102 eeee", nil},
		{"cut", "0035 c000 000a 0000 01", ErrShort},
		{"header cut", "0035 c000 000a 00", ErrShort},
		{"length below the header", "0035 c000 0007 0000 0102", ErrLength},
	} {
		u, err := ParseUDP(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("UDP %s: %v, want %v", c.name, err, c.err)
		} else if err == nil && (u.SrcPort() != 53 || u.DstPort() != 0xc000 || !bytes.Equal(u.Payload(), []byte{1, 2})) {
			t.Errorf("UDP %s: %x", c.name, u)
		}
	}
	if _, _, ok := Ports([]byte{0, 1, 2}); ok {
		t.Error("ports of three bytes")
	}
	if s, d, ok := Ports([]byte{0, 1, 0, 2}); s != 1 || d != 2 || !ok {
		t.Error("ports of four bytes")
	}
}

// RFC 792: eight bytes of header; RFC 1122 §3.2.2: which types are errors.
func TestParseICMP(t *testing.T) {
	for _, c := range []struct {
		name, in string
		isError  bool
		sumOK    bool
		payload  string
		err      error
	}{
		{"echo", "08 00 e5ca 1234 0001", false, true, "", nil},
		{"echo reply with data", "00 00 e5ca 1234 0001 0800", false, true, "0800", nil},
		{"port unreachable", "03 03 fcfc 0000 0000", true, true, "", nil},
		{"source quench", "04 00 fbff 0000 0000", true, true, "", nil},
		{"redirect", "05 01 faf3 0000 000b", true, true, "", nil},
		{"time exceeded", "0b 00 f4ff 0000 0000", true, true, "", nil},
		{"parameter problem", "0c 00 f3ff 0000 0000", true, true, "", nil},
		{"damaged", "03 03 fcfd 0000 0000", true, false, "", nil},
		{"cut", "03 03 fcfc 0000 00", false, false, "", ErrShort},
		{"empty", "", false, false, "", ErrShort},
	} {
		m, err := ParseICMP(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		} else if err == nil && (m.IsError() != c.isError || m.ChecksumOK() != c.sumOK || !bytes.Equal(m.Payload(), unhex(c.payload))) {
			t.Errorf("%s: error %t, checksum %t, payload %x", c.name, m.IsError(), m.ChecksumOK(), m.Payload())
		}
	}
}

// RFC 768: a computed checksum of zero is sent as all ones, and zero means none.
func TestUDPChecksum(t *testing.T) {
	src, dst := addr("10.0.0.1"), addr("10.0.0.2")
	for x := range 1 << 16 {
		b := UDPHeader{SrcPort: 1, DstPort: 2}.Append(dirty(), 2)
		b = append(b, byte(x>>8), byte(x))
		SealUDP(b, src, dst)
		u, err := ParseUDP(b)
		if err != nil || u.Checksum() == 0 || !u.ChecksumOK(src, dst) {
			t.Fatalf("data %04x: %x, %v", x, b, err)
		}
	}
	if u := UDP(unhex("0035 c000 000a 0000 0102")); !u.ChecksumOK(src, dst) {
		t.Error("no checksum is fine")
	}
}

// RFC 9568 §5.2, RFC 3768 §5.3: the count says how long the message must be.
func TestParseVRRP(t *testing.T) {
	v2 := "21 33 64 01 00 01 0000 0a4d0064 0000000000000000"
	v3 := "31 33 64 01 f064 0000 0a4d0064"
	for _, c := range []struct {
		name, in string
		surplus  int
		err      error
	}{
		{"v2", v2, 0, nil},
		{"v2 without its authentication data", v2[:len(v2)-16], 0, ErrShort},
		{"v2 cut by one", v2[:len(v2)-2], 0, ErrShort},
		{"v2 count too high", strings.Replace(v2, "64 01", "64 02", 1), 0, ErrShort},
		{"v2 count too low", strings.Replace(v2, "64 01", "64 00", 1), 4, nil},
		{"v3", v3, 0, nil},
		{"v3 cut", v3[:len(v3)-2], 0, ErrShort},
		{"v3 count 0", "31 33 64 00 0064 0000", 0, nil},
		{"v3 count 255 without addresses", "31 33 64 ff 0064 0000", 0, ErrShort},
		{"v3 with surplus", v3 + "010203", 3, nil},
		{"version 4 is read like 3", "4" + v3[1:], 0, nil},
		{"seven bytes", v3[:17], 0, ErrShort},
		{"nothing", "", 0, ErrShort},
	} {
		v, err := ParseVRRP(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		} else if err == nil && len(v)-v.Size() != c.surplus {
			t.Errorf("%s: surplus %d", c.name, len(v)-v.Size())
		}
	}
}

// RFC 9568 §5.2.6, §5.2.7: twelve bits of centiseconds, the other four ignored and
// sent as zero. RFC 3768 §5.3.7: eight bits of seconds.
func TestVRRPInterval(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
	}{
		{"31 33 64 00 0064 0000", time.Second},
		{"31 33 64 00 f064 0000", time.Second},
		{"31 33 64 00 0001 0000", 10 * time.Millisecond},
		{"31 33 64 00 0fff 0000", 40950 * time.Millisecond},
		{"31 33 64 00 f000 0000", 0},
		{"21 33 64 00 0001 0000 0000000000000000", time.Second},
		{"21 33 64 00 01ff 0000 0000000000000000", 255 * time.Second},
	} {
		v, err := ParseVRRP(unhex(c.in))
		if err != nil || v.Interval() != c.want {
			t.Errorf("%s: %s, %v", c.in, v.Interval(), err)
		}
	}
	b := Advert{Version: 3, Interval: 40950 * time.Millisecond}.Append(dirty())
	if !bytes.Equal(b, unhex("31 00 00 00 0fff 0000")) {
		t.Errorf("sent %x", b)
	}
}

// RFC 9568 §5.2.8 and the form of the installed base; RFC 3768 §5.3.8.
func TestChecksumForm(t *testing.T) {
	src, dst := addr("10.77.0.1"), addr("224.0.0.18")
	a := Advert{Version: 3, VRID: 51, Priority: 100, Interval: time.Second, Addrs: []netip.Addr{addr("10.77.0.100")}}
	for _, c := range []struct {
		version    uint8
		seal, want ChecksumForm
		dst        netip.Addr
	}{
		{3, ChecksumMessage, ChecksumMessage, dst},
		{3, ChecksumPseudo, ChecksumPseudo, dst},
		{3, ChecksumPseudo, ChecksumBad, addr("10.77.0.2")}, // conformance test 42
		{3, ChecksumMessage, ChecksumMessage, addr("10.77.0.2")},
		{2, ChecksumMessage, ChecksumMessage, dst},
		{2, ChecksumPseudo, ChecksumBad, dst},
	} {
		a.Version = c.version
		msg := a.Append(dirty())
		SealVRRP(msg, src, dst, c.seal)
		if got := VRRP(msg).ChecksumForm(src, c.dst); got != c.want {
			t.Errorf("v%d sealed as %s, to %s: %s, want %s", c.version, c.seal, c.dst, got, c.want)
		}
		msg[2] ^= 1
		if got := VRRP(msg).ChecksumForm(src, c.dst); got != ChecksumBad {
			t.Errorf("v%d sealed as %s, damaged: %s", c.version, c.seal, got)
		}
	}
}

// The sum must not depend on how the bytes are cut into words.
func TestSum(t *testing.T) {
	data := bytes.Repeat([]byte{0xff, 0xff, 0x12, 0x34, 0x80, 0x00, 0xfe}, 10000)
	for n := range 64 {
		slow := uint32(0)
		for i := 0; i+1 < n; i += 2 {
			slow += uint32(data[i])<<8 | uint32(data[i+1])
		}
		if n%2 == 1 {
			slow += uint32(data[n-1]) << 8
		}
		slow = slow>>16 + slow&0xffff
		slow = slow>>16 + slow&0xffff
		if got := Checksum(data[:n]); got != ^uint16(slow) {
			t.Errorf("%d bytes: %04x, want %04x", n, got, ^uint16(slow))
		}
	}
	whole := Checksum(data[:65534])
	if parts := Sum(0).Add(data[:1000]).Add(data[1000:65534]).Checksum(); parts != whole {
		t.Errorf("in parts %04x, whole %04x", parts, whole)
	}
	if got := Checksum(bytes.Repeat([]byte{0xff}, 65534)); got != 0 {
		t.Errorf("all ones: %04x", got)
	}
}
