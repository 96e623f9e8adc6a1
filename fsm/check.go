package fsm

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Verdict is why an advertisement was refused; zero means it was not. The order is
// that of the checks.
type Verdict uint8

// The verdicts.
const (
	Accepted          Verdict = iota
	Fragmented                // IP fragments carry no advertisements
	BadHeaderChecksum         // of the IPv4 header
	BadTTL                    // not 255 (RFC 9568 §5.1.1.3), multicast only
	BadVersion                // not the configured one
	BadType                   // not ADVERTISEMENT (RFC 9568 §5.2.2)
	BadAuthType               // not the configured one (RFC 2338 §5.3.6)
	BadPassword               // auth_pass differs
	BadInterval               // version 2: not the own (RFC 3768 §7.1); version 3: 0 (erratum 8301)
	BadChecksum               // neither form of it
	NoAddresses               // count 0 (RFC 9568 §5.2.5)
	AddressesDiffer           // remarked only: RFC 9568 §7.1 processes such an advertisement
)

var verdicts = [...]string{
	"accepted", "a fragment", "IP header checksum wrong", "TTL is not 255: sent from another link, or by a faulty router",
	"VRRP version differs: set the same version on both", "not an advertisement", "authentication type differs: set the same auth_type on both",
	"password differs: set the same auth_pass on both", "advertisement interval differs: set the same advert_int on both",
	"VRRP checksum wrong", "no virtual address in it", "virtual addresses differ (processed all the same): list the same on both",
}

// String says it in words, with what to change where the configuration is at fault.
func (v Verdict) String() string { return verdicts[v] }

// Message is a received advertisement: the packet, and the VRRP view of its payload.
type Message struct {
	IP   proto.IPv4
	VRRP proto.VRRP
}

// Check tells whether an advertisement for this VRID may take part in the election
// (RFC 3768 §7.1, RFC 9568 §7.1). It changes nothing.
func (in *Instance) Check(m Message) Verdict {
	c, v := &in.cfg, m.VRRP
	switch {
	case m.IP.FragmentOffset() != 0 || m.IP.MoreFragments():
		return Fragmented
	case !m.IP.ChecksumOK():
		return BadHeaderChecksum
	case !c.Unicast && m.IP.TTL() != 255:
		return BadTTL
	case v.Version() != c.Version:
		return BadVersion
	case v.Type() != proto.VRRPAdvertisement:
		return BadType
	case v.AuthType() != c.AuthType:
		return BadAuthType
	case c.AuthType != 0 && v.Auth() != c.Auth:
		return BadPassword
	case c.Version == 2 && v.Interval() != c.Interval || v.Interval() < 10*time.Millisecond:
		return BadInterval
	case v.ChecksumForm(m.IP.Src(), m.IP.Dst()) == proto.ChecksumBad:
		return BadChecksum
	case v.Count() == 0:
		return NoAddresses
	}
	return Accepted
}

// SameAddresses tells whether an accepted advertisement lists the addresses of this
// instance, in any order. It is a remark and no reason to refuse (RFC 9568 §7.1).
func (in *Instance) SameAddresses(v proto.VRRP) bool {
	if v.Count() != len(in.cfg.Addrs) {
		return false
	}
	for _, own := range in.cfg.Addrs {
		found := false
		for i := range v.Count() {
			found = found || v.Addr(i) == own
		}
		if !found {
			return false
		}
	}
	return true
}
