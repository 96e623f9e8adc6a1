// Package ring moves Ethernet frames between a process and network interfaces
// through AF_PACKET sockets: a mapped TPACKET_V2 ring to receive, sendmmsg in
// batches to send, classic BPF filters, and a [Poller] to sleep on.
//
// A [Socket] is one interface. Its receiver is bound to ETH_P_ALL, so that it
// taps before tc and nftables see the frames; its own transmissions are not
// read back. Every frame carries the ten bytes of a virtio_net_hdr in front
// ([VNetLen]), both ways: hand a received [Frame]'s Buf to another socket's
// [Socket.Queue] unchanged and partial checksums and GSO super-frames survive,
// because the kernel completes them at the far end.
//
//	for {
//		poller.Wait(timeout, ready)
//		n, err := in.Receive(batch[:])
//		for _, f := range batch[:n] {
//			out.Queue(f.Buf)
//		}
//		out.Flush()
//		in.Release()
//	}
//
// A socket belongs to one goroutine. What the frames mean is for others:
// this package looks into headers only to complete a checksum on request.
//
// A [Source] makes frames inside the kernel, for benchmarks.
//
// Kernel documents followed: packet(7), Documentation/networking/packet_mmap,
// linux/virtio_net.h (VIRTIO 1.2 §5.1.6 for the header's fields).
package ring
