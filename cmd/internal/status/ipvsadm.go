// Package status writes how a director stands: in the formats of ipvsadm 1.31, in words
// for people, and as JSON. It reads what forward and node tell, and decides nothing.
package status

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Form is what a list shows of services and servers.
type Form uint8

// The forms, with ipvsadm's options for them.
const (
	Plain          Form = iota
	Counts              // --stats
	Rates               // --rate
	Thresholds          // --thresholds
	PersistentConn      // --persistent-conn
	Save                // -S: the commands that make it
)

// Options choose what a list shows, and how.
type Options struct {
	Form   Form
	Exact  bool // counters are not shortened
	NoSort bool // in the order of the schedulers' lists
}

// Names are always numbers: nothing here asks a resolver.

// Version is that of the IPVS whose behaviour this is.
const Version = "1.2.1"

// Heading is what stands above all services; size is the table's. Save has none.
func Heading(o Options, size int) string {
	if o.Form == Save {
		return ""
	}
	return fmt.Sprintf("IP Virtual Server version %s (size=%d)\n", Version, size) + Title(o)
}

// Title is the heading of the columns. Save has none.
func Title(o Options) string {
	const remote = "\n  -> RemoteAddress:Port"
	names := func(format string, columns ...any) string {
		return fmt.Sprintf("%-33s"+format+remote+"\n", append([]any{"Prot LocalAddress:Port"}, columns...)...)
	}
	switch o.Form {
	case Save:
		return ""
	case Counts:
		return names(" %8s %8s %8s %8s %8s", "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes")
	case Rates:
		return names(" %8s %8s %8s %8s %8s", "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS")
	case Thresholds:
		return names(" %-10s %-10s %-10s %-10s", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn")
	case PersistentConn:
		return names(" %-9s %-11s %-10s %-10s", "Weight", "PersistConn", "ActiveConn", "InActConn")
	}
	return "Prot LocalAddress:Port Scheduler Flags" + remote + "           Forward Weight ActiveConn InActConn\n"
}

// Services writes services as ipvsadm lists them. Servers that were removed are left out,
// and one that an operator steers has weight 0.
func Services(services []forward.ServiceStatus, o Options) []byte {
	if !o.NoSort {
		services = slices.Clone(services)
		slices.SortStableFunc(services, func(a, b forward.ServiceStatus) int { return compareKeys(a.Key, b.Key) })
	}
	var b []byte
	for i := range services {
		b = appendService(b, &services[i], o)
	}
	return b
}

// compareKeys puts marks last, then IPv4 before IPv6; then by protocol, address and port.
func compareKeys(a, b forward.ServiceKey) int {
	return cmp.Or(
		cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Addr.Addr().BitLen(), b.Addr.Addr().BitLen()), cmp.Compare(a.Protocol, b.Protocol),
		a.Addr.Compare(b.Addr),
	)
}

func appendService(b []byte, s *forward.ServiceStatus, o Options) []byte {
	switch o.Form {
	case Save:
		b = append(b, "-A "+option(s.Key)+" -s "+s.Scheduler+flags(s, " -p ", " -M ", " -o", " -b %s")+"\n"...)
	case Counts:
		b = fmt.Appendf(b, "%-33s", name(s.Key))
		b = appendNumbers(b, o, s.Conns, s.Packets, s.OutPackets, s.Bytes, s.OutBytes)
	case Rates:
		b = fmt.Appendf(b, "%-33s", name(s.Key))
		b = appendNumbers(b, o, s.Rates.Conns, s.Rates.Packets, s.Rates.OutPackets, s.Rates.Bytes, s.Rates.OutBytes)
	default:
		b = append(b, name(s.Key)+" "+s.Scheduler+flags(s, " persistent ", " mask ", " ops", " (%s)")+"\n"...)
	}
	servers := slices.DeleteFunc(slices.Clone(s.Servers), func(r forward.ServerStatus) bool { return !r.Present })
	if !o.NoSort {
		slices.SortStableFunc(servers, func(a, b forward.ServerStatus) int { return a.Addr.Compare(b.Addr) })
	}
	for i := range servers {
		b = appendServer(b, s, &servers[i], o)
	}
	return b
}

