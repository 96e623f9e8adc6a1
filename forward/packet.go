package forward

import (
	"errors"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Packet decides on one packet of IPv4 or IPv6, without its Ethernet header, in place: one
// that is forwarded has its TTL or hop limit decremented, and with NAT other addresses and
// ports. Nothing is allocated.
func (f *Forwarder) Packet(now time.Duration, in Ingress, b []byte) Decision {
	d := f.decide(now, in, b)
	f.counters[d.Verdict]++
	return d
}

func (f *Forwarder) decide(now time.Duration, in Ingress, b []byte) Decision {
	p, err := parse(b)
	if err != nil {
		return Decision{Verdict: Malformed}
	}
	if p.later {
		return f.laterFragment(now, in, p)
	}
	var flags uint8
	switch p.protocol {
	case proto.ProtocolTCP:
		t, err := proto.ParseTCP(p.payload)
		if err != nil {
			return Decision{Verdict: Malformed}
		}
		flags = t.Flags()
	case proto.ProtocolUDP:
		if _, err := proto.ParseUDP(p.payload); err != nil && !(p.first && len(p.payload) >= 8) {
			return Decision{Verdict: Malformed}
		}
	case proto.ProtocolSCTP:
		if len(p.payload) < sctpHeader+4 {
			return Decision{Verdict: Malformed}
		}
		flags = p.payload[sctpHeader]
		if in.Virtio.Partial() && !p.first { // no device knows from the header that it is a CRC
			sealSCTP(p.payload)
			in.Virtio.Complete()
		}
	case proto.ProtocolICMP, proto.ProtocolICMPv6:
		return f.icmp(now, p)
	default:
		return Decision{}
	}
	return f.transport(now, in, p, flags)
}

// sctpHeader is the length in bytes of what stands before the first chunk (RFC 9260 §3.1).
const sctpHeader = 12

// packet is a packet of either family taken apart.
type packet struct {
	ip       proto.IP
	src, dst addr
	protocol uint8  // of payload
	payload  []byte // behind the extension headers
	first    bool   // a fragment, the first
	later    bool   // a fragment, another
}

// errMapped is for packets of IPv6 with an address of IPv4 mapped into it, which are not sent
// anywhere (RFC 4291 §2.5.5.2) and would be taken for those of IPv4.
var errMapped = errors.New("a mapped address")

func parse(b []byte) (packet, error) {
	if len(b) > 0 && b[0]>>4 == 6 {
		ip, err := proto.ParseIPv6(b)
		if err != nil {
			return packet{}, err
		}
		p := packet{ip: proto.IP(ip), src: addr6(ip[8:]), dst: addr6(ip[24:])}
		if p.src.is4() || p.dst.is4() {
			return packet{}, errMapped
		}
		if p.protocol, p.payload, p.later, err = ip.Transport(); err == nil && p.protocol != ip.NextHeader() && !p.later {
			_, _, more, ok := ip.Fragment()
			p.first = ok && more
		}
		return p, err
	}
	ip, err := proto.ParseIPv4(b)
	if err != nil {
		return packet{}, err
	}
	later := ip.FragmentOffset() != 0
	return packet{
		ip: proto.IP(ip), src: addr4(ip[12:]), dst: addr4(ip[16:]), protocol: ip.Protocol(), payload: ip.Payload(),
		first: !later && ip.MoreFragments(), later: later,
	}, nil
}

// transport handles TCP, UDP and SCTP: a packet of a connection, an answer, or a new
// connection. flags are those of TCP, or the type of the first chunk of SCTP.
func (f *Forwarder) transport(now time.Duration, in Ingress, p packet, flags uint8) Decision {
	sport, dport, _ := proto.Ports(p.payload)
	k := key{client: p.src, virtual: p.dst, cport: sport, vport: dport, protocol: p.protocol}
	i, over := f.table.find(k), int32(0)
	if i != 0 && f.servers[f.table.at(i).server].cut {
		ended, reset := f.cutOff(i, flags)
		if reset {
			return Decision{Verdict: NoConn}
		}
		if ended {
			i = 0
		}
	}
	if i != 0 && f.outlived(i, flags) {
		over, i = i, 0
		f.table.unhash(over)
	}
	if i == 0 && over == 0 && f.nat {
		if a := f.findAnswer(p.dst, p.src, dport, sport, p.protocol); a != 0 {
			return f.answer(now, in, p, a, flags)
		}
	}
	if i == 0 {
		var v Verdict
		if i, v = f.reopen(now, k, f.mark(in.From.Port, p, sport, dport), flags, over); v != Forward {
			return Decision{Verdict: v}
		}
		if i < 0 { // a datagram that leaves nothing behind
			if p.first {
				f.fragments.put(now, p, i, 0)
			}
			return f.transmit(in, p, ^i, dport)
		}
	}
	c := f.table.at(i)
	rs := &f.servers[c.server]
	if v := f.standing(c.server); v != Forward {
		return Decision{Verdict: v}
	}
	f.touch(now, i, c, &input, flags)
	if rs.Method == NAT || rs.Method == TUN {
		if rs.Method == NAT { // which the server may not have had when it was placed
			c.flags &^= inputOnly
		}
		c.port, f.table.more(i).mac = uint16(in.From.Port), in.From.MAC
	}
	if p.first {
		f.fragments.put(now, p, i, f.table.more(i).born)
	}
	d := f.transmit(in, p, c.server, c.rport)
	if in.Virtio.Super() && f.streams(c) && d.Verdict == Forward && !d.Rebuild {
		d.Bulk = true
	}
	return d
}

// touch moves a connection's state and gives it time, with a packet of one direction.
func (f *Forwarder) touch(now time.Duration, i int32, c *conn, t *transitions, flags uint8) {
	switch c.protocol {
	case proto.ProtocolTCP:
		if c.flags&inputOnly != 0 {
			t = &onlyInput
		}
		f.setState(i, c, t.next(c.state, flags))
	case proto.ProtocolSCTP:
		f.setState(i, c, nextSCTP(c.state, flags))
	}
	f.table.arm(i, now+f.timeouts[c.state])
	if c.packets < ^uint32(0) {
		c.packets++
	}
}

// transmit counts the packet and prepares it for its way to a server, where NAT gives it
// another port.
func (f *Forwarder) transmit(in Ingress, p packet, id int32, port uint16) Decision {
	rs := &f.servers[id]
	if rs.Method < Local && p.ip.TTL() <= 1 {
		return Decision{Verdict: TTLExceeded}
	}
	for _, s := range [...]*Stats{&rs.stats, &f.services[rs.service].stats} {
		s.Packets++
		s.Bytes += uint64(len(p.ip))
	}
	if rs.Method >= Local {
		return Decision{Verdict: Deliver, Server: id}
	}
	d := Decision{Verdict: Forward, Server: id, Rebuild: rs.Method == TUN}
	if len(p.ip) > int(rs.fits) && !f.tooLong(in, p, &d) {
		return d
	}
	if rs.Method == NAT {
		p.redirect(in.Virtio, destination, rs.addr, port)
	}
	p.ip.DecrementTTL()
	return d
}

// outlived tells whether a packet ends the connection that it belongs to, to be taken
// as one of none: where its server is gone or quiesced, or where a SYN opens a new one over
// one that is finished.
func (f *Forwarder) outlived(i int32, flags uint8) bool {
	c := f.table.at(i)
	rs := &f.servers[c.server]
	svc := &f.services[rs.service]
	if svc.ExpireNoDest && !rs.present {
		return true
	}
	if !opens(c.protocol, flags) {
		return false
	}
	switch {
	case svc.ExpireNoDest && rs.Weight == 0 && rs.Method != bypass:
		return true
	case c.flags&controls != 0 || svc.Reuse == ReuseNever:
		return false
	case c.state == stFinWait:
		return svc.Reuse == ReuseFinWait && c.flags&inputOnly != 0
	}
	return c.state == stTimeWait || c.state == stClose || c.state == stClosed
}

// opens tells whether a packet asks for a new connection: a SYN, whatever else is with it, or
// an INIT of SCTP.
func opens(protocol, flags uint8) bool {
	switch protocol {
	case proto.ProtocolTCP:
		return flags&proto.TCPSyn != 0
	case proto.ProtocolSCTP:
		return flags == sctpInit
	}
	return false
}

// setState moves a connection and its server's counters.
func (f *Forwarder) setState(i int32, c *conn, to state) {
	if c.state == to {
		return
	}
	f.recall(c)
	if was, is := c.state.active(), to.active(); was != is {
		if is {
			f.count(c.server, 1, -1)
		} else {
			f.count(c.server, -1, 1)
		}
	}
	c.state = to
	if c.flags&controls != 0 && (to == stEstablished || to == stAssociated) {
		f.table.at(f.table.more(i).control).flags |= assured
	}
}

// count changes a server's connection counters, its own and the scheduler's view.
func (f *Forwarder) count(id int32, active, inactive int32) {
	rs := &f.servers[id]
	rs.active += uint32(active)
	rs.inactive += uint32(inactive)
	rs.overload = rs.overloaded()
	svc := &f.services[rs.service]
	at := svc.place(id)
	if at < 0 {
		return
	}
	v := &svc.view[at]
	v.Active, v.Inactive, v.Overload = rs.active, rs.inactive, rs.overload
}

// overloaded tells whether a server is above its limits: between them it stays what it was.
func (s *server) overloaded() bool {
	total := s.active + s.inactive
	return s.Upper > 0 && (total >= s.Upper || s.overload && total >= s.reopens())
}

// reopens is below how many connections a server that was above its limit takes new ones.
func (s *Server) reopens() uint32 {
	if s.Lower > 0 {
		return s.Lower
	}
	return s.Upper - s.Upper/4
}

// end frees a connection or template and everything that counts it.
func (f *Forwarder) end(i int32) {
	c := f.table.at(i)
	f.recall(c)
	switch {
	case c.kind == template:
		f.servers[c.server].persist--
	case c.kind == single:
		f.servers[c.server].singles--
	case c.state.active():
		f.count(c.server, -1, 0)
	default:
		f.count(c.server, 0, -1)
	}
	if c.flags&controls != 0 {
		f.table.more(f.table.more(i).control).controlled--
	}
	f.table.remove(i)
}
