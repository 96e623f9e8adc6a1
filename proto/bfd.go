package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Ports of BFD: control packets of one hop (RFC 5881 §4) and of several (RFC 5883 §5), and
// the least one that they may come from.
const (
	BFDPort         uint16 = 3784
	BFDMultihopPort uint16 = 4784
	BFDSourcePort   uint16 = 49152
)

// BFDTTL is the TTL or hop limit of every control packet of one hop (RFC 5881 §5).
const BFDTTL uint8 = 255

// BFDVersion is the only version there is (RFC 5880 §4.1).
const BFDVersion uint8 = 1

// BFDState is the state of a session as its packets tell it (RFC 5880 §4.1).
type BFDState uint8

// The states of RFC 5880 §6.2.
const (
	BFDAdminDown BFDState = iota
	BFDDown
	BFDInit
	BFDUp
)

var bfdStates = [...]string{"AdminDown", "Down", "Init", "Up"}

// String is the RFC's word.
func (s BFDState) String() string {
	if int(s) < len(bfdStates) {
		return bfdStates[s]
	}
	return fmt.Sprintf("BFDState(%d)", uint8(s))
}

// BFDDiag is why a session last left Up (RFC 5880 §4.1); others than these may arrive.
type BFDDiag uint8

// The diagnostics of RFC 5880 §4.1 that sessions here tell.
const (
	BFDNoDiag            BFDDiag = 0
	BFDTimeExpired       BFDDiag = 1
	BFDNeighborSignaled  BFDDiag = 3
	BFDAdminDownDiag     BFDDiag = 7
	bfdReverseConcatPath         = 8 // the last that has a name
)

var bfdDiags = [bfdReverseConcatPath + 1]string{
	"No Diagnostic", "Control Detection Time Expired", "Echo Function Failed", "Neighbor Signaled Session Down",
	"Forwarding Plane Reset", "Path Down", "Concatenated Path Down", "Administratively Down", "Reverse Concatenated Path Down",
}

// String is the RFC's name for it.
func (d BFDDiag) String() string {
	if int(d) < len(bfdDiags) {
		return bfdDiags[d]
	}
	return fmt.Sprintf("Diagnostic %d", uint8(d))
}

// BFD is a view of one control packet, cut at its length field (RFC 5880 §4.1):
//
//	0         1                2             3        4                  8
//	| vers 3, | state 2,       | detect mult | length | my discriminator | your discriminator
//	| diag 5  | P F C A D M    |             |        |                  |
//	12                        16                        20                             24
//	| desired min tx interval | required min rx interval | required min echo rx interval | ...
//
// Intervals are in microseconds. What follows, where A is set, is the authentication.
type BFD []byte

const (
	bfdFlags      = 1
	bfdMultiplier = 2
	bfdLength     = 3
	bfdMine       = 4
	bfdYours      = 8
	bfdMinTX      = 12
	bfdMinRX      = 16
	bfdMinEcho    = 20

	// BFDLen is the length of a control packet without authentication.
	BFDLen = 24

	bfdPoll       = 0x20
	bfdFinal      = 0x10
	bfdAuth       = 0x04
	bfdDemand     = 0x02
	bfdMultipoint = 0x01
)

// ErrBFD is behind every error of [ParseBFD] but [ErrShort].
var ErrBFD = errors.New("no BFD control packet")

