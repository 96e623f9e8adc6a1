package proto

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// RFC 1071 §3: the worked example, whose sum is ddf2.
func TestSumExample(t *testing.T) {
	if got := Sum(0).Add(unhex("0001 f203 f4f5 f6f7")).Fold(); got != 0xddf2 {
		t.Errorf("sum %04x, want ddf2", got)
	}
}

// RFC 1624 §4: the example for which the equation of RFC 1141 gives ffff.
func TestUpdateChecksumExample(t *testing.T) {
	if got := UpdateChecksum(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("%04x, want 0000", got)
	}
}

// RFC 1624 §3: one hop, for every TTL that may be forwarded and any header with options,
// leaves exactly the checksum that is computed afresh, and touches nothing else.
func TestDecrementTTLRecomputed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.IntRange(5, 15).Draw(t, "header words")
		header := rapid.SliceOfN(rapid.Byte(), words*4, words*4).Draw(t, "header")
		header[0] = 0x40 | byte(words)
		binary.BigEndian.PutUint16(header[ip4Total:], uint16(len(header)))
		for ttl := 1; ttl <= 255; ttl++ {
			header[ip4TTL] = byte(ttl)
			p, err := ParseIPv4(sealed(header))
			if err != nil {
				t.Fatal(err)
			}
			p.DecrementTTL()
			header[ip4TTL]--
			if want := sealed(header); string(p) != string(want) {
				t.Fatalf("ttl %d:\ngot  %x\nwant %x", ttl, []byte(p), want)
			}
		}
	})
}

// sealed is a copy of a header with its checksum, added up word by word (RFC 791 §3.1).
func sealed(header []byte) []byte {
	b := append(dirty(), header...)
	b[ip4Checksum], b[ip4Checksum+1] = 0, 0
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		if sum += uint32(b[i])<<8 | uint32(b[i+1]); sum > 0xffff {
			sum -= 0xffff
		}
	}
	binary.BigEndian.PutUint16(b[ip4Checksum:], ^uint16(sum))
	return b
}

// RFC 1071 §1: of any length and with any carries, what adding word by word gives.
func TestSumOfAnyLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0xfe, 0xff}), 0, 300).Draw(t, "bytes")
		start := rapid.Uint16().Draw(t, "start")
		want := uint32(start)
		for i, x := range b {
			want += uint32(x) << (8 * (1 - i%2))
			want = want&0xffff + want>>16
		}
		if got := Sum(start).Add(b).Fold(); uint32(got) != want {
			t.Fatalf("%04x, want %04x", got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	data := make([]byte, 1460)
	b.SetBytes(int64(len(data)))
	var s Sum
	for b.Loop() {
		s += Sum(0).Add(data)
	}
	if s != 0 {
		b.Fatal(s)
	}
}
