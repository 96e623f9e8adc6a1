package proto

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the decodes beside the captures")

type captured struct {
	at   time.Time
	data []byte
}

// captures lists the recordings of real routers.
func captures(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/captures/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	return files
}

func readCapture(t testing.TB, name string) []captured {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var list []captured
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, captured{info.Timestamp, data})
	}
}

// Every capture has beside it what we make of it, for people to review.
func TestGoldenCaptures(t *testing.T) {
	for _, name := range captures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".pcap"), func(t *testing.T) {
			var got bytes.Buffer
			list := readCapture(t, name)
			for i, c := range list {
				fmt.Fprintf(&got, "%3d %10.6f  %s\n", i+1, c.at.Sub(list[0].at).Seconds(), Describe(c.data))
			}
			golden := strings.TrimSuffix(name, ".pcap") + ".txt"
			if *rewrite {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("decode differs from %s; got:\n%s", golden, got.Bytes())
			}
		})
	}
}

// gopacket is the independent second decoder: it must see the same fields in every
// frame that both of us know.
func TestCapturesAgainstGopacket(t *testing.T) {
	seen := map[gopacket.LayerType]int{}
	for _, name := range captures(t) {
		for i, c := range readCapture(t, name) {
			where := fmt.Sprintf("%s frame %d", name, i+1)
			p := gopacket.NewPacket(c.data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
			for _, l := range p.Layers() {
				if compare(t, where, c.data, l) {
					seen[l.LayerType()]++
				}
			}
		}
	}
	for _, typ := range []gopacket.LayerType{layers.LayerTypeEthernet, layers.LayerTypeARP, layers.LayerTypeIPv4, layers.LayerTypeVRRP} {
		if seen[typ] < 50 {
			t.Errorf("compared %d layers of type %s only", seen[typ], typ)
		}
	}
}

// compare holds our view of a frame against one layer of gopacket's. It reports
// whether both know the layer.
func compare(t *testing.T, where string, e Ethernet, l gopacket.Layer) bool {
	t.Helper()
	var ours, theirs string
	ok := true
	switch l := l.(type) {
	case *layers.Ethernet:
		ours = fmt.Sprintf("%s %s %04x", e.Dst(), e.Src(), e.Type())
		theirs = fmt.Sprintf("%s %s %04x", l.DstMAC, l.SrcMAC, uint16(l.EthernetType))
	case *layers.ARP:
		ours, theirs, ok = compareARP(e, l)
	case *layers.IPv4:
		ours, theirs, ok = compareIPv4(e, l)
	case *layers.VRRPv2:
		ours, theirs, ok = compareVRRP(e, l)
	default:
		return false
	}
	if ours != theirs {
		t.Errorf("%s %s:\nours   %s\ntheirs %s", where, l.LayerType(), ours, theirs)
	}
	return ok
}

func compareARP(e Ethernet, l *layers.ARP) (ours, theirs string, ok bool) {
	a, err := ParseARP(e.Payload())
	if err != nil {
		return err.Error(), "", false
	}
	ours = fmt.Sprintf("%d %s %s %s %s", a.Op(), a.SenderMAC(), a.Sender(), a.TargetMAC(), a.Target())
	theirs = fmt.Sprintf("%d %s %s %s %s", l.Operation, MAC(l.SourceHwAddress), addr4(l.SourceProtAddress),
		MAC(l.DstHwAddress), addr4(l.DstProtAddress))
	return ours, theirs, true
}

func compareIPv4(e Ethernet, l *layers.IPv4) (ours, theirs string, ok bool) {
	if e.Type() != EtherTypeIPv4 || !bytes.Equal(l.Contents[:20], e.Payload()[:20]) {
		return "", "", false // quoted in an ICMP error
	}
	p, err := ParseIPv4(e.Payload())
	if err != nil {
		return err.Error(), "", false
	}
	ours = fmt.Sprintf("%d %d %d %d %d %d %d %04x %s %s %x", p.HeaderLen(), p.TOS(), p.TotalLen(), p.ID(), p.FragmentOffset(),
		p.TTL(), p.Protocol(), p.Checksum(), p.Src(), p.Dst(), p.Payload())
	theirs = fmt.Sprintf("%d %d %d %d %d %d %d %04x %s %s %x", int(l.IHL)*4, l.TOS, l.Length, l.Id, int(l.FragOffset)*8,
		l.TTL, uint8(l.Protocol), l.Checksum, l.SrcIP, l.DstIP, l.Payload)
	return ours, theirs, true
}

// compareVRRP knows that gopacket reads every VRRP over IPv4 as version 2: of
// version 3 the common fields are compared, and that it does not check lengths.
func compareVRRP(e Ethernet, l *layers.VRRPv2) (ours, theirs string, ok bool) {
	p, err := ParseIPv4(e.Payload())
	if err != nil || p.Protocol() != ProtocolVRRP {
		return "", "", false // inside an authentication header
	}
	v, err := ParseVRRP(p.Payload())
	if err != nil {
		return "", "", false
	}
	ours = fmt.Sprintf("%d %d %d %d %d %04x", v.Version(), v.Type(), v.VRID(), v.Priority(), v.Count(), v.Checksum())
	theirs = fmt.Sprintf("%d %d %d %d %d %04x", l.Version, uint8(l.Type), l.VirtualRtrID, l.Priority, l.CountIPAddr, l.Checksum)
	if v.Version() == 2 {
		ours += fmt.Sprintf(" %d %s", v.AuthType(), v.Interval())
		theirs += fmt.Sprintf(" %d %ds", uint8(l.AuthType), l.AdverInt)
	}
	for i := range min(v.Count(), len(l.IPAddress)) {
		ours += " " + v.Addr(i).String()
		theirs += " " + l.IPAddress[i].String()
	}
	return ours, theirs, true
}
