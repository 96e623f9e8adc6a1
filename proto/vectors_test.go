package proto

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// vectors reads whole frames of real routers by their names.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/captures/vectors.hex")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, name := map[string][]byte{}, ""
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if id, ok := strings.CutPrefix(line, "@"); ok {
			name = strings.Fields(id)[0]
		} else if line != "" && line[0] != '#' {
			b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			list[name] = append(list[name], b...)
		}
	}
	return list
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(s string) MAC {
	m, err := ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// advertFrame is an advertisement with all that is around it.
type advertFrame struct {
	dst, src MAC
	ip       IPv4Header
	msg      Advert
	form     ChecksumForm
}

func (f advertFrame) append(b []byte) []byte {
	msg := f.msg.Append(nil)
	SealVRRP(msg, f.ip.Src, f.ip.Dst, f.form)
	b = AppendEthernet(b, f.dst, f.src, EtherTypeIPv4)
	return append(f.ip.Append(b, len(msg)), msg...)
}

// keepalivedAdvert is what keepalived on node 1 sends to the group; change makes
// the difference.
func keepalivedAdvert(version, priority uint8, id uint16, change func(*advertFrame)) advertFrame {
	f := advertFrame{
		dst: mac("01:00:5e:00:00:12"), src: mac("02:00:00:00:77:01"),
		ip: IPv4Header{TOS: VRRPTOS, ID: id, TTL: VRRPTTL, Protocol: ProtocolVRRP, Src: addr("10.77.0.1"), Dst: addr("224.0.0.18")},
		msg: Advert{Version: version, VRID: 51, Priority: priority, Interval: time.Second,
			Addrs: []netip.Addr{addr("10.77.0.100"), addr("10.77.0.101")}},
		form: ChecksumMessage,
	}
	if version == 3 {
		f.form = ChecksumPseudo
	}
	if change != nil {
		change(&f)
	}
	return f
}

// unicast redirects to node 2.
func unicast(f *advertFrame) {
	f.dst, f.ip.Dst = mac("02:00:00:00:77:02"), addr("10.77.0.2")
}

// frr is what FRR on node 1 sends: the virtual MAC, DF, one address.
func frr(f *advertFrame) {
	f.src, f.ip.DF, f.msg.VRID, f.msg.Addrs = VirtualMAC(5), true, 5, []netip.Addr{addr("10.77.0.105")}
}

// The encoder makes the frames of real routers byte for byte (RFC 3768 §5, RFC 9568
// §5), also into memory that is not clean.
func TestVectorsAdverts(t *testing.T) {
	for name, f := range map[string]advertFrame{
		"V01": keepalivedAdvert(2, 100, 1, nil),
		"V02": keepalivedAdvert(2, 0, 7, nil),
		"V03": keepalivedAdvert(2, 100, 1, func(f *advertFrame) {
			f.msg.AuthType, f.msg.Auth = VRRPAuthPass, [8]byte([]byte("secret12"))
		}),
		"V07": keepalivedAdvert(2, 100, 1, unicast),
		"V08": keepalivedAdvert(2, 255, 1, nil),
		"V09": keepalivedAdvert(3, 100, 1, nil),
		"V10": keepalivedAdvert(3, 0, 2, nil),
		"V11": keepalivedAdvert(3, 100, 1, func(f *advertFrame) { f.msg.Interval = 10 * time.Millisecond }),
		"V12": keepalivedAdvert(3, 100, 1, unicast),
		"V17": keepalivedAdvert(3, 100, 1, func(f *advertFrame) { f.src = VirtualMAC(51) }),
		"V26": keepalivedAdvert(3, 200, 0xdbc2, frr),
		"V27": keepalivedAdvert(3, 0, 0xdd81, frr),
		"V29": keepalivedAdvert(2, 200, 0xde9a, frr),
	} {
		want := vectors(t)[name]
		if got := f.append(dirty()); !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, want)
		}
		checkAdvertView(t, name, want, f)
	}
}

// checkAdvertView decodes a vector and finds in it what it was made from.
func checkAdvertView(t *testing.T, name string, frame []byte, f advertFrame) {
	t.Helper()
	e, err := ParseEthernet(frame)
	if err != nil {
		t.Fatal(name, err)
	}
	p, err := ParseIPv4(e.Payload())
	if err != nil {
		t.Fatal(name, err)
	}
	v, err := ParseVRRP(p.Payload())
	if err != nil {
		t.Fatal(name, err)
	}
	ip := IPv4Header{TOS: p.TOS(), ID: p.ID(), DF: p.DontFragment(), TTL: p.TTL(), Protocol: p.Protocol(), Src: p.Src(), Dst: p.Dst()}
	if e.Dst() != f.dst || e.Src() != f.src || ip != f.ip || !p.ChecksumOK() || v.ChecksumForm(p.Src(), p.Dst()) != f.form {
		t.Errorf("%s: headers decoded as %s", name, Describe(frame))
	}
	if got := advertOf(v); !sameAdvert(got, f.msg) {
		t.Errorf("%s: message %+v, want %+v", name, got, f.msg)
	}
}

// advertOf reads all fields of a message.
func advertOf(v VRRP) Advert {
	a := Advert{Version: v.Version(), VRID: v.VRID(), Priority: v.Priority(), AuthType: v.AuthType(), Interval: v.Interval(), Auth: v.Auth()}
	for i := range v.Count() {
		a.Addrs = append(a.Addrs, v.Addr(i))
	}
	return a
}

func sameAdvert(a, b Advert) bool {
	return bytes.Equal(a.Append(nil), b.Append(nil)) && a.Interval == b.Interval
}

// Gratuitous ARP as keepalived and FRR send it (RFC 9568 §6.4.1, §6.4.2): the target
// MAC is broadcast, where errata 7947 and 7949 have the virtual MAC.
func TestVectorsGratuitousARP(t *testing.T) {
	for name, f := range map[string]struct {
		mac MAC
		vip string
	}{
		"V19": {mac("02:00:00:00:77:01"), "10.77.0.100"},
		"V20": {VirtualMAC(51), "10.77.0.100"},
		"V30": {VirtualMAC(5), "10.77.0.105"},
	} {
		if got := AppendGratuitousARP(dirty(), f.mac, addr(f.vip)); !bytes.Equal(got, vectors(t)[name]) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, vectors(t)[name])
		}
	}
}

// What the package does not decode is refused, not misread.
func TestVectorsOutOfScope(t *testing.T) {
	for name, want := range map[string]error{"V13": ErrVersion, "V16": ErrVersion, "V21": ErrVersion} {
		if _, err := ParseIPv4(Ethernet(vectors(t)[name]).Payload()); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// dirty is an empty slice over memory that is full of something else.
func dirty() []byte { return bytes.Repeat([]byte{0xa5}, 2048)[:0] }
