package proto

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// VRRP is a view of one advertisement over IPv4, of version 2 (RFC 3768 §5.1) or 3
// (RFC 9568 §5.2).
//
//	    0               1      2          3       4           5          6          8
//	    +---------+----+------+----------+-------+-----------+----------+----------+-----------+------+
//	v2  | version,type | VRID | priority | count | auth type | interval | checksum | addresses | auth |
//	    +---------+----+------+----------+-------+-----------+----------+----------+-----------+------+
//	v3  | version,type | VRID | priority | count | 0,  max interval     | checksum | addresses |
//	    +---------+----+------+----------+-------+----------------------+----------+-----------+
//
// The interval is in seconds in version 2, in centiseconds (12 bits) in version 3.
type VRRP []byte

// VRRPAdvertisement is the only type of VRRP message.
const VRRPAdvertisement = 1

const (
	vrrpLen     = 8 // the fixed part
	vrrpAuthLen = 8 // behind the addresses of version 2
)

// ParseVRRP checks that the fixed part is there and, for the versions that are known,
// that the length is exactly what the count of addresses asks for. A version that is
// unknown passes with the fixed part alone: its fields mean nothing but Version.
func ParseVRRP(b []byte) (VRRP, error) {
	if len(b) < vrrpLen {
		return nil, ErrShort
	}
	v := VRRP(b)
	want := vrrpLen + 4*v.Count()
	switch v.Version() {
	case 2:
		want += vrrpAuthLen
	case 3:
	default:
		return v, nil
	}
	if len(b) < want {
		return nil, ErrShort
	}
	if len(b) > want {
		return nil, ErrFormat
	}
	return v, nil
}

// Version is 2 or 3 in messages that can be understood.
func (v VRRP) Version() uint8 { return v[0] >> 4 }

// Type is VRRPAdvertisement in every message that RFCs know.
func (v VRRP) Type() uint8 { return v[0] & 15 }

// VRID is the virtual router identifier, 1 to 255.
func (v VRRP) VRID() uint8 { return v[1] }

// Priority is 255 for the owner, 0 for a MASTER that leaves, 1 to 254 else.
func (v VRRP) Priority() uint8 { return v[2] }

// Count is the number of addresses.
func (v VRRP) Count() int { return int(v[3]) }

// AuthType is the authentication type of version 2, 0 in version 3.
func (v VRRP) AuthType() uint8 {
	if v.Version() != 2 {
		return 0
	}
	return v[4]
}

// Interval is the time between advertisements.
func (v VRRP) Interval() time.Duration {
	if v.Version() == 2 {
		return time.Duration(v[5]) * time.Second
	}
	return time.Duration(binary.BigEndian.Uint16(v[4:])&0xfff) * centisecond
}

const centisecond = 10 * time.Millisecond

// Addr returns address i of Count.
func (v VRRP) Addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte(v[vrrpLen+4*i : vrrpLen+4*i+4]))
}

// Auth is the authentication data of version 2, zero in version 3.
func (v VRRP) Auth() (a [8]byte) {
	if v.Version() == 2 {
		copy(a[:], v[vrrpLen+4*v.Count():])
	}
	return a
}

// ChecksumForm is what a checksum was made over.
type ChecksumForm uint8

const (
	// ChecksumBad fits neither form.
	ChecksumBad ChecksumForm = iota
	// ChecksumMessage covers the message alone: version 2, and version 3 over
	// IPv4 as RFC 9568 §5.2.8 has it.
	ChecksumMessage
	// ChecksumPseudo covers the pseudo-header as well: version 3 as keepalived
	// and FRR send it over IPv4.
	ChecksumPseudo
)

// ChecksumForm tells which form the checksum of a message from src to dst has.
// Version 2 knows ChecksumMessage only.
func (v VRRP) ChecksumForm(src, dst netip.Addr) ChecksumForm {
	switch {
	case Checksum(v) == 0:
		return ChecksumMessage
	case v.Version() == 3 && PseudoChecksum(src, dst, ProtocolVRRP, v) == 0:
		return ChecksumPseudo
	}
	return ChecksumBad
}

// Advert is an advertisement to be written. Version is 2 or 3, Interval whole seconds
// up to 255 or centiseconds up to 4095 of it, Addrs at most 255 IPv4 addresses; Auth
// goes into version 2 only.
type Advert struct {
	Version, VRID, Priority, AuthType uint8
	Interval                          time.Duration
	Auth                              [8]byte
	Addrs                             []netip.Addr
}

// Append appends the message with checksum 0; SealVRRP fills that in.
func (a Advert) Append(b []byte) []byte {
	b = append(b, a.Version<<4|VRRPAdvertisement, a.VRID, a.Priority, uint8(len(a.Addrs)))
	if a.Version == 2 {
		b = append(b, a.AuthType, uint8(a.Interval/time.Second))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(a.Interval/centisecond)&0xfff)
	}
	b = append(b, 0, 0)
	for _, addr := range a.Addrs {
		b = appendAddr4(b, addr)
	}
	if a.Version == 2 {
		b = append(b, a.Auth[:]...)
	}
	return b
}

// SealVRRP writes the checksum of a message whose checksum field is 0.
func SealVRRP(msg []byte, src, dst netip.Addr, form ChecksumForm) {
	c := Checksum(msg)
	if form == ChecksumPseudo {
		c = PseudoChecksum(src, dst, ProtocolVRRP, msg)
	}
	binary.BigEndian.PutUint16(msg[6:], c)
}
