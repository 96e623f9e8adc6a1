package ipvs

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"golang.org/x/sys/unix"
)

// ConnsFile is where the kernel lists the connections of the thread's network namespace.
const ConnsFile = "/proc/thread-self/net/ip_vs_conn"

// protocols are the names that the kernel writes; IP is that of a mark's template.
var protocols = map[string]uint8{"TCP": unix.IPPROTO_TCP, "UDP": unix.IPPROTO_UDP, "SCTP": unix.IPPROTO_SCTP, "IP": 0}

// Conns yields the connections and templates of a text as [ConnsFile] has it. Expires is the
// time that a connection has left. The kernel writes the list in pieces: what is in it when
// others end may be left out.
func Conns(r io.Reader) iter.Seq2[forward.Conn, error] {
	return func(yield func(forward.Conn, error) bool) {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			if len(f) == 0 || f[0] == "Pro" {
				continue
			}
			c, err := parseConn(f)
			if err != nil {
				err = fmt.Errorf("connection %q: %w", lines.Text(), err)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(forward.Conn{}, err)
		}
	}
}

// parseConn reads protocol, client, virtual service and server, each an address and a port,
// the state and the seconds left.
func parseConn(f []string) (c forward.Conn, err error) {
	if len(f) < 9 {
		return c, fmt.Errorf("%d fields", len(f))
	}
	var ok bool
	if c.Protocol, ok = protocols[f[0]]; !ok {
		return c, fmt.Errorf("protocol %s", f[0])
	}
	for i, to := range []*netip.AddrPort{&c.Client, &c.Virtual, &c.Server} {
		if *to, err = hexAddrPort(f[1+2*i], f[2+2*i]); err != nil {
			return c, err
		}
	}
	left, err := strconv.Atoi(f[8])
	c.State, c.Expires = f[7], time.Duration(left)*time.Second
	// Only a template has no port of its client, and no state of a protocol.
	c.Template = c.Client.Port() == 0 && (c.State == "NONE" || c.State == "ASSURED")
	return c, err
}

// hexAddrPort reads C0000201 or the sixteen bytes of IPv6 with colons, and 0050.
func hexAddrPort(addr, port string) (netip.AddrPort, error) {
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if strings.Contains(addr, ":") {
		a, err := netip.ParseAddr(strings.Trim(addr, "[]"))
		return netip.AddrPortFrom(a, uint16(p)), err
	}
	b, err := hex.DecodeString(addr)
	if err != nil || len(b) != 4 {
		return netip.AddrPort{}, fmt.Errorf("address %s", addr)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(p)), nil
}
