package proto

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// tshark knows both versions of VRRP and verifies the checksum of version 3 with the
// pseudo-header. All captures go through it in one run.
func TestCapturesAgainstTshark(t *testing.T) {
	file, frames := mergeCaptures(t)
	fields := []string{"frame.number", "vrrp.version", "vrrp.type", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.addr_count",
		"vrrp.adver_int", "vrrp.short_adver_int", "vrrp.auth_type", "vrrp.checksum", "vrrp.checksum.status", "vrrp.ip_addr"}
	lines := tshark(t, file, fields, "-Y", "vrrp && ip && !ah && !icmp && !_ws.malformed")
	for _, line := range lines {
		number, theirs, _ := strings.Cut(line, "\t")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		ours, ok := tsharkFields(frames[n-1])
		if ok && ours != theirs {
			t.Errorf("frame %d, %s:\nours   %q\ntheirs %q", n, Describe(frames[n-1]), ours, theirs)
		}
	}
	if len(lines) < 400 {
		t.Errorf("tshark compared %d frames only", len(lines))
	}
}

// tshark prints fields of the frames in file, a line each, with the checksums of IPv4
// and TCP verified, which it does not do unasked.
func tshark(t *testing.T, file string, fields []string, more ...string) (lines []string) {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no tshark to compare with")
	}
	args := append([]string{"-n", "-r", file, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-T", "fields"}, more...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// mergeCaptures writes the frames of all captures to one file.
func mergeCaptures(t *testing.T) (file string, frames [][]byte) {
	t.Helper()
	var list []captured
	for _, name := range captures(t) {
		list = append(list, readCapture(t, name)...)
	}
	for _, c := range list {
		frames = append(frames, c.data)
	}
	return writeCapture(t, list), frames
}

func writeCapture(t *testing.T, list []captured) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "all.pcap")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		info := gopacket.CaptureInfo{Timestamp: c.at, CaptureLength: len(c.data), Length: len(c.data)}
		if err := w.WritePacket(info, c.data); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// tsharkFields prints what we read in the form of tshark's fields. It is not ok for
// a message that we find too short: tshark shows what there is.
func tsharkFields(frame []byte) (line string, ok bool) {
	p, err := ParseIPv4(Ethernet(frame).Payload())
	if err != nil {
		return err.Error(), true
	}
	v, err := ParseVRRP(p.Payload())
	if err != nil {
		return "", false
	}
	seconds, hundredths, auth, want := "", strconv.Itoa(int(v.Interval()/centisecond)), "", ChecksumPseudo
	if v.Version() == 2 {
		seconds, hundredths, auth, want = strconv.Itoa(int(v.Interval().Seconds())), "", strconv.Itoa(int(v.AuthType())), ChecksumMessage
	}
	status := 0
	if v.ChecksumForm(p.Src(), p.Dst()) == want {
		status = 1
	}
	var addrs []string
	for i := range v.Count() {
		addrs = append(addrs, v.Addr(i).String())
	}
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t0x%04x\t%d\t%s", v.Version(), v.Type(), v.VRID(), v.Priority(), v.Count(),
		seconds, hundredths, auth, v.Checksum(), status, strings.Join(addrs, ",")), true
}

// tsharkVerdict are the fields that tell what tshark makes of a frame of ours. A
// checksum status is 1 for good and 0 for bad, twice where a packet is quoted.
var tsharkVerdict = []string{"frame.protocols", "_ws.malformed", "ip.checksum.status", "tcp.checksum.status", "icmp.checksum.status",
	"vrrp.checksum.status", "vrrp.prio", "vrrp.adver_int", "vrrp.short_adver_int", "vrrp.auth_string", "vrrp.ip_addr",
	"arp.isgratuitous", "tcp.flags", "icmp.type", "icmp.code"}

