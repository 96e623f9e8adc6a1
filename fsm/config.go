package fsm

import (
	"net/netip"
	"time"
)

// OwnerPriority is the priority of the router that owns the addresses
// (RFC 9568 §5.2.4). It is MASTER whenever it can be, and no tracking changes it.
const OwnerPriority uint8 = 255

// defaultDownTimerAdverts is the 3 in Master_Down_Interval (RFC 9568 §6.1).
const defaultDownTimerAdverts = 3

// Config is what an instance is. Zero values are taken as they stand (no GARP, no
// delay) unless a field says otherwise: the caller fills in the defaults.
type Config struct {
	Name     string
	VRID     uint8
	Version  uint8         // 2 or 3
	Priority uint8         // 1 to 255; 255 is the owner
	Interval time.Duration // between own advertisements
	// StateMaster tells that the configuration says state MASTER. It changes
	// nothing: below 255 every instance begins as BACKUP, the owner as MASTER.
	StateMaster bool

	NoPreempt    bool          // stay BACKUP while a lower MASTER lives; not for the owner
	PreemptDelay time.Duration // how long to put up with a lower MASTER

	Source   netip.Addr   // of own advertisements; the zero value is a fault
	IPv6     bool         // the family of the source and of Addrs
	Addrs    []netip.Addr // virtual addresses, as advertised
	Excluded []netip.Addr // virtual addresses that are not advertised, of either family
	Unicast  bool         // to peers instead of the group
	Senders  []Sender     // the only ones that are heard; nil: anybody
	Group    netip.Addr   // of multicast; the zero value is that of the RFC
	NoPeer   bool         // it is to be unicast and has no peer, which is a FAULT

	AuthType uint8   // version 2: 0, 1 (a password) or 2 (an authentication header)
	Auth     [8]byte // the password, or the key
	HMAC     *HMAC   // the trailer of keepalived 2.4; nil without

	// MessageChecksum sends version 3 over IPv4 with the checksum of RFC 9568 §5.2.8, which
	// covers the message alone. Both forms are heard in either case.
	MessageChecksum bool
	// OldUnicastChecksum hears, beside these, the checksum of keepalived up to 1.3.6: of a
	// pseudo-header with the multicast group, although the message goes to a peer.
	OldUnicastChecksum bool
	// OwnerIgnoreAdverts is for the owner: it hears nobody (RFC 3768 §7.1).
	OwnerIgnoreAdverts bool

	DownTimerAdverts int           // missing advertisements that make a takeover; 0 means 3
	StartupDelay     time.Duration // hear nothing and stay BACKUP for so long

	GARPRepeat          int           // rounds of gratuitous ARP on becoming MASTER
	GARPDelay           time.Duration // until the same again; 0: never
	GARPRefresh         time.Duration // between refreshes while MASTER; 0: never
	GARPRefreshRepeat   int           // rounds of a refresh
	GARPLowerPrioRepeat int           // rounds on hearing a lower MASTER
	GARPLowerPrioDelay  time.Duration // until the same again; 0: never

	HigherPrioSendAdvert bool // advertise once more before yielding
	LowerPrioNoAdvert    bool // do not answer a lower MASTER with an advertisement
	SkipCheckAdvAddr     bool // BACKUP: compare the address list of a new MASTER only

	// TimerExpiredBackup makes a MASTER whose timers were served so late that a backup of
	// this priority has taken over a BACKUP, instead of disturbing it; 0: never. Without
	// preemption only: else the MASTER takes the role back anyway.
	TimerExpiredBackup uint8

	Trackers []Tracker
}

// Sender is a router that may be heard, at the end of a path of so many hops.
type Sender struct {
	Addr           netip.Addr
	MinTTL, MaxTTL uint8 // of what arrives, both included
}

// Tri is what is known about a tracked object.
type Tri uint8

// An object is Unknown until its first result.
const (
	Unknown Tri = iota
	Up
	Down
)

// Tracker is an object whose state changes the priority, or with weight 0 decides
// whether the instance can take part at all.
type Tracker struct {
	Name string
	// Kind is the word for it in causes, such as "script" or "interface"; when
	// empty, "tracker".
	Kind string
	// Weight above 0 is added while the object is up; below 0 it is added, and so
	// subtracts, while it is down. Weight 0 means FAULT while it is down, and INIT
	// until it is known.
	Weight int
	// Reverse changes the sign of the contribution; with weight 0, FAULT while up.
	Reverse bool
	Initial Tri
	// Number makes it one that has a number instead of a state (a file): what it
	// contributes is the number times Weight, and -254 or less is FAULT. With weight 0
	// every number but 0 is FAULT, reversed 0 alone.
	Number bool
}

// tracking is what is known about the object of a tracker.
type tracking struct {
	state Tri
	value int // of one with a number
}

// The contribution of a number is within these bounds (reference 3.2).
const (
	leastNumber = -254
	mostNumber  = 253
)

// fails reports whether the object in this state is a reason for FAULT.
func (t *Tracker) fails(o tracking) bool {
	switch {
	case t.Number && t.Weight == 0:
		return (o.value != 0) != t.Reverse
	case t.Number:
		return t.contribution(o) == leastNumber
	case t.Weight != 0:
		return false
	}
	return o.state == Down && !t.Reverse || o.state == Up && t.Reverse
}

// contribution is what the object in this state adds to the priority.
func (t *Tracker) contribution(o tracking) int {
	w := 0
	switch {
	case t.Number:
		w = o.value * t.Weight
	case t.Weight > 0 && o.state == Up || t.Weight < 0 && o.state == Down:
		w = t.Weight
	}
	if t.Reverse {
		w = -w
	}
	return min(max(w, leastNumber), mostNumber)
}
