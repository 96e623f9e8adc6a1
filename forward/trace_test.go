package forward

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/proto"
)

// TestTraces plays testdata. Commands: `service tcp|udp ADDR:PORT SCHEDULER
// [persistence=60s] [mask=24]`, `edit` with the same, `gone` for the last service, `server
// ADDR:PORT weight=N [upper=N] [lower=N] [local]`, `limit` with the first and the last two, and `remove`,
// `weight` for the last service, `vip ADDR up|down`, `packets` with a packet a line
// (`1s 10.0.0.1:1000 > 10.0.0.100:80 SYN`, UDP without flags, ttl=, frag=, icmp for an
// error about it), `expire at=`, `conns`, `status`.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &traceWorld{f: New(Config{MaxConns: 8, Seed: 1})}
		datadriven.RunTest(t, path, w.run)
	})
}

type traceWorld struct {
	f    *Forwarder
	last ServiceKey
}

func (w *traceWorld) run(t *testing.T, d *datadriven.TestData) string {
	var args []string
	options := map[string]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) > 0 {
			options[a.Key] = a.Vals[0]
		} else {
			args = append(args, a.Key)
		}
	}
	switch d.Cmd {
	case "service", "edit":
		return w.service(t, d.Cmd, args, options)
	case "gone":
		w.f.RemoveService(w.last)
	case "server":
		weight, _ := strconv.Atoi(options["weight"])
		upper, _ := strconv.Atoi(options["upper"])
		lower, _ := strconv.Atoi(options["lower"])
		s := Server{Addr: netip.MustParseAddrPort(args[0]), Weight: int32(weight), Upper: uint32(upper), Lower: uint32(lower)}
		if slices.Contains(args, "local") {
			s.Method = Local
		}
		if _, err := w.f.AddServer(w.last, s); err != nil {
			return err.Error() + "\n"
		}
	case "limit":
		upper, _ := strconv.Atoi(options["upper"])
		lower, _ := strconv.Atoi(options["lower"])
		w.f.SetThresholds(w.last, netip.MustParseAddrPort(args[0]), uint32(upper), uint32(lower))
	case "remove":
		w.f.RemoveServer(w.last, netip.MustParseAddrPort(args[0]))
	case "weight":
		n, _ := strconv.Atoi(args[1])
		w.f.SetWeight(w.last, netip.MustParseAddrPort(args[0]), int32(n))
	case "vip":
		w.f.SetLocal(netip.MustParseAddr(args[0]), args[1] == "up")
	case "packets":
		return w.packets(t, d.Input)
	case "expire":
		at, err := time.ParseDuration(options["at"])
		if err != nil {
			t.Fatal(err)
		}
		for next, ok := w.f.Deadline(); ok && next <= at; next, ok = w.f.Deadline() {
			w.f.Expire(next)
		}
		return fmt.Sprintf("%d left\n", w.f.Len())
	case "conns":
		return w.conns()
	case "status":
		return w.status()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return ""
}

func (w *traceWorld) service(t *testing.T, how string, args []string, options map[string]string) string {
	protocol := uint8(proto.ProtocolTCP)
	if args[0] == "udp" {
		protocol = proto.ProtocolUDP
	}
	s := Service{Key: ServiceKey{Protocol: protocol, Addr: netip.MustParseAddrPort(args[1])}, Scheduler: args[2]}
	if p := options["persistence"]; p != "" {
		var err error
		if s.Persistence, err = time.ParseDuration(p); err != nil {
			t.Fatal(err)
		}
	}
	s.PersistenceMask, _ = strconv.Atoi(options["mask"])
	if how == "edit" {
		if err := w.f.EditService(s); err != nil {
			return err.Error() + "\n"
		}
		return ""
	}
	if err := w.f.AddService(s); err != nil {
		return err.Error() + "\n"
	}
	w.last = s.Key
	w.f.SetLocal(s.Key.Addr.Addr(), true)
	return ""
}

var flagBits = map[string]uint8{"SYN": proto.TCPSyn, "ACK": proto.TCPAck, "FIN": proto.TCPFin, "RST": proto.TCPRst}

