package forward

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Path is the way to a real server.
type Path struct {
	MTU    int        // of the link towards it, in bytes of IP packet; 0 for unknown
	Source netip.Addr // of ours on that link, from which the packets of a tunnel come
}

// path is a Path with what routers on it have told.
type path struct {
	Path
	learned int           // a smaller MTU, 0 for none
	until   time.Duration // until when that holds
}

const (
	longestPacket = 65535
	learnedFor    = 10 * time.Minute // as Linux has it (RFC 8201 §4, RFC 1191 §6.3)
	leastMTU4     = 552              // what Linux believes at least
	leastMTU6     = 1280             // RFC 8200 §5
)

// SetPath tells the way to the server with that number.
func (f *Forwarder) SetPath(id int32, p Path) {
	rs := &f.servers[id]
	rs.path.Path = p
	rs.measure()
}

// mtu is the longest packet on the way to the server, that of a tunnel included.
func (s *server) mtu() int {
	mtu := longestPacket
	for _, m := range [...]int{s.path.MTU, s.path.learned} {
		if m > 0 {
			mtu = min(mtu, m)
		}
	}
	return mtu
}

// measure finds the longest packet of a client that fits.
func (s *server) measure() {
	mtu := s.mtu()
	if s.Method == TUN {
		mtu -= s.Tunnel.most(s.Addr.Addr().Is6())
	}
	s.fits = int32(max(mtu, 68)) // RFC 791 §3.2
}

// SetPortMTU tells the MTU of the link of a port, by which answers of NAT servers leave, in
// bytes of IP packet; 0 for unknown.
func (f *Forwarder) SetPortMTU(port, mtu int) {
	for len(f.back) <= port {
		f.back = append(f.back, 0)
	}
	f.back[port] = int32(mtu)
}

// learn takes what a router told about the way to addr, for all servers there.
func (f *Forwarder) learn(now time.Duration, to addr, mtu int) {
	least := leastMTU4
	if !to.is4() {
		least = leastMTU6
	}
	mtu = max(mtu, least)
	for i := range f.servers {
		rs := &f.servers[i]
		if rs.Method == TUN && rs.addr == to && (rs.path.learned == 0 || mtu <= rs.path.learned) { // never up (RFC 8201 §4)
			rs.path.learned, rs.path.until = mtu, now+learnedFor
			rs.measure()
			if f.recheck == 0 {
				f.recheck = rs.path.until
			}
		}
	}
}

// LearnPath takes over what another forwarder with the same servers has learned of the way
// to the server with that number.
func (f *Forwarder) LearnPath(now time.Duration, from *Forwarder, id int32) {
	if rs := &from.servers[id]; f != from && rs.path.learned > 0 && now < rs.path.until {
		f.learn(now, rs.addr, rs.path.learned)
	}
}

// forgetPaths forgets what was learned too long ago.
func (f *Forwarder) forgetPaths(now time.Duration) {
	if f.recheck == 0 || now < f.recheck {
		return
	}
	f.recheck = 0
	for i := range f.servers {
		rs := &f.servers[i]
		switch {
		case rs.path.learned == 0:
		case now >= rs.path.until:
			rs.path.learned = 0
			rs.measure()
		case f.recheck == 0 || rs.path.until < f.recheck:
			f.recheck = rs.path.until
		}
	}
}

// fit is what the length of a packet asks for.
type fit uint8

const (
	fits    fit = iota
	cut         // it is to be cut
	tooLong     // it must not be cut
	wrong       // the virtio header contradicts it
)

// fit judges the length of a packet, or of the segments of a super-frame.
func (p packet) fit(v proto.Virtio, limit int) fit {
	s, ok := segmentsOf(p, v, false)
	switch {
	case !ok:
		return wrong
	case s.longest() <= limit:
		return fits
	case p.ip.Is6() || proto.IPv4(p.ip).DontFragment():
		return tooLong
	}
	return cut
}

// tooLong decides on a packet that is longer than what fits on the way to its server, or is
// a super-frame; it goes on if that is true. Else its sender is told (RFC 1191, RFC 8201).
// A packet of IPv6 that must fit everywhere is cut outside, in the tunnel's packet
// (RFC 2473 §7.1).
func (f *Forwarder) tooLong(in Ingress, p packet, d *Decision) bool {
	rs := &f.servers[d.Server]
	limit := int(rs.fits)
	if rs.Method == TUN && p.ip.Is6() {
		limit = max(limit, leastMTU6)
	}
	switch p.fit(in.Virtio, limit) {
	case wrong:
		*d = Decision{Verdict: Malformed}
		return false
	case tooLong:
		*d = Decision{Verdict: TooBig, MTU: limit}
		return false
	case cut:
		d.Rebuild = true
	}
	return true
}

