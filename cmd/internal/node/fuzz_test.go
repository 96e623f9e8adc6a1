package node

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// everyMethod is a director of services of every method and both families, on ports of which
// tshark knows no protocol.
const everyMethod = `
global_defs {
    @ringkeep packet_mark 7 ip daddr 10.0.0.100 udp dport 9170-9175
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    priority 255
    virtual_ipaddress {
        10.0.0.100/32
    }
    virtual_ipaddress_excluded {
        2001:db8::100/128
    }
}
virtual_server 10.0.0.100 9180 {
    protocol TCP
    lvs_method DR
    real_server 10.0.0.21 9180 {
    }
}
virtual_server 10.0.0.100 9181 {
    protocol TCP
    lvs_method NAT
    real_server 10.0.0.22 9188 {
    }
}
virtual_server 10.0.0.100 9182 {
    protocol TCP
    lvs_method TUN
    real_server 10.0.0.23 9182 {
    }
}
virtual_server 10.0.0.100 9153 {
    protocol UDP
    lvs_method NAT
    real_server 10.0.0.24 9155 {
    }
}
virtual_server 10.0.0.100 9154 {
    protocol UDP
    ops
    lvs_method TUN type gue port 6080
    real_server 10.0.0.25 9154 {
    }
}
virtual_server fwmark 7 {
    lvs_method DR
    real_server 10.0.0.26 {
    }
}
virtual_server 2001:db8::100 9180 {
    protocol TCP
    lvs_method DR
    real_server 2001:db8::21 9180 {
    }
}
virtual_server 2001:db8::100 9181 {
    protocol TCP
    lvs_method NAT
    real_server 2001:db8::22 9188 {
    }
}
virtual_server 2001:db8::100 9182 {
    protocol TCP
    lvs_method TUN type gre
    real_server 10.0.0.27 9182 {
    }
}
`

var (
	directorMAC = macOf(0)
	clientMAC   = proto.MAC{2, 0, 0, 0, 9, 9}
	serverMAC   = proto.MAC{2, 0, 0, 0, 7, 7} // of every server: one host is the sink of all
)

