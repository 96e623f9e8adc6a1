package fsm

import (
	"fmt"
	"net/netip"
	"time"
)

// Action is something that must be done for the instance, in the order of the list.
type Action interface {
	fmt.Stringer
	action()
}

type (
	// SendAdvert sends one advertisement: to the group, or a copy to every peer.
	// [Instance.Advert] makes the message.
	SendAdvert struct {
		Priority uint8 // 0: this MASTER leaves
		// Src is the source address. It differs from the interface's only when a
		// MASTER resigns because that address is gone.
		Src netip.Addr
		// Sequence is the number of the authentication header; 0 without.
		Sequence uint32
	}
	// AddVIP puts a virtual address on its interface.
	AddVIP struct{ Addr netip.Addr }
	// RemoveVIP takes it away. Every AddVIP is followed by one at last.
	RemoveVIP struct{ Addr netip.Addr }
	// SendGARP tells everybody who has an address: by one gratuitous ARP, or one
	// unsolicited neighbour advertisement. In unicast mode that
	// may be the instance's own source, so that peers find it again.
	SendGARP struct{ Addr netip.Addr }
	// Changed reports a transition; it comes before whatever the transition calls
	// for.
	Changed struct {
		From, To State
		Cause    Cause
	}
	// Notify tells the scripts that the instance has entered State.
	Notify struct{ State State }
	// NotifyStop tells them that it was shut down.
	NotifyStop struct{}
	// PriorityChanged reports a new effective priority.
	PriorityChanged struct{ From, To uint8 }
	// Late reports that the advertisement which follows leaves so long after its time
	// that backups may take over and give back, again and again (RFC 9568 §2.5).
	Late struct{ By time.Duration }
)

func (SendAdvert) action()      {}
func (AddVIP) action()          {}
func (RemoveVIP) action()       {}
func (SendGARP) action()        {}
func (Changed) action()         {}
func (Notify) action()          {}
func (NotifyStop) action()      {}
func (PriorityChanged) action() {}
func (Late) action()            {}

// String leaves the source out: it is the instance's.
func (a SendAdvert) String() string {
	s := fmt.Sprintf("send-advert priority=%d", a.Priority)
	if a.Sequence > 0 {
		s += fmt.Sprintf(" sequence=%d", a.Sequence)
	}
	return s
}

func (a AddVIP) String() string    { return "add-vip " + a.Addr.String() }
func (a RemoveVIP) String() string { return "remove-vip " + a.Addr.String() }
func (a SendGARP) String() string  { return "send-garp " + a.Addr.String() }
func (a Changed) String() string   { return a.From.String() + " -> " + a.To.String() }
func (a Notify) String() string    { return "notify " + a.State.String() }
func (NotifyStop) String() string  { return "notify STOP" }

func (a Late) String() string { return "late " + a.By.String() }

func (a PriorityChanged) String() string { return fmt.Sprintf("priority %d -> %d", a.From, a.To) }

// Reason is the kind of a [Cause].
type Reason uint8

const (
	// Started by [Startup].
	Started Reason = iota
	// Stopped by [Shutdown].
	Stopped
	// Silence: Master_Down_Timer ran out, After its last start.
	Silence
	// Resigned: Src sent priority 0, and the skew time (After) has passed.
	Resigned
	// Outbid by an advertisement of Src with Priority.
	Outbid
	// DelayOver: the startup delay of an owner is over.
	DelayOver
	// LinkLost and LinkFound: the interface went down or came up.
	LinkLost
	LinkFound
	// SourceLost and SourceFound: there is no source address, or one (Src).
	SourceLost
	SourceFound
	// TrackerFailed and TrackerFine: the tracker Name of Kind.
	TrackerFailed
	TrackerFine
	// Overslept: the own timer was served so late (After) that another has taken over.
	Overslept
	// Synced: Name, a member of the same sync group Kind, has gone there.
	Synced
	// PeerMissing: it is to be unicast and has no peer ([Config.NoPeer]).
	PeerMissing
	// Reloaded: another configuration allows or asks for it.
	Reloaded
)

// Cause is why a transition happened. Reason says which of the fields mean anything.
type Cause struct {
	Reason   Reason
	Src      netip.Addr
	Priority uint8
	After    time.Duration
	Kind     string
	Name     string
}

// String is the cause in one line for people.
func (c Cause) String() string {
	switch c.Reason {
	case Started:
		return "startup"
	case Stopped:
		return "shutdown"
	case Silence:
		return fmt.Sprintf("master down timer expired (%s)", c.After)
	case Resigned:
		return fmt.Sprintf("%s resigned with priority 0, skew time expired (%s)", c.Src, c.After)
	case Outbid:
		return fmt.Sprintf("advert from %s priority %d", c.Src, c.Priority)
	case DelayOver:
		return "startup delay over"
	case LinkLost:
		return "link down"
	case LinkFound:
		return "link up"
	case SourceLost:
		return "no source address"
	case SourceFound:
		return "source address " + c.Src.String()
	case TrackerFailed:
		return c.Kind + " " + c.Name + " failed"
	case TrackerFine:
		return c.Kind + " " + c.Name + " ok"
	case Overslept:
		return fmt.Sprintf("own advertisement late by %s", c.After)
	case Synced:
		return "with " + c.Name + " of sync group " + c.Kind
	case PeerMissing:
		return "no unicast_peer"
	case Reloaded:
		return "reload"
	}
	return fmt.Sprintf("Reason(%d)", uint8(c.Reason))
}
