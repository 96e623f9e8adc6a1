package forward

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// tshark reads packets and prints the protocols of each, with BAD behind those of which a
// checksum is wrong or that are malformed.
func tshark(t *testing.T, packets [][]byte) (lines []string) {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no tshark to compare with")
	}
	name := filepath.Join(t.TempDir(), "packets.pcap")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for _, b := range packets {
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(b), Length: len(b)}, b); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-n", "-r", name, "-T", "fields"}
	for _, layer := range []string{"ip", "tcp", "udp"} {
		args = append(args, "-o", layer+".check_checksum:TRUE")
	}
	for _, field := range []string{"frame.protocols", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "gre.checksum.status",
		"icmp.checksum.status", "icmpv6.checksum.status", "_ws.malformed"} {
		args = append(args, "-e", field)
	}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines = strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	for i, line := range lines {
		protocols, states, _ := strings.Cut(line, "\t")
		lines[i] = strings.TrimPrefix(protocols, "raw:")
		if strings.ContainsAny(states, "0_") { // 1 is right, 0 wrong; 2 and 3 are not verified
			lines[i] += " BAD"
		}
	}
	return lines
}
