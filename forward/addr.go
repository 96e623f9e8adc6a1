package forward

import (
	"encoding/binary"
	"net/netip"
)

// addr is an address in two words; one of IPv4 is mapped into IPv6 (RFC 4291 §2.5.5.2),
// so that both families share a table.
type addr struct{ hi, lo uint64 }

// mapped is the prefix of mapped addresses.
const mapped = 0xffff << 32

func addr4(b []byte) addr { return addr{lo: mapped | uint64(binary.BigEndian.Uint32(b))} }

func addr6(b []byte) addr {
	return addr{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func toAddr(a netip.Addr) addr {
	b := a.As16()
	return addr6(b[:])
}

func (a addr) is4() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

func (a addr) netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b).Unmap()
}

// masked keeps the first bits of an address of its family.
func (a addr) masked(bits int) addr {
	if a.is4() {
		bits += 96
	}
	switch {
	case bits <= 64:
		return addr{hi: a.hi &^ (1<<(64-bits) - 1)}
	case bits < 128:
		return addr{a.hi, a.lo &^ (1<<(128-bits) - 1)}
	}
	return a
}

func addrPort(a addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.netip(), port) }

// put16 writes the sixteen bytes of an address.
func (a addr) put16(b []byte) {
	binary.BigEndian.PutUint64(b, a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
}

// martian tells whether no packet comes from the address (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3,
// §2.7). The loopback's would be believed by the local stack, which gets packets from us by
// way of lo.
func (a addr) martian() bool {
	if a.is4() {
		first := uint8(a.lo >> 24)
		return first == 0 || first == 127 || first >= 224
	}
	return a.hi == 0 && a.lo <= 1 || a.hi>>56 == 0xff
}

// unspecified is the unspecified address of the same family.
func (a addr) unspecified() addr {
	if a.is4() {
		return addr{lo: mapped}
	}
	return addr{}
}
