package forward

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
)

// Packet decides on one IPv4 packet, without its Ethernet header, in place: a packet
// to be forwarded has its TTL decremented. Nothing is allocated.
func (f *Forwarder) Packet(now time.Duration, b []byte) Decision {
	d := f.decide(now, b)
	f.counters[d.Verdict]++
	return d
}

func (f *Forwarder) decide(now time.Duration, b []byte) Decision {
	ip, err := proto.ParseIPv4(b)
	if err != nil {
		return Decision{Verdict: Malformed}
	}
	if ip.FragmentOffset() != 0 {
		return Decision{Verdict: Fragment}
	}
	switch ip.Protocol() {
	case proto.ProtocolTCP:
		t, err := proto.ParseTCP(ip.Payload())
		if err != nil {
			return Decision{Verdict: Malformed}
		}
		return f.transport(now, ip, t.SrcPort(), t.DstPort(), t.Flags())
	case proto.ProtocolUDP:
		u, err := proto.ParseUDP(ip.Payload())
		if err != nil {
			return Decision{Verdict: Malformed}
		}
		return f.transport(now, ip, u.SrcPort(), u.DstPort(), 0)
	case proto.ProtocolICMP:
		return f.icmp(ip)
	}
	return Decision{}
}

// transport handles TCP and UDP: the connection's server, or a new connection.
func (f *Forwarder) transport(now time.Duration, ip proto.IPv4, sport, dport uint16, flags uint8) Decision {
	k := key{
		client: binary.BigEndian.Uint32(ip[12:]), virtual: binary.BigEndian.Uint32(ip[16:]),
		cport: sport, vport: dport, protocol: ip.Protocol(),
	}
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
	return f.transmit(ip, c.server)
}

// transmit counts the packet and prepares it for its way.
func (f *Forwarder) transmit(ip proto.IPv4, id int32) Decision {
	rs := &f.servers[id]
	if rs.Method == DR && ip.TTL() <= 1 {
		return Decision{Verdict: TTLExceeded}
	}
	for _, s := range [...]*Stats{&rs.stats, &f.services[rs.service].stats} {
		s.Packets++
		s.Bytes += uint64(len(ip))
	}
	if rs.Method == Local {
		return Decision{Deliver, id}
	}
	ip.DecrementTTL()
	return Decision{Forward, id}
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
	id, ok := f.byKey[packKey(k.protocol, k.virtual, k.vport)]
	if !ok {
		if id, ok = f.byKey[packKey(k.protocol, k.virtual, 0)]; !ok {
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
	tk := key{client: k.client &^ (1<<(32-svc.PersistenceMask) - 1), virtual: k.virtual, vport: svc.Key.Addr.Port(), protocol: k.protocol, template: true}
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

func addrPort(a uint32, port uint16) netip.AddrPort {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], a)
	return netip.AddrPortFrom(netip.AddrFrom4(b), port)
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
// from the virtual service to the client (RFC 792). It goes where the connection goes.
func (f *Forwarder) icmp(ip proto.IPv4) Decision {
	m := ip.Payload()
	if len(m) < 8 || m[0] != proto.ICMPUnreachable && m[0] != proto.ICMPTimeExceeded {
		return Decision{}
	}
	q := m[8:]
	if len(q) < 20 || q[0]>>4 != 4 || len(q) < int(q[0]&15)*4+4 {
		return Decision{}
	}
	ports := q[int(q[0]&15)*4:]
	i := f.table.find(key{
		client: binary.BigEndian.Uint32(q[16:]), virtual: binary.BigEndian.Uint32(q[12:]),
		cport: binary.BigEndian.Uint16(ports[2:]), vport: binary.BigEndian.Uint16(ports), protocol: q[9],
	})
	if i == 0 {
		return Decision{}
	}
	rs := &f.servers[f.table.at(i).server]
	if !rs.present || !f.services[rs.service].local {
		return Decision{Verdict: ServerGone}
	}
	return f.transmit(ip, f.table.at(i).server)
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
