package bfd

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// wishedTX is the interval that packets tell (RFC 5880 §6.8.3: slow while not Up).
func (s *Session) wishedTX() time.Duration {
	if s.state == proto.BFDUp {
		return s.cfg.MinTX
	}
	return s.cfg.idle()
}

// Interval is the time between two packets of this end before jitter: what is wished for,
// and no more often than the neighbour can receive (RFC 5880 §6.8.2). 0: none are sent.
func (s *Session) Interval() time.Duration {
	if !s.periodic() {
		return 0
	}
	wished := s.wishedTX()
	if s.heldTX != 0 {
		wished = s.heldTX
	}
	return max(wished, s.remote.minRX)
}

// DetectionTime is how long the neighbour may be silent, 0 while nothing is known of it
// (RFC 5880 §6.8.4).
func (s *Session) DetectionTime() time.Duration {
	if s.remote.discriminator == 0 {
		return 0
	}
	return time.Duration(s.remote.multiplier) * max(s.cfg.MinRX, s.heldRX, s.remote.minTX)
}

// may tells whether the role allows to speak at all (RFC 5880 §6.8.7).
func (s *Session) may() bool { return !s.cfg.Passive || s.remote.discriminator != 0 }

// periodic tells whether packets are sent unasked (RFC 5880 §6.8.7).
func (s *Session) periodic() bool {
	excused := s.remote.demand && s.state == proto.BFDUp && s.remote.state == proto.BFDUp && !s.polling
	return s.state != proto.BFDAdminDown && s.may() && s.remote.minRX != 0 && !excused
}

// rearm follows new intervals.
func (s *Session) rearm() {
	if t := s.DetectionTime(); t > 0 {
		s.detect = s.heard + t
	}
	switch every := s.Interval(); {
	case every == 0:
		s.next, s.pace = never, 0
	case every != s.pace || s.next == never:
		s.plan(every)
	}
}

// plan sets the timer of the next packet. It is sent up to a quarter earlier, so that
// sessions do not fall into step, and where one lost packet is the end of the session a
// tenth at least (RFC 5880 §6.8.7).
func (s *Session) plan(every time.Duration) {
	s.pace = every
	least, most := 75, 100
	if s.cfg.Multiplier == 1 {
		most = 90
	}
	share := every / 100 * time.Duration(most-least)
	at := every/100*time.Duration(least) + time.Duration(s.draw()%uint64(share+1))
	s.next = s.sent + at
}

// draw is the next random number (splitmix64).
func (s *Session) draw() uint64 {
	s.random += 0x9e3779b97f4a7c15
	x := s.random
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// message is what this end has to say at present.
func (s *Session) message() proto.BFDMessage {
	state := s.state
	if state == proto.BFDAdminDown && s.leaves {
		state = proto.BFDDown
	}
	return proto.BFDMessage{
		State: state, Diag: s.diag, Multiplier: s.cfg.Multiplier, Mine: s.cfg.Discriminator, Yours: s.remote.discriminator,
		MinTX: s.wishedTX(), MinRX: s.cfg.MinRX,
	}
}

// tell sends at once what differs from what was said last (RFC 5880 §6.8.7).
func (s *Session) tell(now time.Duration) {
	if s.may() && s.message() != s.last {
		s.send(now, false)
	}
}

// send sends a packet, which may be the answer to a poll, and plans the next. Poll and final
// exclude each other (RFC 5880 §6.5).
func (s *Session) send(now time.Duration, final bool) {
	m := s.message()
	s.last, s.sent = m, now
	m.Final, m.Poll = final, s.polling && !final
	s.emit(Send{m})
	if every := s.Interval(); every > 0 {
		s.plan(every)
	} else {
		s.next, s.pace = never, 0
	}
}
