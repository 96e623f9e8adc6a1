package forward

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/sched"
)

// Conn is one entry of the table as it stands. The client of a template has port 0; that
// of a mark has the mark as its virtual address, as the kernel shows it.
type Conn struct {
	Protocol                uint8
	Client, Virtual, Server netip.AddrPort
	State                   string
	Template                bool
	Expires                 time.Duration
	Began                   time.Duration // in whole seconds
	By                      string        // the scheduler that placed it, or its template
	Packets                 uint32        // of both sides
	Moved                   bool          // somebody else moves its packets, see [Forwarder.Moved]
}

// ConnsFrom appends to list the connections and templates among the next so many entries
// of the table, from number at on; the first is 0. next is where to go on, -1 at the end.
// What is there all the time is told once; what comes or goes meanwhile may be.
func (f *Forwarder) ConnsFrom(at int32, entries int, list []Conn) (_ []Conn, next int32) {
	for at = max(at, 1); at < f.table.made; at++ {
		if entries--; entries < 0 {
			return list, at
		}
		if f.table.at(at).flags&hashed != 0 {
			list = append(list, f.describe(at))
		}
	}
	return list, -1
}

func (f *Forwarder) describe(i int32) Conn {
	c, m := f.table.at(i), f.table.more(i)
	rs := &f.servers[c.server]
	d := Conn{
		Protocol: c.protocol, Client: addrPort(c.client, c.cport), Virtual: addrPort(c.virtual, c.vport),
		Server: netip.AddrPortFrom(rs.Addr.Addr(), c.rport), State: stateNames[c.state], Template: c.kind == template, Expires: c.expires,
		Began: time.Duration(m.began) * time.Second, By: sched.Names[m.by], Packets: c.packets, Moved: c.flags&bulk != 0,
	}
	switch {
	case rs.Method == bypass:
		d.Server = d.Virtual
	case c.kind == template && c.flags&assured != 0:
		d.State = "ASSURED"
	}
	return d
}