// Our frames, whole, as they go to the wire: nothing malformed, no bad checksum. The
// damaged ones at the end show that tshark does look.
func TestTsharkReadsOurFrames(t *testing.T) {
	syn := packet(ProtocolTCP, segment(TCPHeader{Seq: 1000, Flags: TCPSyn}, 0))
	ack := packet(ProtocolTCP, segment(TCPHeader{Seq: 1000, Ack: 5000, Flags: TCPAck}, 10))
	udp := append(UDPHeader{SrcPort: 40000, DstPort: 9}.Append(nil, 4), "data"...)
	SealUDP(udp, client, vip)
	datagram := packet(ProtocolUDP, udp)
	pass := keepalivedAdvert(2, 100, 1, func(f *advertFrame) { f.msg.AuthType, f.msg.Auth = VRRPAuthPass, [8]byte([]byte("secret12")) })
	v3 := keepalivedAdvert(3, 100, 1, func(f *advertFrame) { f.msg.Interval = 10 * time.Millisecond })
	garp := func() []byte { return AppendGratuitousARP(dirty(), VirtualMAC(51), vip) }
	framed := func(build func([]byte, IPv4) []byte, about IPv4) []byte {
		return build(AppendEthernet(dirty(), mac("02:00:00:00:77:02"), VirtualMAC(51), EtherTypeIPv4), about)
	}
	damaged := func(frame []byte, at int) []byte { frame[at] ^= 1; return frame }
	cases := []struct {
		name  string
		frame []byte
		want  string // see verdict
	}{
		{"RFC 2338 §5.3.6: password", pass.append(dirty()),
			"ip:vrrp ip.sum=1 vrrp.sum=1 vrrp.prio=100 vrrp.adver_int=1 vrrp.auth_string=secret12 vrrp.ip_addr=10.77.0.100,10.77.0.101"},
		{"RFC 9568 §5.2: version 3", v3.append(dirty()),
			"ip:vrrp ip.sum=1 vrrp.sum=1 vrrp.prio=100 vrrp.short_adver_int=1 vrrp.ip_addr=10.77.0.100,10.77.0.101"},
		{"RFC 9568 §5.2.4: resignation", keepalivedAdvert(3, 0, 2, nil).append(dirty()),
			"ip:vrrp ip.sum=1 vrrp.sum=1 vrrp.prio=0 vrrp.short_adver_int=100 vrrp.ip_addr=10.77.0.100,10.77.0.101"},
		{"RFC 9568 §6.4.2: gratuitous ARP", garp(),
			"arp arp.isgratuitous=1"},
		{"RFC 9293 §3.10.7.1: reset for SYN", framed(AppendReset, syn),
			"ip:tcp ip.sum=1 tcp.sum=1 tcp.flags=0x0014"},
		{"RFC 9293 §3.10.7.1: reset for ACK", framed(AppendReset, ack),
			"ip:tcp ip.sum=1 tcp.sum=1 tcp.flags=0x0004"},
		{"RFC 1812 §5.2.7.1: port unreachable", framed(AppendPortUnreachable, datagram),
			"ip:icmp:ip:udp:data ip.sum=1,1 icmp.sum=1 icmp.type=3 icmp.code=3"},
		{"RFC 1812 §5.3.1: time exceeded", framed(AppendTimeExceeded, syn),
			"ip:icmp:ip:tcp ip.sum=1,1 tcp.sum=1 icmp.sum=1 tcp.flags=0x0002 icmp.type=11 icmp.code=0"},
		{"damaged IPv4", damaged(pass.append(dirty()), EthernetLen+ip4ID),
			"ip:vrrp ip.sum=0 vrrp.sum=1 vrrp.prio=100 vrrp.adver_int=1 vrrp.auth_string=secret12 vrrp.ip_addr=10.77.0.100,10.77.0.101 ERROR"},
		{"damaged VRRPv2", damaged(pass.append(dirty()), EthernetLen+IPv4Len+vrrpPriority),
			"ip:vrrp ip.sum=1 vrrp.sum=0 vrrp.prio=101 vrrp.adver_int=1 vrrp.auth_string=secret12 vrrp.ip_addr=10.77.0.100,10.77.0.101"},
		{"damaged VRRPv3", damaged(v3.append(dirty()), EthernetLen+IPv4Len+vrrpPriority),
			"ip:vrrp ip.sum=1 vrrp.sum=0 vrrp.prio=101 vrrp.short_adver_int=1 vrrp.ip_addr=10.77.0.100,10.77.0.101"},
		{"damaged TCP", damaged(framed(AppendReset, syn), EthernetLen+IPv4Len+tcpWindow),
			"ip:tcp ip.sum=1 tcp.sum=0 tcp.flags=0x0014 ERROR"},
		{"damaged ICMP", damaged(framed(AppendPortUnreachable, datagram), EthernetLen+IPv4Len+icmpRest),
			"ip:icmp:ip:udp:data ip.sum=1,1 icmp.sum=0 icmp.type=3 icmp.code=3"},
	}
	var list []captured
	for _, c := range cases {
		list = append(list, captured{data: c.frame})
	}
	lines := tshark(t, writeCapture(t, list), append(tsharkVerdict, "_ws.expert.severity"))
	if len(lines) != len(cases) {
		t.Fatalf("tshark printed %d lines for %d frames", len(lines), len(cases))
	}
	for i, c := range cases {
		if got := verdict(lines[i]); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// verdict prints the fields of tsharkVerdict that are there, and ERROR when tshark has
// a remark of that severity (a bad checksum, a malformed packet); it remarks on every
// reset, less severely.
func verdict(line string) string {
	const severityError = "8388608"
	var b strings.Builder
	values := strings.Split(line, "\t")
	for i, f := range tsharkVerdict {
		if values[i] != "" {
			fmt.Fprintf(&b, "%s=%s ", f, values[i])
		}
	}
	if strings.Contains(values[len(values)-1], severityError) {
		b.WriteString("ERROR")
	}
	return strings.TrimSpace(strings.NewReplacer("frame.protocols=eth:ethertype:", "", ".checksum.status", ".sum").Replace(b.String()))
}
