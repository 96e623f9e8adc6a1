package ipvs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/forward"
)

// TestOpenWithoutIPVS is refused, where the library would call it a success.
func TestOpenWithoutIPVS(t *testing.T) {
	k, err := Open()
	if err == nil {
		k.Close()
		t.Skip("this kernel has IPVS")
	}
	if !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

// TestNetmask has the bytes of a mask in the order of the network, a length for IPv6, and
// never the 0 that the kernel refuses.
func TestNetmask(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		addr  netip.Addr
		bits  int
		bytes []byte
		back  int
	}{
		{v4, 24, []byte{255, 255, 255, 0}, 24}, {v4, 0, []byte{255, 255, 255, 255}, 0}, {v4, 32, []byte{255, 255, 255, 255}, 0},
		{v6, 64, binary.NativeEndian.AppendUint32(nil, 64), 64}, {v6, 0, binary.NativeEndian.AppendUint32(nil, 128), 0},
	} {
		mask := netmask(c.addr, c.bits)
		if b := binary.NativeEndian.AppendUint32(nil, mask); !bytes.Equal(b, c.bytes) {
			t.Errorf("%v/%d: % x", c.addr, c.bits, b)
		}
		if back := maskBits(c.addr, mask); back != c.back {
			t.Errorf("%v/%d comes back as %d", c.addr, c.bits, back)
		}
	}
}

// TestServiceMessage names a mark's family, and comes back as it was sent.
func TestServiceMessage(t *testing.T) {
	for _, want := range []Service{
		{Key: forward.ServiceKey{Mark: 7, Addr: unspecified(unix.AF_INET6)}, Scheduler: "rr"},
		{Key: forward.ServiceKey{Protocol: 17, Addr: netip.MustParseAddrPort("192.0.2.1:53")}, Scheduler: "mh", Flags: OnePacket | Sched3},
		{Key: forward.ServiceKey{Protocol: 6, Addr: netip.MustParseAddrPort("[2001:db8::1]:80")}, Scheduler: "wlc", Flags: Persistent, Timeout: time.Minute, Mask: 64, Engine: "sip"},
	} {
		got, err := attributes{attrService: want.message().Serialize()[4:]}.service()
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%+v, want %+v, %v", got, want, err)
		}
	}
}

// TestServerMessage has the family of the server, not of the service, and its tunnel.
func TestServerMessage(t *testing.T) {
	s := Server{Server: forward.Server{
		Addr: netip.MustParseAddrPort("[2001:db8::1]:80"), Method: forward.TUN, Weight: 70000, Upper: 9, Lower: 3,
		Tunnel: forward.Tunnel{Type: forward.GUE, Sum: forward.RemoteSum, Port: 6080},
	}}
	a, err := parse(s.message().Serialize()[4:])
	if err != nil {
		t.Fatal(err)
	}
	if a.number(destFamily) != unix.AF_INET6 || a.number(destWeight) != 70000 || a.number(destTunnelType) != 1 || a.number(destTunnelSum) != 2 ||
		!bytes.Equal(a[destTunnelPort], []byte{6080 >> 8, 6080 & 0xff}) || len(a[destAddr]) != 16 {
		t.Errorf("%v", a)
	}
	if s.Method = forward.DR; s.message().Len() >= 100 {
		t.Error("a tunnel without TUN")
	}
}

// TestServiceAnswer reads what the library cannot: the engine, counters above 32 bits; and
// leaves out the flag that is the kernel's own.
func TestServiceAnswer(t *testing.T) {
	to := serviceKey(forward.ServiceKey{Protocol: 6, Addr: netip.MustParseAddrPort("192.0.2.1:80")})
	to.AddRtAttr(svcScheduler, nl.ZeroTerminated("wlc"))
	to.AddRtAttr(svcEngine, nl.ZeroTerminated("sip"))
	to.AddRtAttr(svcFlags, append(binary.NativeEndian.AppendUint32(nil, 3), 0xff, 0xff, 0xff, 0xff))
	to.AddRtAttr(svcTimeout, nl.Uint32Attr(360))
	to.AddRtAttr(svcNetmask, []byte{255, 255, 255, 0})
	counters := nl.NewRtAttr(svcStats, nil)
	counters.AddRtAttr(1, nl.Uint64Attr(1<<40))
	counters.AddRtAttr(10, nl.Uint64Attr(1<<41))
	to.AddChild(counters)
	a, err := parse(to.Serialize())
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.service()
	if err != nil {
		t.Fatal(err)
	}
	if s.Engine != "sip" || s.Flags != Persistent || s.Timeout != 6*time.Minute || s.Mask != 24 || s.Scheduler != "wlc" ||
		s.Stats.Stats.Conns != 1<<40 || s.Stats.Rates.OutBytes != 1<<41 || s.Key.String() != "TCP 192.0.2.1:80" {
		t.Errorf("%+v", s)
	}
	if _, err := (attributes{}).service(); err == nil {
		t.Error("an answer without anything")
	}
	if _, err := (attributes{}).server(); err == nil {
		t.Error("an answer without anything")
	}
}

// TestConns reads the kernel's list.
func TestConns(t *testing.T) {
	const text = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP CB007101 CA6E C633640A 0050 0A00010B 1F90 ESTABLISHED     897
IP  CB007100 0000 00000007 0000 0A00010B 0000 ASSURED          60
UDP 2001:0db8:0000:0000:0000:0000:0000:0001 0035 2001:0db8:0000:0000:0000:0000:0000:0002 0035 2001:0db8:0000:0000:0000:0000:0000:0003 0035 UDP             300
`
	var got []string
	for c, err := range Conns(strings.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		kind := ""
		if c.Template {
			kind = " template"
		}
		got = append(got, strings.Join([]string{c.Client.String(), c.Virtual.String(), c.Server.String(), c.State, c.Expires.String() + kind}, " "))
	}
	want := "203.0.113.1:51822 198.51.100.10:80 10.0.1.11:8080 ESTABLISHED 14m57s\n" +
		"203.0.113.0:0 0.0.0.7:0 10.0.1.11:0 ASSURED 1m0s template\n" +
		"[2001:db8::1]:53 [2001:db8::2]:53 [2001:db8::3]:53 UDP 5m0s"
	if strings.Join(got, "\n") != want {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	for _, bad := range []string{"TCP CB007101 CA6E", "ABC CB007101 CA6E C633640A 0050 0A00010B 1F90 NONE 1", "TCP CB0071 CA6E C633640A 0050 0A00010B 1F90 NONE 1"} {
		for _, err := range Conns(strings.NewReader(bad)) {
			if err == nil {
				t.Errorf("%q is a connection", bad)
			}
		}
	}
}

// FuzzConns does not panic.
func FuzzConns(f *testing.F) {
	f.Add("TCP CB007101 CA6E C633640A 0050 0A00010B 1F90 ESTABLISHED     897")
	f.Fuzz(func(_ *testing.T, text string) {
		for range Conns(strings.NewReader(text)) {
			continue
		}
	})
}
