package proto

import "encoding/binary"

// ICMP types and codes (RFC 792) that the director meets.
const (
	ICMPEchoReply      uint8 = 0
	ICMPUnreachable    uint8 = 3
	ICMPSourceQuench   uint8 = 4
	ICMPRedirect       uint8 = 5
	ICMPEcho           uint8 = 8
	ICMPTimeExceeded   uint8 = 11
	ICMPParameter      uint8 = 12
	ICMPCodePort       uint8 = 3 // of ICMPUnreachable
	ICMPCodeFragNeeded uint8 = 4 // of ICMPUnreachable
	ICMPCodeTTL        uint8 = 0 // of ICMPTimeExceeded
)

// ICMP is a view of one message (RFC 792):
//
//	0      1      2          4                 8
//	| type | code | checksum | rest of header  | data or quoted packet ...
type ICMP []byte

const (
	icmpLen      = 8
	icmpChecksum = 2
	icmpRest     = 4
)

// ParseICMP needs the 8 bytes of the header.
func ParseICMP(b []byte) (ICMP, error) {
	if len(b) < icmpLen {
		return nil, ErrShort
	}
	return ICMP(b), nil
}

// Type is the kind of message.
func (m ICMP) Type() uint8 { return m[0] }

// Code tells more about the type.
func (m ICMP) Code() uint8 { return m[1] }

// Checksum is the checksum as it stands in the message.
func (m ICMP) Checksum() uint16 { return binary.BigEndian.Uint16(m[icmpChecksum:]) }

// ChecksumOK verifies the checksum, which covers the whole message.
func (m ICMP) ChecksumOK() bool { return Sum(0).Add(m).Fold() == 0xffff }

// Rest is the second word of the header: identifier and sequence, a gateway, an MTU.
func (m ICMP) Rest() uint32 { return binary.BigEndian.Uint32(m[icmpRest:]) }

// Payload is the data of an echo, or the packet that an error is about.
func (m ICMP) Payload() []byte { return m[icmpLen:] }

// IsError reports whether the message is about another packet (RFC 1122 §3.2.2).
func (m ICMP) IsError() bool {
	switch m.Type() {
	case ICMPUnreachable, ICMPSourceQuench, ICMPRedirect, ICMPTimeExceeded, ICMPParameter:
		return true
	}
	return false
}
