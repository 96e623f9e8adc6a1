package node

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/fsm/bfd"
	"github.com/ringkeep/ringkeep/proto"
)

// session is a bfd_instance with who asks for it.
type session struct {
	cfg     *config.BFD
	bfd     *bfd.Session
	timer   int
	known   bool          // it was Up once
	good    bool          // it counts as up
	since   time.Duration // of the state
	cause   bfd.Cause     // of it
	users   []int         // instances that track it
	checks  []int
	counts  BFDCounts
	refused map[string]bool // why packets were refused, which is told once
	acts    []bfd.Action
}

// BFDCounts are packets of a session.
type BFDCounts struct{ Sent, Received, Refused uint64 }

// BFDPath is between which addresses a session runs, and how.
type BFDPath struct {
	From, To netip.Addr // From is invalid where the routes choose it
	TTL      uint8      // or hop limit, of what is sent
	Multihop bool       // RFC 5883
}

type (
	// BFDHeard is a datagram that came to a port of BFD.
	BFDHeard struct {
		From, To netip.Addr
		TTL      uint8  // or hop limit, as it arrived
		Multihop bool   // the port is that of RFC 5883
		Payload  []byte // read during the step only
	}
	// SendBFD sends a control packet. With Last no other follows on this path.
	SendBFD struct {
		BFDPath
		Payload []byte
		Last    bool
	}
	// BFDChanged reports a transition of a session, with what both ends say of why it is
	// not Up.
	BFDChanged struct {
		Session  string
		Neighbor netip.Addr
		bfd.Changed
		Diag, RemoteDiag proto.BFDDiag
	}
	// BFDRefused reports a datagram that no session took: the first for this reason of a
	// neighbour, the first at all of a stranger, whose Session is empty.
	BFDRefused struct {
		Session string
		From    netip.Addr
		Why     string
	}
)

func (BFDHeard) event()    {}
func (SendBFD) action()    {}
func (BFDChanged) action() {}
func (BFDRefused) action() {}

// mostRefusals bounds the reasons that are remembered of a neighbour.
const mostRefusals = 16

// addSessions makes the sessions of a configuration, each with a discriminator that the
// ones before did not have.
func (n *Node) addSessions() {
	for i, c := range n.cfg.BFDs {
		n.sessions = append(n.sessions, session{cfg: c, timer: n.newTimer(timerBFD, i), refused: map[string]bool{}})
		n.sessions[i].bfd = bfd.New(n.bfdConfig(c))
	}
}

// bfdConfig is what the state machine needs of a bfd_instance. Discriminators begin
// anywhere, so that a node that was started again is told from what it was.
func (n *Node) bfdConfig(c *config.BFD) bfd.Config {
	n.discriminator++
	random := n.random(n.discriminator)
	own := uint32(n.random(0)) + uint32(n.discriminator)
	if own == 0 {
		n.discriminator++
		own++
	}
	return bfd.Config{
		MinTX: c.MinTX, MinRX: c.MinRX, IdleTX: c.IdleTX, Multiplier: uint8(c.Multiplier), Passive: c.Passive, Discriminator: own, Seed: random,
	}
}

