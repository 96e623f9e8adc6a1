package forward

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
)

// Packet decides on one packet of IPv4 or IPv6, without its Ethernet header, in place: one
// that is forwarded has its TTL or hop limit decremented. Nothing is allocated.
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
		return Decision{Verdict: Fragment}
	}
	switch p.protocol {
	case proto.ProtocolTCP:
		t, err := proto.ParseTCP(p.payload)
		if err != nil {
			return Decision{Verdict: Malformed}
		}
		return f.transport(now, p, t.SrcPort(), t.DstPort(), t.Flags())
	case proto.ProtocolUDP:
		u, err := proto.ParseUDP(p.payload)
		if err != nil {
			return Decision{Verdict: Malformed}
		}
		return f.transport(now, p, u.SrcPort(), u.DstPort(), 0)
	case proto.ProtocolICMP, proto.ProtocolICMPv6:
		return f.icmp(p)
	}
	return Decision{}
}

// packet is a packet of either family taken apart.
type packet struct {
	ip       proto.IP
	src, dst addr
	protocol uint8  // of payload
	payload  []byte // behind the extension headers
	later    bool   // a fragment, and not the first
}

func parse(b []byte) (packet, error) {
	if len(b) > 0 && b[0]>>4 == 6 {
		ip, err := proto.ParseIPv6(b)
		if err != nil {
			return packet{}, err
		}
		p := packet{ip: proto.IP(ip), src: addr6(ip[8:]), dst: addr6(ip[24:])}
		p.protocol, p.payload, p.later, err = ip.Transport()
		return p, err
	}
	ip, err := proto.ParseIPv4(b)
	if err != nil {
		return packet{}, err
	}
	return packet{proto.IP(ip), addr4(ip[12:]), addr4(ip[16:]), ip.Protocol(), ip.Payload(), ip.FragmentOffset() != 0}, nil
}

// transport handles TCP and UDP: the connection's server, or a new connection.
func (f *Forwarder) transport(now time.Duration, p packet, sport, dport uint16, flags uint8) Decision {
	k := key{client: p.src, virtual: p.dst, cport: sport, vport: dport, protocol: p.protocol}
	i := f.table.find(k)
	if i != 0 && f.reused(i, flags) {
		f.end(i)
		i = 0
	}
	if i == 0 {
		var v Verdict
		if i, v = f.open(now, k, flags); v != Forward {
			return Decision{Verdict: v}
		}
	}
	c := f.table.at(i)
	rs := &f.servers[c.server]
	if !f.services[rs.service].local {
		return Decision{Verdict: NotLocal}
	}
	if !rs.present {
		return Decision{Verdict: ServerGone}
	}
	if c.protocol == proto.ProtocolTCP {
		f.setState(c, c.state.next(flags))
	}
	f.table.arm(i, now+timeouts[c.state])
	if c.packets < ^uint32(0) {
		c.packets++
	}
	return f.transmit(p.ip, c.server)
}

// transmit counts the packet and prepares it for its way.
func (f *Forwarder) transmit(ip proto.IP, id int32) Decision {
	rs := &f.servers[id]
	if rs.Method == DR && ip.TTL() <= 1 {
		return Decision{Verdict: TTLExceeded}
	}
	for _, s := range [...]*Stats{&rs.stats, &f.services[rs.service].stats} {
		s.Packets++
		s.Bytes += uint64(len(ip))
	}
	if rs.Method == Local {
		return Decision{Verdict: Deliver, Server: id}
	}
	ip.DecrementTTL()
	return Decision{Verdict: Forward, Server: id}
}

// reused tells whether a SYN opens a new connection over a finished one of the same
// addresses and ports (conn_reuse_mode 1). Persistent ones keep their server.
func (f *Forwarder) reused(i int32, flags uint8) bool {
	c := f.table.at(i)
	return c.protocol == proto.ProtocolTCP && flags&(proto.TCPSyn|proto.TCPAck|proto.TCPRst) == proto.TCPSyn &&
		c.control == 0 && (c.state == stTimeWait || c.state == stClose)
}

// ftpData is the source port of active FTP's data connections, never scheduled.
const ftpData = 20

// open schedules a new connection. The verdict is Forward if it did.
func (f *Forwarder) open(now time.Duration, k key, flags uint8) (int32, Verdict) {
	id, ok := f.byKey[place{k.virtual, k.vport, k.protocol}]
	if !ok {
		if id, ok = f.byKey[place{k.virtual, 0, k.protocol}]; !ok {
			return 0, NotMine
		}
	}
	svc := &f.services[id]
	switch {
	case !svc.local:
		return 0, NotLocal
	case k.protocol == proto.ProtocolTCP && flags&(proto.TCPSyn|proto.TCPRst) != proto.TCPSyn || k.cport == ftpData:
		return 0, NoConn
	}
	target, template, v := f.schedule(now, svc, id, k)
	if v != Forward {
		return 0, v
	}
	i, ok := f.table.insert(k)
	if !ok {
		return 0, TableFull
	}
	c := f.table.at(i)
	c.server, c.control = target, template
	if template != 0 {
		f.table.at(template).controlled++
	}
	if k.protocol == proto.ProtocolUDP {
		c.state = stUDP
	}
	f.count(target, 0, 1)
	f.servers[target].stats.Conns++
	svc.stats.Conns++
	return i, Forward
}

