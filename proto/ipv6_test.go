package proto

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"
)

// advert6 is an advertisement over IPv6 with all that is around it.
type advert6 struct {
	dst, src MAC
	ip       IPv6Header
	msg      Advert
}

func (f advert6) append(b []byte) []byte {
	msg := f.msg.Append(nil)
	SealVRRP(msg, f.ip.Src, f.ip.Dst, ChecksumPseudo)
	b = AppendEthernet(b, f.dst, f.src, EtherTypeIPv6)
	return append(f.ip.Append(b, len(msg)), msg...)
}

// keepalived6 is what keepalived on node 1 sends to the group; the flow label is the
// kernel's.
func keepalived6(priority uint8, change func(*advert6)) advert6 {
	f := advert6{
		dst: GroupMAC6(addr("ff02::12")), src: mac("02:00:00:00:77:01"),
		ip: IPv6Header{TrafficClass: VRRPTOS, FlowLabel: 0x9b3a4, NextHeader: ProtocolVRRP, HopLimit: VRRPTTL, Src: addr("fe80::ff:fe00:7701"), Dst: addr("ff02::12")},
		msg: Advert{Version: 3, VRID: 51, Priority: priority, Interval: time.Second,
			Addrs: []netip.Addr{addr("fe80::77:100"), addr("2001:db8:77::100")}},
	}
	if change != nil {
		change(&f)
	}
	return f
}

// The encoder makes the frames of real routers byte for byte (RFC 9568 §5.1.2, §5.2), but
// for the flow label, in which the kernel has its own mind.
func TestVectorsAdverts6(t *testing.T) {
	for name, f := range map[string]advert6{
		"V13": keepalived6(100, nil),
		"V14": keepalived6(0, nil),
		"V15": keepalived6(100, func(f *advert6) {
			f.dst, f.ip.HopLimit, f.ip.Src, f.ip.Dst = mac("02:00:00:00:77:02"), 64, addr("2001:db8:77::1"), addr("2001:db8:77::2")
		}),
		"V18": keepalived6(100, func(f *advert6) { f.src = VirtualMAC6(51) }),
		"V28": keepalived6(200, func(f *advert6) {
			f.src, f.ip.Src = VirtualMAC6(5), addr("fe80::200:5eff:fe00:205")
			f.msg.VRID, f.msg.Addrs = 5, []netip.Addr{addr("2001:db8:77::105")}
		}),
	} {
		want := vectors(t)[name]
		p, err := ParseIPv6(Ethernet(want).Payload())
		if err != nil {
			t.Fatal(name, err)
		}
		f.ip.FlowLabel = p.FlowLabel()
		if got := f.append(dirty()); !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, want)
		}
		ip := IPv6Header{TrafficClass: p.TrafficClass(), FlowLabel: p.FlowLabel(), NextHeader: p.NextHeader(), HopLimit: p.HopLimit(), Src: p.Src(), Dst: p.Dst()}
		v, err := ParseVRRP6(p.Payload())
		if err != nil || ip != f.ip || !sameAdvert(advertOf6(v), f.msg) || v.ChecksumForm(p.Src(), p.Dst()) != ChecksumPseudo {
			t.Errorf("%s: decoded as %s, %v", name, Describe(want), err)
		}
	}
}

func advertOf6(v VRRP) Advert {
	a := Advert{Version: v.Version(), VRID: v.VRID(), Priority: v.Priority(), Interval: v.Interval(), IPv6: true}
	if v.Version() == 2 {
		a.AuthType = v.AuthType()
	}
	for i := range v.Count() {
		a.Addrs = append(a.Addrs, v.Addr6(i))
	}
	return a
}

