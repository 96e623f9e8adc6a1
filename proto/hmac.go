package proto

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
)

// VRRPTrailer is a view of what keepalived 2.4 appends to a message with auth_hmac, in
// either version and family. Only the length of the packet tells that it is there:
//
//	0      1        2   4         8          10        12    28
//	| type | key id | 0 | seconds | fraction | counter | MAC |
//
// Seconds and their binary fraction are UTC when it was sent. With the counter they are
// one number that grows with each message of a sender.
type VRRPTrailer []byte

// VRRPTrailerLen is the length of the trailer, in bytes.
const VRRPTrailerLen = 28

// TrailerHMAC is the only type: HMAC-SHA256 of which 128 bits are left.
const TrailerHMAC uint8 = 1

const (
	trailerKey      = 1
	trailerSequence = 4
	trailerMAC      = 12
	trailerMACLen   = VRRPTrailerLen - trailerMAC
)

// SplitTrailer cuts a message into what its count of addresses calls for and the trailer
// behind; ok is false unless that is exactly as long as one.
func SplitTrailer(v VRRP, six bool) (msg VRRP, trailer VRRPTrailer, ok bool) {
	if len(v) < vrrpAddrs {
		return v, nil, false
	}
	size := v.Size()
	if six {
		size = v.Size6()
	}
	if len(v) != size+VRRPTrailerLen {
		return v, nil, false
	}
	return v[:size:size], VRRPTrailer(v[size:]), true
}

// Type is [TrailerHMAC]; there is no other.
func (t VRRPTrailer) Type() uint8 { return t[0] }

// KeyID is the number of the key, 1 to 255.
func (t VRRPTrailer) KeyID() uint8 { return t[trailerKey] }

// Sequence is time and counter as one number: seconds since 1970 in its upper half.
func (t VRRPTrailer) Sequence() uint64 { return binary.BigEndian.Uint64(t[trailerSequence:]) }

// Signs tells whether the trailer is that of the message from src under the key.
func (t VRRPTrailer) Signs(msg VRRP, src netip.Addr, key []byte) bool {
	mac := trailerSum(msg, t[:trailerMAC], src, key)
	return subtle.ConstantTimeCompare(mac[:], t[trailerMAC:]) == 1
}

// AppendTrailer appends the trailer for the message to b, which may be the message itself.
// The checksum of the message does not matter.
func AppendTrailer(b []byte, msg VRRP, src netip.Addr, id uint8, sequence uint64, key []byte) []byte {
	at := len(b)
	b = append(b, TrailerHMAC, id, 0, 0)
	b = binary.BigEndian.AppendUint64(b, sequence)
	mac := trailerSum(msg, b[at:], src, key)
	return append(b, mac[:]...)
}

// trailerSum is the HMAC (RFC 2104) over a pseudo-header, the message with checksum 0, and
// the trailer with a MAC of zeros. It allocates nothing for messages that VRRP can fill.
func trailerSum(msg VRRP, head []byte, src netip.Addr, key []byte) (mac [trailerMACLen]byte) {
	var short [sha256.Size]byte
	if len(key) > sha256.BlockSize {
		short = sha256.Sum256(key)
		key = short[:]
	}
	inner := appendKeyPad(make([]byte, 0, sha256.BlockSize+20+vrrpAddrs+16*255+VRRPTrailerLen), key, 0x36)
	family := byte(4)
	if src.Is6() {
		family = 6
	}
	inner = append(inner, family, msg.Version(), msg.VRID(), 0)
	if src.Is6() {
		inner = appendAddr16(inner, src)
	} else {
		inner = append(appendAddr4(inner, src), make([]byte, 12)...)
	}
	at := len(inner)
	inner = append(inner, msg...)
	clear(inner[at+vrrpChecksum : at+vrrpAddrs])
	inner = append(inner, head...)
	inner = append(inner, make([]byte, trailerMACLen)...)
	sum := sha256.Sum256(inner)
	outer := appendKeyPad(make([]byte, 0, sha256.BlockSize+sha256.Size), key, 0x5c)
	sum = sha256.Sum256(append(outer, sum[:]...))
	return [trailerMACLen]byte(sum[:trailerMACLen])
}

// appendKeyPad appends a key of a block at most with the pad of RFC 2104 §2.
func appendKeyPad(b, key []byte, pad byte) []byte {
	for i := range sha256.BlockSize {
		k := byte(0)
		if i < len(key) {
			k = key[i]
		}
		b = append(b, k^pad)
	}
	return b
}

// SealTrailer fills in the checksum of a message with a trailer behind: over IPv4 it does
// not cover the trailer, over IPv6, where keepalived leaves it to the kernel, it does.
func SealTrailer(msg []byte, src, dst netip.Addr, form ChecksumForm) {
	if !src.Is6() {
		msg = msg[:len(msg)-VRRPTrailerLen]
	}
	SealVRRP(msg, src, dst, form)
}
