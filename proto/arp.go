package proto

import (
	"encoding/binary"
	"net/netip"
)

// Operations of ARP (RFC 826).
const (
	ARPRequest = 1
	ARPReply   = 2
)

// ARP is a view of one ARP packet for IPv4 over Ethernet (RFC 826).
//
//	0      2       4    5    6    8            14          18           24          28
//	+------+-------+----+----+----+------------+-----------+------------+-----------+
//	| hw 1 | 0x800 | 6  | 4  | op | sender MAC | sender IP | target MAC | target IP |
//	+------+-------+----+----+----+------------+-----------+------------+-----------+
type ARP []byte

const arpLen = 28

// ParseARP checks the length and that the packet is about IPv4 over Ethernet.
func ParseARP(b []byte) (ARP, error) {
	if len(b) < arpLen {
		return nil, ErrShort
	}
	if binary.BigEndian.Uint32(b) != 1<<16|EtherTypeIPv4 || b[4] != 6 || b[5] != 4 {
		return nil, ErrFormat
	}
	return ARP(b[:arpLen]), nil
}

// Op is the operation: ARPRequest or ARPReply.
func (a ARP) Op() uint16 { return binary.BigEndian.Uint16(a[6:]) }

// SenderMAC is the sender's hardware address.
func (a ARP) SenderMAC() MAC { return MAC(a[8:14]) }

// Sender is the sender's protocol address.
func (a ARP) Sender() netip.Addr { return netip.AddrFrom4([4]byte(a[14:18])) }

// TargetMAC is the target's hardware address; zero in a request.
func (a ARP) TargetMAC() MAC { return MAC(a[18:24]) }

// Target is the target's protocol address.
func (a ARP) Target() netip.Addr { return netip.AddrFrom4([4]byte(a[24:28])) }

// ARPMessage is an ARP packet to be written. Sender and Target are IPv4.
type ARPMessage struct {
	Op        uint16
	SenderMAC MAC
	Sender    netip.Addr
	TargetMAC MAC
	Target    netip.Addr
}

// Append appends the 28 bytes of the packet.
func (m ARPMessage) Append(b []byte) []byte {
	b = append(b, 0, 1, 0x08, 0x00, 6, 4)
	b = binary.BigEndian.AppendUint16(b, m.Op)
	b = append(b, m.SenderMAC[:]...)
	b = appendAddr4(b, m.Sender)
	b = append(b, m.TargetMAC[:]...)
	return appendAddr4(b, m.Target)
}

func appendAddr4(b []byte, a netip.Addr) []byte {
	four := a.As4()
	return append(b, four[:]...)
}

// AppendGratuitousARP appends the whole frame by which a MASTER announces vip: a
// broadcast request with the address as sender and target, and the broadcast address
// as target MAC, the form that deployed implementations send (RFC 3768 §6.4.2).
func AppendGratuitousARP(b []byte, mac MAC, vip netip.Addr) []byte {
	b = AppendEthernet(b, Broadcast, mac, EtherTypeARP)
	return ARPMessage{Op: ARPRequest, SenderMAC: mac, Sender: vip, TargetMAC: Broadcast, Target: vip}.Append(b)
}
