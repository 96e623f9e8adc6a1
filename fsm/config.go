package fsm

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// State of an instance. FAULT is keepalived's: it cannot take part in the election.
type State uint8

// The states.
const (
	Init State = iota
	Backup
	Master
	Fault
)

// String is the name that operators know.
func (s State) String() string { return [...]string{"INIT", "BACKUP", "MASTER", "FAULT"}[s] }

// Tri is what is known of a tracked object.
type Tri uint8

// What a tracked object can be.
const (
	Unknown Tri = iota
	Up
	Down
)

// Tracker is an object whose state decides about an instance: with weight 0 its
// failure is a FAULT (and while it is unknown the instance does not take part),
// else it changes the priority (1 to 253 or -253 to -1). Reverse turns it round.
type Tracker struct {
	Name    string
	Weight  int
	Reverse bool
	Initial Tri
}

// Config is what an instance is made from. The caller fills in every default.
type Config struct {
	Name                    string
	VRID, Version, Priority uint8         // Version 2 or 3; Priority 1 to 255
	Interval                time.Duration // whole seconds in version 2, centiseconds in 3
	NoPreempt               bool
	PreemptDelay            time.Duration
	Source                  netip.Addr   // of own advertisements; zero: none yet, which is a FAULT
	Addrs, Excluded         []netip.Addr // virtual addresses: advertised, and not
	Unicast                 bool
	AuthType                uint8 // 0 or 1 (PASS), version 2 only
	Auth                    [8]byte

	DownTimerAdverts int // advertisements that may be missed: 3 in the RFCs
	StartupDelay     time.Duration

	GARPRepeat          int           // rounds on becoming MASTER
	GARPDelay           time.Duration // until the second burst; 0: none
	GARPRefresh         time.Duration // between rounds while MASTER; 0: none
	GARPRefreshRepeat   int
	GARPLowerPrioRepeat int // rounds on a losing advertisement
	GARPLowerPrioDelay  time.Duration

	HigherPrioSendAdvert, LowerPrioNoAdvert bool

	Trackers []Tracker
}

// owner has priority 255: the addresses are its own (RFC 9568 §6.1).
const owner = 255

// skew is the Skew_Time of priority p (RFC 3768 §6.1, RFC 9568 §6.1): version 2 does
// not scale it with the interval.
func (c *Config) skew(p uint8, interval time.Duration) time.Duration {
	if c.Version == 2 {
		interval = time.Second
	}
	return time.Duration(256-int(p)) * interval / 256
}

// Advert is the advertisement of this instance with the given priority.
func (in *Instance) Advert(priority uint8) proto.Advert {
	c := &in.cfg
	return proto.Advert{
		Version: c.Version, VRID: c.VRID, Priority: priority, Interval: c.Interval,
		AuthType: c.AuthType, Auth: c.Auth, Addrs: c.Addrs,
	}
}