// packets sends a packet for each line and tells what becomes of it.
func (w *traceWorld) packets(t *testing.T, input string) string {
	var out strings.Builder
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		at, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatal(err)
		}
		p := build(t, words[1:])
		d := w.f.Packet(at, Ingress{}, p)
		fmt.Fprintf(&out, "%s", d.Verdict)
		if d.Verdict == Forward || d.Verdict == Deliver {
			s, _ := w.f.Server(d.Server)
			fmt.Fprintf(&out, " %v ttl=%d", s.Addr.Addr(), proto.IP(p).TTL())
		}
		if !proto.IP(p).ChecksumOK() {
			t.Errorf("%s: header checksum is wrong afterwards", line)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// build makes `SRC > DST WORD...`.
func build(t testing.TB, words []string) []byte {
	src, dst := netip.MustParseAddrPort(words[0]), netip.MustParseAddrPort(words[2])
	h := proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()}
	var flags uint8
	icmp, fragment := false, 0
	for _, w := range words[3:] {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch {
		case flagBits[w] != 0 || w == "TCP":
			h.Protocol, flags = proto.ProtocolTCP, flags|flagBits[w]
		case key == "ttl":
			h.TTL = uint8(n)
		case key == "frag":
			fragment = n
		case w == "options":
		case w == "icmp":
			icmp = true
		default:
			t.Fatalf("unknown word %s", w)
		}
	}
	payload := []byte{byte(src.Port() >> 8), byte(src.Port()), byte(dst.Port() >> 8), byte(dst.Port()), 0, 8, 0, 0}
	if h.Protocol == proto.ProtocolTCP {
		payload = proto.TCPHeader{SrcPort: src.Port(), DstPort: dst.Port(), Flags: flags}.Append(nil)
	}
	if src.Addr().Is6() {
		return build6(t, h, words[3:], payload, fragment, icmp)
	}
	b := append(h.Append(nil, len(payload)), payload...)
	if icmp { // a router tells the sender of this packet that it cannot go on
		quoted := append([]byte{proto.ICMPUnreachable, 3, 0, 0, 0, 0, 0, 0}, b[:28]...)
		e := proto.IPv4Header{TTL: 64, Protocol: proto.ProtocolICMP, Src: netip.MustParseAddr("192.0.2.1"), Dst: src.Addr()}
		return append(e.Append(nil, len(quoted)), quoted...)
	}
	if fragment > 0 {
		b[6], b[7] = byte(fragment/8>>8), byte(fragment/8)
		b[10], b[11] = 0, 0
		sum := proto.Checksum(b[:20])
		b[10], b[11] = byte(sum>>8), byte(sum)
	}
	return b
}

// build6 is the packet with the header h in IPv6; one hop-by-hop header stands before it
// when the words have "options".
func build6(t testing.TB, h proto.IPv4Header, words []string, payload []byte, fragment int, icmp bool) []byte {
	next := h.Protocol
	if fragment > 0 {
		payload = append([]byte{next, 0, byte(fragment >> 8), byte(fragment), 0, 0, 0, 1}, payload...)
		next = 44
	}
	if slices.Contains(words, "options") {
		payload = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, payload...)
		next = 0
	}
	b := append(proto.IPv6Header{HopLimit: h.TTL, NextHeader: next, Src: h.Src, Dst: h.Dst}.Append(nil, len(payload)), payload...)
	if icmp {
		quoted := append([]byte{1, 4, 0, 0, 0, 0, 0, 0}, b...)
		e := proto.IPv6Header{HopLimit: 64, NextHeader: proto.ProtocolICMPv6, Src: netip.MustParseAddr("2001:db8:9::1"), Dst: h.Src}
		return append(e.Append(nil, len(quoted)), quoted...)
	}
	return b
}

func (w *traceWorld) conns() string {
	var lines []string
	for c := range w.f.Conns {
		kind := c.State
		if c.Template {
			kind = "template"
		}
		lines = append(lines, fmt.Sprintf("%v > %v at %v %s until %v\n", c.Client, c.Virtual, c.Server.Addr(), kind, c.Expires))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (w *traceWorld) status() string {
	var out strings.Builder
	for _, s := range w.f.Services() {
		fmt.Fprintf(&out, "%v %s conns=%d packets=%d bytes=%d\n", s.Key, s.Scheduler, s.Conns, s.Packets, s.Bytes)
		for _, r := range s.Servers {
			gone := ""
			if !r.Present {
				gone = " removed"
			}
			fmt.Fprintf(&out, "  %v weight=%d active=%d inactive=%d persist=%d conns=%d%s\n", r.Addr, r.Weight, r.Active, r.Inactive, r.Persist, r.Conns, gone)
		}
	}
	return out.String()
}
