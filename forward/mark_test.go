package forward

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ringkeep/ringkeep/proto"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// markRules are all parts of rules, each with a mark of its own.
func markRules() []Rule {
	return []Rule{
		{Mark: 0, Port: AnyPort, Src: prefixes("192.0.2.66/32")},
		{Mark: 1, Port: 2, Protocol: proto.ProtocolTCP, Dst: prefixes("10.0.0.0/24")},
		{Mark: 2, Port: AnyPort, Protocol: proto.ProtocolTCP, Dst: prefixes("10.0.0.0/24", "10.1.0.7/32"), DstPorts: []PortRange{{80, 80}, {8000, 8100}}},
		{Mark: 3, Port: AnyPort, Protocol: proto.ProtocolUDP, SrcPorts: []PortRange{{1000, 1999}}},
		{Mark: 4, Port: AnyPort, Dst: prefixes("2001:db8::/64")},
		{Mark: 5, Port: AnyPort, Family: 6, Protocol: proto.ProtocolTCP},
		{Mark: 6, Port: AnyPort, Dst: prefixes("0.0.0.0/0"), DstPorts: []PortRange{{65535, 65535}}},
	}
}

// TestMark has a packet, the port by which it came in, and its mark: of the first rule that
// holds, 0 for none.
func TestMark(t *testing.T) {
	f := New(Config{MaxConns: 1})
	f.SetMarks(markRules())
	for _, tt := range []struct {
		packet string
		port   int32
		want   uint32
	}{
		{"192.0.2.1:7 > 10.0.0.1:80 TCP", 0, 2},
		{"192.0.2.1:7 > 10.0.0.1:80 TCP", 2, 1},
		{"192.0.2.66:7 > 10.0.0.1:80 TCP", 2, 0}, // the rule above takes it out
		{"192.0.2.1:7 > 10.0.0.1:443 TCP", 0, 0},
		{"192.0.2.1:7 > 10.0.0.1:7999 TCP", 0, 0},
		{"192.0.2.1:7 > 10.0.0.255:8000 TCP", 0, 2},
		{"192.0.2.1:7 > 10.0.0.255:8100 TCP", 0, 2},
		{"192.0.2.1:7 > 10.0.1.0:8101 TCP", 0, 0},
		{"192.0.2.1:7 > 10.1.0.7:80 TCP", 0, 2},
		{"192.0.2.1:7 > 10.1.0.8:80 TCP", 0, 0},
		{"192.0.2.1:7 > 10.0.0.1:80", 0, 0}, // UDP
		{"192.0.2.1:999 > 10.0.0.1:80", 0, 0},
		{"192.0.2.1:1000 > 10.0.0.1:80", 0, 3},
		{"192.0.2.1:1999 > 10.0.0.1:80", 0, 3},
		{"[2001:db8:1::1]:7 > [2001:db8::5]:80", 0, 4},
		{"[2001:db8:1::1]:7 > [2001:db8:0:1::5]:80", 0, 0},
		{"[2001:db8:1::1]:7 > [2001:db8:0:1::5]:80 TCP", 0, 5},
		{"[2001:db8:1::1]:7 > [2001:db8:0:1::5]:65535", 0, 0}, // 0.0.0.0/0 is of IPv4
		{"192.0.2.1:7 > 172.16.0.1:65535", 0, 6},
	} {
		if got := f.mark(tt.port, parsed(t, tt.packet), ports(tt.packet)[0], ports(tt.packet)[1]); got != tt.want {
			t.Errorf("%s by %d: mark %d, want %d", tt.packet, tt.port, got, tt.want)
		}
		if got := f.MarkOf(tt.port, build(t, strings.Fields(tt.packet))); got != tt.want {
			t.Errorf("%s by %d: MarkOf says %d, want %d", tt.packet, tt.port, got, tt.want)
		}
	}
	f.SetMarks(nil)
	if got := f.mark(2, parsed(t, "192.0.2.1:7 > 10.0.0.1:80 TCP"), 7, 80); got != 0 {
		t.Errorf("mark %d without rules", got)
	}
}

func parsed(t testing.TB, text string) packet {
	p, err := parse(build(t, strings.Fields(text)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ports(text string) [2]uint16 {
	words := strings.Fields(text)
	return [2]uint16{netip.MustParseAddrPort(words[0]).Port(), netip.MustParseAddrPort(words[2]).Port()}
}

func TestMarkAllocatesNothing(t *testing.T) {
	f := New(Config{MaxConns: 1})
	f.SetMarks(markRules())
	p := parsed(t, "192.0.2.1:7 > 172.16.0.1:65535")
	if n := testing.AllocsPerRun(100, func() { f.mark(0, p, 7, 65535) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMark(b *testing.B) {
	for _, bb := range []struct {
		name  string
		rules []Rule
	}{{"none", nil}, {"seven", markRules()}} {
		b.Run(bb.name, func(b *testing.B) {
			f := New(Config{MaxConns: 1})
			f.SetMarks(bb.rules)
			p := parsed(b, "192.0.2.1:7 > 172.16.0.1:65535")
			for b.Loop() {
				f.mark(0, p, 7, 65535)
			}
		})
	}
}
