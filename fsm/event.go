package fsm

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Event is something that happened to an instance.
type Event interface{ event() }

type (
	// Startup begins the election.
	Startup struct{}
	// Shutdown ends it.
	Shutdown struct{}
	// Tick says that the deadline has come.
	Tick struct{}
	// Heard is an advertisement that Check accepted.
	Heard struct {
		Priority uint8
		Interval time.Duration
		Src      netip.Addr
	}
	// LinkChanged tells the carrier of the instance's interface.
	LinkChanged struct{ Up bool }
	// SourceChanged tells the primary address; zero when there is none any more.
	SourceChanged struct{ Addr netip.Addr }
	// Tracked tells the state of a tracked object.
	Tracked struct {
		Name string
		Up   bool
	}
)

func (Startup) event()       {}
func (Shutdown) event()      {}
func (Tick) event()          {}
func (Heard) event()         {}
func (LinkChanged) event()   {}
func (SourceChanged) event() {}
func (Tracked) event()       {}

// Action is something that must be done, in the order of the list.
type Action interface {
	action()
	String() string
}

type (
	// SendAdvert sends an advertisement with this priority.
	SendAdvert struct{ Priority uint8 }
	// AddVIP and RemoveVIP change the addresses of the host.
	AddVIP    struct{ Addr netip.Addr }
	RemoveVIP struct{ Addr netip.Addr }
	// SendGARP announces a virtual address once.
	SendGARP struct{ Addr netip.Addr }
	// Changed reports a transition.
	Changed struct {
		From, To State
		Cause    Cause
	}
	// PriorityChanged reports a new effective priority.
	PriorityChanged struct{ From, To uint8 }
	// Notify calls for the notification scripts of a state.
	Notify struct{ State State }
	// NotifyStop calls for those of the end.
	NotifyStop struct{}
)

func (SendAdvert) action()      {}
func (AddVIP) action()          {}
func (RemoveVIP) action()       {}
func (SendGARP) action()        {}
func (Changed) action()         {}
func (PriorityChanged) action() {}
func (Notify) action()          {}
func (NotifyStop) action()      {}

func (a SendAdvert) String() string { return "send-advert priority=" + strconv.Itoa(int(a.Priority)) }
func (a AddVIP) String() string     { return "add-vip " + a.Addr.String() }
func (a RemoveVIP) String() string  { return "remove-vip " + a.Addr.String() }
func (a SendGARP) String() string   { return "send-garp " + a.Addr.String() }
func (a Changed) String() string {
	return fmt.Sprintf("%v -> %v (%v)", a.From, a.To, a.Cause)
}
func (a PriorityChanged) String() string { return fmt.Sprintf("priority %d -> %d", a.From, a.To) }
func (a Notify) String() string          { return "notify " + a.State.String() }
func (NotifyStop) String() string        { return "notify STOP" }

// CauseKind is why a transition happened.
type CauseKind uint8

// The causes.
const (
	Started          CauseKind = iota
	Stopped                    // shutdown
	OwnsAddresses              // priority 255
	MasterDown                 // nothing heard for Cause.After
	HeardHigher                // an advertisement that wins, from Cause.Src
	LinkLost                   // the interface is down
	SourceLost                 // no address to send from
	TrackerBad                 // Cause.Name with weight 0
	FaultGone                  // the last fault is over
	TrackersAnswered           // every script has answered once
)

// Cause is why a transition happened (with what an operator wants to know).
type Cause struct {
	Kind     CauseKind
	Src      netip.Addr
	Priority uint8
	After    time.Duration
	Name     string
}

// String is one phrase.
func (c Cause) String() string {
	switch c.Kind {
	case Started:
		return "started"
	case Stopped:
		return "stopped"
	case OwnsAddresses:
		return "priority 255 owns the addresses"
	case MasterDown:
		return fmt.Sprintf("nothing heard from a master for %v", c.After)
	case HeardHigher:
		return fmt.Sprintf("advertisement of priority %d from %v", c.Priority, c.Src)
	case LinkLost:
		return "interface down"
	case SourceLost:
		return "no address to send from"
	case TrackerBad:
		return c.Name + " failed"
	case FaultGone:
		return "last fault is over"
	case TrackersAnswered:
		return "tracking scripts have answered"
	}
	return "unknown"
}