// everything is that director as MASTER, with the MACs of its servers known.
func everything(t testing.TB) *Node {
	cfg, messages := config.Parse("every.conf", []byte(everyMethod), config.Options{})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	n, err := New(cfg, []Link{
		{Name: "lo", Loopback: true, Up: true},
		{Name: "eth0", MAC: directorMAC, MTU: 1500, Up: true, Prefixes: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("fe80::1/64")}},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	n.Step(0, Start{}, nil)
	for _, vip := range []string{"10.0.0.100/32", "2001:db8::100/128"} {
		n.Step(0, AddressChanged{Port: 1, Prefix: netip.MustParsePrefix(vip), Present: true}, nil)
	}
	for i := range n.neighbours {
		n.learn(0, i, serverMAC)
	}
	return n
}

// frames are one of each kind that the director acts on, and answers.
func frames() (list [][]byte) {
	add := func(six bool, b []byte) {
		typ := uint16(proto.EtherTypeIPv4)
		if six {
			typ = proto.EtherTypeIPv6
		}
		list = append(list, append(proto.AppendEthernet(nil, directorMAC, clientMAC, typ), b...))
	}
	for _, vip := range []string{"10.0.0.100", "2001:db8::100"} {
		client := "10.0.0.9"
		if strings.Contains(vip, ":") {
			client = "2001:db8::9"
		}
		c, v := netip.MustParseAddr(client), netip.MustParseAddr(vip)
		for _, port := range []uint16{9180, 9181, 9182} {
			add(v.Is6(), segmentOf(c, v, 9100, port, proto.TCPSyn, 0))
			add(v.Is6(), segmentOf(c, v, 9100, port, proto.TCPAck, 600))
			add(v.Is6(), segmentOf(c, v, 9100, port, proto.TCPAck, 1400))
			add(v.Is6(), segmentOf(c, v, 9101, port, proto.TCPAck, 10))
		}
		for _, port := range []uint16{9153, 9154, 9170} {
			add(v.Is6(), datagramOf(c, v, 9100, port, 300))
		}
	}
	add(false, segmentOf(netip.MustParseAddr("10.0.0.22"), netip.MustParseAddr("10.0.0.9"), 9188, 9100, proto.TCPSyn|proto.TCPAck, 0))
	add(false, datagramOf(netip.MustParseAddr("10.0.0.24"), netip.MustParseAddr("10.0.0.9"), 9155, 9100, 200))
	add(true, segmentOf(netip.MustParseAddr("2001:db8::22"), netip.MustParseAddr("2001:db8::9"), 9188, 9100, proto.TCPAck, 77))
	for _, f := range list[:len(list):len(list)] { // ICMP errors about answers
		if eth := proto.Ethernet(f); eth.Type() == proto.EtherTypeIPv4 {
			p := proto.IPv4(eth.Payload())
			q := append(proto.IPv4Header{TTL: 60, Protocol: p.Protocol(), Src: p.Dst(), Dst: p.Src()}.Append(nil, 8), p.Payload()[2:4]...)
			q = append(append(q, p.Payload()[:2]...), 0, 0, 0, 0)
			m := append([]byte{proto.ICMPUnreachable, 4, 0, 0, 0, 0, 5, 0}, q...)
			sum := proto.Checksum(m)
			m[2], m[3] = byte(sum>>8), byte(sum)
			add(false, append(proto.IPv4Header{TTL: 60, Protocol: proto.ProtocolICMP, Src: netip.MustParseAddr("10.0.0.8"), Dst: p.Dst()}.Append(nil, len(m)), m...))
		}
	}
	return list
}

func around(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	if src.Is6() {
		return append(proto.IPv6Header{HopLimit: 60, NextHeader: protocol, Src: src, Dst: dst}.Append(nil, len(payload)), payload...)
	}
	return append(proto.IPv4Header{ID: 7, TTL: 60, Protocol: protocol, Src: src, Dst: dst}.Append(nil, len(payload)), payload...)
}

func segmentOf(src, dst netip.Addr, sport, dport uint16, flags uint8, data int) []byte {
	b := append(proto.TCPHeader{SrcPort: sport, DstPort: dport, Seq: 1, Ack: 1, Flags: flags, Window: 1000}.Append(nil), make([]byte, data)...)
	proto.SealTCP(b, src, dst)
	return around(src, dst, proto.ProtocolTCP, b)
}

func datagramOf(src, dst netip.Addr, sport, dport uint16, data int) []byte {
	b := append(proto.UDPHeader{SrcPort: sport, DstPort: dport}.Append(nil, data), make([]byte, data)...)
	proto.SealUDP(b, src, dst)
	return around(src, dst, proto.ProtocolUDP, b)
}

// leaving gives a frame to the director and returns what leaves, as it stands on the wire.
func leaving(n *Node, frame []byte) (out [][]byte) {
	var b Batch
	n.Frame(time.Second, 1, make([]byte, proto.VirtioLen), frame, &b)
	if b.Verdicts[0].Fate == Forwarded {
		out = append(out, frame)
	}
	for _, f := range b.Built {
		out = append(out, f.Buf[proto.VirtioLen:])
	}
	for _, a := range b.Actions {
		if s, ok := a.(Send); ok {
			out = append(out, s.Frame)
		}
	}
	return out
}

// FuzzFrame throws frames at a director of every method: nothing panics, and nothing leaves
// that is malformed, unless the frame was that came.
func FuzzFrame(f *testing.F) {
	seeds := frames()
	for _, s := range seeds {
		f.Add(s)
	}
	n := everything(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, s := range seeds { // the connections are there
			leaving(n, bytes.Clone(s))
		}
		was := flaw(frame)
		for _, out := range leaving(n, bytes.Clone(frame)) {
			if err := flaw(out); err != "" && was == "" {
				t.Fatalf("%s:\n%x\nmade of\n%x", err, out, frame)
			}
		}
	})
}

// flaw is what a frame has that a kernel would drop it for, as gopacket reads it; "" for
// none: a length that is not kept, or a wrong checksum of the header.
func flaw(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	if e := p.ErrorLayer(); e != nil {
		return e.Error().Error()
	}
	if p.Metadata().Truncated {
		return "truncated"
	}
	if eth := proto.Ethernet(frame); eth.Type() == proto.EtherTypeIPv4 {
		ip, err := proto.ParseIPv4(eth.Payload())
		if err != nil || !ip.ChecksumOK() {
			return fmt.Sprintf("header: %v", err)
		}
	}
	return ""
}

// mutated are frames of which some bytes were changed, cut away or added, each by chance.
func mutated(count int) (list [][]byte) {
	random, seeds := rand.New(rand.NewPCG(1, 2)), frames()
	for range count {
		f := bytes.Clone(seeds[random.IntN(len(seeds))])
		for range random.IntN(4) {
			switch at := proto.EthernetLen + random.IntN(len(f)-proto.EthernetLen); random.IntN(5) {
			case 0:
				f = f[:at]
			case 1:
				f = append(f, make([]byte, random.IntN(64))...)
			default: // the headers more often than the rest
				f[proto.EthernetLen+random.IntN(min(60, len(f)-proto.EthernetLen))] = byte(random.Uint32())
			}
			if len(f) <= proto.EthernetLen+1 {
				break
			}
		}
		if eth := proto.Ethernet(f); random.IntN(2) == 0 && len(f) >= 34 && eth.Type() == proto.EtherTypeIPv4 && f[14]&15 == 5 {
			f[24], f[25] = 0, 0 // half of them with a right header, to be looked at further
			sum := proto.Checksum(f[14:34])
			f[24], f[25] = byte(sum>>8), byte(sum)
		}
		list = append(list, f)
	}
	return list
}

