package node

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// vmacConf is the configuration of the recordings ka227-v3-ipv4-vmac and -ipv6-vmac.
func vmacConf(prefixes ...string) *config.Instance {
	c := instanceConf(100)
	c.Version, c.UseVMAC, c.Addresses, c.Excluded, c.GARPMasterRepeat = 3, &config.VMAC{}, nil, nil, 1
	for _, p := range prefixes {
		c.Addresses = append(c.Addresses, config.Address{Prefix: netip.MustParsePrefix(p)})
	}
	return c
}

var (
	baseMAC  = proto.MAC{2, 0, 0, 0, 0x77, 1}
	baseLink = Link{Name: "eth0", MAC: baseMAC, Up: true, Prefixes: []netip.Prefix{
		netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix("fe80::ff:fe00:7701/64"),
	}}
)

func vmacNode(t *testing.T, c *config.Instance, links ...Link) *Node {
	t.Helper()
	cfg := with(c)
	cfg.Global.VMACPrefix = "vrrp"
	n, err := New(cfg, append([]Link{baseLink}, links...), 1)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// master has the node start and win, and returns what that makes it do.
func master(n *Node) []Action {
	n.Step(0, Start{}, nil)
	at, _ := n.Deadline()
	return n.Step(at, Tick{}, nil)
}

// The frames of a new MASTER are those of keepalived to the byte: V17, V18, V20 and V22. Of
// IPv6, the flow label of keepalived's is the kernel's.
func TestFramesWithAVirtualMAC(t *testing.T) {
	for _, tt := range []struct {
		prefixes []string
		want     []string
	}{
		{[]string{"10.77.0.100/24", "10.77.0.101/24"}, []string{"V17", "V20"}},
		{[]string{"fe80::77:100/64", "2001:db8:77::100/64"}, []string{"V18", "V22"}},
	} {
		var frames [][]byte
		for _, a := range master(vmacNode(t, vmacConf(tt.prefixes...))) {
			if s, ok := a.(Send); ok {
				frames = append(frames, s.Frame)
			}
		}
		if len(frames) != 3 {
			t.Fatalf("%d frames", len(frames))
		}
		for i, number := range tt.want {
			want := vector(t, number)
			if number == "V18" {
				const label = 15
				copy(want[label:], []byte{frames[i][label], 0, 0})
			}
			if !bytes.Equal(frames[i], want) {
				t.Errorf("%s:\ngot  %x\nwant %x", number, frames[i], want)
			}
		}
	}
}

// With vmac_xmit_base the advertisements have the MAC of the interface, the announcements the
// virtual one (recording ka227-v3-ipv4-vmac-xmitbase).
func TestXmitBase(t *testing.T) {
	c := vmacConf("10.77.0.100/24")
	c.VMACXmitBase = true
	got := sent(master(vmacNode(t, c)))
	if len(got) != 2 || !strings.HasPrefix(got[0], baseMAC.String()+" > 01:00:5e:00:00:12 ") ||
		got[1] != "00:00:5e:00:01:33 > ff:ff:ff:ff:ff:ff gratuitous ARP: 10.77.0.100 is at 00:00:5e:00:01:33" {
		t.Errorf("sent %q", got)
	}
}

// Addresses of the instance's family without a device go on the macvlan, others on the
// interface under it (reference 6.1); the sockets are on that one alone.
func TestAddressesOnTheMacvlan(t *testing.T) {
	c := vmacConf("10.77.0.100/24")
	c.Excluded = []config.Address{{Prefix: netip.MustParsePrefix("2001:db8:77::100/64")}, {Prefix: netip.MustParsePrefix("10.77.0.102/32"), Device: "eth0"}}
	n := vmacNode(t, c)
	var got []string
	for _, a := range master(n) {
		if a, ok := a.(AddAddress); ok {
			got = append(got, a.Prefix.String()+" "+a.Device)
		}
	}
	want := []string{"10.77.0.100/24 vrrp.51", "2001:db8:77::100/64 eth0", "10.77.0.102/32 eth0"}
	if !slices.Equal(got, want) {
		t.Errorf("added %q, want %q", got, want)
	}
	if p := n.Port("vrrp.51"); p != 1 || !reflect.DeepEqual(n.Uses()[p], Use{}) || !n.Uses()[0].Control || !slices.Equal(n.Uses()[0].Groups, []netip.Addr{vrrpGroup}) {
		t.Errorf("port %d, uses %+v", p, n.Uses())
	}
}

// A name that another interface has is left alone; an interface on the same base with the
// same MAC is no other one.
func TestNamesOfMacvlans(t *testing.T) {
	six := vmacConf("fe80::100/64")
	six.Name = "VI_6"
	named := vmacConf("10.77.0.103/24")
	named.Name, named.VRID, named.UseVMAC = "VI_N", 7, &config.VMAC{Name: "mine", MAC: "02:11:22:33:44:55"}
	cfg := with(vmacConf("10.77.0.100/24"), six, named)
	cfg.Global.VMACPrefix = "vrrp"
	mac := proto.VirtualMAC(51)
	for _, tt := range []struct {
		links []Link
		want  string
	}{
		{nil, "vrrp.51 vrrp6.51 mine"},
		{[]Link{{Name: "vrrp.51"}}, "vrrp1.51 vrrp6.51 mine"},
		{[]Link{{Name: "vrrp.51", Base: "eth0", MAC: mac}}, "vrrp.51 vrrp6.51 mine"},
		{[]Link{{Name: "vrrp.51", Base: "eth1", MAC: mac}}, "vrrp1.51 vrrp6.51 mine"},
		{[]Link{{Name: "vrrp6.51"}, {Name: "vrrp1.51"}}, "vrrp.51 vrrp2.51 mine"},
	} {
		var got []string
		for _, v := range VMACs(cfg, append(tt.links, baseLink)) {
			got = append(got, v.Name)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("beside %v: %q, want %s", tt.links, got, tt.want)
		}
	}
	if v := VMACs(cfg, nil)[2]; v.MAC.String() != "02:11:22:33:44:55" {
		t.Errorf("a MAC of the file became %v", v.MAC)
	}
	if _, err := New(cfg, []Link{baseLink, {Name: "mine"}}, 1); err == nil || !strings.Contains(err.Error(), "vrrp_instance VI_N: use_vmac mine: this host has another interface of that name") {
		t.Errorf("error %v", err)
	}
}

// A service takes frames to the virtual MAC while its node is MASTER (RFC 9568 §6.4.3), and
// drops them as BACKUP (§6.4.2); those to the MAC of the interface it takes always.
func TestServiceFramesToTheVirtualMAC(t *testing.T) {
	c := vmacConf("10.77.0.100/24")
	cfg := with(c)
	cfg.Global.VMACPrefix = "vrrp"
	cfg.VirtualServers = []*config.VirtualServer{webService(3)}
	cfg.VirtualServers[0].Addr = netip.MustParseAddrPort("10.77.0.100:80")
	n, err := New(cfg, []Link{baseLink}, 1)
	if err != nil {
		t.Fatal(err)
	}
	answered := func(dst proto.MAC) string {
		t.Helper()
		f := proto.AppendEthernet(nil, dst, macOf(9), proto.EtherTypeIPv4)
		f = proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolTCP, Src: addrOf(9), Dst: netip.MustParseAddr("10.77.0.100")}.Append(f, 20)
		f = proto.TCPHeader{SrcPort: 4000, DstPort: 80, Flags: proto.TCPAck}.Append(f)
		var b Batch
		n.Frame(time.Second, 0, nil, f, &b)
		if len(b.Actions) == 0 {
			return ""
		}
		return proto.Ethernet(b.Actions[0].(Send).Frame).Src().String()
	}
	virtual := proto.VirtualMAC(51)
	n.Step(0, Start{}, nil)
	if n.mine(0, virtual) || answered(virtual) != "" || !n.mine(0, baseMAC) {
		t.Error("a BACKUP takes frames to the virtual MAC, or none to its own")
	}
	for n.instances[0].fsm.State().String() != "MASTER" {
		at, _ := n.Deadline()
		n.Step(at, Tick{}, nil)
	}
	if got := answered(virtual); got != virtual.String() {
		t.Errorf("a MASTER answers a frame to the virtual MAC from %q", got)
	}
	if got := answered(baseMAC); got != baseMAC.String() {
		t.Errorf("a frame to the interface is answered from %q", got)
	}
	if got := answered(proto.VirtualMAC(52)); got != "" {
		t.Errorf("a frame to another router is answered from %s", got)
	}
}

// An old MASTER may answer our gratuitous ARP with the virtual MAC; 50 ms after the
// transition switches learn it back, and no kernel answers what they learn it from.
func TestTheVirtualMACIsLearnedBack(t *testing.T) {
	n := vmacNode(t, vmacConf("10.77.0.100/24"))
	master(n)
	start, _ := n.Deadline()
	got := sent(n.Step(start, Tick{}, nil))
	if len(got) != 1 || !strings.HasPrefix(got[0], "00:00:5e:00:01:33 > ff:ff:ff:ff:ff:ff ") {
		t.Fatalf("sent %q", got)
	}
	n = vmacNode(t, vmacConf("10.77.0.100/24"))
	master(n)
	n.Step(start-time.Millisecond, Stop{}, nil)
	if got := sent(n.Step(start, Tick{}, nil)); len(got) != 0 {
		t.Errorf("sent after the stop: %q", got)
	}
}
