package fsm

import (
	"strings"

	"github.com/ringkeep/ringkeep/proto"
)

// Remarks are what is odd about an accepted message, as a set of bits. They should
// be logged, at a limited rate (RFC 9568 §7.1), and change nothing.
type Remarks uint16

const (
	// AddressesDiffer: the message lists other addresses than are configured here.
	// The order does not matter.
	AddressesDiffer Remarks = 1 << iota
	// IntervalDiffers: version 3 only, where it is no reason to refuse.
	IntervalDiffers
	// OwnerHeard: another router speaks although we own the addresses
	// (RFC 9568 erratum 8298).
	OwnerHeard
	// TwoOwners: it even says that it owns them (RFC 9568 §8.3.2).
	TwoOwners
	// MessageChecksum: version 3 without the pseudo-header, the form of RFC 9568.
	MessageChecksum
	// GlobalFirst: over IPv6 the first address is not link-local (RFC 9568 §5.2.9, of
	// which erratum 8300 makes a reason to refuse; FRR and keepalived do not).
	GlobalFirst
	// EqualPriority: another router has the same, so that addresses decide.
	EqualPriority
	// PseudoChecksum: version 3 over IPv4 with the pseudo-header, where this router sends
	// the form of RFC 9568.
	PseudoChecksum
	// Unsigned: [HMAC] is not enforced, and the message has no trailer.
	Unsigned
)

// String lists the remarks with commas.
func (r Remarks) String() string {
	var words []string
	for i, w := range [...]string{"addresses differ", "interval differs", "owner hears a rival", "two owners", "checksum without pseudo-header",
		"first address is not link-local", "equal priority", "checksum with pseudo-header", "no hmac"} {
		if r&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}

// Remark looks at a message that [Instance.Check] accepted.
func (in *Instance) Remark(m Message) Remarks {
	var r Remarks
	v, src := m.VRRP, m.IP.Src()
	known := in.cfg.SkipCheckAdvAddr && in.state == Backup && in.backup.master == src
	if !known && !in.sameAddrs(m) {
		r |= AddressesDiffer
	}
	if in.cfg.Version == 3 && v.Interval() != in.cfg.Interval {
		r |= IntervalDiffers
	}
	if in.cfg.Priority == OwnerPriority {
		r |= OwnerHeard
		if v.Priority() == OwnerPriority {
			r |= TwoOwners
		}
	}
	if in.cfg.Version == 3 && !in.cfg.IPv6 {
		switch form := in.checksumForm(m); {
		case form == proto.ChecksumMessage && !in.cfg.MessageChecksum:
			r |= MessageChecksum
		case form == proto.ChecksumPseudo && in.cfg.MessageChecksum:
			r |= PseudoChecksum
		}
	}
	if p := v.Priority(); p == in.Priority() && p != OwnerPriority {
		r |= EqualPriority
	}
	if in.cfg.HMAC != nil && len(v) == m.Size() {
		r |= Unsigned
	}
	if in.cfg.IPv6 && v.Count() > 0 && !m.Addr(0).IsLinkLocalUnicast() {
		r |= GlobalFirst
	}
	return r
}

// sameAddrs reports whether the message lists the own addresses in any order.
func (in *Instance) sameAddrs(m Message) bool {
	if m.VRRP.Count() != len(in.cfg.Addrs) {
		return false
	}
	for _, own := range in.cfg.Addrs {
		found := false
		for i := range m.VRRP.Count() {
			found = found || m.Addr(i) == own
		}
		if !found {
			return false
		}
	}
	return true
}
