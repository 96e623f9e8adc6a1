package fsm

import (
	"crypto/subtle"
	"fmt"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Message is a received VRRP message with the packet that brought it. VRRP need not
// have passed [proto.ParseVRRP]: [Instance.Check] judges the lengths itself, so that a
// message cut short gets its verdict like any other.
type Message struct {
	IP   proto.IP
	VRRP proto.VRRP // of IP, see [proto.VRRPIn]
	// Wall is when it arrived, as the time since 1970 (UTC); only [HMAC] asks. With 0 the
	// time is not known, and no message is stale.
	Wall time.Duration
}

// Heard is the event of a message that [Instance.Check] accepted.
func (m Message) Heard() Heard {
	h := Heard{Priority: m.VRRP.Priority(), Interval: m.VRRP.Interval(), Src: m.IP.Src()}
	if m.IP.Protocol() == proto.ProtocolAH {
		h.Sequence = proto.AH(m.IP.Payload()).Sequence()
	}
	if _, trailer, ok := proto.SplitTrailer(m.VRRP, m.IP.Is6()); ok {
		h.Stamp = trailer.Sequence()
	}
	return h
}

// Verdict is the rule that refused a message; the zero value is none.
type Verdict uint8

const (
	// Accepted breaks no rule.
	Accepted Verdict = iota
	// WrongProtocol: not IP protocol 112, or with authentication headers not 51; or of the
	// other family.
	WrongProtocol
	// BadIPChecksum: the IP header is damaged.
	BadIPChecksum
	// Fragmented: VRRP is never sent in fragments.
	Fragmented
	// BadSource: no host can have this source address.
	BadSource
	// OwnSource: our own message, or somebody who took our address.
	OwnSource
	// WrongDestination: neither the group for multicast nor a host for unicast.
	WrongDestination
	// BadTTL: it crossed a router (RFC 9568 §5.1.1.3). In unicast mode it is for the
	// configuration to say how many there may be.
	BadTTL
	// WrongVRID: another virtual router.
	WrongVRID
	// WrongVersion: not the configured one.
	WrongVersion
	// WrongType: not an advertisement.
	WrongType
	// BadLength: more or less than the count of addresses calls for.
	BadLength
	// BadChecksum: it holds in none of the forms.
	BadChecksum
	// WrongAuthType: another authentication than configured (RFC 3768 §5.3.6).
	WrongAuthType
	// WrongPassword: the configured authentication, another password.
	WrongPassword
	// NoAddresses: a count of 0 in version 3 (RFC 9568 §5.2.5). Version 2 has no
	// such rule, and keepalived sends it where all addresses are excluded ones.
	NoAddresses
	// WrongInterval: version 2 demands equal intervals (RFC 3768 §7.1).
	WrongInterval
	// ZeroInterval: no MASTER can keep it (RFC 9568 erratum 8301).
	ZeroInterval
	// WrongICV: another key, or the packet was changed on its way (RFC 2402 §3.4.4).
	WrongICV
	// WrongSPI: not the source address, which keepalived puts there.
	WrongSPI
	// UnknownSender: none of the peers in unicast mode.
	UnknownSender
	// Replayed: its sequence number is not above the last (RFC 2402 §3.4.3).
	Replayed
	// OwnerDeaf: the owner hears nobody (RFC 3768 §7.1), as configured.
	OwnerDeaf
	// NoTrailer: [HMAC] is enforced, and the message has none.
	NoTrailer
	// WrongKey: a trailer of a key that is not known here, or not of the message.
	WrongKey
	// Stale: the time in its trailer is too far from the clock here.
	Stale

	// Verdicts is how many there are, for tables of counters.
	Verdicts
)

// verdictNames is beside the constants above.
var verdictNames = [Verdicts]string{
	"accepted", "wrong protocol", "bad ip checksum", "fragmented", "bad source", "own source",
	"wrong destination", "bad ttl", "wrong vrid", "wrong version", "wrong type", "bad length", "bad checksum",
	"wrong auth type", "wrong password", "no addresses", "wrong interval", "zero interval",
	"wrong icv", "wrong spi", "unknown sender", "replayed",
	"owner ignores adverts", "no hmac", "wrong hmac", "stale",
}

// String names the verdict in a few lowercase words.
func (v Verdict) String() string {
	if v < Verdicts {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// group and group6 are where multicast advertisements go (RFC 9568 §5.1.1.2, §5.1.2.2).
var (
	group  = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6 = netip.AddrFrom16([16]byte{0xff, 0x02, 15: 0x12})
)

// group is the configured one, or that of the family.
func (c *Config) group() netip.Addr {
	if c.Group.IsValid() {
		return c.Group
	}
	if c.IPv6 {
		return group6
	}
	return group
}

// Check judges a received message: first the packet, then the message from its
// framing to its contents (RFC 9568 §7.1, RFC 3768 §7.1). It changes nothing, and
// knows nothing of states: what INIT and FAULT accept they ignore.
func (in *Instance) Check(m Message) Verdict {
	if v := in.checkIP(m.IP); v != Accepted {
		return v
	}
	if len(m.VRRP) < 8 {
		return BadLength
	}
	if v := in.checkFrame(m); v != Accepted {
		return v
	}
	if in.cfg.OwnerIgnoreAdverts && in.cfg.Priority == OwnerPriority {
		return OwnerDeaf
	}
	if in.cfg.Version == 2 {
		return in.checkV2(m)
	}
	return in.checkV3(m.VRRP)
}

// checkIP does what a kernel would have done, and the TTL.
func (in *Instance) checkIP(ip proto.IP) Verdict {
	src, dst := ip.Src(), ip.Dst()
	switch {
	case ip.Protocol() != in.protocol() || ip.Is6() != in.cfg.IPv6:
		return WrongProtocol
	case !ip.ChecksumOK():
		return BadIPChecksum
	case ip.IsFragment():
		return Fragmented
	case src.IsUnspecified() || src.IsMulticast() || src.IsLoopback():
		return BadSource
	case src == in.source:
		return OwnSource
	case in.cfg.Unicast && dst.IsMulticast() || !in.cfg.Unicast && dst != in.cfg.group():
		return WrongDestination
	case !in.cfg.Unicast && ip.TTL() != proto.VRRPTTL:
		return BadTTL
	}
	return in.checkSender(src, ip.TTL())
}

// checkSender is for unicast mode, where TTL 255 cannot show who is near.
func (in *Instance) checkSender(src netip.Addr, ttl uint8) Verdict {
	if in.cfg.Senders == nil {
		return Accepted
	}
	for _, s := range in.cfg.Senders {
		if s.Addr != src {
			continue
		}
		if ttl < s.MinTTL || ttl > s.MaxTTL {
			return BadTTL
		}
		return Accepted
	}
	return UnknownSender
}

// checkFrame judges what both versions have in common. The version comes before the
// length, which depends on it.
func (in *Instance) checkFrame(m Message) Verdict {
	v := m.VRRP
	switch {
	case v.VRID() != in.cfg.VRID:
		return WrongVRID
	case v.Version() != in.cfg.Version:
		return WrongVersion
	case v.Type() != proto.VRRPAdvertisement:
		return WrongType
	case len(v) != m.Size() && !in.trailed(m):
		return BadLength
	case in.checksumForm(m) == proto.ChecksumBad:
		return BadChecksum
	}
	if in.cfg.HMAC != nil {
		return in.checkHMAC(m)
	}
	return Accepted
}

// Size is how long the message must be for its count, in the family that brought it, in
// bytes. It must have 8 at least.
func (m Message) Size() int {
	if m.IP.Is6() {
		return m.VRRP.Size6()
	}
	return m.VRRP.Size()
}

// Addr is address i of a message that [Instance.Check] accepted.
func (m Message) Addr(i int) netip.Addr {
	if m.IP.Is6() {
		return m.VRRP.Addr6(i)
	}
	return m.VRRP.Addr(i)
}

// checkV2 adds authentication and interval (RFC 3768 §7.1). Without authentication
// its eight bytes are ignored (§5.3.10).
func (in *Instance) checkV2(m Message) Verdict {
	v := m.VRRP
	if v.AuthType() != in.cfg.AuthType {
		return WrongAuthType
	}
	if v.AuthType() == proto.VRRPAuthPass { // never over IPv6, which has no room for it
		if auth := v.Auth(); subtle.ConstantTimeCompare(auth[:], in.cfg.Auth[:]) == 0 {
			return WrongPassword
		}
	}
	if in.cfg.AuthType == proto.VRRPAuthAH {
		if v := in.checkAH(proto.IPv4(m.IP)); v != Accepted {
			return v
		}
	}
	if v.Interval() != in.cfg.Interval {
		return WrongInterval
	}
	return Accepted
}

// checkV3 adds the errata of RFC 9568. A different interval is no fault, and neither is
// a list without addresses for who has none: keepalived's no_virtual_ipaddress.
func (in *Instance) checkV3(v proto.VRRP) Verdict {
	switch {
	case v.Count() == 0 && len(in.cfg.Addrs) > 0:
		return NoAddresses
	case v.Interval() == 0:
		return ZeroInterval
	}
	return Accepted
}