// tooLongBack decides in the same way on an answer that is to leave by port: Return if it
// can go on.
func (f *Forwarder) tooLongBack(in Ingress, p packet, port uint16) Decision {
	d := Decision{Verdict: Return}
	if int(port) >= len(f.back) || f.back[port] == 0 || len(p.ip) <= int(f.back[port]) {
		return d
	}
	switch p.fit(in.Virtio, int(f.back[port])) {
	case wrong:
		d.Verdict = Malformed
	case tooLong:
		d.Verdict, d.MTU = TooBig, int(f.back[port])
	case cut:
		d.Rebuild = true
	}
	return d
}

// Packets are packets that were made of one, each with Room free bytes, zero, before it.
type Packets struct {
	Room  int
	Buf   []byte
	Spans []Span // of the packets in Buf, without the room
}

// Span is where a packet is.
type Span struct{ From, To int }

// Reset empties the list and keeps its memory.
func (p *Packets) Reset() { p.Buf, p.Spans = p.Buf[:0], p.Spans[:0] }

// begin begins a packet with so many bytes that are written later.
func (p *Packets) begin(later int) (from int) {
	at, n := len(p.Buf), p.Room+later
	p.Buf = slices.Grow(p.Buf, n)[:at+n]
	clear(p.Buf[at:])
	return at + p.Room
}

func (p *Packets) end(from int) { p.Spans = append(p.Spans, Span{from, len(p.Buf)}) }

// Rebuild appends to out what leaves in place of a packet whose decision says so, which
// Packet has rewritten: its segments if it is a super-frame, in the server's tunnel if it
// has one, in fragments if they are too long for the way. Their checksums are complete.
// It reports false for a packet that cannot be sent; what it has appended is to be dropped.
func (f *Forwarder) Rebuild(d Decision, in Ingress, b []byte, out *Packets) bool {
	p, err := parse(b)
	if err != nil {
		return false
	}
	rs := &f.servers[d.Server]
	if d.Verdict == Forward && rs.Method == TUN {
		return f.enter(rs, p, in.Virtio, out)
	}
	mtu := rs.mtu()
	if d.Verdict == Return {
		mtu = int(f.back[d.Hop.Port])
	}
	s, ok := segmentsOf(p, in.Virtio, false)
	for ok && s.rest {
		from := out.begin(0)
		out.Buf = s.append(out.Buf)
		ok = f.leave(out, from, mtu)
	}
	return ok
}

// enter puts a packet into the tunnel to a server.
func (f *Forwarder) enter(rs *server, p packet, v proto.Virtio, out *Packets) bool {
	if !rs.path.Source.IsValid() {
		return false
	}
	e := entry{Tunnel: rs.Tunnel, src: rs.path.Source, dst: rs.Addr.Addr(), seed: f.table.seed}
	o := outside{remote: e.Type == GUE && e.Sum == RemoteSum && (v.Partial() || v.Super())}
	s, ok := segmentsOf(p, v, o.remote)
	o.sumFrom, o.sumAt = s.transport, s.transport+sumOffset(s.protocol)
	for ok && s.rest {
		from := out.begin(e.headerLen(e.dst.Is6(), o.remote))
		out.Buf = s.append(out.Buf)
		if len(out.Buf)-from > longestPacket {
			return false
		}
		f.id++
		o.id = uint16(f.id)
		e.wrap(out.Buf[from:], o)
		ok = f.leave(out, from, rs.mtu())
	}
	return ok
}

// leave ends the packet at the end of out, which its fragments replace where it is too long.
func (f *Forwarder) leave(out *Packets, from, mtu int) bool {
	if len(out.Buf)-from <= mtu {
		out.end(from)
		return true
	}
	f.scratch = append(f.scratch[:0], out.Buf[from:]...)
	out.Buf = out.Buf[:from-out.Room]
	f.id++
	s, ok := piecesOf(proto.IP(f.scratch), mtu, f.id)
	for ok && s.rest() {
		at := out.begin(0)
		out.Buf = s.append(out.Buf)
		out.end(at)
	}
	return ok
}
