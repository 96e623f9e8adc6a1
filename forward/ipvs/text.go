package ipvs

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"golang.org/x/sys/unix"
)

// String writes a command as ipvsadm's arguments, additions as ipvsadm -Sn does.
func (c Command) String() string {
	what := [...]string{"-A", "-E", "-D", "-a", "-e", "-d"}[c.Op] + " " + keyArgs(c.Service.Key)
	switch c.Op {
	case AddService, EditService:
		return what + c.Service.args()
	case AddServer, EditServer:
		return what + " -r " + c.Server.Addr.String() + c.Server.args()
	case DeleteServer:
		return what + " -r " + c.Server.Addr.String()
	}
	return what
}

func keyArgs(k forward.ServiceKey) string {
	switch {
	case k.Mark != 0 && k.Addr.Addr().Is6():
		return fmt.Sprintf("-f %d -6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("-f %d", k.Mark)
	case k.Protocol == unix.IPPROTO_UDP:
		return "-u " + k.Addr.String()
	case k.Protocol == unix.IPPROTO_SCTP:
		return "--sctp-service " + k.Addr.String()
	}
	return "-t " + k.Addr.String()
}

func (s *Service) args() string {
	var b strings.Builder
	fmt.Fprintf(&b, " -s %s", s.Scheduler)
	if s.Flags&Persistent != 0 {
		fmt.Fprintf(&b, " -p %d", s.Timeout/time.Second)
		switch addr := s.Key.Addr.Addr(); {
		case s.Mask == 0 || s.Mask == addr.BitLen():
		case addr.Is4():
			fmt.Fprintf(&b, " -M %v", net.IP(net.CIDRMask(s.Mask, 32)))
		default:
			fmt.Fprintf(&b, " -M %d", s.Mask)
		}
	}
	if s.Engine != "" {
		fmt.Fprintf(&b, " --pe %s", s.Engine)
	}
	if s.Flags&OnePacket != 0 {
		b.WriteString(" -o")
	}
	if names := s.flagNames(); len(names) > 0 {
		fmt.Fprintf(&b, " -b %s", strings.Join(names, ","))
	}
	return b.String()
}

// flagNames are the names of the scheduler's flags.
func (s *Service) flagNames() (names []string) {
	known := []string{"flag-1", "flag-2", "flag-3"}
	if s.Scheduler == "sh" || s.Scheduler == "mh" {
		known[0], known[1] = s.Scheduler+"-fallback", s.Scheduler+"-port"
	}
	for i, flag := range []Flags{Sched1, Sched2, Sched3} {
		if s.Flags&flag != 0 {
			names = append(names, known[i])
		}
	}
	return names
}

// args are in the order of ipvsadm -S, which leaves the limits out, and has no word for a
// server that is this host.
func (s *Server) args() string {
	var b strings.Builder
	b.WriteString(map[forward.Method]string{forward.DR: " -g", forward.NAT: " -m", forward.TUN: " -i", forward.Local: " -g"}[s.Method])
	fmt.Fprintf(&b, " -w %d", s.Weight)
	if s.Method == forward.TUN {
		b.WriteString(tunnelArgs(s.Tunnel))
	}
	if s.Upper != 0 || s.Lower != 0 {
		fmt.Fprintf(&b, " -x %d -y %d", s.Upper, s.Lower)
	}
	return b.String()
}

func tunnelArgs(t forward.Tunnel) string {
	sum := [...]string{" --tun-nocsum", " --tun-csum", " --tun-remcsum"}[t.Sum]
	switch t.Type {
	case forward.GUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d%s", t.Port, sum)
	case forward.GRE:
		return " --tun-type gre" + sum
	}
	return " --tun-type ipip"
}
