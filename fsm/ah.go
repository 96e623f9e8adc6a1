package fsm

import (
	"crypto/subtle"

	"github.com/ringkeep/ringkeep/proto"
)

// lastSequence is where counting ends (RFC 2402 §3.3.2: a number is never used twice).
const lastSequence = 0xfffffffd

// protocol is the IP protocol of the instance's messages.
func (in *Instance) protocol() uint8 {
	if in.cfg.AuthType == proto.VRRPAuthAH {
		return proto.ProtocolAH
	}
	return proto.ProtocolVRRP
}

// checkAH follows keepalived: the ICV over what no router changes, the sender's address
// as SPI, and a sequence number above all that were heard or sent. There is no window
// (RFC 2402 §3.4.3 has one): advertisements are not reordered, and a jump forward is
// what a node looks like that was MASTER meanwhile.
func (in *Instance) checkAH(ip proto.IPv4) Verdict {
	ah, err := proto.ParseAH(ip.Payload())
	if err != nil {
		return BadLength
	}
	theirs, ours := ah.ICV(), proto.ICV(ip, in.cfg.Auth, in.cfg.Unicast)
	switch {
	case subtle.ConstantTimeCompare(theirs[:], ours[:]) == 0:
		return WrongICV
	case ah.SPI() != ip.Src():
		return WrongSPI
	case ah.Sequence() <= in.sequence:
		return Replayed
	}
	return Accepted
}

// follow remembers the sequence number of another router, whatever the state: who
// takes over has to go on from there, or nobody listens. keepalived, deaf in FAULT,
// goes on from what it had.
func (in *Instance) follow(ev Event) {
	h, ok := ev.(Heard)
	if ok && h.Sequence > in.sequence {
		in.sequence = h.Sequence
	}
	if ok && h.Stamp > 0 && in.cfg.HMAC != nil {
		in.stamps.note(h.Src, h.Stamp)
	}
}

// number is the sequence number of the next advertisement; 0 without the header. Once
// all are used the last stays, which nobody accepts, until the next term as MASTER.
func (in *Instance) number() uint32 {
	if in.cfg.AuthType != proto.VRRPAuthAH {
		return 0
	}
	if in.sequence < lastSequence {
		in.sequence++
	}
	return in.sequence
}

// renumber begins anew once all numbers are used: at one a second after 136 years, or
// after somebody with the key has used them up.
func (in *Instance) renumber() {
	if in.sequence >= lastSequence {
		in.sequence = 0
	}
}
