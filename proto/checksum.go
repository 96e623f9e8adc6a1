package proto

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sum is a running one's complement sum of 16-bit words (RFC 1071), not yet folded.
// It starts at zero; parts of odd length may only come last.
type Sum uint64

// Add adds the bytes of b; a last odd byte counts as the high half of a word.
func (s Sum) Add(b []byte) Sum {
	if len(b) >= longSum {
		n := len(b) &^ (longSum - 1)
		s += addLong(b[:n])
		b = b[n:]
	}
	// 32 bits at a time: the carries gather above and are folded once.
	for len(b) >= 8 {
		s += Sum(binary.BigEndian.Uint32(b)) + Sum(binary.BigEndian.Uint32(b[4:]))
		b = b[8:]
	}
	for len(b) >= 2 {
		s += Sum(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += Sum(b[0]) << 8
	}
	return s
}

// longSum is from how many bytes on it pays to sum 64 bits at a time.
const longSum = 32

// addLong sums the bytes of b, a multiple of longSum, in the other byte order, which the sum
// does not mind (RFC 1071 §2 (B)): processors need not turn them.
func addLong(b []byte) Sum {
	var sum, carry uint64
	for len(b) >= longSum {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		b = b[longSum:]
	}
	sum, carry = bits.Add64(sum, 0, carry)
	return Sum(bits.ReverseBytes16(Sum(sum + carry).Fold()))
}

// AddUint16 adds one word.
func (s Sum) AddUint16(v uint16) Sum { return s + Sum(v) }

// AddPseudo adds the pseudo-header of IPv4 (RFC 9293 §3.1) or IPv6 (RFC 8200 §8.1): both
// addresses, the protocol and the length of the message in bytes. Its fields are wider in
// IPv6, which adds zeros only. An address that is none counts as 0.
func (s Sum) AddPseudo(src, dst netip.Addr, protocol uint8, length int) Sum {
	return s.addAddr(src).addAddr(dst) + Sum(protocol) + Sum(length)
}

func (s Sum) addAddr(a netip.Addr) Sum {
	switch {
	case a.Is4() || a.Is4In6():
		x := a.As4()
		return s.Add(x[:])
	case a.Is6():
		x := a.As16()
		return s.Add(x[:])
	}
	return s
}

// Fold brings the sum down to 16 bits. It is 0xffff over data whose checksum holds.
func (s Sum) Fold() uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s&0xffff)
}

// Checksum is the complement of the folded sum: what goes into a checksum field that
// was zero while summing.
func (s Sum) Checksum() uint16 { return ^s.Fold() }

// Checksum computes the Internet checksum of b (RFC 1071).
func Checksum(b []byte) uint16 { return Sum(0).Add(b).Checksum() }

// UpdateChecksum returns the checksum after one word of the data changed from old to
// now (RFC 1624 §3, equation 3).
func UpdateChecksum(sum, old, now uint16) uint16 {
	return Sum(^sum).AddUint16(^old).AddUint16(now).Checksum()
}

// Less takes away the bytes of b, which were part of the sum: an even number of them.
func (s Sum) Less(b []byte) Sum {
	for ; len(b) >= 2; b = b[2:] {
		s += Sum(^binary.BigEndian.Uint16(b))
	}
	return s
}

// Update is the checksum after the data that it is of changed by s, to which the old bytes were
// given with Less and the new ones with Add (RFC 1624 §3, equation 3).
func (s Sum) Update(checksum uint16) uint16 { return s.AddUint16(^checksum).Checksum() }
