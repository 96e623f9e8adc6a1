// Package proto holds the wire formats that ringkeep speaks: Ethernet, ARP (RFC 826),
// IPv4 (RFC 791), the ICMP errors and TCP resets that a director sends (RFC 792, RFC
// 9293), TCP and UDP headers, IPv6 (RFC 8200) with neighbour discovery (RFC 4861), and
// VRRP version 2 (RFC 3768, with the simple password and the authentication header of
// RFC 2338) over IPv4 and 3 (RFC 9568) over both.
//
// Decoding is a checked view: a ParseX function looks at the lengths once and returns
// the same bytes under a type whose accessors then cannot panic and read in wire
// order. Encoding is an append to a slice of the caller. Views alias the bytes that
// they were made from; whoever keeps one beyond the life of the frame copies it.
//
// Whether a well-formed packet is acceptable (checksum, TTL, known VRID) is not
// decided here: package fsm does that for VRRP, package forward for services.
//
// The package is pure: no sockets, no clock, no allocation in accessors, and none in
// an Append that finds enough capacity.
package proto

import "errors"

// Errors of the ParseX functions, for callers that count them apart.
var (
	// ErrShort means that the bytes end before the headers do.
	ErrShort = errors.New("packet too short")
	// ErrVersion means an IP version other than 4.
	ErrVersion = errors.New("not IPv4")
	// ErrLength means length fields that contradict each other or the packet.
	ErrLength = errors.New("length fields contradict the packet")
	// ErrType means an ARP packet of other hardware or protocol than Ethernet and IPv4.
	ErrType = errors.New("not ARP for IPv4 over Ethernet")
)
