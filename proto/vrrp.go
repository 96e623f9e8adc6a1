package proto

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Numbers of VRRP that do not depend on the version.
const (
	VRRPAdvertisement uint8 = 1   // the only message type (RFC 9568 §5.2.2)
	VRRPTTL           uint8 = 255 // sent, and demanded of what is received (RFC 9568 §5.1.1.3)
	VRRPTOS           uint8 = 0xc0
)

// Authentication types of version 2 (RFC 2338 §5.3.6); RFC 3768 left only none.
const (
	VRRPAuthNone uint8 = 0
	VRRPAuthPass uint8 = 1
	VRRPAuthAH   uint8 = 2
)

// VRRP is a view of one message over IPv4, see [VRRPIn]; over IPv6 its addresses are
// longer, see [ParseVRRP6].
//
// Version 3 (RFC 9568 §5.2), 8 + 4·count bytes:
//
//	0          1      2          3       4             6          8
//	| ver type | VRID | priority | count | 0 interval  | checksum | addresses ...
//
// Version 2 (RFC 3768 §5.3), 8 + 4·count + 8 bytes:
//
//	0          1      2          3       4      5      6          8
//	| ver type | VRID | priority | count | auth | intv | checksum | addresses ... | auth data |
type VRRP []byte

const (
	vrrpVRID     = 1
	vrrpPriority = 2
	vrrpCount    = 3
	vrrpInterval = 4 // version 3: 12 bits, centiseconds
	vrrpAuthType = 4 // version 2
	vrrpSeconds  = 5 // version 2
	vrrpChecksum = 6
	vrrpAddrs    = 8
	vrrpAuthLen  = 8

	vrrpIntervalMask = 0x0fff
	centisecond      = 10 * time.Millisecond
)

// ParseVRRP checks that all counted addresses are there, and the authentication data
// of version 2: after a nil error no accessor panics. The error is [ErrShort]. Surplus
// bytes, versions and all else are for the caller to judge, see [VRRP.Size] and
// package fsm; an unknown version is read like version 3.
func ParseVRRP(b []byte) (VRRP, error) {
	if len(b) < vrrpAddrs || len(b) < VRRP(b).Size() {
		return nil, ErrShort
	}
	return VRRP(b), nil
}

// Size is how long the message must be for its version and count, in bytes.
func (v VRRP) Size() int {
	n := vrrpAddrs + 4*v.Count()
	if v.Version() == 2 {
		n += vrrpAuthLen
	}
	return n
}

// Version is 2 or 3.
func (v VRRP) Version() uint8 { return v[0] >> 4 }

// Type is [VRRPAdvertisement]; there is no other.
func (v VRRP) Type() uint8 { return v[0] & 15 }

// VRID is the number of the virtual router, 1 to 255.
func (v VRRP) VRID() uint8 { return v[vrrpVRID] }

// Priority is 255 for the owner, 1 to 254 for others, 0 from a MASTER that leaves.
func (v VRRP) Priority() uint8 { return v[vrrpPriority] }

// Count is the number of addresses.
func (v VRRP) Count() int { return int(v[vrrpCount]) }

// AuthType is the authentication type of version 2, and 0 in version 3.
func (v VRRP) AuthType() uint8 {
	if v.Version() != 2 {
		return VRRPAuthNone
	}
	return v[vrrpAuthType]
}

// Interval is the advertisement interval: whole seconds in version 2, hundredths in
// version 3, whose four reserved bits are ignored (RFC 9568 §5.2.6).
func (v VRRP) Interval() time.Duration {
	if v.Version() == 2 {
		return time.Duration(v[vrrpSeconds]) * time.Second
	}
	return time.Duration(binary.BigEndian.Uint16(v[vrrpInterval:])&vrrpIntervalMask) * centisecond
}

// Checksum is the checksum as it stands in the message.
func (v VRRP) Checksum() uint16 { return binary.BigEndian.Uint16(v[vrrpChecksum:]) }

// Addr is address i, from 0 to Count-1.
func (v VRRP) Addr(i int) netip.Addr { return addr4(v[vrrpAddrs+4*i:]) }

// Auth is the authentication data of version 2, and zero in version 3.
func (v VRRP) Auth() [8]byte {
	if v.Version() != 2 {
		return [8]byte{}
	}
	return [8]byte(v[vrrpAddrs+4*v.Count():])
}

// ChecksumForm says what a checksum covers.
type ChecksumForm uint8

const (
	// ChecksumBad holds in no form.
	ChecksumBad ChecksumForm = iota
	// ChecksumMessage covers the message alone: version 2, and version 3 over IPv4 as
	// RFC 9568 §5.2.8 has it.
	ChecksumMessage
	// ChecksumPseudo covers the pseudo-header as well: version 3 over IPv4 as keepalived
	// and FRR send it by default, and everything over IPv6 (RFC 9568 §5.2.8).
	ChecksumPseudo
)

// String names the form for people.
func (f ChecksumForm) String() string {
	switch f {
	case ChecksumMessage:
		return "message"
	case ChecksumPseudo:
		return "pseudo-header"
	}
	return "bad"
}

// ChecksumForm finds out in which form the checksum holds for a message between two
// addresses. Version 2 knows no pseudo-header over IPv4, and IPv6 nothing else.
func (v VRRP) ChecksumForm(src, dst netip.Addr) ChecksumForm {
	s := Sum(0).Add(v)
	if !src.Is6() && s.Fold() == 0xffff {
		return ChecksumMessage
	}
	if (src.Is6() || v.Version() != 2) && s.AddPseudo(src, dst, ProtocolVRRP, len(v)).Fold() == 0xffff {
		return ChecksumPseudo
	}
	return ChecksumBad
}

// Advert is an advertisement to be sent.
type Advert struct {
	Version  uint8 // 2 or 3
	VRID     uint8
	Priority uint8
	AuthType uint8         // version 2
	Interval time.Duration // 1 to 255 s; version 3: 10 ms to 40.95 s
	Auth     [8]byte       // version 2
	Addrs    []netip.Addr  // of one family, 255 at most
	// IPv6 leaves the authentication data of version 2 out, which keepalived sends over
	// IPv4 alone.
	IPv6 bool
}

// Append appends a as a message with checksum 0, which [SealVRRP] fills in, and
// returns the longer slice. It allocates only when b lacks capacity.
func (a Advert) Append(b []byte) []byte {
	b = append(b, a.Version<<4|VRRPAdvertisement, a.VRID, a.Priority, uint8(len(a.Addrs)))
	if a.Version == 2 {
		b = append(b, a.AuthType, uint8(a.Interval/time.Second))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(a.Interval/centisecond)&vrrpIntervalMask)
	}
	b = append(b, 0, 0)
	for _, addr := range a.Addrs {
		if addr.Is6() {
			b = appendAddr16(b, addr)
		} else {
			b = appendAddr4(b, addr)
		}
	}
	if a.Version == 2 && !a.IPv6 {
		b = append(b, a.Auth[:]...)
	}
	return b
}

// SealVRRP fills in the checksum of a whole message in place. The addresses matter
// for [ChecksumPseudo] only; any other form covers the message alone.
func SealVRRP(msg []byte, src, dst netip.Addr, form ChecksumForm) {
	field := msg[vrrpChecksum : vrrpChecksum+2]
	field[0], field[1] = 0, 0
	s := Sum(0).Add(msg)
	if form == ChecksumPseudo {
		s = s.AddPseudo(src, dst, ProtocolVRRP, len(msg))
	}
	binary.BigEndian.PutUint16(field, s.Checksum())
}
