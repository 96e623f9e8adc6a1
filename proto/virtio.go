package proto

import "encoding/binary"

// VirtioLen is the length in bytes of a [Virtio] header.
const VirtioLen = 10

// Values of a [Virtio] header (VIRTIO 1.2 §5.1.6).
const (
	virtioNeedsChecksum = 1 // flags

	GSOTCPv4 = 1
	GSOTCPv6 = 4
	GSOUDPL4 = 5
	gsoECN   = 0x80
)

// Virtio is a view of the virtio_net_hdr in front of a frame: what its sender left for the
// hardware to do. Its numbers have the byte order of the machine. A nil one leaves nothing.
//
//	 0       1       2       4         6         8        10
//	+-------+-------+-------+---------+---------+---------+
//	| flags | gso   | hdr   | gso     | csum    | csum    |
//	|       | type  | len   | size    | start   | offset  |
//	+-------+-------+-------+---------+---------+---------+
type Virtio []byte

// Partial reports whether the checksum of TCP or UDP holds the sum of the pseudo-header only.
func (v Virtio) Partial() bool { return len(v) >= VirtioLen && v[0]&virtioNeedsChecksum != 0 }

// Complete says that the checksum is no longer partial.
func (v Virtio) Complete() {
	if len(v) >= VirtioLen {
		v[0] &^= virtioNeedsChecksum
	}
}

// Super reports whether the frame is to be cut by whoever transmits it.
func (v Virtio) Super() bool { return v.GSO() != 0 }

// GSO is the kind of super-frame, without the bit for ECN: 0 for none.
func (v Virtio) GSO() uint8 {
	if len(v) < VirtioLen {
		return 0
	}
	return v[1] &^ gsoECN
}

// GSOSize is how many bytes of payload each segment of a super-frame gets.
func (v Virtio) GSOSize() int {
	if len(v) < VirtioLen {
		return 0
	}
	return int(binary.NativeEndian.Uint16(v[4:]))
}