// random is a number that the seed and i give (splitmix64).
func (n *Node) random(i uint64) uint64 {
	x := n.seed + i*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// path is where the packets of a session go.
func (s *session) path() BFDPath {
	ttl := s.cfg.TTL
	if s.cfg.Neighbor.Is6() {
		ttl = s.cfg.HopLimit
	}
	return BFDPath{From: s.cfg.Source, To: s.cfg.Neighbor, TTL: ttl, Multihop: s.cfg.Multihop}
}

// BFDPaths lists where sessions need sockets.
func (n *Node) BFDPaths() []BFDPath {
	var list []BFDPath
	for i := range n.sessions {
		list = append(list, n.sessions[i].path())
	}
	return list
}

func (n *Node) startSession(now time.Duration, i int) {
	n.sessions[i].since = now
	n.stepSession(now, i, bfd.Startup{})
}

// stepSession drives one session and carries its actions to the driver's, and what they mean
// to those who asked for it.
func (n *Node) stepSession(now time.Duration, i int, ev bfd.Event) {
	s := &n.sessions[i]
	n.carrySession(now, i, s.bfd.Step(now, ev, s.acts[:0]))
}

func (n *Node) carrySession(now time.Duration, i int, acts []bfd.Action) {
	s := &n.sessions[i]
	s.acts = acts
	for _, a := range acts {
		switch a := a.(type) {
		case bfd.Send:
			s.counts.Sent++
			n.emit(SendBFD{BFDPath: s.path(), Payload: a.Append(nil), Last: s.bfd.State() == proto.BFDAdminDown})
		case bfd.Changed:
			n.sessionChanged(now, s, a)
		}
	}
	if at, ok := s.bfd.Deadline(); ok {
		n.timers.set(s.timer, at)
	} else {
		n.timers.clear(s.timer)
	}
}

// sessionChanged tells a transition. It counts where the session comes to Up or leaves it; but
// that an administrator ends it, at either end, is no failure of the path (RFC 5882 §3.2).
func (n *Node) sessionChanged(now time.Duration, s *session, a bfd.Changed) {
	s.since, s.cause = now, a.Cause
	_, remote := s.bfd.Remote()
	n.emit(BFDChanged{Session: s.cfg.Name, Neighbor: s.cfg.Neighbor, Changed: a, Diag: s.bfd.Diag(), RemoteDiag: remote})
	wanted := a.Cause.Reason == bfd.Stopped || a.Cause.Reason == bfd.Told && a.Cause.State == proto.BFDAdminDown
	if up := a.To == proto.BFDUp; up || a.From == proto.BFDUp && !wanted {
		s.known, s.good = true, up
		n.tellSession(now, s)
		n.sessionChecked(now, s)
	}
}

// tellSession tells the instances what a session is now.
func (n *Node) tellSession(now time.Duration, s *session) {
	for _, user := range s.users {
		n.stepInstance(now, user, fsm.Tracked{Kind: "bfd", Name: s.cfg.Name, Up: s.good})
	}
}

// sessionChecked judges the checks of a session that has turned.
func (n *Node) sessionChecked(now time.Duration, s *session) {
	for _, i := range s.checks {
		c := &n.checks[i]
		was, reason := c.trial, s.reason()
		c.last = Tried{At: now, OK: s.good, Reason: reason}
		c.told(s.good)
		n.tellCheck(c, was, reason)
		n.checkJudged(now, c, was, reason)
	}
}

// reason is why a session is not Up, in the words of a check.
func (s *session) reason() string {
	if s.good {
		return ""
	}
	return fmt.Sprintf("bfd_instance %s: %s", s.cfg.Name, s.cause)
}

// heardBFD sorts a datagram to its session: by the neighbour's address, which the
// discriminator must go with. Of RFC 5881 §5 keepalived takes the TTL that it sends itself
// for the one that must arrive, less max_hops.
func (n *Node) heardBFD(now time.Duration, ev BFDHeard) {
	i := slices.IndexFunc(n.sessions, func(s session) bool {
		return s.cfg.Neighbor == ev.From && s.cfg.Multihop == ev.Multihop && (!s.cfg.Source.IsValid() || s.cfg.Source.WithZone("") == ev.To)
	})
	if i < 0 {
		if n.strangers++; n.strangers == 1 {
			n.emit(BFDRefused{From: ev.From, Why: "no bfd_instance has this neighbour; others that come are not told"})
		}
		return
	}
	s := &n.sessions[i]
	if p, why := s.judge(ev); why == "" {
		s.counts.Received++
		n.stepSession(now, i, bfd.Heard{Packet: p})
	} else if s.counts.Refused++; !s.refused[why] && len(s.refused) < mostRefusals {
		s.refused[why] = true
		n.emit(BFDRefused{Session: s.cfg.Name, From: ev.From, Why: why})
	}
}

// judge returns the packet, or why the session does not take it.
func (s *session) judge(ev BFDHeard) (p proto.BFD, why string) {
	least := int(s.path().TTL) - s.cfg.MaxHops
	if hops := s.cfg.MaxHops; hops != -1 && hops != 255 && int(ev.TTL) < least {
		return nil, fmt.Sprintf("TTL %d, must be %d at least", ev.TTL, least)
	}
	p, err := proto.ParseBFD(ev.Payload)
	if err != nil {
		return nil, err.Error()
	}
	if v := s.bfd.Check(p); v != bfd.Accepted {
		return nil, v.String()
	}
	return p, ""
}

// stopSessions tells the neighbours that this node leaves. keepalived falls silent, which
// they notice later.
func (n *Node) stopSessions(now time.Duration) {
	for i := range n.sessions {
		n.stepSession(now, i, bfd.Shutdown{Leaves: true})
	}
}

// BFDView is how a session stands.
type BFDView struct {
	Name             string
	From, Neighbor   netip.Addr
	State, Remote    proto.BFDState
	Diag, RemoteDiag proto.BFDDiag
	// Own and Theirs are the discriminators; Theirs is 0 while the neighbour is silent.
	Own, Theirs uint32
	// Interval is the time between packets that are sent, Detection how long none may
	// come; 0 for none.
	Interval, Detection time.Duration
	Since               time.Duration // of State
	Cause               string        // of it
	BFDCounts
}

// BFDs tells how the sessions stand.
func (n *Node) BFDs() []BFDView {
	var list []BFDView
	for i := range n.sessions {
		s := &n.sessions[i]
		v := BFDView{
			Name: s.cfg.Name, From: s.cfg.Source, Neighbor: s.cfg.Neighbor, State: s.bfd.State(), Diag: s.bfd.Diag(),
			Interval: s.bfd.Interval(), Detection: s.bfd.DetectionTime(), Since: s.since, Cause: s.cause.String(), BFDCounts: s.counts,
		}
		v.Remote, v.RemoteDiag = s.bfd.Remote()
		v.Own, v.Theirs = s.bfd.Discriminators()
		list = append(list, v)
	}
	return list
}
