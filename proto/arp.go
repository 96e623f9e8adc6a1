package proto

import (
	"encoding/binary"
	"net/netip"
)

// Operations of ARP (RFC 826).
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// ARP is a view of one ARP packet for IPv4 over Ethernet, 28 bytes (RFC 826):
//
//	0          2          4      5      6
//	| hardware | protocol | hlen | plen | operation |
//	8            14          18           24          28
//	| sender MAC | sender IP | target MAC | target IP |
type ARP []byte

const (
	arpOp        = 6
	arpSenderMAC = 8
	arpSender    = 14
	arpTargetMAC = 18
	arpTarget    = 24
	arpLen       = 28
)

// ParseARP accepts Ethernet and IPv4 only ([ErrType]) and cuts the padding of the
// frame off. The operation is not judged.
func ParseARP(b []byte) (ARP, error) {
	if len(b) < arpLen {
		return nil, ErrShort
	}
	if binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != EtherTypeIPv4 || b[4] != 6 || b[5] != 4 {
		return nil, ErrType
	}
	return ARP(b[:arpLen:arpLen]), nil
}

// Op is [ARPRequest], [ARPReply] or something else.
func (a ARP) Op() uint16 { return binary.BigEndian.Uint16(a[arpOp:]) }

// SenderMAC is the hardware address that the packet announces.
func (a ARP) SenderMAC() MAC { return MAC(a[arpSenderMAC : arpSenderMAC+6]) }

// Sender is the IPv4 address that the packet announces; 0.0.0.0 in a probe.
func (a ARP) Sender() netip.Addr { return addr4(a[arpSender:]) }

// TargetMAC means nothing in a request.
func (a ARP) TargetMAC() MAC { return MAC(a[arpTargetMAC : arpTargetMAC+6]) }

// Target is the IPv4 address that is asked for, or the asker in a reply.
func (a ARP) Target() netip.Addr { return addr4(a[arpTarget:]) }

// IsGratuitous reports whether sender and target are the same address.
func (a ARP) IsGratuitous() bool { return a.Sender() == a.Target() }

// ARPMessage is an ARP packet to be sent.
type ARPMessage struct {
	Op        uint16
	SenderMAC MAC
	Sender    netip.Addr // IPv4; anything else is written as 0.0.0.0 (a probe, RFC 5227)
	TargetMAC MAC
	Target    netip.Addr
}

// Append appends the 28 bytes of m to b, without an Ethernet header.
func (m ARPMessage) Append(b []byte) []byte {
	b = append(b, 0, 1, 0x08, 0x00, 6, 4)
	b = binary.BigEndian.AppendUint16(b, m.Op)
	b = append(b, m.SenderMAC[:]...)
	b = appendAddr4(b, m.Sender)
	b = append(b, m.TargetMAC[:]...)
	return appendAddr4(b, m.Target)
}

// AppendGratuitousARP appends the whole frame of 42 bytes that tells the link that
// vip is at mac: a broadcast request for vip by vip (RFC 9568 §6.4.2). The target
// MAC is the broadcast address as keepalived and FRR send it; receivers ignore it.
func AppendGratuitousARP(b []byte, mac MAC, vip netip.Addr) []byte {
	b = AppendEthernet(b, Broadcast, mac, EtherTypeARP)
	return ARPMessage{Op: ARPRequest, SenderMAC: mac, Sender: vip, TargetMAC: Broadcast, Target: vip}.Append(b)
}

// addr4 reads an IPv4 address from the first four bytes of b.
func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// appendAddr4 appends an IPv4 address; any other becomes 0.0.0.0, so that an
// encoder never panics on an address that is not known yet.
func appendAddr4(b []byte, a netip.Addr) []byte {
	var x [4]byte
	if a.Is4() || a.Is4In6() {
		x = a.As4()
	}
	return append(b, x[:]...)
}