// TestNothingMalformedLeaves gives the director 20,000 mutated frames. tshark finds nothing
// malformed in what leaves, unless it finds it in the frame that came; and a kernel
// that gets all of it counts no more errors in headers than it does for what came.
func TestNothingMalformedLeaves(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 frames through tshark and a kernel")
	}
	n := everything(t)
	for _, f := range frames() {
		leaving(n, f)
	}
	var came, left [][]byte
	for _, f := range mutated(20_000) {
		for _, out := range leaving(n, bytes.Clone(f)) {
			came, left = append(came, f), append(left, bytes.Clone(out))
		}
	}
	if len(left) < 5_000 {
		t.Fatalf("only %d frames left", len(left))
	}
	before, after := malformed(t, came), malformed(t, left)
	for i := range left {
		if after[i] && !before[i] {
			t.Errorf("tshark calls malformed:\n%x\nmade of\n%x", left[i], came[i])
		}
	}
	t.Logf("%d frames left, %d malformed as they came", len(left), count(before))
	var sound [][]byte
	for i := range left {
		if flaw(came[i]) == "" {
			sound = append(sound, left[i])
		}
	}
	if errors := kernelErrors(t, sound); errors > 0 {
		t.Errorf("the kernel found %d errors in headers of %d frames", errors, len(sound))
	}
}

func count(list []bool) (n int) {
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
}

// lacking skips a test for want of something; on the build machine it fails.
func lacking(t *testing.T, what error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// malformed tells of which frames tshark says so.
func malformed(t *testing.T, list [][]byte) []bool {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		lacking(t, err)
	}
	name := filepath.Join(t.TempDir(), "frames.pcap")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(b), Length: len(b)}, b); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-n", "-r", name, "-Y", "_ws.malformed", "-T", "fields", "-e", "frame.number"}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	found := make([]bool, len(list))
	for _, word := range strings.Fields(string(out)) {
		if i, err := strconv.Atoi(word); err == nil {
			found[i-1] = true
		}
	}
	return found
}

// kernelErrors sends frames into a kernel that has every address and MAC they go to, and returns how
// many errors in headers it counts.
func kernelErrors(t *testing.T, list [][]byte) (errors int) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, os.ErrPermission)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with its namespace
		var err error
		errors, err = sink(list)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return errors
}

// sink is the kernel of a new namespace, on the thread that calls.
func sink(list [][]byte) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "in", MTU: 9000}, PeerName: "out"}
	if err := netlink.LinkAdd(veth); err != nil {
		return 0, err
	}
	for _, name := range []string{"in", "out"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return 0, err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return 0, err
		}
		if name == "in" {
			continue
		}
		for _, a := range []string{"10.0.0.0/24", "2001:db8::/64"} { // every address there is this host's
			dst, _ := netlink.ParseIPNet(a)
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}); err != nil {
				return 0, fmt.Errorf("route %s: %w", a, err)
			}
		}
		for _, f := range list {
			copy(f, link.Attrs().HardwareAddr)
		}
	}
	in, err := netlink.LinkByName("in")
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	got, was := headerErrors()
	for i, f := range list {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: in.Attrs().Index}); err != nil {
			return 0, fmt.Errorf("frame %d of %d bytes: %w", i, len(f), err)
		}
	}
	received, now := headerErrors()
	if received-got < len(list)/2 {
		return 0, fmt.Errorf("the kernel saw %d of %d frames", received-got, len(list))
	}
	return now - was, nil
}

// headerErrors reads the counters of the namespace: packets received, and those dropped for
// their headers.
func headerErrors() (received, errors int) {
	text, _ := os.ReadFile("/proc/thread-self/net/snmp")
	var names []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if words[0] != "Ip:" {
			continue
		}
		for i, w := range words[1:] {
			if names == nil || len(names) < len(words)-1 {
				names = append(names, w)
				continue
			}
			v, _ := strconv.Atoi(w)
			switch names[i] {
			case "InReceives":
				received += v
			case "InHdrErrors":
				errors += v
			}
		}
	}
	text, _ = os.ReadFile("/proc/thread-self/net/snmp6")
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		v, _ := strconv.Atoi(words[1])
		switch words[0] {
		case "Ip6InReceives":
			received += v
		case "Ip6InHdrErrors", "Ip6InTruncatedPkts":
			errors += v
		}
	}
	return received, errors
}