// ParseBFD does those steps of reception that look at the packet alone, in their order
// (RFC 5880 §6.8.6): after a nil error no accessor panics. An error names the field that
// is wrong, and wraps [ErrShort] or [ErrBFD].
func ParseBFD(b []byte) (BFD, error) {
	if len(b) < BFDLen {
		return nil, fmt.Errorf("%w: %d bytes of BFD, %d at least", ErrShort, len(b), BFDLen)
	}
	n, least := int(b[bfdLength]), BFDLen
	if b[bfdFlags]&bfdAuth != 0 {
		least += 2 // type and length of the authentication
	}
	p := BFD(b)
	switch {
	case p.Version() != BFDVersion:
		return nil, fmt.Errorf("%w: version %d, must be %d", ErrBFD, p.Version(), BFDVersion)
	case n < least:
		return nil, fmt.Errorf("%w: length %d, must be %d at least", ErrBFD, n, least)
	case n > len(b):
		return nil, fmt.Errorf("%w: length %d of %d bytes", ErrShort, n, len(b))
	case p.Multiplier() == 0:
		return nil, fmt.Errorf("%w: detect mult 0", ErrBFD)
	case b[bfdFlags]&bfdMultipoint != 0:
		return nil, fmt.Errorf("%w: multipoint is set", ErrBFD)
	case p.Mine() == 0:
		return nil, fmt.Errorf("%w: my discriminator 0", ErrBFD)
	case p.Yours() == 0 && p.State() > BFDDown:
		return nil, fmt.Errorf("%w: your discriminator 0 in state %v", ErrBFD, p.State())
	}
	return p[:n:n], nil
}

// Version is 1.
func (p BFD) Version() uint8 { return p[0] >> 5 }

// Diag is why the session of the sender last left Up.
func (p BFD) Diag() BFDDiag { return BFDDiag(p[0] & 0x1f) }

// State is the state of the session of the sender.
func (p BFD) State() BFDState { return BFDState(p[bfdFlags] >> 6) }

// Poll: the sender wants an answer with Final.
func (p BFD) Poll() bool { return p[bfdFlags]&bfdPoll != 0 }

// Final: this is the answer to a Poll.
func (p BFD) Final() bool { return p[bfdFlags]&bfdFinal != 0 }

// Authenticated: an authentication section follows.
func (p BFD) Authenticated() bool { return p[bfdFlags]&bfdAuth != 0 }

// Demand: the sender wishes no periodic packets while both are Up.
func (p BFD) Demand() bool { return p[bfdFlags]&bfdDemand != 0 }

// Multiplier is how many intervals without a packet make the session Down at the receiver.
func (p BFD) Multiplier() uint8 { return p[bfdMultiplier] }

// Mine is the discriminator of the sender, never 0.
func (p BFD) Mine() uint32 { return binary.BigEndian.Uint32(p[bfdMine:]) }

// Yours is what the sender knows of the receiver's discriminator, 0 for nothing.
func (p BFD) Yours() uint32 { return binary.BigEndian.Uint32(p[bfdYours:]) }

// MinTX is the least interval at which the sender wishes to send.
func (p BFD) MinTX() time.Duration { return p.micros(bfdMinTX) }

// MinRX is the least interval at which the sender can receive; 0 asks for no packets.
func (p BFD) MinRX() time.Duration { return p.micros(bfdMinRX) }

// MinEcho is the least interval of echo packets; 0: none are answered.
func (p BFD) MinEcho() time.Duration { return p.micros(bfdMinEcho) }

func (p BFD) micros(at int) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(p[at:])) * time.Microsecond
}

// BFDMessage is a control packet to be sent, without authentication.
type BFDMessage struct {
	State                 BFDState
	Diag                  BFDDiag
	Poll, Final           bool
	Demand                bool
	Multiplier            uint8         // 1 to 255
	Mine, Yours           uint32        // discriminators
	MinTX, MinRX, MinEcho time.Duration // up to 4294.967295 s, cut to microseconds
}

// Append appends the 24 bytes of m.
func (m BFDMessage) Append(b []byte) []byte {
	flags := byte(m.State) << 6
	for _, f := range [...]struct {
		set bool
		bit byte
	}{{m.Poll, bfdPoll}, {m.Final, bfdFinal}, {m.Demand, bfdDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, BFDVersion<<5|byte(m.Diag)&0x1f, flags, m.Multiplier, BFDLen)
	for _, v := range [...]uint32{m.Mine, m.Yours, micros(m.MinTX), micros(m.MinRX), micros(m.MinEcho)} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func micros(d time.Duration) uint32 { return uint32(d / time.Microsecond) }
