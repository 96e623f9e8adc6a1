// Package proto reads and writes the wire formats that a director needs: Ethernet,
// ARP (RFC 826), IPv4 (RFC 791), TCP and UDP headers, ICMP errors (RFC 792), and VRRP
// versions 2 and 3 over IPv4 (RFC 3768, RFC 9568).
//
// Decoding is a checked view: a type over the bytes of the frame, made by a Parse
// function that checks lengths once, so that no accessor panics after a nil error.
// A view aliases the frame; copy what must outlive it. Encoding appends to a slice
// that the caller owns and allocates only when that lacks capacity. Whether a message
// that is well formed is also acceptable is another question, asked elsewhere.
package proto

import "errors"

// ErrShort is returned where there are fewer bytes than the format needs.
var ErrShort = errors.New("short packet")

// ErrFormat is returned where a length or version field contradicts the format.
var ErrFormat = errors.New("malformed packet")
