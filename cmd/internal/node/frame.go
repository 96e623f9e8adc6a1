package node

import (
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Fate is what becomes of a service frame.
type Fate uint8

const (
	// Dropped frames need nothing from the driver.
	Dropped Fate = iota
	// Forwarded frames were rewritten in place and leave by Verdict.Port.
	Forwarded
	// Delivered frames are the local stack's: for a server on this host, or to be forwarded as
	// by any router, as those to a virtual address that another node has.
	Delivered
	// Held frames were copied: they wait for the MAC of their real server.
	Held
	// Rebuilt frames leave as others, which were appended to the batch's Built.
	Rebuilt
)

// Verdict is the fate of one frame.
type Verdict struct {
	Fate Fate
	Port int32
}

// Batch collects the verdicts on a batch of frames and the rare actions that
// they call for (resets, ICMP errors, ARP requests). The driver owns and reuses it.
type Batch struct {
	Verdicts []Verdict
	Actions  []Action
	Built    []Built
	// Unresolved are of workers only, copies, for the node's Step.
	Unresolved []Unresolved
	// Bulk are the frames whose flows somebody else may move on, if told by [Plane.Moved].
	Bulk []Bulk

	made forward.Packets // of the Built, until Reset
}

// Built is a frame that was made anew, as one that is wrapped or cut: the virtio header,
// then the Ethernet frame.
type Built struct {
	Port int32
	Buf  []byte
}

// Reset empties the batch for the next one. The frames of Built must have been sent.
func (b *Batch) Reset() {
	b.Verdicts, b.Actions, b.Built, b.Unresolved, b.Bulk = b.Verdicts[:0], b.Actions[:0], b.Built[:0], b.Unresolved[:0], b.Bulk[:0]
	b.made.Reset()
}

// Frame decides on one frame of a virtual service that came in on port, and
// appends the verdict to out. A forwarded frame is rewritten in place: its TTL and
// its Ethernet addresses. head is the virtio header that the frame arrived with, which
// is kept beside a frame that waits, and says no more of SCTP's checksum than is true.
// Nothing is allocated for a frame of a known flow to a resolved server.
func (n *Node) Frame(now time.Duration, port int, head, frame []byte, out *Batch) {
	out.Verdicts = append(out.Verdicts, n.planes[0].judge(now, port, head, frame, out))
	n.readmit()
}

// Prefetch announces a frame that is to be judged, Prefetched ends the announcements: see
// [forward.Forwarder.Prefetch].
func (n *Node) Prefetch(frame []byte) { n.planes[0].Prefetch(frame) }

// Prefetched fetches what the announced frames need.
func (n *Node) Prefetched() { n.fwd.Prefetched() }

func (p *Plane) judge(now time.Duration, port int, head, frame []byte, out *Batch) Verdict {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 || !p.mine(port, eth.Dst()) {
		return Verdict{} // seen by the tap, addressed to somebody else
	}
	in := forward.Ingress{From: forward.Hop{Port: int32(port), MAC: eth.Src()}, Virtio: head}
	d := p.fwd.Packet(now, in, eth.Payload())
	if p.number == 0 && len(p.n.planes) > 1 {
		d = p.n.consult(now, in, eth.Payload(), d)
	}
	p.traffic()
	if d.Rebuild {
		return p.rebuild(now, d, in, eth, out)
	}
	switch d.Verdict {
	case forward.Forward:
		to := eth.Dst()
		v := p.sendTo(now, d.Server, head, frame, out)
		if d.Bulk && v.Fate == Forwarded {
			out.Bulk = append(out.Bulk, Bulk{len(out.Verdicts), port, to})
		}
		return v
	case forward.Return:
		eth.SetDst(d.Hop.MAC)
		eth.SetSrc(p.n.ports[d.Hop.Port].link.MAC)
		return Verdict{Fate: Forwarded, Port: d.Hop.Port}
	case forward.Deliver, forward.NotLocal:
		return Verdict{Fate: Delivered}
	case forward.NotMine, forward.Fragment:
		if len(p.n.natted) > 0 && p.n.back(eth.Payload()) {
			return Verdict{Fate: Delivered}
		}
	case forward.Stray: // the local stack knows its connections, and resets others
		if ip, err := proto.ParseIP(eth.Payload()); err == nil && p.n.local(ip.Dst()) {
			return Verdict{Fate: Delivered}
		}
		p.reply(port, eth, out, reset)
	case forward.NoConn:
		p.reply(port, eth, out, reset)
	case forward.NoDestination:
		if p.replies.take(now) {
			p.reply(port, eth, out, unreachable)
		}
	case forward.TTLExceeded:
		if p.replies.take(now) {
			p.reply(port, eth, out, exceeded)
		}
	case forward.TooBig:
		if p.replies.take(now) {
			p.tooBig(port, eth, d.MTU, out)
		}
	case forward.TunnelError:
		if p.replies.take(now) {
			p.tunnelError(d, eth, out)
		}
	}
	return Verdict{}
}

// sendTo addresses the frame to its real server, or keeps it until that answers.
func (p *Plane) sendTo(now time.Duration, server int32, head, frame []byte, out *Batch) Verdict {
	n := p.n
	if int(server) >= len(n.hops) || n.hops[server] < 0 {
		return Verdict{}
	}
	h := n.hops[server]
	nb := &n.neighbours[h]
	if nb.resolved {
		n.address(frame, nb)
		return Verdict{Fate: Forwarded, Port: int32(nb.port)}
	}
	if !p.wait(now, server, head, frame, out) {
		return Verdict{}
	}
	return Verdict{Fate: Held}
}

// armTraffic keeps one timer for the connection table, and while packets come one for the
// rates.
func (n *Node) armTraffic() {
	if n.timers.pos[n.rateTimer] < 0 {
		n.timers.set(n.rateTimer, 0) // at once
	}
	n.armExpiry()
}

func (n *Node) armExpiry() {
	if n.timers.pos[n.fwdTimer] < 0 {
		if at, ok := n.fwd.Deadline(); ok {
			n.timers.set(n.fwdTimer, at)
		}
	}
}

func (n *Node) expire(now time.Duration) {
	n.fwd.Expire(now)
	n.armExpiry()
}

// reply answers a frame to where it came from.
func (p *Plane) reply(port int, eth proto.Ethernet, out *Batch, with answers) {
	f := proto.AppendEthernet(make([]byte, 0, 14+88), eth.Src(), eth.Dst(), eth.Type())
	if whole := with.to(f, eth.Payload()); len(whole) > len(f) {
		out.Actions = append(out.Actions, Send{Port: port, Frame: whole})
	}
}

// bucket limits ICMP errors (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f): a thousand a second, fifty at once.
type bucket struct {
	spent float64 // tokens; none at first
	last  time.Duration
}

const (
	replyRate  = 1000
	replyBurst = 50
)

func (b *bucket) take(now time.Duration) bool {
	b.spent = max(0, b.spent-(now-b.last).Seconds()*replyRate)
	b.last = now
	if b.spent > replyBurst-1 {
		return false
	}
	b.spent++
	return true
}