// Over IPv6 a checksum of the message alone is none (RFC 9568 §5.2.8), and keepalived's
// version 2 is summed like version 3.
func TestChecksumForm6(t *testing.T) {
	src, dst := addr("fe80::1"), addr("ff02::12")
	msg := keepalived6(100, nil).msg.Append(nil)
	SealVRRP(msg, src, dst, ChecksumMessage)
	if got := VRRP(msg).ChecksumForm(src, dst); got != ChecksumBad {
		t.Errorf("without pseudo-header: %s", got)
	}
	p, err := ParseIPv6(Ethernet(vectors(t)["V16"]).Payload())
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseVRRP6(p.Payload())
	if err != nil || v.Version() != 2 || v.Size6() != len(v) || v.ChecksumForm(p.Src(), p.Dst()) != ChecksumPseudo {
		t.Errorf("version 2: %s, %v", Describe(vectors(t)["V16"]), err)
	}
	again := advertOf6(v).Append(dirty())
	if SealVRRP(again, p.Src(), p.Dst(), ChecksumPseudo); !bytes.Equal(again, v) {
		t.Errorf("version 2 of keepalived:\n%x\nbecame %x", []byte(v), again)
	}
}

// Unsolicited advertisements as keepalived and FRR send them (RFC 9568 §6.4.2); FRR says
// that it is a router.
func TestVectorsUnsolicitedNA(t *testing.T) {
	for name, f := range map[string]struct {
		mac    MAC
		vip    string
		router bool
	}{
		"V21": {mac("02:00:00:00:77:01"), "fe80::77:100", false},
		"V22": {VirtualMAC6(51), "fe80::77:100", false},
		"V31": {VirtualMAC6(5), "2001:db8:77::105", true},
	} {
		want := vectors(t)[name]
		if got := AppendUnsolicitedNA(dirty(), f.mac, addr(f.vip), f.router); !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, want)
		}
	}
}

func TestParseIPv6(t *testing.T) {
	head := "6c09b3a4 0004 70 ff fe8000000000000000000000000000 01 ff020000000000000000000000000012"
	for _, c := range []struct {
		name, in string
		err      error
		payload  int
	}{
		{"whole", head + "01020304", nil, 4},
		{"padded", head + "01020304 0000", nil, 4},
		{"payload cut", head + "010203", ErrShort, 0},
		{"header cut", head[:len(head)-2], ErrShort, 0},
		{"empty", "", ErrShort, 0},
		{"version 4", "4" + head[1:] + "01020304", ErrVersion, 0},
	} {
		p, err := ParseIPv6(unhex(c.in))
		if !errors.Is(err, c.err) || err == nil && (len(p.Payload()) != c.payload || p.Src() != addr("fe80::1") || p.FlowLabel() != 0x9b3a4) {
			t.Errorf("%s: %x, %v", c.name, []byte(p), err)
		}
		if err != nil {
			continue
		}
		if p.DecrementHopLimit(); p.HopLimit() != 254 || p.NextHeader() != ProtocolVRRP {
			t.Errorf("%s: after a hop %x", c.name, []byte(p))
		}
	}
}

