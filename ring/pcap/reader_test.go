package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// all reads a file to its end.
func all(t testing.TB, file []byte) ([]Packet, *Reader, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	var list []Packet
	for {
		p, err := r.Next()
		if err != nil {
			return list, r, err
		}
		list = append(list, p)
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	list, r, err := all(t, sample(t))
	if err != io.EOF || len(list) != 4 {
		t.Fatalf("%d packets: %v", len(list), err)
	}
	for i, p := range list {
		name := []string{"lb1:eth0", "lb2:eth0"}[i%2]
		comment := []string{"", "dropped by: deaf lb2", "", "odd"}[i]
		if p.Number != i+1 || p.Interface != name || p.Comment != comment || p.Length != len(arp)+i || !bytes.Equal(p.Data, arp) || p.At.Nanosecond() != 123456789+i {
			t.Errorf("packet %d: %+v", i+1, p)
		}
	}
	if got := r.Interfaces(); len(got) != 2 || got[1] != (Interface{"lb2:eth0", "the other"}) {
		t.Errorf("interfaces: %v", got)
	}
}

func TestReadsPcap(t *testing.T) {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := errors.Join(w.WriteFileHeader(96, layers.LinkTypeEthernet), w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(arp), Length: 99}, arp)); err != nil {
		t.Fatal(err)
	}
	list, r, err := all(t, b.Bytes())
	if err != io.EOF || len(list) != 1 || list[0].Length != 99 || !bytes.Equal(list[0].Data, arp) || r.Interfaces() != nil {
		t.Fatalf("%+v: %v", list, err)
	}
}

// A file may have been written on a machine of the other byte order, with options before
// the comment, and with packets that can have none.
func TestReadsBigEndian(t *testing.T) {
	be := binary.BigEndian
	block := func(typ uint32, body ...[]byte) []byte {
		var b []byte
		for _, p := range body {
			b = append(b, p...)
		}
		n := uint32(12 + len(b))
		return be.AppendUint32(append(be.AppendUint32(be.AppendUint32(nil, typ), n), b...), n)
	}
	words := func(list ...uint32) []byte {
		var b []byte
		for _, v := range list {
			b = be.AppendUint32(b, v)
		}
		return b
	}
	option := func(code uint16, text string) []byte {
		return appendPadded(be.AppendUint16(be.AppendUint16(nil, code), uint16(len(text))), []byte(text))
	}
	data := appendPadded(nil, arp)
	file := bytes.Join([][]byte{
		block(sectionHeader, words(byteOrderMagic, 1<<16, 0xffffffff, 0xffffffff)),
		block(1, words(1<<16, 0), option(2, "eth0"), words(0)),
		block(simplePacket, words(uint32(len(arp))), data),
		block(enhancedPacketBlock, words(0, 0, 1000000, uint32(len(arp)), uint32(len(arp))), data, option(2, "\x00\x00\x00\x01"), option(optComment, "seen"), words(0)),
	}, nil)
	list, _, err := all(t, file)
	if err != io.EOF || len(list) != 2 || list[0].Comment != "" || list[1].Comment != "seen" || list[1].Interface != "eth0" || list[1].At.Unix() != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
}

func TestDamagedFiles(t *testing.T) {
	if _, err := NewReader(bytes.NewReader([]byte("no packets, but more than a header has\n"))); err == nil || err.Error() != "neither pcap nor pcapng" {
		t.Errorf("text: %v", err)
	}
	whole := sample(t)
	if list, _, err := all(t, whole[:len(whole)-6]); len(list) != 3 && len(list) != 4 || err == nil {
		t.Errorf("cut short: %d packets, %v", len(list), err)
	}
	odd := bytes.Clone(whole)
	odd[bytes.Index(odd, []byte{9, 0, 1, 0, 9})+4] = 0xff // units of 2 to the power of minus 127 seconds
	if _, _, err := all(t, odd); err == nil || err.Error() != "neither pcap nor pcapng" {
		t.Errorf("resolution: %v", err)
	}
	last := len(whole) - int(binary.LittleEndian.Uint32(whole[len(whole)-4:]))
	for _, c := range []struct {
		at    int // in the last block
		value uint32
		want  string
	}{
		{4, 0xfffffff0, "packet 4: a block of 4294967280 bytes"},
		{20, 0xfffff, "packet 4: a packet of 1048575 bytes in a block of 88"},
		{8, 7, "packet 4: Interface id 7 not present in section (have only 2 interfaces)"},
	} {
		long := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(long[last+c.at:], c.value)
		if list, _, err := all(t, long); len(list) != 3 || err == nil || err.Error() != c.want {
			t.Errorf("%d at %d: %d packets, %v", c.value, c.at, len(list), err)
		}
	}
}

// FuzzReader: no file makes it panic or read without end.
func FuzzReader(f *testing.F) {
	w, err := os.ReadFile(filepath.Join("..", "..", "proto", "testdata", "captures", "beh-count0.pcap"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(w)
	var b bytes.Buffer
	nw, err := NewWriter(&b, []Interface{{Name: "a"}})
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(nw.Write(0, sampleTime, arp, len(arp), "odd"), nw.Write(0, sampleTime, arp, len(arp), ""), nw.Flush()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		list, _, err := all(t, file)
		if err == nil || len(list) > len(file)/16 {
			t.Fatalf("%d packets in %d bytes: %v", len(list), len(file), err)
		}
	})
}
