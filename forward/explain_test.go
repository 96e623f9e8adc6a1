package forward

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// TestExplainMarksAndDatagrams has what no trace can send: a mark, with and without a server,
// and a table without room for anything but a datagram that is scheduled by itself.
func TestExplainMarksAndDatagrams(t *testing.T) {
	f := New(Config{MaxConns: 1, Seed: 1})
	marked := ServiceKey{Addr: netip.MustParseAddrPort("0.0.0.0:0"), Mark: 7}
	dns := ServiceKey{Protocol: proto.ProtocolUDP, Addr: netip.MustParseAddrPort("10.0.0.100:53")}
	for _, s := range []Service{
		{Key: marked, Scheduler: "rr", CacheBypass: true, Persistence: time.Minute},
		{Key: dns, Scheduler: "rr", OnePacket: true},
		{Key: web, Scheduler: "rr"},
	} {
		if err := f.AddService(s); err != nil {
			t.Fatal(err)
		}
	}
	f.SetLocal(web.Addr.Addr(), true)
	explain := func(what string, flow Flow, want Verdict, server string) {
		t.Helper()
		e := f.Explain(0, flow)
		got := ""
		if e.Server.IsValid() {
			got = e.Server.String()
		}
		if e.Verdict != want || got != server {
			t.Errorf("%s: %v %s, want %v %s", what, e.Verdict, got, want, server)
		}
	}
	client, other := netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("198.51.100.7:443")
	tcp := Flow{Protocol: proto.ProtocolTCP, Client: client, Virtual: other, Mark: 7}
	explain("no mark", Flow{Protocol: proto.ProtocolTCP, Client: client, Virtual: other}, NotMine, "")
	explain("a mark without servers", tcp, Deliver, "")
	for _, k := range []ServiceKey{marked, dns, web} {
		if _, err := f.AddServer(k, Server{Addr: netip.AddrPortFrom(serverAddr(1).Addr(), k.Addr.Port()), Weight: 1}); err != nil {
			t.Fatal(err)
		}
	}
	explain("a mark that needs a template and a connection", tcp, TableFull, "")
	f.Packet(0, Ingress{}, segment(0x0a000009, 1, proto.TCPSyn))
	explain("a full table", Flow{Protocol: proto.ProtocolTCP, Client: client, Virtual: web.Addr}, TableFull, "")
	explain("a datagram", Flow{Protocol: proto.ProtocolUDP, Client: client, Virtual: dns.Addr}, Forward, "10.0.1.1:53")
}
