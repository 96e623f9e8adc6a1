package proto

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// witness computes a trailer from the description of the format alone, with another
// implementation of HMAC.
const witness = `
import hmac, hashlib, ipaddress, struct, sys
for line in sys.stdin:
    src, message, key, number, sequence = line.split()
    m = bytearray.fromhex(message)
    m[6:8] = b"\0\0"
    a = ipaddress.ip_address(src)
    head = struct.pack("!BBHQ", 1, int(number), 0, int(sequence))
    data = bytes([a.version, m[0] >> 4, m[1], 0]) + a.packed.ljust(16, b"\0") + bytes(m) + head + bytes(16)
    print((head + hmac.new(bytes.fromhex(key), data, hashlib.sha256).digest()[:16]).hex())
`

// signed is an advertisement in each version and family, with a short and a long key.
type signed struct {
	src, dst netip.Addr
	advert   Advert
	key      []byte
}

func signedAdverts() (list []signed) {
	for _, version := range []uint8{2, 3} {
		for _, six := range []bool{false, true} {
			for _, key := range []int{32, 64} {
				s := signed{src: addr("10.77.0.1"), dst: addr("224.0.0.18"), key: bytes.Repeat([]byte{'k'}, key)}
				s.advert = Advert{Version: version, VRID: 51, Priority: 100, Interval: time.Second, IPv6: six, Addrs: []netip.Addr{addr("10.77.0.100"), addr("10.77.0.101")}}
				if six {
					s.src, s.dst, s.advert.Addrs = addr("fe80::1"), addr("ff02::12"), []netip.Addr{addr("fe80::100")}
				}
				list = append(list, s)
			}
		}
	}
	return list
}

const signedAt = uint64(1704067200)<<32 | 0x80000007

func TestTrailersAsAnotherProgramComputesThem(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("python3 is not installed")
	}
	var in strings.Builder
	var ours []string
	for _, s := range signedAdverts() {
		msg := s.advert.Append(nil)
		SealVRRP(msg, s.src, s.dst, ChecksumMessage) // which must not matter
		fmt.Fprintf(&in, "%s %x %x 7 %d\n", s.src, msg, s.key, signedAt)
		ours = append(ours, hex.EncodeToString(AppendTrailer(nil, msg, s.src, 7, signedAt, s.key)))
	}
	cmd := exec.Command(python, "-c", witness)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if theirs := strings.Fields(string(out)); len(theirs) != len(ours) || strings.Join(theirs, "\n") != strings.Join(ours, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
}

// A trailer is known by its length, comes apart into what it was made of, and holds for its
// message, source and key alone.
func TestTrailers(t *testing.T) {
	for _, s := range signedAdverts() {
		msg := s.advert.Append(dirty())
		whole := AppendTrailer(msg, msg, s.src, 7, signedAt, s.key)
		SealTrailer(whole, s.src, s.dst, ChecksumPseudo)
		got, trailer, ok := SplitTrailer(whole, s.advert.IPv6)
		if !ok || len(got) != len(msg) || trailer.Type() != TrailerHMAC || trailer.KeyID() != 7 || trailer.Sequence() != signedAt {
			t.Fatalf("%x came apart into %x and %x, %v", whole, got, trailer, ok)
		}
		if !trailer.Signs(got, s.src, s.key) {
			t.Errorf("%x does not hold", whole)
		}
		if trailer.Signs(got, addr("10.77.0.3"), s.key) || trailer.Signs(got, s.src, append([]byte("x"), s.key[1:]...)) {
			t.Errorf("%x holds for another source or key", whole)
		}
		summed := VRRP(whole)
		if !s.advert.IPv6 {
			summed = got // keepalived's own sum, of the message; over IPv6 it is the kernel's
		}
		form := VRRP.ChecksumForm(summed, s.src, s.dst)
		if want := ChecksumPseudo; form != want && !(s.advert.Version == 2 && !s.advert.IPv6) {
			t.Errorf("%x: checksum %v", whole, form)
		}
		for _, cut := range []int{1, VRRPTrailerLen, len(whole) - 7} {
			if _, _, ok := SplitTrailer(whole[:len(whole)-cut], s.advert.IPv6); ok {
				t.Errorf("%d bytes less have a trailer", cut)
			}
		}
	}
}

func FuzzSplitTrailer(f *testing.F) {
	for _, s := range signedAdverts() {
		msg := s.advert.Append(nil)
		f.Add([]byte(AppendTrailer(msg, msg, s.src, 7, signedAt, s.key)), s.advert.IPv6)
	}
	key := bytes.Repeat([]byte{1}, 32)
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		msg, trailer, ok := SplitTrailer(b, six)
		if !ok {
			return
		}
		src := addr("10.77.0.1")
		if again := AppendTrailer(nil, msg, src, trailer.KeyID(), trailer.Sequence(), key); trailer.Signs(msg, src, key) && !bytes.Equal(again, trailer) && trailer.Type() == TrailerHMAC && trailer[2]|trailer[3] == 0 {
			t.Errorf("%x became %x", []byte(trailer), again)
		}
	})
}

// To tshark, which does not know the trailer, the message before it is VRRP.
func TestTsharkReadsSignedMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signed.pcap")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range signedAdverts() {
		msg := s.advert.Append(nil)
		msg = AppendTrailer(msg, msg, s.src, 7, signedAt, s.key)
		form := ChecksumPseudo
		if s.advert.Version == 2 && !s.advert.IPv6 {
			form = ChecksumMessage
		}
		SealTrailer(msg, s.src, s.dst, form)
		frame := AppendEthernet(nil, MAC{1, 0, 0x5e, 0, 0, 18}, MAC{2, 0, 0, 0, 0, 1}, EtherTypeIPv4)
		if s.advert.IPv6 {
			frame = AppendEthernet(nil, GroupMAC6(s.dst), MAC{2, 0, 0, 0, 0, 1}, EtherTypeIPv6)
			frame = IPv6Header{HopLimit: 255, NextHeader: ProtocolVRRP, Src: s.src, Dst: s.dst}.Append(frame, len(msg))
		} else {
			frame = IPv4Header{TTL: 255, Protocol: ProtocolVRRP, Src: s.src, Dst: s.dst}.Append(frame, len(msg))
		}
		frame = append(frame, msg...)
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%d\t51\t100\t%d", s.advert.Version, len(s.advert.Addrs)))
	}
	got := tshark(t, path, []string{"vrrp.version", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.addr_count"})
	if !slices.Equal(got, want) {
		t.Errorf("tshark reads\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
