package fsm

import (
	"fmt"
	"net/netip"
	"time"
)

// State is one of the four states.
type State uint8

// Init is the zero value.
const (
	Init State = iota
	Backup
	Master
	Fault
)

// String gives keepalived's word for the state.
func (s State) String() string {
	switch s {
	case Init:
		return "INIT"
	case Backup:
		return "BACKUP"
	case Master:
		return "MASTER"
	case Fault:
		return "FAULT"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Event is something that happened to the instance.
type Event interface {
	fmt.Stringer
	event()
}

type (
	// Startup begins the election (RFC 9568 §6.4.1).
	Startup struct{}
	// Shutdown ends it; a MASTER resigns.
	Shutdown struct{}
	// Tick says that time has passed; what is due is done. One that comes early
	// does nothing.
	Tick struct{}
	// Heard is an advertisement that [Instance.Check] accepted. A Step with it
	// re-arms timers from now: pass the time at which the frame arrived.
	Heard struct {
		Priority uint8
		Interval time.Duration // as advertised; used in version 3 only
		Src      netip.Addr
		Sequence uint32 // of the authentication header; 0 without
		Stamp    uint64 // of the trailer of [HMAC]; 0 without
	}
	// LinkChanged tells the carrier of the interface. Until the first one the link
	// is taken to be up.
	LinkChanged struct{ Up bool }
	// SourceChanged tells the new source address; the zero value says that there
	// is none any more.
	SourceChanged struct{ Addr netip.Addr }
	// VIPLost tells that somebody else has removed a virtual address.
	VIPLost struct{ Addr netip.Addr }
	// Tracked tells the state of a tracked object. What no tracker names is ignored.
	Tracked struct {
		Kind, Name string
		Up         bool
	}
	// Numbered tells the number of one whose tracker is a [Tracker.Number].
	Numbered struct {
		Kind, Name string
		Value      int
	}
)

func (Startup) event()       {}
func (Shutdown) event()      {}
func (Tick) event()          {}
func (Heard) event()         {}
func (LinkChanged) event()   {}
func (SourceChanged) event() {}
func (VIPLost) event()       {}
func (Tracked) event()       {}
func (Numbered) event()      {}

func (Startup) String() string  { return "startup" }
func (Shutdown) String() string { return "shutdown" }
func (Tick) String() string     { return "tick" }

// String says which.
func (e VIPLost) String() string { return "virtual address " + e.Addr.String() + " removed" }

func (e Heard) String() string {
	return fmt.Sprintf("heard %s priority=%d interval=%s", e.Src, e.Priority, e.Interval)
}

func (e LinkChanged) String() string { return "link " + upDown(e.Up) }

func (e SourceChanged) String() string {
	if !e.Addr.IsValid() {
		return "source none"
	}
	return "source " + e.Addr.String()
}

func (e Tracked) String() string { return "tracked " + e.Name + " " + upDown(e.Up) }

func (e Numbered) String() string {
	return fmt.Sprintf("%s %s says %d", e.Kind, e.Name, e.Value)
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}