// Of both families the same is asked.
func TestIP(t *testing.T) {
	for name, want := range map[string]string{
		"V01": "false 10.77.0.1 224.0.0.18 255 112 24 true false",
		"V13": "true fe80::ff:fe00:7701 ff02::12 255 112 40 true false",
	} {
		p, err := ParseIP(Ethernet(vectors(t)[name]).Payload())
		if err != nil {
			t.Fatal(name, err)
		}
		got := fmt.Sprint(p.Is6(), p.Src(), p.Dst(), p.TTL(), p.Protocol(), len(p.Payload()), p.ChecksumOK(), p.IsFragment())
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, short := range []string{"", "45", "60"} {
		if _, err := ParseIP(unhex(short)); !errors.Is(err, ErrShort) {
			t.Errorf("%q: %v", short, err)
		}
	}
}

// RFC 4861 §4.3, §4.4, §4.6: what is no message of the two.
func TestParseNDP(t *testing.T) {
	head := "88 00 0000 20000000 20010db8000000000000000000000001"
	for _, c := range []struct {
		name, in string
		err      error
		mac      string
	}{
		{"no option", head, nil, ""},
		{"target's MAC", head + "0201 020000007701", nil, "02:00:00:00:77:01"},
		{"after another option", head + "0e01 010203040506 0201 020000007701", nil, "02:00:00:00:77:01"},
		{"source's MAC does not count", head + "0101 020000007701", nil, ""},
		{"a longer address is none of Ethernet", head + "0202 020000007701 020000007701 0200", nil, ""},
		{"option of length 0", head + "0200 020000007701", ErrLength, ""},
		{"option cut", head + "0201 0200000077", ErrLength, ""},
		{"half an option", head + "02", ErrLength, ""},
		{"message cut", head[:len(head)-2], ErrShort, ""},
		{"router advertisement", "86" + head[2:], ErrType, ""},
	} {
		m, err := ParseNDP(unhex(c.in))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err != nil {
			continue
		}
		if mac, ok := m.LinkAddress(); ok != (c.mac != "") || ok && mac.String() != c.mac || m.Target() != addr("2001:db8::1") || !m.Override() || m.Solicited() || m.Router() {
			t.Errorf("%s: %s %t", c.name, mac, ok)
		}
	}
}

// RFC 4861 §7.1.1, §7.1.2: what is not believed.
func TestNDPValid(t *testing.T) {
	us, they := addr("2001:db8::1"), addr("2001:db8::2")
	own := mac("02:00:00:00:77:01")
	ask := NDPMessage{Type: NeighbourSolicitation, Target: they, MAC: own}
	tell := NDPMessage{Type: NeighbourAdvertisement, Solicited: true, Override: true, Target: us, MAC: own}
	for _, c := range []struct {
		name     string
		src, dst netip.Addr
		m        NDPMessage
		change   func(frame []byte)
		want     bool
	}{
		{"solicitation", us, SolicitedNode(they), ask, nil, true},
		{"poll of a known neighbour", us, they, ask, nil, true},
		{"answer", us, they, tell, nil, true},
		{"probe of a new address", netip.IPv6Unspecified(), SolicitedNode(they), NDPMessage{Type: NeighbourSolicitation, Target: they}, nil, true},
		{"probe that tells a MAC", netip.IPv6Unspecified(), SolicitedNode(they), ask, nil, false},
		{"probe to one host", netip.IPv6Unspecified(), they, NDPMessage{Type: NeighbourSolicitation, Target: they}, nil, false},
		{"solicited advertisement to all", us, AllNodes, tell, nil, false},
		{"for a group", us, AllNodes, NDPMessage{Type: NeighbourSolicitation, Target: AllNodes, MAC: own}, nil, false},
		{"from behind a router", us, they, tell, func(f []byte) { f[EthernetLen+ip6HopLimit] = 254 }, false},
		{"code", us, they, tell, func(f []byte) { f[EthernetLen+IPv6Len+1] = 1 }, false},
		{"damaged", us, they, tell, func(f []byte) { f[EthernetLen+IPv6Len+ndpTarget] ^= 1 }, false},
	} {
		frame := AppendNDP(dirty(), Broadcast, own, c.src, c.dst, c.m)
		if c.change != nil {
			c.change(frame)
		}
		p, err := ParseIPv6(Ethernet(frame).Payload())
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseNDP(p.Payload())
		if err != nil || m.Valid(p) != c.want {
			t.Errorf("%s: %t, %v: %s", c.name, !c.want, err, Describe(frame))
		}
	}
}

// RFC 4291 §2.7.1, RFC 2464 §7, RFC 9568 §7.3.
func TestGroups6(t *testing.T) {
	for _, c := range [][2]string{
		{SolicitedNode(addr("2001:db8::77:100")).String(), "ff02::1:ff77:100"},
		{GroupMAC6(addr("ff02::1:ff77:100")).String(), "33:33:ff:77:01:00"},
		{GroupMAC6(addr("ff02::12")).String(), "33:33:00:00:00:12"},
		{VirtualMAC6(51).String(), "00:00:5e:00:02:33"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s, want %s", c[0], c[1])
		}
	}
	for m, want := range map[string]bool{"00:00:5e:00:01:07": true, "00:00:5e:00:02:07": true, "00:00:5e:00:03:07": false, "02:00:5e:00:01:07": false} {
		if mac(m).IsVirtual() != want {
			t.Errorf("%s virtual: %t", m, !want)
		}
	}
}

// gopacket reads the same in every header and message of NDP of the captures.
func TestNDPAgainstGopacket(t *testing.T) {
	headers, messages := 0, 0
	for _, name := range captures(t) {
		for i, c := range readCapture(t, name) {
			p := gopacket.NewPacket(c.data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
			h, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
			if !ok || Ethernet(c.data).Type() != EtherTypeIPv6 {
				continue
			}
			headers++
			ip, err := ParseIPv6(Ethernet(c.data).Payload())
			ours := fmt.Sprint(ip.TrafficClass(), ip.FlowLabel(), len(ip.Payload()), ip.NextHeader(), ip.HopLimit(), ip.Src(), ip.Dst())
			theirs := fmt.Sprint(h.TrafficClass, h.FlowLabel, h.Length, uint8(h.NextHeader), h.HopLimit, h.SrcIP, h.DstIP)
			if err != nil || ours != theirs {
				t.Errorf("%s frame %d:\nours   %s\ntheirs %s\n%v", name, i+1, ours, theirs, err)
			}
			a, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
			if !ok {
				continue
			}
			messages++
			m, err := ParseNDP(ip.Payload())
			mac, told := m.LinkAddress()
			ours = fmt.Sprint(m.Router(), m.Solicited(), m.Override(), m.Target(), mac)
			theirs = fmt.Sprint(a.Router(), a.Solicited(), a.Override(), a.TargetAddress, MAC{})
			if told || len(a.Options) > 0 {
				theirs = fmt.Sprint(a.Router(), a.Solicited(), a.Override(), a.TargetAddress, MAC(a.Options[0].Data))
			}
			if err != nil || ours != theirs || !m.Valid(ip) {
				t.Errorf("%s frame %d: valid %t\nours   %s\ntheirs %s", name, i+1, m.Valid(ip), ours, theirs)
			}
		}
	}
	if headers < 100 || messages < 50 {
		t.Errorf("compared %d headers and %d messages only", headers, messages)
	}
}

func drawAddr16(t *rapid.T, name string) netip.Addr {
	return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)))
}

