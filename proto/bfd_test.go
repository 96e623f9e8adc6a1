package proto

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// upPacket is what keepalived 2.2.7 sent when it came up, with its poll; frrPacket is one of
// FRR 8.4.
const (
	upPacket  = "20 e0 03 18 38fa371f 52f87c6e 0000c350 0000c350 00000000"
	frrPacket = "20 c0 03 18 8cad512d 73e9c955 000186a0 000186a0 0000c350"
)

// TestBFDGolden: RFC 5880 §4.1, every field, in both directions.
func TestBFDGolden(t *testing.T) {
	const fifty, hundred = 50 * time.Millisecond, 100 * time.Millisecond
	for _, c := range []struct {
		hex string
		m   BFDMessage
	}{
		{upPacket, BFDMessage{State: BFDUp, Poll: true, Multiplier: 3, Mine: 0x38fa371f, Yours: 0x52f87c6e, MinTX: fifty, MinRX: fifty}},
		{frrPacket, BFDMessage{State: BFDUp, Multiplier: 3, Mine: 0x8cad512d, Yours: 0x73e9c955, MinTX: hundred, MinRX: hundred, MinEcho: fifty}},
		{"20 40 03 18 00000001 00000000 000f4240 0000c350 0000c350",
			BFDMessage{State: BFDDown, Multiplier: 3, Mine: 1, MinTX: time.Second, MinRX: 50 * time.Millisecond, MinEcho: 50 * time.Millisecond}},
		{"21 50 ff 18 ffffffff fffffffe ffffffff 00000000 00000001",
			BFDMessage{State: BFDDown, Diag: BFDTimeExpired, Final: true, Multiplier: 255, Mine: 1<<32 - 1, Yours: 1<<32 - 2, MinTX: (1<<32 - 1) * time.Microsecond, MinEcho: time.Microsecond}},
		{"23 82 01 18 00000002 00000003 00000001 00000002 00000003",
			BFDMessage{State: BFDInit, Diag: BFDNeighborSignaled, Demand: true, Multiplier: 1, Mine: 2, Yours: 3, MinTX: time.Microsecond, MinRX: 2 * time.Microsecond, MinEcho: 3 * time.Microsecond}},
		{"27 00 05 18 00000002 00000000 000f4240 00000001 00000000",
			BFDMessage{State: BFDAdminDown, Diag: BFDAdminDownDiag, Multiplier: 5, Mine: 2, MinTX: time.Second, MinRX: time.Microsecond}},
	} {
		want := unhex(c.hex)
		got := c.m.Append(dirty())
		if !bytes.Equal(got, want) {
			t.Errorf("%+v\ngot  %x\nwant %x", c.m, got, want)
		}
		p, err := ParseBFD(append(want[:BFDLen:BFDLen], 0xee)) // with what another layer has padded
		if err != nil || len(p) != BFDLen {
			t.Fatalf("%x: %d bytes, %v", want, len(p), err)
		}
		if back := messageOf(p); back != c.m {
			t.Errorf("%x\ngot  %+v\nwant %+v", want, back, c.m)
		}
	}
}

func messageOf(p BFD) BFDMessage {
	return BFDMessage{
		State: p.State(), Diag: p.Diag(), Poll: p.Poll(), Final: p.Final(), Demand: p.Demand(), Multiplier: p.Multiplier(),
		Mine: p.Mine(), Yours: p.Yours(), MinTX: p.MinTX(), MinRX: p.MinRX(), MinEcho: p.MinEcho(),
	}
}

