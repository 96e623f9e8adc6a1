package proto

import (
	"encoding/binary"
	"net/netip"
)

// UDP is a view of one datagram, cut at its length field (RFC 768):
//
//	0          2          4        6          8
//	| src port | dst port | length | checksum | data ...
type UDP []byte

const (
	udpLen      = 8
	udpLength   = 4
	udpChecksum = 6
)

// ParseUDP needs the whole datagram: a first fragment gives [ErrShort].
func ParseUDP(b []byte) (UDP, error) {
	if len(b) < udpLen {
		return nil, ErrShort
	}
	n := int(binary.BigEndian.Uint16(b[udpLength:]))
	if n < udpLen {
		return nil, ErrLength
	}
	if n > len(b) {
		return nil, ErrShort
	}
	return UDP(b[:n:n]), nil
}

// SrcPort is the port of the sender, 0 if it wants no answer.
func (u UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(u) }

// DstPort is the port of the receiver.
func (u UDP) DstPort() uint16 { return binary.BigEndian.Uint16(u[2:]) }

// Checksum is the checksum as it stands in the datagram; 0 means none was computed.
func (u UDP) Checksum() uint16 { return binary.BigEndian.Uint16(u[udpChecksum:]) }

// ChecksumOK verifies the checksum between two addresses; none at all is fine too.
func (u UDP) ChecksumOK(src, dst netip.Addr) bool {
	return u.Checksum() == 0 || Sum(0).AddPseudo(src, dst, ProtocolUDP, len(u)).Add(u).Fold() == 0xffff
}

// Payload is the data.
func (u UDP) Payload() []byte { return u[udpLen:] }

// UDPHeader is a header to be sent.
type UDPHeader struct{ SrcPort, DstPort uint16 }

// Append appends the 8 bytes of h with checksum 0, for payloadLen bytes of data that
// the caller appends next. [SealUDP] fills in the checksum after that.
func (h UDPHeader) Append(b []byte, payloadLen int) []byte {
	b = binary.BigEndian.AppendUint16(b, h.SrcPort)
	b = binary.BigEndian.AppendUint16(b, h.DstPort)
	b = binary.BigEndian.AppendUint16(b, uint16(udpLen+payloadLen))
	return append(b, 0, 0)
}

// SealUDP fills in the checksum of a whole datagram, in place. A sum of zero is sent
// as 0xffff (RFC 768).
func SealUDP(datagram []byte, src, dst netip.Addr) {
	field := datagram[udpChecksum : udpChecksum+2]
	field[0], field[1] = 0, 0
	sum := Sum(0).AddPseudo(src, dst, ProtocolUDP, len(datagram)).Add(datagram).Checksum()
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}
