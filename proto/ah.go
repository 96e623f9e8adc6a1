package proto

import (
	"crypto/md5"
	"encoding/binary"
	"net/netip"
)

// AH is a view of the authentication header that stands before a message of version 2
// with authentication type 2 (RFC 2402 §2, RFC 2338 §5.3.6.3), 24 bytes:
//
//	0      1        2          4     8          12    24
//	| next | length | 0        | SPI | sequence | ICV | message ...
//
// RFC 3768 took it back, and RFC 9568 never had it; keepalived still speaks it.
type AH []byte

// AHLen is the length of the header with the 12 bytes of HMAC-MD5-96, in bytes.
const AHLen = 24

const (
	ahLength   = 1 // of the header, in words of 4 bytes less two
	ahSPI      = 4
	ahSequence = 8
	ahICV      = 12

	ahWords = AHLen/4 - 2
)

// ParseAH checks that the header is there and has the length of HMAC-MD5-96. The error
// is [ErrShort] or [ErrLength].
func ParseAH(b []byte) (AH, error) {
	if len(b) < AHLen {
		return nil, ErrShort
	}
	if b[ahLength] != ahWords {
		return nil, ErrLength
	}
	return AH(b), nil
}

// Next is the protocol of what follows the header.
func (a AH) Next() uint8 { return a[0] }

// SPI is the security parameters index. keepalived writes its source address there.
func (a AH) SPI() netip.Addr { return addr4(a[ahSPI:]) }

// Sequence is the number of the packet, from 1.
func (a AH) Sequence() uint32 { return binary.BigEndian.Uint32(a[ahSequence:]) }

// ICV is the integrity check value.
func (a AH) ICV() [12]byte { return [12]byte(a[ahICV:AHLen]) }

// Payload is what follows the header.
func (a AH) Payload() []byte { return a[AHLen:] }

// VRRPIn finds the message of VRRP in a packet, behind the authentication header if it
// has one, which is of IPv4 alone. ok is false in a packet of anything else; of a
// damaged header the message is empty. Its length is for [ParseVRRP] or [ParseVRRP6] to
// check.
func VRRPIn(p IP) (msg []byte, ok bool) {
	switch {
	case p.Protocol() == ProtocolVRRP:
		return p.Payload(), true
	case p.Protocol() == ProtocolAH && !p.Is6():
		a, err := ParseAH(p.Payload())
		if err != nil {
			return nil, true
		}
		return a.Payload(), a.Next() == ProtocolVRRP
	}
	return nil, false
}

// AppendAH appends a header with ICV 0, which [SealAH] fills in, for a message of VRRP
// that the caller appends next.
func AppendAH(b []byte, spi netip.Addr, sequence uint32) []byte {
	b = append(b, ProtocolVRRP, ahWords, 0, 0)
	b = appendAddr4(b, spi)
	b = binary.BigEndian.AppendUint32(b, sequence)
	return append(b, make([]byte, AHLen-ahICV)...)
}

// SealAH fills in the ICV of a whole packet with a header in place; see [ICV].
func SealAH(p IPv4, key [8]byte, zeroTTL bool) {
	icv := ICV(p, key, zeroTTL)
	copy(p.Payload()[ahICV:AHLen], icv[:])
}

// ICV computes the integrity check value of a packet that has a header: HMAC-MD5
// (RFC 2104), of which 96 bits are left (RFC 2403). The fields that a router may change
// count as zero, and so does the ICV itself (RFC 2402 §3.3.3). Of these keepalived
// lets the TTL count as it stands, 255, unless the message goes to unicast peers: an
// advertisement to the group never meets a router. Zeros at the end of the key change
// nothing.
func ICV(p IPv4, key [8]byte, zeroTTL bool) [12]byte {
	// On the stack: all that VRRP can fill, so that a flood allocates nothing.
	inner := appendPad(make([]byte, 0, md5.BlockSize+60+AHLen+vrrpAddrs+4*255+vrrpAuthLen), key, 0x36)
	inner = append(inner, p...)
	clearMutable(inner[md5.BlockSize:], p.HeaderLen(), zeroTTL)
	sum := md5.Sum(inner)
	outer := appendPad(make([]byte, 0, md5.BlockSize+md5.Size), key, 0x5c)
	sum = md5.Sum(append(outer, sum[:]...))
	return [12]byte(sum[:12])
}

// appendPad appends the key with the pad of RFC 2104 §2.
func appendPad(b []byte, key [8]byte, pad byte) []byte {
	for i := range md5.BlockSize {
		k := byte(0)
		if i < len(key) {
			k = key[i]
		}
		b = append(b, k^pad)
	}
	return b
}

func clearMutable(b []byte, headerLen int, ttl bool) {
	b[ip4TOS] = 0
	clear(b[ip4Fragment : ip4Fragment+2])
	clear(b[ip4Checksum : ip4Checksum+2])
	if ttl {
		b[ip4TTL] = 0
	}
	clear(b[headerLen+ahICV : headerLen+AHLen])
}
