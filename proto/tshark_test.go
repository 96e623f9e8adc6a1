package proto

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// tshark knows both versions of VRRP and verifies the checksum of version 3 with the
// pseudo-header. All captures go through it in one run.
func TestCapturesAgainstTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no tshark to compare with")
	}
	file, frames := mergeCaptures(t)
	fields := []string{"frame.number", "vrrp.version", "vrrp.type", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.addr_count",
		"vrrp.adver_int", "vrrp.short_adver_int", "vrrp.auth_type", "vrrp.checksum", "vrrp.checksum.status", "vrrp.ip_addr"}
	args := []string{"-r", file, "-Y", "vrrp && ip && !ah && !icmp && !_ws.malformed", "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(tshark, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		number, theirs, _ := strings.Cut(line, "\t")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		ours, ok := tsharkFields(frames[n-1])
		if ok && ours != theirs {
			t.Errorf("frame %d, %s:\nours   %q\ntheirs %q", n, describe(frames[n-1]), ours, theirs)
		}
	}
	if len(lines) < 400 {
		t.Errorf("tshark compared %d frames only", len(lines))
	}
}

// mergeCaptures writes the frames of all captures to one file.
func mergeCaptures(t *testing.T) (file string, frames [][]byte) {
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
	for _, name := range captures(t) {
		for _, c := range readCapture(t, name) {
			info := gopacket.CaptureInfo{Timestamp: c.at, CaptureLength: len(c.data), Length: len(c.data)}
			if err := w.WritePacket(info, c.data); err != nil {
				t.Fatal(err)
			}
			frames = append(frames, c.data)
		}
	}
	return file, frames
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