// flags writes what follows the scheduler, in the words of a list or of a command, which
// have it in different order.
func flags(s *forward.ServiceStatus, persistent, mask, ops, scheduler string) string {
	var persists, once, named string
	bits := s.Key.Addr.Addr().BitLen()
	if s.Persistence > 0 {
		persists = persistent + strconv.Itoa(int(s.Persistence/time.Second))
		if m := s.PersistenceMask; m != bits {
			persists += mask + maskOf(m, bits)
		}
	}
	if s.OnePacket {
		once = ops
	}
	if list := schedulerFlags(s); list != "" {
		named = fmt.Sprintf(scheduler, list)
	}
	if persistent == " -p " {
		return persists + once + named
	}
	return named + persists + once
}

// schedulerFlags are those of sh and mh by their names, without them of others.
func schedulerFlags(s *forward.ServiceStatus) string {
	fallback, port := s.Scheduler+"-fallback", s.Scheduler+"-port"
	if s.Scheduler != "sh" && s.Scheduler != "mh" {
		fallback, port = "flag-1", "flag-2"
	}
	var list []string
	if s.Options.Fallback {
		list = append(list, fallback)
	}
	if s.Options.Port {
		list = append(list, port)
	}
	return strings.Join(list, ",")
}

// maskOf is a prefix length as ipvsadm writes it: a netmask for IPv4.
func maskOf(length, bits int) string {
	if bits == 128 {
		return strconv.Itoa(length)
	}
	m := ^uint32(0) << (32 - length)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

func appendServer(b []byte, s *forward.ServiceStatus, r *forward.ServerStatus, o Options) []byte {
	if o.Form == Save {
		return append(b, "-a "+option(s.Key)+" -r "+r.Addr.String()+methodOptions[r.Method]+" -w "+strconv.Itoa(int(Weight(r)))+tunnel(r)+"\n"...)
	}
	b = fmt.Appendf(b, "  -> %-28s", r.Addr)
	switch o.Form {
	case Counts:
		return appendNumbers(b, o, r.Conns, r.Packets, r.OutPackets, r.Stats.Bytes, r.OutBytes)
	case Rates: // of which ipvsadm shortens only the last two
		b = fmt.Appendf(b, " %8d %8d %8d", r.Rates.Conns, r.Rates.Packets, r.Rates.OutPackets)
		return appendNumbers(b, o, r.Rates.Bytes, r.Rates.OutBytes)
	case Thresholds:
		return fmt.Appendf(b, " %-10d %-10d %-10d %-10d\n", r.Upper, r.Lower, r.Active, r.Inactive)
	case PersistentConn:
		return fmt.Appendf(b, " %-9d %-11d %-10d %-10d\n", Weight(r), r.Persist, r.Active, r.Inactive)
	}
	return fmt.Appendf(b, " %-7s %-6d %-10d %-10d\n", methods[r.Method], Weight(r), r.Active, r.Inactive)
}

// Weight is by what a server takes new connections: 0 where an operator keeps them from it.
func Weight(r *forward.ServerStatus) int32 {
	if r.Steering != forward.Serve {
		return 0
	}
	return r.Weight
}

var (
	methods       = [...]string{forward.DR: "Route", forward.NAT: "Masq", forward.TUN: "Tunnel", forward.Local: "Local"}
	methodOptions = [...]string{forward.DR: " -g", forward.NAT: " -m", forward.TUN: " -i", forward.Local: " -g"}
	tunnelTypes   = [...]string{forward.IPIP: "ipip", forward.GUE: "gue", forward.GRE: "gre"}
	tunnelSums    = [...]string{forward.NoSum: " --tun-nocsum", forward.Sum: " --tun-csum", forward.RemoteSum: " --tun-remcsum"}
)

// tunnel is the rest of a command that makes a server of a tunnel.
func tunnel(r *forward.ServerStatus) string {
	if r.Method != forward.TUN {
		return ""
	}
	text := " --tun-type " + tunnelTypes[r.Tunnel.Type]
	if r.Tunnel.Type == forward.GUE {
		text += " --tun-port " + strconv.Itoa(int(r.Tunnel.Port))
	}
	if r.Tunnel.Type != forward.IPIP {
		text += tunnelSums[r.Tunnel.Sum]
	}
	return text
}

// name is a service in a list: TCP  10.0.0.1:80, FWM  7.
func name(k forward.ServiceKey) string {
	switch {
	case k.Mark != 0 && k.Addr.Addr().Is6():
		return fmt.Sprintf("FWM  %d IPv6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("FWM  %d", k.Mark)
	}
	return fmt.Sprintf("%-4s %v", ProtocolName(k.Protocol), k.Addr)
}

// option is a service in a command.
func option(k forward.ServiceKey) string {
	switch {
	case k.Mark != 0 && k.Addr.Addr().Is6():
		return fmt.Sprintf("-f %d -6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("-f %d", k.Mark)
	case k.Protocol == proto.ProtocolUDP:
		return "-u " + k.Addr.String()
	case k.Protocol == proto.ProtocolSCTP:
		return "--sctp-service " + k.Addr.String()
	}
	return "-t " + k.Addr.String()
}

// ProtocolName is TCP, UDP or SCTP, and IP for what is of all of them.
func ProtocolName(number uint8) string {
	switch number {
	case proto.ProtocolTCP:
		return "TCP"
	case proto.ProtocolUDP:
		return "UDP"
	case proto.ProtocolSCTP:
		return "SCTP"
	}
	return "IP"
}

// appendNumbers writes counters, nine columns each, and ends the line.
func appendNumbers(b []byte, o Options, list ...uint64) []byte {
	for _, n := range list {
		b = appendNumber(b, n, o.Exact)
	}
	return append(b, '\n')
}

// units are how large counters are shortened: below limit they are divided.
var units = [...]struct {
	limit, by uint64
	letter    string
}{{1e8, 1, ""}, {1e9, 1e3, "K"}, {1e11, 1e6, "M"}, {1e14, 1e9, "G"}}

func appendNumber(b []byte, n uint64, exact bool) []byte {
	if exact {
		return fmt.Appendf(b, " %8d", n)
	}
	for _, u := range units {
		if n < u.limit {
			return fmt.Appendf(b, "%*d%s", 9-len(u.letter), n/u.by, u.letter)
		}
	}
	return fmt.Appendf(b, "%8dT", n/1e12)
}

// ConnTitle is the heading of the connections. No entry has what the columns of
// --persistent-conn show: there are no persistence engines.
func ConnTitle(o Options) string {
	title := "IPVS connection entries\n" + fmt.Sprintf("pro expire %-11s %-18s %-18s ", "state", "source", "virtual")
	if o.Form == PersistentConn {
		return title + fmt.Sprintf("%-18s %-16s %s\n", "destination", "pe name", "pe_data")
	}
	return title + "destination\n"
}

// AppendConn appends the line of a connection.
func AppendConn(b []byte, now time.Duration, c *forward.Conn) []byte {
	left := max(0, c.Expires-now) / time.Second
	b = appendPadded(b, 4, func(b []byte) []byte { return append(b, ProtocolName(c.Protocol)...) })
	b = appendPadded(b, 7, func(b []byte) []byte { return fmt.Appendf(b, "%02d:%02d", left/60, left%60) })
	b = appendPadded(b, 12, func(b []byte) []byte { return append(b, c.State...) })
	b = appendPadded(b, 19, c.Client.AppendTo)
	b = appendPadded(b, 19, c.Virtual.AppendTo)
	return append(c.Server.AppendTo(b), '\n')
}

// appendPadded appends a column of that width, at least with one blank behind it.
func appendPadded(b []byte, width int, column func([]byte) []byte) []byte {
	from := len(b)
	b = column(b)
	return append(b, bytes.Repeat([]byte{' '}, max(1, width-(len(b)-from)))...)
}

// Timeouts is the line of --timeout.
func Timeouts(tcp, fin, udp time.Duration) string {
	return fmt.Sprintf("Timeout (tcp tcpfin udp): %d %d %d\n", tcp/time.Second, fin/time.Second, udp/time.Second)
}