// TestBFDRefused: each rule of RFC 5880 §6.8.6 that looks at the packet alone names its field.
func TestBFDRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int
		to   byte
		want string // "" for accepted
		is   error
	}{
		{"version 0", 0, 0x00, "version 0, must be 1", ErrBFD},
		{"version 2", 0, 0x40, "version 2, must be 1", ErrBFD},
		{"length below 24", 3, 23, "length 23, must be 24 at least", ErrBFD},
		{"length beyond the datagram", 3, 25, "length 25 of 24 bytes", ErrShort},
		{"authentication without room", 1, 0xe4, "length 24, must be 26 at least", ErrBFD},
		{"no multiplier", 2, 0, "detect mult 0", ErrBFD},
		{"multipoint", 1, 0xe1, "multipoint is set", ErrBFD},
		{"Init without your discriminator", 1, 0x80, "your discriminator 0 in state Init", ErrBFD},
		{"Up without your discriminator", 1, 0xc0, "your discriminator 0 in state Up", ErrBFD},
		{"Down without your discriminator", 1, 0x40, "", nil},
		{"AdminDown without your discriminator", 1, 0x00, "", nil},
		{"a diagnostic that nobody knows", 0, 0x3f, "", nil},
	} {
		b := unhex(upPacket)
		if b[c.at] = c.to; strings.Contains(c.name, "without your") {
			copy(b[8:12], []byte{0, 0, 0, 0})
		}
		_, err := ParseBFD(b)
		if (err == nil) != (c.want == "") || err != nil && (!strings.HasSuffix(err.Error(), c.want) || !errors.Is(err, c.is)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	b := unhex(upPacket)
	copy(b[4:8], []byte{0, 0, 0, 0})
	if _, err := ParseBFD(b); err == nil || !strings.HasSuffix(err.Error(), "my discriminator 0") {
		t.Errorf("no discriminator: %v", err)
	}
	for n := range BFDLen {
		if _, err := ParseBFD(unhex(upPacket)[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	signed := append(unhex(upPacket), 1, 5, 0, 'x', 'y')
	signed[1], signed[3] = 0xe4, 29
	if p, err := ParseBFD(signed); err != nil || !p.Authenticated() || len(p) != 29 {
		t.Errorf("authentication: %v", err)
	}
}

func TestBFDWords(t *testing.T) {
	for s, want := range map[fmt.Stringer]string{
		BFDAdminDown: "AdminDown", BFDUp: "Up", BFDState(4): "BFDState(4)", BFDNoDiag: "No Diagnostic",
		BFDTimeExpired: "Control Detection Time Expired", BFDNeighborSignaled: "Neighbor Signaled Session Down",
		BFDAdminDownDiag: "Administratively Down", BFDDiag(8): "Reverse Concatenated Path Down", BFDDiag(31): "Diagnostic 31",
	} {
		if s.String() != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
}

func TestBFDDescribed(t *testing.T) {
	m := BFDMessage{State: BFDDown, Diag: BFDTimeExpired, Final: true, Multiplier: 3, Mine: 1, MinTX: time.Second, MinRX: 50 * time.Millisecond}
	for frame, want := range map[string]string{
		string(bfdFrame(client, vip, m)): "UDP 49152 > 3784, BFD Down discriminators 00000001 00000000 tx 1s rx 50ms multiplier 3, Control Detection Time Expired, final",
		string(bfdFrame(client, vip, BFDMessage{State: BFDUp, Poll: true, Multiplier: 3, Mine: 1, Yours: 2})): "BFD Up discriminators 00000001 00000002 tx 0s rx 0s multiplier 3, poll",
		string(bfdFrame(client, vip, BFDMessage{State: BFDUp, Multiplier: 3, Mine: 1})):                       "BFD: no BFD control packet: your discriminator 0 in state Up",
	} {
		if got := Describe([]byte(frame)); !strings.HasSuffix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// FuzzBFD: no packet makes the parser panic, and what is accepted is encoded to the same
// bytes, but for authentication, which is not sent.
func FuzzBFD(f *testing.F) {
	f.Add(unhex(upPacket))
	f.Add(append(unhex(upPacket), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseBFD(b)
		if err != nil {
			if !errors.Is(err, ErrBFD) && !errors.Is(err, ErrShort) {
				t.Fatal(err)
			}
			return
		}
		again := messageOf(p).Append(dirty())
		if again[bfdLength] = byte(len(p)); p.Authenticated() {
			again[bfdFlags] |= bfdAuth
		}
		again[bfdFlags] |= p[bfdFlags] & 0x08 // control plane independent, which we never are
		if !bytes.Equal(again, p[:BFDLen]) {
			t.Errorf("%x\nbecame %x", p, again)
		}
	})
}

// tshark reads our packets over both families as we meant them.
func TestBFDAgainstTshark(t *testing.T) {
	fields := []string{"bfd.version", "bfd.diag", "bfd.sta", "bfd.flags.p", "bfd.flags.f", "bfd.flags.d", "bfd.detect_time_multiplier",
		"bfd.my_discriminator", "bfd.your_discriminator", "bfd.desired_min_tx_interval", "bfd.required_min_rx_interval", "bfd.required_min_echo_interval", "_ws.malformed"}
	messages := []BFDMessage{
		{State: BFDUp, Poll: true, Multiplier: 5, Mine: 0xa1b2c3d4, Yours: 7, MinTX: 10 * time.Millisecond, MinRX: 10 * time.Millisecond},
		{State: BFDDown, Diag: BFDTimeExpired, Final: true, Multiplier: 3, Mine: 1, MinTX: time.Second, MinRX: 300 * time.Millisecond},
		{State: BFDInit, Demand: true, Multiplier: 255, Mine: 1, Yours: 1<<32 - 1, MinTX: time.Second, MinRX: 300 * time.Millisecond, MinEcho: 50 * time.Millisecond},
		{State: BFDAdminDown, Diag: BFDAdminDownDiag, Multiplier: 1, Mine: 9, Yours: 1, MinTX: time.Second, MinRX: time.Millisecond},
	}
	var list []captured
	var want []string
	for i, m := range messages {
		src, dst := client, vip
		if i%2 == 1 {
			src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		}
		list = append(list, captured{data: bfdFrame(src, dst, m)})
		want = append(want, fmt.Sprintf("1\t0x%02x\t0x%02x\t%s\t%s\t%s\t%d\t0x%08x\t0x%08x\t%d\t%d\t%d\t", uint8(m.Diag), uint8(m.State), bit(m.Poll), bit(m.Final), bit(m.Demand),
			m.Multiplier, m.Mine, m.Yours, m.MinTX.Microseconds(), m.MinRX.Microseconds(), m.MinEcho.Microseconds()))
	}
	for i, line := range tshark(t, writeCapture(t, list), fields) {
		if line != want[i] {
			t.Errorf("%+v\ntshark %q\nwant   %q", messages[i], line, want[i])
		}
	}
}

func bit(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

func bfdFrame(src, dst netip.Addr, m BFDMessage) []byte {
	datagram := m.Append(UDPHeader{SrcPort: BFDSourcePort, DstPort: BFDPort}.Append(nil, BFDLen))
	SealUDP(datagram, src, dst)
	f := AppendEthernet(nil, mac("02:00:00:00:77:02"), VirtualMAC(51), EtherTypeIPv4)
	if src.Is6() {
		f = AppendEthernet(nil, mac("02:00:00:00:77:02"), VirtualMAC(51), EtherTypeIPv6)
		return append(IPv6Header{NextHeader: ProtocolUDP, HopLimit: BFDTTL, Src: src, Dst: dst}.Append(f, len(datagram)), datagram...)
	}
	return append(IPv4Header{TTL: BFDTTL, Protocol: ProtocolUDP, Src: src, Dst: dst}.Append(f, len(datagram)), datagram...)
}
