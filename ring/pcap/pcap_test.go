package pcap

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
)

var arp = []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02")

var sampleTime = time.Unix(1700000000, 123456789)

func sample(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, []Interface{{Name: "lb1:eth0"}, {Name: "lb2:eth0", Description: "the other"}})
	if err != nil {
		t.Fatal(err)
	}
	at := sampleTime
	for i, comment := range []string{"", "dropped by: deaf lb2", "", "odd"} {
		if err := w.Write(i%2, at.Add(time.Duration(i)), arp, len(arp)+i, comment); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGopacketReadsIt(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(sample(t)), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil || !bytes.Equal(data, arp) || ci.InterfaceIndex != n%2 || ci.Length != len(arp)+n || ci.Timestamp.Nanosecond() != 123456789+n {
			t.Fatalf("packet %d: %x %+v %v", n, data, ci, err)
		}
	}
	if n != 4 {
		t.Fatalf("%d packets", n)
	}
}

func TestTsharkShowsNamesAndComments(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(file, sample(t), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tshark", "-r", file, "-T", "fields", "-E", "separator=,", "-e", "frame.interface_name", "-e", "frame.comment", "-e", "arp.dst.proto_ipv4").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "lb1:eth0,,10.0.0.2\nlb2:eth0,dropped by: deaf lb2,10.0.0.2\nlb1:eth0,,10.0.0.2\nlb2:eth0,odd,10.0.0.2\n"
	if strings.ReplaceAll(string(out), "\r", "") != want {
		t.Fatalf("tshark says\n%s", out)
	}
}
