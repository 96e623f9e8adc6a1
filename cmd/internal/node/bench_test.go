package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// BenchmarkThousandInstances is a BACKUP of 1,000 instances on four interfaces that hears one
// advertisement after the other.
func BenchmarkThousandInstances(b *testing.B) {
	const count, ports = 1000, 4
	var conf strings.Builder
	links := []Link{{Name: "lo", Up: true, Loopback: true}}
	for p := range ports {
		links = append(links, Link{
			Name: fmt.Sprintf("v%d", p), MAC: proto.MAC{2, 0, 0, 0, 0, byte(p)}, Up: true,
			Prefixes: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.12/16", p))},
		})
	}
	var frames [][]byte
	for i := range count {
		vip := fmt.Sprintf("10.%d.1.%d", i%ports, 1+i/ports)
		fmt.Fprintf(&conf, "vrrp_instance V%d {\ninterface v%d\nvirtual_router_id %d\npriority 100\nvirtual_ipaddress {\n%s\n}\n}\n", i, i%ports, 1+i/ports, vip)
		src, group := netip.MustParseAddr(fmt.Sprintf("10.%d.0.11", i%ports)), vrrpGroup
		msg := proto.Advert{Version: 2, VRID: uint8(1 + i/ports), Priority: 150, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr(vip)}}.Append(nil)
		proto.SealVRRP(msg, src, group, proto.ChecksumMessage)
		f := proto.AppendEthernet(nil, groupMAC(group), proto.MAC{2, 0, 0, 0, 1, byte(i % ports)}, proto.EtherTypeIPv4)
		frames = append(frames, append(proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: src, Dst: group}.Append(f, len(msg)), msg...))
	}
	cfg, messages := config.Parse("f", []byte(conf.String()), config.Options{})
	if len(messages) > 0 {
		b.Fatal(messages[0])
	}
	n, err := New(cfg, links, 1)
	if err != nil {
		b.Fatal(err)
	}
	out := n.Step(0, Start{}, nil)
	var now time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now += time.Second / count
		if out = n.Step(now, Received{Port: 1 + i%count%ports, Frame: frames[i%count], At: now}, out[:0]); len(out) > 0 {
			b.Fatalf("%d: %#v", i, out[0])
		}
	}
}
