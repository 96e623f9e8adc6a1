package proto

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// EtherTypes (IEEE 802 numbers) that the project meets.
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeARP  uint16 = 0x0806
	EtherTypeVLAN uint16 = 0x8100 // 802.1Q tag
	EtherTypeIPv6 uint16 = 0x86dd
)

// EthernetLen is the length of an Ethernet header without tags, in bytes.
const EthernetLen = 14

// MAC is an Ethernet address.
type MAC [6]byte

// Broadcast is the address of every station.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads the form that [MAC.String] writes, in either case, with two digits
// a byte.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	parts := strings.Split(s, ":")
	if len(parts) != len(m) {
		return MAC{}, fmt.Errorf("MAC address %q: want six bytes with colons", s)
	}
	for i, p := range parts {
		b, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) != 2 {
			return MAC{}, fmt.Errorf("MAC address %q: bad byte %q", s, p)
		}
		m[i] = byte(b)
	}
	return m, nil
}

// VirtualMAC is the address of virtual router vrid over IPv4 (RFC 9568 §7.3).
func VirtualMAC(vrid uint8) MAC { return MAC{0x00, 0x00, 0x5e, 0x00, 0x01, vrid} }

// VirtualMAC6 is the address of virtual router vrid over IPv6 (RFC 9568 §7.3).
func VirtualMAC6(vrid uint8) MAC { return MAC{0x00, 0x00, 0x5e, 0x00, 0x02, vrid} }

// IsVirtual reports whether m is the address of a virtual router of either family.
func (m MAC) IsVirtual() bool {
	return m == VirtualMAC(m[5]) || m == VirtualMAC6(m[5])
}

// String formats m as "02:00:00:00:77:01".
func (m MAC) String() string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[x>>4], digits[x&15])
	}
	return string(b)
}

// IsBroadcast reports whether m is ff:ff:ff:ff:ff:ff.
func (m MAC) IsBroadcast() bool { return m == Broadcast }

// IsGroup reports whether m is a multicast or the broadcast address.
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// IsZero reports whether m is all zero, as in the target of an ARP request.
func (m MAC) IsZero() bool { return m == MAC{} }

// Ethernet is a view of one frame without FCS:
//
//	0        6        12     14
//	| dst    | src    | type | payload ...
type Ethernet []byte

const (
	ethSrc  = 6
	ethType = 12
)

// ParseEthernet needs a whole header of 14 bytes, or returns [ErrShort]. A VLAN tag
// is not skipped: its frame has Type [EtherTypeVLAN].
func ParseEthernet(b []byte) (Ethernet, error) {
	if len(b) < EthernetLen {
		return nil, ErrShort
	}
	return Ethernet(b), nil
}

// Dst is the destination address.
func (e Ethernet) Dst() MAC { return MAC(e[:6]) }

// Src is the source address.
func (e Ethernet) Src() MAC { return MAC(e[ethSrc : ethSrc+6]) }

// Type is the EtherType; values below 0x600 are an 802.3 length.
func (e Ethernet) Type() uint16 { return binary.BigEndian.Uint16(e[ethType:]) }

// Payload is what follows the header, with the padding of short frames.
func (e Ethernet) Payload() []byte { return e[EthernetLen:] }

// SetDst overwrites the destination address in place.
func (e Ethernet) SetDst(m MAC) { copy(e[:6], m[:]) }

// SetSrc overwrites the source address in place.
func (e Ethernet) SetSrc(m MAC) { copy(e[ethSrc:ethSrc+6], m[:]) }

// SetType overwrites the EtherType in place.
func (e Ethernet) SetType(typ uint16) { binary.BigEndian.PutUint16(e[ethType:], typ) }

// AppendEthernet appends a header of 14 bytes to b; the payload follows it.
func AppendEthernet(b []byte, dst, src MAC, typ uint16) []byte {
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, typ)
}
