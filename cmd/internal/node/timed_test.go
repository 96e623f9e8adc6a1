package node

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// TestFlowsOfEveryMethodEnd: the first packet of a service arms the timers of the table and
// of the rates, whatever the method, so that a flow that falls silent goes.
func TestFlowsOfEveryMethodEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want Fate
	}{
		"DR":     {"virtual_server 10.0.0.1 80 {\nlb_kind DR\nprotocol TCP\nreal_server 10.0.0.7 80 {\n}\n}\n", Forwarded},
		"NAT":    {"virtual_server 10.0.0.1 80 {\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.0.7 80 {\n}\n}\n", Forwarded},
		"TUN":    {"virtual_server 10.0.0.1 80 {\nlb_kind TUN\nprotocol TCP\nreal_server 10.0.0.7 80 {\n}\n}\n", Rebuilt},
		"local":  {"virtual_server 10.0.0.1 80 {\nlb_kind DR\nprotocol TCP\nreal_server 127.0.0.1 80 {\n}\n}\n", Delivered},
		"bypass": {"global_defs {\n@ringkeep packet_mark 7 tcp dport 80\n}\nvirtual_server fwmark 7 {\nlb_kind DR\n@ringkeep cache_bypass\n}\n", Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, parse(t, tt.text))
			n := m.n
			m.step(Received{Port: 1, Frame: arpFrom(6)})
			f := proto.AppendEthernet(nil, macOf(0), macOf(8), proto.EtherTypeIPv4)
			f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: netip.MustParseAddr("192.0.2.1"), Dst: addrOf(0)}.Append(f, 20)
			f = proto.TCPHeader{SrcPort: 1000, DstPort: 80, Flags: proto.TCPSyn}.Append(f)
			var out Batch
			n.Frame(m.now, 1, make([]byte, proto.VirtioLen), f, &out)
			if got := out.Verdicts[0].Fate; got != tt.want || n.fwd.Len() != 1 {
				t.Fatalf("fate %v, %d entries", got, n.fwd.Len())
			}
			if !n.GivesBack() {
				t.Error("nobody opens the local stack's door")
			}
			if n.timers.pos[n.rateTimer] < 0 {
				t.Error("the rates rest")
			}
			if m.run(2 * time.Minute); n.fwd.Len() != 0 {
				t.Errorf("%d entries after two minutes", n.fwd.Len())
			}
		})
	}
}