// schedule finds the server of a new connection: by the client's template, else by
// the scheduler.
func (f *Forwarder) schedule(now time.Duration, svc *service, id int32, k key) (target, template int32, v Verdict) {
	if svc.Persistence == 0 {
		target, v = f.pick(now, svc, k)
		return target, 0, v
	}
	tk := key{client: k.client.masked(svc.PersistenceMask), virtual: k.virtual, vport: svc.Key.Addr.Port(), protocol: k.protocol, template: true}
	template = f.table.find(tk)
	if template != 0 && !f.servers[f.table.at(template).server].present {
		f.table.unhash(template) // lives on unseen until its connections are gone
		template = 0
	}
	if template == 0 {
		if target, v = f.pick(now, svc, k); v != Forward {
			return 0, 0, v
		}
		var ok bool
		if template, ok = f.table.insert(tk); !ok {
			return 0, 0, TableFull
		}
		f.table.at(template).server = target
		f.servers[target].persist++
	}
	f.table.arm(template, now+svc.Persistence)
	return f.table.at(template).server, template, Forward
}

// pick asks the scheduler.
func (f *Forwarder) pick(now time.Duration, svc *service, k key) (int32, Verdict) {
	at := svc.sched.Pick(svc.view, sched.Flow{Src: addrPort(k.client, k.cport), Dst: addrPort(k.virtual, k.vport), At: now})
	if at < 0 {
		return 0, NoDestination
	}
	return svc.view[at].ID, Forward
}

// setState moves a connection and its server's counters.
func (f *Forwarder) setState(c *conn, to state) {
	if was, is := c.state.active(), to.active(); was != is {
		if is {
			f.count(c.server, 1, -1)
		} else {
			f.count(c.server, -1, 1)
		}
	}
	c.state = to
}

// count changes a server's connection counters, its own and the scheduler's view.
func (f *Forwarder) count(id int32, active, inactive int32) {
	rs := &f.servers[id]
	rs.active += uint32(active)
	rs.inactive += uint32(inactive)
	if !rs.present {
		return
	}
	svc := &f.services[rs.service]
	v := &svc.view[svc.place(id)]
	v.Active, v.Inactive = rs.active, rs.inactive
	switch total := rs.active + rs.inactive; {
	case rs.Upper == 0:
	case total >= rs.Upper:
		v.Overload = true
	case rs.Lower > 0 && total < rs.Lower, rs.Lower == 0 && uint64(total)*4 < uint64(rs.Upper)*3:
		v.Overload = false
	}
}

// end frees a connection or template and everything that counts it.
func (f *Forwarder) end(i int32) {
	c := f.table.at(i)
	if c.template {
		f.servers[c.server].persist--
	} else if c.state.active() {
		f.count(c.server, -1, 0)
	} else {
		f.count(c.server, 0, -1)
	}
	if c.control != 0 {
		f.table.at(c.control).controlled--
	}
	f.table.remove(i)
}

// icmp finds the connection that an ICMP error is about: the error quotes a packet
// from the virtual service to the client (RFC 792, RFC 4443). It goes where the connection goes.
func (f *Forwarder) icmp(p packet) Decision {
	m, err := proto.ParseICMP(p.payload)
	if err != nil || !reports(p, m.Type()) {
		return Decision{}
	}
	k, ok := quoted(m.Payload())
	if !ok {
		return Decision{}
	}
	i := f.table.find(k)
	if i == 0 {
		return Decision{}
	}
	rs := &f.servers[f.table.at(i).server]
	if !rs.present || !f.services[rs.service].local {
		return Decision{Verdict: ServerGone}
	}
	return f.transmit(p.ip, f.table.at(i).server)
}

// reports tells which ICMP messages are about a connection: unreachable, source quench
// and time exceeded, and every error of ICMPv6.
func reports(p packet, typ uint8) bool {
	if p.ip.Is6() {
		return p.protocol == proto.ProtocolICMPv6 && typ < 128
	}
	return p.protocol == proto.ProtocolICMP && (typ == proto.ICMPUnreachable || typ == proto.ICMPSourceQuench || typ == proto.ICMPTimeExceeded)
}

// quoted is the connection of which an error quotes a packet, of the beginning of which
// the ports are there at least; ok is false for none, and for a later fragment.
func quoted(q []byte) (k key, ok bool) {
	switch {
	case len(q) >= proto.IPv4Len && q[0]>>4 == 4:
		ip := proto.IPv4(q)
		ports := ip.HeaderLen()
		if ports < proto.IPv4Len || len(q) < ports+4 || ip.FragmentOffset() != 0 {
			return key{}, false
		}
		return reversed(addr4(q[12:]), addr4(q[16:]), q[ports:], ip.Protocol()), true
	case len(q) >= proto.IPv6Len && q[0]>>4 == 6:
		ip := proto.IPv6(q)
		protocol, payload, later, err := ip.Transport()
		if err != nil || later || len(payload) < 4 {
			return key{}, false
		}
		return reversed(addr6(q[8:]), addr6(q[24:]), payload, protocol), true
	}
	return key{}, false
}

// reversed is the connection of a packet from src to dst that is an answer.
func reversed(src, dst addr, ports []byte, protocol uint8) key {
	return key{client: dst, virtual: src, cport: binary.BigEndian.Uint16(ports[2:]), vport: binary.BigEndian.Uint16(ports), protocol: protocol}
}

// Conn is one entry of the table as it stands.
type Conn struct {
	Protocol                uint8
	Client, Virtual, Server netip.AddrPort
	State                   string
	Template                bool
	Expires                 time.Duration
}

// Conns yields every connection and template, in no order.
func (f *Forwarder) Conns(yield func(Conn) bool) {
	for i := int32(1); i < f.table.made; i++ {
		c := f.table.at(i)
		if !c.hashed {
			continue
		}
		ok := yield(Conn{
			Protocol: c.protocol, Client: addrPort(c.client, c.cport), Virtual: addrPort(c.virtual, c.vport),
			Server: f.servers[c.server].Addr, State: stateNames[c.state], Template: c.template, Expires: c.expires,
		})
		if !ok {
			return
		}
	}
}
