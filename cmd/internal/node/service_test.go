package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// pools writes what the forwarder has, a line for each service: its key, and its servers in
// the order of the list.
func (m *machine) pools() string {
	var b strings.Builder
	for _, s := range m.n.fwd.Services() {
		fmt.Fprintf(&b, "%v", s.Key)
		for _, rs := range s.Servers {
			if !rs.Present {
				continue
			}
			method := map[forward.Method]string{forward.DR: "DR", forward.NAT: "NAT", forward.TUN: "TUN", forward.Local: "local"}[rs.Method]
			fmt.Fprintf(&b, " | %v %s %d", rs.Addr, method, rs.Weight)
			if rs.Upper > 0 {
				fmt.Fprintf(&b, " (%d-%d)", rs.Lower, rs.Upper)
			}
			if rs.Tunnel != (forward.Tunnel{}) {
				fmt.Fprintf(&b, " %+v", rs.Tunnel)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestPools has virtual servers, and what the forwarder is given for them.
func TestPools(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{
			"a group keeps the ports of its entries",
			"virtual_server_group V {\n10.0.0.1 80\n10.0.1.2-3 443\n}\nvirtual_server group V {\nlb_kind DR\nprotocol TCP\nreal_server 10.0.0.7 8080 {\nweight 3\nuthreshold 9\nlthreshold 4\n}\nreal_server 10.0.0.8 {\n}\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.8:80 DR 1 | 10.0.0.7:80 DR 3 (4-9)\nTCP 10.0.1.2:443 | 10.0.0.8:443 DR 1 | 10.0.0.7:443 DR 3 (4-9)\nTCP 10.0.1.3:443 | 10.0.0.8:443 DR 1 | 10.0.0.7:443 DR 3 (4-9)\n",
		},
		{
			"NAT goes to the server's port, or leaves that of the entry",
			"virtual_server_group V {\n10.0.0.1 80\n10.0.0.1 81\n}\nvirtual_server group V {\nlb_kind NAT\nprotocol UDP\nreal_server 10.0.0.7 8080 {\n}\nreal_server 10.0.0.8 {\n}\n}\n",
			"UDP 10.0.0.1:80 | 10.0.0.8:80 NAT 1 | 10.0.0.7:8080 NAT 1\nUDP 10.0.0.1:81 | 10.0.0.8:81 NAT 1 | 10.0.0.7:8080 NAT 1\n",
		},
		{
			"who would stand at one port twice stands there once",
			"virtual_server_group V {\n10.0.0.1 80\n10.0.0.1 81\n}\nvirtual_server group V {\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.0.7 {\n}\nreal_server 10.0.0.7 80 {\nweight 3\n}\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.7:80 NAT 1\nTCP 10.0.0.1:81 | 10.0.0.7:80 NAT 3 | 10.0.0.7:81 NAT 1\n",
		},
		{
			"marks have no ports but by NAT",
			"virtual_server fwmark 7 {\nlb_kind DR\nreal_server 10.0.0.7 80 {\n}\nreal_server 10.0.0.8 80 {\nlvs_method NAT\n}\n}\n",
			"FWM 7 | 10.0.0.8:80 NAT 1 | 10.0.0.7:0 DR 1\n",
		},
		{
			"families",
			"virtual_server_group V {\n10.0.0.1 80\n2001:db8::1 80\nfwmark 8 inet6\n}\nvirtual_server group V {\nlb_kind DR\nprotocol TCP\nreal_server 10.0.0.7 {\n}\nreal_server 2001:db8::7 {\n}\nreal_server 10.0.0.8 {\nlvs_method TUN\n}\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.8:80 TUN 1 | 10.0.0.7:80 DR 1\nTCP [2001:db8::1]:80 | 10.0.0.8:80 TUN 1 | [2001:db8::7]:80 DR 1\nFWM 8 IPv6 | 10.0.0.8:0 TUN 1 | [2001:db8::7]:0 DR 1\n",
		},
		{
			"tunnels",
			"virtual_server 10.0.0.1 80 {\nlb_kind TUN\nprotocol TCP\nreal_server 10.0.0.7 80 {\n}\nreal_server 10.0.0.8 80 {\nlvs_method TUN type gue port 6080 remcsum\n}\nreal_server 10.0.0.9 80 {\nlvs_method TUN type gre csum\n}\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.9:80 TUN 1 {Type:2 Sum:1 Port:0} | 10.0.0.8:80 TUN 1 {Type:1 Sum:2 Port:6080} | 10.0.0.7:80 TUN 1\n",
		},
		{
			"servers on this host",
			"virtual_server 10.0.0.1 80 {\nlb_kind TUN\nprotocol TCP\nreal_server 10.0.1.1 80 {\n}\nreal_server 127.0.0.1 80 {\nlvs_method DR\n}\nreal_server 10.0.0.1 80 {\nlvs_method NAT\n}\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.1:80 local 1 | 127.0.0.1:80 local 1 | 10.0.1.1:80 local 1\n",
		},
		{
			"who stands in has a method of its own",
			"virtual_server 10.0.0.1 80 {\nlb_kind NAT\nprotocol TCP\nsorry_server 10.0.0.9 80\nsorry_server_lvs_method TUN type gre\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.9:80 TUN 1 {Type:2 Sum:0 Port:0}\n",
		},
		{
			"who is to stand in may wait in the pool",
			"virtual_server_group V {\n10.0.0.1 80\n10.0.0.1 81\n}\nvirtual_server group V {\nlb_kind DR\nprotocol TCP\nsorry_server 10.0.0.9\nsorry_server_inhibit\nreal_server 10.0.0.7 {\n}\n}\n",
			"TCP 10.0.0.1:80 | 10.0.0.9:80 DR 0 | 10.0.0.7:80 DR 1\nTCP 10.0.0.1:81 | 10.0.0.9:81 DR 0 | 10.0.0.7:81 DR 1\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newMachine(t, parse(t, tt.text)).pools(); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// TestPoolsFollowTheChecks: each check of a server counts for all entries of a group, and so
// does the quorum.
func TestPoolsFollowTheChecks(t *testing.T) {
	server := func(last int, extra string) string {
		return fmt.Sprintf("real_server 10.0.0.%d 80 {\n%s\nTCP_CHECK {\nretry 0\n}\n}\n", last, extra)
	}
	m := newMachine(t, parse(t, "virtual_server_group V {\n10.0.0.1 80\n10.0.0.1 81\n}\nvirtual_server group V {\nlb_algo rr\nlb_kind DR\nprotocol TCP\nquorum 2\nsorry_server 10.0.0.9 80\n"+
		server(7, "")+server(8, "inhibit_on_failure")+server(9, "weight 5")+"}\n"))
	for _, step := range []struct {
		check int
		ok    bool
		want  string // of port 81
		said  []string
	}{
		{0, true, "10.0.0.9:81 DR 5 | 10.0.0.8:81 DR 1 | 10.0.0.7:81 DR 1", nil},
		{1, false, "10.0.0.9:81 DR 5 | 10.0.0.8:81 DR 0 | 10.0.0.7:81 DR 1", []string{"RS [10.0.0.8]:tcp:80 [V]:0 DOWN"}},
		{0, false, "10.0.0.9:81 DR 5 | 10.0.0.8:81 DR 0", []string{"RS [10.0.0.7]:tcp:80 [V]:0 DOWN"}},
		{2, false, "10.0.0.9:81 DR 1 | 10.0.0.8:81 DR 0", []string{"RS [10.0.0.9]:tcp:80 [V]:0 DOWN", "VS [V]:0 DOWN"}},
		{1, true, "10.0.0.9:81 DR 1 | 10.0.0.8:81 DR 0", []string{"RS [10.0.0.8]:tcp:80 [V]:0 UP"}},
		{0, true, "10.0.0.7:81 DR 1 | 10.0.0.8:81 DR 1", []string{"RS [10.0.0.7]:tcp:80 [V]:0 UP", "VS [V]:0 UP"}},
		{2, true, "10.0.0.9:81 DR 5 | 10.0.0.7:81 DR 1 | 10.0.0.8:81 DR 1", []string{"RS [10.0.0.9]:tcp:80 [V]:0 UP"}},
	} {
		m.said = nil
		m.step(CheckDone{Check: step.check, OK: step.ok})
		want := "TCP 10.0.0.1:80 | " + strings.ReplaceAll(step.want, ":81", ":80") + "\nTCP 10.0.0.1:81 | " + step.want + "\n"
		if got := m.pools(); got != want || !slices.Equal(m.said, step.said) {
			t.Errorf("check %d is %v: got\n%swant\n%s%q", step.check, step.ok, got, want, m.said)
		}
	}
}

// TestServerBecomesLocal when its address comes to this host, and is a neighbour again when
// it has left.
func TestServerBecomesLocal(t *testing.T) {
	m := newMachine(t, parse(t, "virtual_server 10.0.0.1 80 {\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.0.7 80 {\n}\n}\n"))
	for _, present := range []bool{true, false} {
		m.step(AddressChanged{Port: 1, Prefix: netip.MustParsePrefix("10.0.0.7/32"), Present: present})
		method := map[bool]string{true: "local", false: "NAT"}[present]
		if got, want := m.pools(), "TCP 10.0.0.1:80 | 10.0.0.7:80 "+method+" 1\n"; got != want {
			t.Errorf("present %v: got %swant %s", present, got, want)
		}
	}
}

// TestReloadOfAGroup: entries come and go; what stays keeps its connections, and nothing is
// said of servers that stay.
func TestReloadOfAGroup(t *testing.T) {
	file := func(entries, method string) string {
		return "virtual_server_group V {\n" + entries + "\n}\nvirtual_server group V {\nlb_algo rr\nlb_kind " + method + "\nprotocol TCP\nreal_server 10.0.0.7 {\n}\n}\n"
	}
	m := newMachine(t, parse(t, file("10.0.0.1 80\n10.0.0.1 81", "DR")))
	m.step(Received{Port: 1, Frame: arpFrom(6)})
	send := func(port uint16, flags uint8) Fate {
		f := proto.AppendEthernet(nil, macOf(0), macOf(8), proto.EtherTypeIPv4)
		f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: addrOf(8), Dst: addrOf(0)}.Append(f, 20)
		var out Batch
		m.n.Frame(m.now, 1, nil, proto.TCPHeader{SrcPort: 1000, DstPort: port, Flags: flags}.Append(f), &out)
		return out.Verdicts[0].Fate
	}
	for _, port := range []uint16{80, 81} {
		if got := send(port, proto.TCPSyn); got != Forwarded {
			t.Fatalf("SYN to %d: %v", port, got)
		}
	}
	m.said = nil
	m.reload(t, parse(t, file("10.0.0.1 82\n10.0.0.1 81", "TUN")))
	if got, want := m.pools(), "TCP 10.0.0.1:81 | 10.0.0.7:81 TUN 1\nTCP 10.0.0.1:82 | 10.0.0.7:82 TUN 1\n"; got != want || len(m.said) > 0 {
		t.Errorf("got\n%swant\n%s%q", got, want, m.said)
	}
	if got := send(80, proto.TCPAck); got != Dropped {
		t.Errorf("a service that is gone: %v", got)
	}
	if s := m.n.fwd.Services()[0]; s.Servers[0].Active != 1 {
		t.Errorf("the connection is lost: %+v", s)
	}
}

// TestPacketMarks: packets that a line of packet_mark means go to the service of the mark, by
// the interface that it names, unless their address is virtual and elsewhere.
func TestPacketMarks(t *testing.T) {
	const text = "global_defs {\n@ringkeep packet_mark 7 iif eth1 ip daddr 10.2.0.0/16 tcp dport 8000-8010\n@ringkeep packet_mark 8 tcp dport 9\n}\n" +
		"virtual_server fwmark 7 {\nlb_kind DR\nreal_server 10.0.1.7 {\n}\n}\nvirtual_server fwmark 8 {\nlb_kind DR\nreal_server 10.0.1.7 {\n}\n}\n"
	m := newMachine(t, parse(t, text+strings.Replace(instanceText("A", "", 51), "priority 100", "priority 50", 1)))
	m.step(Received{Port: 2, Frame: proto.ARPMessage{Op: proto.ARPReply, SenderMAC: macOf(6), Sender: netip.MustParseAddr("10.0.1.7"), TargetMAC: macOf(1), Target: netip.MustParseAddr("10.0.1.1")}.
		Append(proto.AppendEthernet(nil, macOf(1), macOf(6), proto.EtherTypeARP))})
	sport := uint16(1000)
	send := func(port int, to string) Fate {
		dst := netip.MustParseAddrPort(to)
		f := proto.AppendEthernet(nil, m.n.ports[port].link.MAC, macOf(8), proto.EtherTypeIPv4)
		f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: netip.MustParseAddr("192.0.2.1"), Dst: dst.Addr()}.Append(f, 20)
		sport++
		var out Batch
		m.n.Frame(m.now, port, nil, proto.TCPHeader{SrcPort: sport, DstPort: dst.Port(), Flags: proto.TCPSyn}.Append(f), &out)
		return out.Verdicts[0].Fate
	}
	for _, tt := range []struct {
		port int
		to   string
		want Fate
	}{
		{2, "10.2.0.1:8000", Forwarded}, {2, "10.2.9.9:8010", Forwarded}, {2, "10.2.0.1:8011", Dropped}, {2, "10.3.0.1:8000", Dropped}, {1, "10.2.0.1:8000", Dropped},
		{1, "10.3.0.1:9", Forwarded}, {1, "10.0.0.51:9", Delivered},
	} {
		if got := send(tt.port, tt.to); got != tt.want {
			t.Errorf("%s by port %d: %v, want %v", tt.to, tt.port, got, tt.want)
		}
	}
	m.run(10 * time.Second) // A is MASTER now, and has its address
	if got := send(1, "10.0.0.51:9"); got != Forwarded {
		t.Errorf("the own virtual address: %v", got)
	}
	m.reload(t, parse(t, strings.Replace(strings.Replace(text, "8000-8010", "8011", 1), "iif eth1", "iif eth0", 1)))
	if old, is := send(2, "10.2.0.1:8000"), send(1, "10.2.0.1:8011"); old != Dropped || is != Forwarded {
		t.Errorf("after a reload: %v %v", old, is)
	}
	m.run(m.now + time.Second)
	if got := send(1, "10.0.0.51:9"); got != Forwarded {
		t.Errorf("an address that is virtual no longer, nor here: %v", got)
	}
	_, err := New(parse(t, strings.Replace(text, "eth1", "eth9", 1)), hostLinks(), 1)
	if want := "test.conf:2:11: interface eth9 does not exist (this host has lo, eth0, eth1)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestServiceSettings has lines of a virtual server and what they are in the forwarder.
func TestServiceSettings(t *testing.T) {
	for _, tt := range []struct {
		global, lines string
		want          forward.Service
	}{
		{"", "", forward.Service{}},
		{"", "@ringkeep midstream drop", forward.Service{Midstream: forward.Drop}},
		{"@ringkeep midstream schedule", "", forward.Service{Midstream: forward.Schedule}},
		{"@ringkeep midstream schedule", "@ringkeep midstream reset", forward.Service{}},
		{"", "@ringkeep conn_reuse_mode 0", forward.Service{Reuse: forward.ReuseNever}},
		{"@ringkeep conn_reuse_mode 2", "", forward.Service{Reuse: forward.ReuseFinWait}},
		{"", "@ringkeep expire_nodest_conn\n@ringkeep expire_quiescent_template on", forward.Service{ExpireNoDest: true, ExpireQuiescent: true}},
		{"@ringkeep cache_bypass\n@ringkeep packet_mark 7 udp", "", forward.Service{CacheBypass: true}}, // the address has none
		{"", "ops", forward.Service{OnePacket: true}},
		{"", "persistence_granularity 64", forward.Service{Persistence: 360 * time.Second, PersistenceMask: 64}},
	} {
		text := "global_defs {\n" + tt.global + "\n}\nvirtual_server_group V {\n2001:db8::1 80\n10.0.0.1 80\nfwmark 7\n}\nvirtual_server group V {\nlb_algo mh\nprotocol UDP\nlb_kind DR\n" + tt.lines + "\n}\n"
		for i, s := range newMachine(t, parse(t, text)).n.fwd.Services() {
			want := tt.want
			want.Key, want.Scheduler, want.Options = s.Key, "mh", s.Options
			want.CacheBypass = want.CacheBypass && i == 2
			if bits := s.Key.Addr.Addr().BitLen(); want.PersistenceMask == 0 || want.PersistenceMask > bits {
				want.PersistenceMask = bits // of all of the address
			}
			if s.Service != want {
				t.Errorf("%s %s: got %+v, want %+v", tt.global, tt.lines, s.Service, want)
			}
		}
	}
	timeouts := func(lines string) string {
		tcp, fin, udp := newMachine(t, parse(t, "global_defs {\n"+lines+"\n}\n")).n.fwd.Timeouts()
		return fmt.Sprint(tcp, fin, udp)
	}
	if got := timeouts("lvs_timeouts tcp 60 udp 7"); got != "1m0s 2m0s 7s" {
		t.Error(got)
	}
	if got := timeouts(""); got != "15m0s 2m0s 5m0s" {
		t.Error(got)
	}
}

// TestNeighbourOfAServerThatIsGone: a reload without a server ends the questions for its MAC;
// when it comes back it is asked for anew, and meanwhile no other's is taken for it.
func TestNeighbourOfAServerThatIsGone(t *testing.T) {
	file := func(last ...int) string {
		text := "virtual_server 10.0.0.1 80 {\nlb_algo rr\nlb_kind DR\nprotocol TCP\n"
		for _, i := range last {
			text += fmt.Sprintf("real_server 10.0.0.%d 80 {\n}\n", i)
		}
		return text + "}\n"
	}
	m := newMachine(t, parse(t, file(7, 8)))
	m.step(Received{Port: 1, Frame: arpFrom(7)})
	m.reload(t, parse(t, file(8)))
	if list := m.n.neighbours; len(list) != 1 || list[0].addr != addrOf(7) || !list[0].resolved {
		t.Fatalf("neighbours %+v", list)
	}
	m.reload(t, parse(t, file(7, 8)))
	if list := m.n.neighbours; len(list) != 2 || list[1].addr != addrOf(6) || list[1].resolved {
		t.Fatalf("neighbours %+v", list)
	}
	for id, want := range []hop{1, 0} {
		if got := m.n.hops[id]; got != want {
			t.Errorf("server %d is behind neighbour %d, not %d", id, got, want)
		}
	}
}

// TestFramesDoNotWaitForEver: what waits for a neighbour that stays silent is given up, and
// not sent when it wakes up.
func TestFramesDoNotWaitForEver(t *testing.T) {
	w := serviceWorld(t)
	w.run(10 * time.Second)
	var b Batch
	w.nodes[0].Frame(w.now, 1, make([]byte, proto.VirtioLen), syn(1000, proto.TCPSyn), &b)
	if b.Verdicts[0].Fate != Held {
		t.Fatalf("%v", b.Verdicts)
	}
	w.carry(0, b.Actions)
	w.run(w.now + 10*time.Second)
	for _, a := range w.nodes[0].Step(w.now, Received{Port: 1, Frame: arpFrom(3)}, nil) {
		if s, ok := a.(Send); ok && proto.Ethernet(s.Frame).Type() == proto.EtherTypeIPv4 {
			t.Errorf("sent ten seconds later: %x", s.Frame)
		}
	}
}
