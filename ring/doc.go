// Package ring reads and writes frames of an interface through AF_PACKET sockets with
// a mmap'd TPACKET_V2 receive ring and batched sends.
//
// A frame is handed out in place, with its virtio header in front of it (offloads are
// on in the real world: partial checksums and super-frames pass through with that
// header), and stays valid until Release. To forward it, queue its Buf and flush before
// the release: nothing is copied. Slots are small; a super-frame that does not fit is
// taken whole by recv into a buffer of the socket's (PACKET_COPY_THRESH).
//
// Sockets are bound to ETH_P_ALL, so that they see frames before the ingress hooks of
// tc and nftables do, and ignore what this host sends. What a frame means is not known
// here; package proto reads it.
package ring

// VNetLen is the length of the virtio_net_hdr in front of every frame.
const VNetLen = 10

// Frame is one received frame. Buf is the virtio header and the Ethernet frame behind
// it, writable in place, valid until Release.
type Frame struct {
	Buf  []byte
	Time int64 // when the kernel took it, CLOCK_REALTIME in nanoseconds
	Kind uint8 // sll_pkttype: 0 for this host, 1 broadcast, 2 multicast, 3 another host
}

// Data is the Ethernet frame.
func (f Frame) Data() []byte { return f.Buf[VNetLen:] }

// CompleteChecksum writes the checksum that the virtio header says is still to be
// made, as the hardware would, and clears that flag. It is for copies of frames that
// people will look at.
func (f Frame) CompleteChecksum() {
	const needsChecksum = 1
	if f.Buf[0]&needsChecksum == 0 {
		return
	}
	f.Buf[0] &^= needsChecksum
	start := int(f.Buf[6]) | int(f.Buf[7])<<8
	at := start + (int(f.Buf[8]) | int(f.Buf[9])<<8)
	data := f.Data()
	if start > len(data) || at+2 > len(data) {
		return
	}
	var sum uint32
	for i, b := range data[start:] {
		if i%2 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
		sum = sum&0xffff + sum>>16
	}
	sum = ^sum & 0xffff
	if sum == 0 {
		sum = 0xffff // 0 means "no checksum" in UDP, and is the same number
	}
	data[at], data[at+1] = byte(sum>>8), byte(sum)
}