// RFC 4861 §4.3 in RFC 8200 §3; gopacket computes the checksum.
func TestGopacketReadsOurNDP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src, target, own := drawAddr16(t, "src"), drawAddr16(t, "target"), mac("02:00:00:00:77:01")
		b := AppendSolicitation(dirty(), own, src, target, MAC{})
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		noTrouble(t, p)
		ip, s := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
		dst := SolicitedNode(target)
		same(t, "IPv6", []any{ip.HopLimit, addr16(ip.SrcIP), addr16(ip.DstIP)}, []any{NDPHopLimit, src, dst})
		same(t, "NDP", []any{addr16(s.TargetAddress), MAC(s.Options[0].Data)}, []any{target, own})
		icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		sent, again := icmp.Checksum, gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, gopacket.Payload(icmp.Payload)); err != nil {
			t.Fatal(err)
		}
		if icmp.Checksum != sent {
			t.Fatalf("checksum %04x, gopacket has %04x", sent, icmp.Checksum)
		}
	})
}

// tshark finds nothing wrong with our frames over IPv6, and the fault in a damaged one.
func TestTsharkReadsOurFrames6(t *testing.T) {
	own, src := mac("02:00:00:00:77:01"), addr("fe80::1")
	damaged := keepalived6(100, nil).append(nil)
	damaged[EthernetLen+IPv6Len+vrrpPriority]++
	var list []captured
	for _, frame := range [][]byte{
		keepalived6(100, nil).append(nil), AppendUnsolicitedNA(nil, own, addr("fe80::77:100"), true),
		AppendSolicitation(nil, own, src, addr("fe80::2"), MAC{}), AppendSolicitation(nil, own, src, addr("fe80::2"), Broadcast), damaged,
	} {
		list = append(list, captured{data: frame})
	}
	got := tshark(t, writeCapture(t, list), []string{"_ws.malformed", "vrrp.checksum.status", "icmpv6.checksum.status", "vrrp.ipv6_addr", "icmpv6.nd.na.flag.o"})
	want := []string{"\t1\t\tfe80::77:100,2001:db8:77::100\t", "\t\t1\t\t1", "\t\t1\t\t", "\t\t1\t\t", "\t0\t\tfe80::77:100,2001:db8:77::100\t"}
	if strings.ReplaceAll(strings.Join(got, "\n"), "True", "1") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestNoAllocations6(t *testing.T) {
	frame, na := vectors(t)["V13"], vectors(t)["V21"]
	buf, own := make([]byte, 0, 256), mac("02:00:00:00:77:01")
	n := testing.AllocsPerRun(100, func() {
		p, _ := ParseIP(Ethernet(frame).Payload())
		v, _ := ParseVRRP6(p.Payload())
		if v.Addr6(1) != p.Src() && v.ChecksumForm(p.Src(), p.Dst()) == ChecksumPseudo {
			AppendUnsolicitedNA(buf, own, v.Addr6(1), false)
		}
		q, _ := ParseIPv6(Ethernet(na).Payload())
		m, _ := ParseNDP(q.Payload())
		if m.Valid(q) {
			AppendSolicitation(buf, own, q.Src(), m.Target(), MAC{})
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzIPv6(f *testing.F) {
	seedPayloads(f, ethernetPayload)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseIPv6(b)
		if err != nil {
			return
		}
		h := IPv6Header{TrafficClass: p.TrafficClass(), FlowLabel: p.FlowLabel(), NextHeader: p.NextHeader(), HopLimit: p.HopLimit(), Src: p.Src(), Dst: p.Dst()}
		if again := append(h.Append(dirty(), len(p.Payload())), p.Payload()...); !bytes.Equal(again, p) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}

// ip6Payload is the payload of a frame with IPv6.
func ip6Payload(frame []byte) []byte {
	p, err := ParseIPv6(frame[EthernetLen:])
	if err != nil {
		return frame[EthernetLen:]
	}
	return p.Payload()
}

func FuzzNDP(f *testing.F) {
	seedPayloads(f, ip6Payload)
	src, dst := addr("fe80::1"), addr("ff02::1")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseNDP(b)
		if err != nil {
			return
		}
		mac, told := m.LinkAddress()
		again := NDPMessage{Type: m.Type(), Router: m.Router(), Solicited: m.Solicited(), Override: m.Override(), Target: m.Target(), MAC: mac}.Append(dirty(), src, dst)
		whole := m.Code() == 0 && m[ndpFlags]&0x1f == 0 && bytes.Equal(m[ndpFlags+1:ndpTarget], []byte{0, 0, 0}) && len(m) == len(again)
		if whole && (told || len(m) == ndpLen) && !mac.IsZero() == told {
			copy(again[ndpChecksum:], m[ndpChecksum:ndpFlags])
			if !bytes.Equal(again, m) {
				t.Errorf("%x\nbecame %x", b, again)
			}
		}
	})
}

func FuzzVRRP6(f *testing.F) {
	seedPayloads(f, ip6Payload)
	src, dst := addr("fe80::1"), addr("ff02::12")
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseVRRP6(b)
		if err != nil {
			return
		}
		again := advertOf6(v).Append(dirty())
		form := v.ChecksumForm(src, dst)
		if SealVRRP(again, src, dst, form); form == ChecksumBad || v.Checksum() == 0xffff {
			copy(again[vrrpChecksum:], b[vrrpChecksum:vrrpAddrs]) // no encoder makes these
		}
		clean := v.Type() == VRRPAdvertisement && len(v) == v.Size6() && (v.Version() == 2 || v.Version() == 3 && v[vrrpInterval]>>4 == 0)
		if clean && !bytes.Equal(again, b) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}
