package checks

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// DNSCheck describes one DNS_CHECK.
type DNSCheck struct {
	Target
	Type string // A, NS, SOA ...; "" is SOA
	Name string // "" is the root
}

// DNS makes one check: a reply to our query over UDP within the timeout that says
// NOERROR. What it answers is not looked at. Datagrams that are no reply to it are passed
// over. The error is as that of [TCP].
func DNS(ctx context.Context, c DNSCheck) error {
	query, id, err := c.query()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLocal, err)
	}
	conn, err := c.talk(ctx, unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.within()
	if _, err := conn.Write(query); err != nil {
		return conn.failed(err, 0)
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return conn.failed(err, 0)
		}
		if code, ok := replied(buf[:n], id); ok {
			if code == dns.RcodeSuccess {
				return nil
			}
			return fmt.Errorf("answer %s to %s %s, expected NOERROR", rcode(code), c.what(), dns.Fqdn(c.Name))
		}
	}
}

func (c DNSCheck) what() string {
	if c.Type == "" {
		return "SOA"
	}
	return c.Type
}

func (c DNSCheck) query() (query []byte, id uint16, err error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(c.Name), dns.StringToType[c.what()]) // recursion desired, a random id
	query, err = m.Pack()
	return query, m.Id, err
}

func rcode(code int) string {
	if name, ok := dns.RcodeToString[code]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", code)
}

// dnsHeader is the length of the header of a message (RFC 1035 §4.1.1).
const dnsHeader = 12

// replied tells whether a datagram is a reply to the query id, and its RCODE.
func replied(b []byte, id uint16) (code int, ok bool) {
	if len(b) < dnsHeader || binary.BigEndian.Uint16(b) != id || b[2]&0x80 == 0 {
		return 0, false
	}
	return int(b[3] & 0xf), true
}
