package ring

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// VNetLen is the length in bytes of the virtio_net_hdr before every frame.
const VNetLen = 10

// ethernetLen is the length in bytes of an untagged Ethernet header.
const ethernetLen = 14

// Values of [VNet]'s Flags and GSOType (VIRTIO 1.2 §5.1.6).
const (
	VNetNeedsChecksum = 1 // Flags: the L4 checksum is partial
	VNetDataValid     = 2 // Flags: the checksum was verified

	GSONone  = 0
	GSOTCPv4 = 1
	GSOUDP   = 3 // fragmentation, not segmentation
	GSOTCPv6 = 4
	GSOUDPL4 = 5    // segmentation of UDP
	GSOECN   = 0x80 // or'ed to a TCP type: the stream uses ECN
)

// Frame is one received frame. Its memory is valid until [Socket.Release].
type Frame struct {
	// Buf is VNetLen bytes of virtio_net_hdr, then the Ethernet frame:
	// contiguous, writable, and as it stands fit for [Socket.Queue].
	Buf []byte

	Time int64 // CLOCK_REALTIME at which the kernel saw the frame, in ns
	Kind uint8 // sll_pkttype: PACKET_HOST, PACKET_BROADCAST, PACKET_OTHERHOST ...
}

// Data returns the Ethernet frame, which aliases Buf.
func (f Frame) Data() []byte { return f.Buf[VNetLen:] }

// Outgoing reports whether this host sent the frame. What leaves by a socket that bypasses
// the queueing discipline, as those of this package do by default, no tap sees.
func (f Frame) Outgoing() bool { return f.Kind == unix.PACKET_OUTGOING }

// VNet is a decoded virtio_net_hdr: what the sender left for the hardware to do.
//
//	 0       1       2       4         6         8        10
//	+-------+-------+-------+---------+---------+---------+
//	| flags | gso   | hdr   | gso     | csum    | csum    |
//	|       | type  | len   | size    | start   | offset  |
//	+-------+-------+-------+---------+---------+---------+
type VNet struct {
	Flags     uint8
	GSOType   uint8
	HeaderLen uint16 // bytes of headers before the payload that is segmented
	GSOSize   uint16 // payload bytes of each segment

	ChecksumStart  uint16 // from the start of the Ethernet frame, in bytes
	ChecksumOffset uint16 // of the checksum field, from ChecksumStart
}

// Super reports whether the frame is to be segmented by whoever transmits it.
func (v VNet) Super() bool { return v.GSOType&^GSOECN != GSONone }

// Partial reports whether the frame's checksum field holds only the sum of the
// pseudo-header.
func (v VNet) Partial() bool { return v.Flags&VNetNeedsChecksum != 0 }

// VNet decodes the header in front of the frame.
func (f Frame) VNet() VNet {
	b := f.Buf[:VNetLen]
	return VNet{
		Flags:          b[0],
		GSOType:        b[1],
		HeaderLen:      binary.NativeEndian.Uint16(b[2:]),
		GSOSize:        binary.NativeEndian.Uint16(b[4:]),
		ChecksumStart:  binary.NativeEndian.Uint16(b[6:]),
		ChecksumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// SetVNet encodes v in front of the frame.
func (f Frame) SetVNet(v VNet) {
	b := f.Buf[:VNetLen]
	b[0], b[1] = v.Flags, v.GSOType
	binary.NativeEndian.PutUint16(b[2:], v.HeaderLen)
	binary.NativeEndian.PutUint16(b[4:], v.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], v.ChecksumStart)
	binary.NativeEndian.PutUint16(b[8:], v.ChecksumOffset)
}

// CompleteChecksum writes the full checksum in place when the header says that
// it is partial, and clears that flag. It is for copies that people read, such
// as captures; a GSO super-frame must not be sent any more after it. A header
// that points outside the frame is left alone.
func (f Frame) CompleteChecksum() {
	v := f.VNet()
	data := f.Data()
	start := int(v.ChecksumStart)
	field := start + int(v.ChecksumOffset)
	if !v.Partial() || field+2 > len(data) {
		return
	}
	sum := ^onesSum(data[start:])
	const udpField = 6
	if sum == 0 && v.ChecksumOffset == udpField {
		sum = 0xffff // RFC 768: a zero field means no checksum
	}
	binary.BigEndian.PutUint16(data[field:], sum)
	v.Flags &^= VNetNeedsChecksum
	f.SetVNet(v)
}

// onesSum is the ones' complement sum of RFC 1071 over b.
func onesSum(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
