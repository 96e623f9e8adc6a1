package forward

import (
	"math/bits"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// fragmentTime is how long the fragments of a packet may take (RFC 1122 §3.3.2 says 60 to
// 120 s to who puts them together; the kernel waits 30 s).
const fragmentTime = 30 * time.Second

// fragmentSets bounds the packets that are remembered, fragmentWays for each hash: a
// flood of first fragments pushes out the oldest, and costs no memory.
const (
	fragmentSets = 1024
	fragmentWays = 4
)

// fragments remembers which connection the first fragment of a packet belongs to: only that one
// has the ports.
type fragments struct {
	seed uint64
	sets [][fragmentWays]fragment
}

type fragment struct {
	src, dst addr
	id       uint32
	protocol uint8
	conn     int32  // 0: free; of a datagram without one ^ the number of its server
	born     uint32 // of the connection
	expires  time.Duration
}

// fragmentKey is what the fragments of a packet share.
func (p packet) fragmentKey() fragment {
	k := fragment{src: p.src, dst: p.dst, protocol: p.protocol}
	if p.ip.Is6() {
		k.id, _, _, _ = proto.IPv6(p.ip).Fragment()
		k.protocol = 0 // a later fragment tells what the first began with
	} else {
		k.id = uint32(proto.IPv4(p.ip).ID())
	}
	return k
}

func (t *fragments) set(k fragment) *[fragmentWays]fragment {
	hi, lo := bits.Mul64(k.src.lo^k.src.hi^t.seed, k.dst.lo^k.dst.hi^0x9e3779b97f4a7c15)
	hi, lo = bits.Mul64(hi^lo^uint64(k.id)<<8^uint64(k.protocol), 0xd6e8feb86659fd93)
	return &t.sets[(hi^lo)%fragmentSets]
}

func (e *fragment) is(k fragment) bool {
	return e.conn != 0 && e.src == k.src && e.dst == k.dst && e.id == k.id && e.protocol == k.protocol
}

// put remembers the connection of a first fragment, and when that was made.
func (t *fragments) put(now time.Duration, p packet, conn int32, born uint32) {
	if t.sets == nil {
		t.sets = make([][fragmentWays]fragment, fragmentSets)
	}
	k := p.fragmentKey()
	k.conn, k.born, k.expires = conn, born, now+fragmentTime
	set := t.set(k)
	oldest := 0
	for i := range set {
		if set[i].is(k) {
			oldest = i
			break
		}
		if set[i].expires < set[oldest].expires {
			oldest = i
		}
	}
	set[oldest] = k
}

// get returns the connection of a later fragment and when that was made, 0 for one whose
// first was not seen.
func (t *fragments) get(now time.Duration, p packet) (conn int32, born uint32) {
	if t.sets == nil {
		return 0, 0
	}
	k := p.fragmentKey()
	set := t.set(k)
	for i := range set {
		if set[i].is(k) && set[i].expires > now {
			return set[i].conn, set[i].born
		}
	}
	return 0, 0
}

// laterFragment goes where the first one went.
func (f *Forwarder) laterFragment(now time.Duration, in Ingress, p packet) Decision {
	i, born := f.fragments.get(now, p)
	switch {
	case i == 0:
		return Decision{Verdict: Fragment}
	case i < 0:
		return f.follow(in, p, ^i, 0)
	}
	c := f.table.at(i)
	if c.flags&hashed == 0 || f.table.more(i).born != born { // the connection ended
		return Decision{Verdict: Fragment}
	}
	if c.client == p.src && c.virtual == p.dst {
		return f.follow(in, p, c.server, c.rport)
	}
	if p.ip.TTL() <= 1 {
		return Decision{Verdict: TTLExceeded}
	}
	p.redirect(in.Virtio, source, c.virtual, 0)
	return f.giveBack(f.tooLongBack(in, p, c.port), p, i)
}

// follow sends a later fragment to the server of the first.
func (f *Forwarder) follow(in Ingress, p packet, server int32, port uint16) Decision {
	if f.standing(server) != Forward {
		return Decision{Verdict: ServerGone} // the kernel has seen it, too
	}
	return f.transmit(in, p, server, port)
}

// standing is the verdict on what a connection is sent to its server: Forward while both it
// and the service's address are there.
func (f *Forwarder) standing(server int32) Verdict {
	rs := &f.servers[server]
	switch svc := &f.services[rs.service]; {
	case svc.gone:
		return ServerGone
	case !svc.local:
		return NotLocal
	case !rs.present:
		return ServerGone
	}
	return Forward
}
