package forward

import (
	"net/netip"
	"time"
)

// Conn is one entry of the table as it stands. The client of a template has port 0; that
// of a mark has the mark as its virtual address, as the kernel shows it.
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
		if c := f.table.at(i); c.flags&hashed != 0 && !yield(f.describe(c)) {
			return
		}
	}
}

func (f *Forwarder) describe(c *conn) Conn {
	rs := &f.servers[c.server]
	d := Conn{
		Protocol: c.protocol, Client: addrPort(c.client, c.cport), Virtual: addrPort(c.virtual, c.vport),
		Server: netip.AddrPortFrom(rs.Addr.Addr(), c.rport), State: stateNames[c.state], Template: c.kind == template, Expires: c.expires,
	}
	switch {
	case rs.Method == bypass:
		d.Server = d.Virtual
	case c.kind == template && c.flags&assured != 0:
		d.State = "ASSURED"
	}
	return d
}
