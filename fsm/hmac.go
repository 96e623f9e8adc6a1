package fsm

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// HMAC is keepalived's auth_hmac: messages carry a trailer (see [proto.VRRPTrailer]) that
// only who has the key can make, and make once.
type HMAC struct {
	Keys   map[uint8][]byte // by their number, 1 to 255
	Active uint8            // the key of own messages
	// Send has own messages signed. Enforce refuses messages without a trailer. Neither:
	// receive-only, the first step of a roll-out, then permissive, then enforce. A trailer
	// that is there must be right in all three.
	Send, Enforce bool
	// Window is how far the time in a trailer may be from the clock here, before or
	// behind. Monotonic does not ask the clock: numbers of one sender must grow, no more.
	Window    time.Duration
	Monotonic bool
}

// Sign gives the key and the number of an own message that is sent at wall, the time
// since 1970. The number is above last, which was that of the one before; a clock that
// was set back does not show. ok is false where messages are not signed.
func (h *HMAC) Sign(wall time.Duration, last uint64) (id uint8, key []byte, sequence uint64, ok bool) {
	if h == nil || !h.Send {
		return 0, nil, 0, false
	}
	return h.Active, h.Keys[h.Active], max(stampOf(wall), last+1), true
}

// stampOf is a point in time as the upper 48 bits of a number: seconds, and their binary
// fraction in 16 bits.
func stampOf(wall time.Duration) uint64 {
	seconds, rest := uint64(wall/time.Second), uint64(wall%time.Second)
	return seconds<<32 | (rest<<16/uint64(time.Second))<<16
}

// timeOf is what [stampOf] was made of, to 15 µs.
func timeOf(stamp uint64) time.Duration {
	return time.Duration(stamp>>32)*time.Second + time.Duration(stamp>>16&0xffff*uint64(time.Second)>>16)
}

// trailed reports whether a message has a trailer that is looked at here.
func (in *Instance) trailed(m Message) bool {
	if in.cfg.HMAC == nil {
		return false
	}
	_, _, ok := proto.SplitTrailer(m.VRRP, m.IP.Is6())
	return ok
}

// checksumForm tells which form holds. It leaves a trailer out of the sum over IPv4, as keepalived does.
func (in *Instance) checksumForm(m Message) proto.ChecksumForm {
	v := m.VRRP
	if !m.IP.Is6() && in.trailed(m) {
		v, _, _ = proto.SplitTrailer(v, false)
	}
	form := v.ChecksumForm(m.IP.Src(), m.IP.Dst())
	if form == proto.ChecksumBad && in.cfg.OldUnicastChecksum {
		form = v.ChecksumForm(m.IP.Src(), group)
	}
	return form
}

// checkHMAC judges the trailer, or that there is none. The key comes first: what a
// stranger writes into the number says nothing.
func (in *Instance) checkHMAC(m Message) Verdict {
	h := in.cfg.HMAC
	msg, trailer, ok := proto.SplitTrailer(m.VRRP, m.IP.Is6())
	if !ok {
		if h.Enforce {
			return NoTrailer
		}
		return Accepted
	}
	key, known := h.Keys[trailer.KeyID()]
	switch {
	case trailer.Type() != proto.TrailerHMAC || !known || !trailer.Signs(msg, m.IP.Src(), key):
		return WrongKey
	case !h.Monotonic && m.Wall > 0 && (timeOf(trailer.Sequence())-m.Wall).Abs() > h.Window:
		return Stale
	case trailer.Sequence() <= in.stamps.last(m.IP.Src()):
		return Replayed
	}
	return Accepted
}

// stamps is the last number of each sender that has a key.
type stamps struct {
	list []stamp
}

type stamp struct {
	src    netip.Addr
	number uint64
}

// mostStamps bounds them: there are few routers on a link. Of more the oldest is
// forgotten, which is the one that has left.
const mostStamps = 64

func (s *stamps) last(src netip.Addr) uint64 {
	for i := range s.list {
		if s.list[i].src == src {
			return s.list[i].number
		}
	}
	return 0
}

func (s *stamps) note(src netip.Addr, number uint64) {
	oldest := 0
	for i := range s.list {
		if s.list[i].src == src {
			s.list[i].number = max(number, s.list[i].number)
			return
		}
		if s.list[i].number < s.list[oldest].number {
			oldest = i
		}
	}
	if len(s.list) < mostStamps {
		s.list = append(s.list, stamp{src, number})
		return
	}
	s.list[oldest] = stamp{src, number}
}
