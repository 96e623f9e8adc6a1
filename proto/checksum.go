package proto

import (
	"encoding/binary"
	"net/netip"
)

// sum adds b as big-endian 16-bit words to acc (RFC 1071). An odd last byte counts
// as the high half of a word.
func sum(acc uint64, b []byte) uint64 {
	for len(b) >= 4 {
		acc += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		acc += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

func fold(acc uint64) uint16 {
	for acc>>16 != 0 {
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}

// Checksum is the Internet checksum of b (RFC 1071), to be stored big-endian. Over
// data with a right checksum in it the result is 0.
func Checksum(b []byte) uint16 { return ^fold(sum(0, b)) }

// PseudoChecksum is the checksum of b with the IPv4 pseudo-header in front.
func PseudoChecksum(src, dst netip.Addr, protocol uint8, b []byte) uint16 {
	s, d := src.As4(), dst.As4()
	acc := sum(uint64(protocol)+uint64(len(b)), s[:])
	return ^fold(sum(sum(acc, d[:]), b))
}
