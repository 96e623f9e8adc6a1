package bfd

import (
	"fmt"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Event is something that happened to the session.
type Event interface {
	fmt.Stringer
	event()
}

type (
	// Startup lets the session speak, unless it is passive.
	Startup struct{}
	// Shutdown makes it AdminDown and tells the neighbour. Nothing follows but a Startup.
	// With Leaves this system goes away: the neighbour hears Down, which unlike AdminDown
	// (RFC 5882 §3.2) is a failure for those who rely on the session.
	Shutdown struct{ Leaves bool }
	// Tick says that time has passed; what is due is done. One that comes early does
	// nothing.
	Tick struct{}
	// Heard is a packet of the neighbour that [proto.ParseBFD] returned and [Session.Check]
	// accepted. It is read during the step only.
	Heard struct{ Packet proto.BFD }
)

func (Startup) event()  {}
func (Shutdown) event() {}
func (Tick) event()     {}
func (Heard) event()    {}

func (Startup) String() string { return "startup" }

// String tells which of the two it is.
func (e Shutdown) String() string {
	if e.Leaves {
		return "shutdown, leaves"
	}
	return "shutdown"
}

func (Tick) String() string    { return "tick" }
func (e Heard) String() string { return "heard " + e.Packet.State().String() }

// Verdict is the rule that refused a well-formed packet; the zero value is none.
type Verdict uint8

const (
	// Accepted breaks no rule.
	Accepted Verdict = iota
	// Authenticated: no session here has authentication (RFC 5880 §6.8.6).
	Authenticated
	// WrongDiscriminator: it is for another session than this (RFC 5880 §6.8.6).
	WrongDiscriminator

	// Verdicts is how many there are.
	Verdicts
)

var verdicts = [Verdicts]string{"accepted", "authentication, which is not in use", "your discriminator of no session with this neighbour"}

// String names the verdict in a few lowercase words.
func (v Verdict) String() string {
	if v < Verdicts {
		return verdicts[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Check judges a packet of the neighbour's address by those rules of RFC 5880 §6.8.6 that
// take the session. It changes nothing.
func (s *Session) Check(p proto.BFD) Verdict {
	switch {
	case p.Authenticated():
		return Authenticated
	case p.Yours() != 0 && p.Yours() != s.cfg.Discriminator:
		return WrongDiscriminator
	}
	return Accepted
}

// Action is something that must be done for the session, in the order of the list.
type Action interface {
	fmt.Stringer
	action()
}

type (
	// Send sends one control packet to the neighbour.
	Send struct{ proto.BFDMessage }
	// Changed reports a transition; what it calls for follows.
	Changed struct {
		From, To proto.BFDState
		Cause    Cause
	}
)

func (Send) action()    {}
func (Changed) action() {}

// String leaves the own discriminator and the echo interval out, which do not change.
func (a Send) String() string {
	s := fmt.Sprintf("send %v your=%d tx=%v rx=%v mult=%d", a.State, a.Yours, a.MinTX, a.MinRX, a.Multiplier)
	if a.Diag != 0 {
		s += fmt.Sprintf(" diag=%q", a.Diag)
	}
	if a.Poll {
		s += " poll"
	}
	if a.Final {
		s += " final"
	}
	return s
}

func (a Changed) String() string { return a.From.String() + " -> " + a.To.String() }

// Reason is the kind of a [Cause].
type Reason uint8

const (
	// Started by [Startup].
	Started Reason = iota
	// Stopped by [Shutdown].
	Stopped
	// Expired: no packet for the detection time, After.
	Expired
	// Told: the neighbour says that it is in State, with Diag.
	Told
)

// Cause is why a transition happened. Reason says which of the fields mean anything.
type Cause struct {
	Reason Reason
	After  time.Duration
	State  proto.BFDState
	Diag   proto.BFDDiag
}

// String is the cause in one line for people.
func (c Cause) String() string {
	switch c.Reason {
	case Started:
		return "startup"
	case Stopped:
		return "shutdown"
	case Expired:
		return fmt.Sprintf("control detection time expired (%s)", c.After)
	case Told:
		s := "neighbour signals " + c.State.String()
		if c.Diag != 0 {
			s += " (" + c.Diag.String() + ")"
		}
		return s
	}
	return fmt.Sprintf("Reason(%d)", uint8(c.Reason))
}
