// Package bfd is one session of Bidirectional Forwarding Detection as a state machine
// (RFC 5880): asynchronous mode, active or passive, without authentication, echo or demand
// mode of its own. Events with a time go in, actions come out, as in package fsm.
//
// Who hears whom, over how many hops, and from which port is left to the caller
// (RFC 5881, RFC 5883).
package bfd

import (
	"fmt"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// slowest is the least interval that a session may wish to send at while it is not Up
// (RFC 5880 §6.8.3).
const slowest = time.Second

// Config is what a session is.
type Config struct {
	MinTX, MinRX time.Duration // wished for and accepted while Up, at least 1 µs
	IdleTX       time.Duration // wished for otherwise; less than 1 s counts as 1 s
	Multiplier   uint8         // 1 to 255
	Passive      bool          // says nothing before it has heard the neighbour
	// Discriminator is the own one: not 0, and of no other session of this system.
	Discriminator uint32
	Seed          uint64 // of the jitter
}

// idle is the interval that is wished for while the session is not Up.
func (c *Config) idle() time.Duration { return max(slowest, c.IdleTX) }

// never is the time of a timer that does not run.
const never = time.Duration(-1)

// remote is what the neighbour has told (RFC 5880 §6.8.1).
type remote struct {
	state         proto.BFDState
	diag          proto.BFDDiag
	discriminator uint32 // 0: nothing was heard for a detection time
	minTX, minRX  time.Duration
	multiplier    uint8
	demand        bool
}

// unknown is a neighbour that was not heard yet: it may take packets at any interval.
var unknown = remote{state: proto.BFDDown, minRX: time.Microsecond}

// Session is one end of a session. It is not safe for concurrent use.
type Session struct {
	cfg    Config
	state  proto.BFDState
	diag   proto.BFDDiag
	remote remote
	random uint64

	leaves bool // AdminDown is not what the neighbour hears

	polling bool
	// heldTX and heldRX are the former intervals, which count until the neighbour has
	// answered the poll that tells it new ones (§6.8.3); 0: the configured ones count.
	heldTX, heldRX time.Duration

	last proto.BFDMessage // as it was sent, without poll and final; Mine is 0 before the first
	sent time.Duration    // when
	pace time.Duration    // the interval that next was planned with
	next time.Duration    // periodic packet, or never

	heard  time.Duration // the last packet
	detect time.Duration // end of the detection time, or never

	out []Action
}

// New makes a session that is Down and waits for [Startup].
func New(c Config) *Session {
	return &Session{cfg: c, state: proto.BFDDown, remote: unknown, random: c.Seed, next: never, detect: never}
}

// State is the state of this end.
func (s *Session) State() proto.BFDState { return s.state }

// Diag is why it last left Up.
func (s *Session) Diag() proto.BFDDiag { return s.diag }

// Discriminators are the own one, and that of the neighbour or 0.
func (s *Session) Discriminators() (own, remote uint32) {
	return s.cfg.Discriminator, s.remote.discriminator
}

// Remote is what the neighbour says of itself; Down before it was heard.
func (s *Session) Remote() (proto.BFDState, proto.BFDDiag) { return s.remote.state, s.remote.diag }

// Deadline is when the session next wants a [Tick]; ok is false with no timer.
func (s *Session) Deadline() (at time.Duration, ok bool) {
	switch {
	case s.next == never:
		return s.detect, s.detect != never
	case s.detect == never:
		return s.next, true
	}
	return min(s.next, s.detect), true
}

// Step tells the session what happened at now and appends to out what must be done about
// it, in order. The same session and arguments give the same result.
func (s *Session) Step(now time.Duration, ev Event, out []Action) []Action {
	s.out = out
	switch ev := ev.(type) {
	case Startup:
		s.start(now)
	case Shutdown:
		s.leaves = ev.Leaves
		s.stop(now)
	case Tick:
		s.tick(now)
	case Heard:
		s.hear(now, ev.Packet)
	default:
		panic(fmt.Sprintf("bfd: unknown event %T in state %v", ev, s.state))
	}
	out, s.out = s.out, nil
	return out
}

// Reconfigure gives the session other intervals, another multiplier or role. One that is Up
// stays so: a poll tells the neighbour, and until it has answered it is neither sent to more
// seldom nor expected more often than it knows of (RFC 5880 §6.8.3).
func (s *Session) Reconfigure(now time.Duration, c Config, out []Action) []Action {
	s.out = out
	was := s.cfg
	c.Discriminator, c.Seed = was.Discriminator, was.Seed
	s.cfg = c
	if s.state == proto.BFDUp && (c.MinTX != was.MinTX || c.MinRX != was.MinRX) {
		if s.heldTX == 0 {
			s.heldTX = was.MinTX
		}
		if s.heldTX >= c.MinTX {
			s.heldTX = 0
		}
		if s.heldRX == 0 {
			s.heldRX = was.MinRX
		}
		if s.heldRX <= c.MinRX {
			s.heldRX = 0
		}
		s.polling = true
	}
	if s.state != proto.BFDAdminDown {
		s.rearm()
		s.tell(now)
	}
	out, s.out = s.out, nil
	return out
}

func (s *Session) emit(a Action) { s.out = append(s.out, a) }

func (s *Session) start(now time.Duration) {
	if s.state == proto.BFDAdminDown {
		s.becomeDown(proto.BFDNoDiag, Cause{Reason: Started})
	}
	s.tell(now)
}

// stop tells the neighbour at once (RFC 5880 §6.8.16).
func (s *Session) stop(now time.Duration) {
	if s.state == proto.BFDAdminDown {
		return
	}
	s.become(proto.BFDAdminDown, proto.BFDAdminDownDiag, Cause{Reason: Stopped})
	s.tell(now)
	s.forget()
	s.next = never
}

func (s *Session) tick(now time.Duration) {
	if s.detect != never && now >= s.detect {
		s.expire()
		s.rearm()
		s.tell(now)
	}
	if s.next != never && now >= s.next {
		s.send(now, false)
	}
}

// expire is the end of a detection time without a packet (RFC 5880 §6.8.4).
func (s *Session) expire() {
	after := s.DetectionTime()
	s.forget()
	if s.state == proto.BFDInit || s.state == proto.BFDUp {
		s.becomeDown(proto.BFDTimeExpired, Cause{Reason: Expired, After: after})
	}
}

// forget drops what is known of a neighbour that is silent (RFC 5880 §6.8.1): the next
// packet may be of a system that has just started.
func (s *Session) forget() {
	diag := s.remote.diag
	s.remote, s.detect = unknown, never
	s.remote.diag = diag
}

// hear takes a packet that was judged already (RFC 5880 §6.8.6).
func (s *Session) hear(now time.Duration, p proto.BFD) {
	if s.state == proto.BFDAdminDown {
		return
	}
	s.remote = remote{
		state: p.State(), diag: p.Diag(), discriminator: p.Mine(), minTX: p.MinTX(), minRX: p.MinRX(), multiplier: p.Multiplier(), demand: p.Demand(),
	}
	s.heard = now
	if s.polling && p.Final() {
		s.endPoll()
	}
	s.follow(p)
	s.rearm()
	if p.Poll() {
		s.send(now, true)
	}
	s.tell(now)
}

// follow is the state machine of RFC 5880 §6.2.
func (s *Session) follow(p proto.BFD) {
	told := Cause{Reason: Told, State: p.State(), Diag: p.Diag()}
	switch from := p.State(); s.state {
	case proto.BFDDown:
		switch from {
		case proto.BFDDown:
			s.become(proto.BFDInit, s.diag, told)
		case proto.BFDInit:
			s.becomeUp(told)
		}
	case proto.BFDInit:
		switch from {
		case proto.BFDInit, proto.BFDUp:
			s.becomeUp(told)
		case proto.BFDAdminDown:
			s.becomeDown(proto.BFDNeighborSignaled, told)
		}
	case proto.BFDUp:
		if from == proto.BFDDown || from == proto.BFDAdminDown {
			s.becomeDown(proto.BFDNeighborSignaled, told)
		}
	}
}

func (s *Session) become(to proto.BFDState, diag proto.BFDDiag, c Cause) {
	from := s.state
	s.state, s.diag = to, diag
	s.endPoll()
	s.emit(Changed{From: from, To: to, Cause: c})
}

// becomeUp changes the intervals from the slow ones to the configured ones, which takes a
// poll. If those are even slower, they wait for the answer (RFC 5880 §6.8.3).
func (s *Session) becomeUp(c Cause) {
	s.become(proto.BFDUp, proto.BFDNoDiag, c)
	s.polling = true
	if idle := s.cfg.idle(); idle < s.cfg.MinTX {
		s.heldTX = idle
	}
}

func (s *Session) becomeDown(diag proto.BFDDiag, c Cause) { s.become(proto.BFDDown, diag, c) }

func (s *Session) endPoll() { s.polling, s.heldTX, s.heldRX = false, 0, 0 }
