package forward

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/ringkeep/ringkeep/proto"
)

// TestMappedAddresses: a packet of IPv6 whose addresses are those of IPv4, mapped, is none of a
// service of IPv4, neither by itself nor in an error.
func TestMappedAddresses(t *testing.T) {
	for _, method := range []Method{DR, NAT} {
		f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, Server{Addr: serverAddr(1), Method: method, Weight: 1})
		say(t, f, 0, Malformed, "[::ffff:10.0.2.1]:1 > [::ffff:10.0.0.100]:80 SYN", "[2001:db8::1]:1 > [::ffff:10.0.0.100]:80 SYN")
		say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:80 SYN")
		say(t, f, 0, Malformed, "[::ffff:10.0.2.1]:1 > [::ffff:10.0.0.100]:80 ACK")
		inner := build(t, strings.Fields("[::ffff:10.0.0.100]:80 > [::ffff:10.0.2.1]:1 ACK"))
		m := append([]byte{proto.ICMPUnreachable, 3, 0, 0, 0, 0, 0, 0}, inner...)
		b := shape{ttl: 64}.around(m, netip.MustParseAddr("192.0.2.1"), web.Addr.Addr(), proto.ProtocolICMP)
		p := parsedBytes(t, b)
		p.sealICMP()
		if d := f.Packet(0, Ingress{}, b); d.Verdict != NotMine {
			t.Errorf("an error: %v", d.Verdict)
		}
	}
}

func parsedBytes(t *testing.T, b []byte) packet {
	t.Helper()
	p, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestErrorsForThisHost are not handed to the local stack twice: no rule keeps them from it.
func TestErrorsForThisHost(t *testing.T) {
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: web}, Server{Addr: serverAddr(1), Method: Local, Weight: 1})
	say(t, f, 0, Deliver, "10.0.2.1:1 > 10.0.0.100:80 SYN")
	say(t, f, 0, NotMine, "10.0.0.100:80 > 10.0.2.1:1 ACK icmp")
}

// TestLongFragmentsOfAnswers: a later fragment that is too long for the link to the client and
// must not be cut is refused, as it came, as the first one is.
func TestLongFragmentsOfAnswers(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	f := serving(t, Config{MaxConns: 4, Seed: 1}, Service{Key: key}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:5353"), Method: NAT, Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:1 > 10.0.0.100:53")
	say(t, f, 0, Return, "10.0.1.1:5353 > 10.0.2.1:1 data=16 mf")
	f.SetPortMTU(1, 600)
	for _, dont := range []bool{false, true} {
		b := build(t, strings.Fields("10.0.1.1:5353 > 10.0.2.1:1 data=1000 frag=24"))
		want := Return
		if dont {
			b[6] |= 0x40
			sumIPv4(b)
			want = TooBig
		}
		was := bytes.Clone(b)
		d := f.Packet(0, Ingress{}, b)
		if d.Verdict != want || d.Rebuild == dont || dont && (d.MTU != 600 || !bytes.Equal(b, was)) {
			t.Errorf("DF %v: %+v", dont, d)
		}
	}
}

// TestOddEnds: ports 0, sums 0, and a second first fragment of one packet harm nobody.
func TestOddEnds(t *testing.T) {
	key := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:0")}
	f := serving(t, Config{MaxConns: 8, Seed: 1}, Service{Key: key}, Server{Addr: netip.MustParseAddrPort("10.0.1.1:0"), Method: NAT, Weight: 1}, Server{Addr: netip.MustParseAddrPort("10.0.1.2:0"), Method: NAT, Weight: 1})
	say(t, f, 0, Forward, "10.0.2.1:0 > 10.0.0.100:0", "10.0.2.1:0 > 10.0.0.100:0", "10.0.2.1:0 > 10.0.0.100:1")
	if f.Len() != 2 {
		t.Errorf("%d connections", f.Len())
	}
	first := say(t, f, 0, Forward, "10.0.2.2:7 > 10.0.0.100:9 data=16 mf")
	if d := say(t, f, 0, Forward, "10.0.2.2:7 > 10.0.0.100:9 data=16 frag=8"); d.Server != first.Server { // over the first
		t.Errorf("a fragment that overlaps goes to %d, the first to %d", d.Server, first.Server)
	}
	b := build(t, strings.Fields("10.0.2.3:7 > 10.0.0.100:9 data=3"))
	binary.BigEndian.PutUint16(b[26:], 0)
	if d := f.Packet(0, Ingress{}, b); d.Verdict != Forward || binary.BigEndian.Uint16(b[26:]) != 0 {
		t.Errorf("no checksum: %v, %x", d.Verdict, b[26:28])
	}
}
