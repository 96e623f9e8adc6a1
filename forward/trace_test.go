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
// [persistence=60s] [mask=24] [POLICY...]`, `edit` with the same, `gone` for the last service, `server
// ADDR:PORT weight=N [upper=N] [lower=N] [nat|tun|local]`, `limit` with the first and the last two, and `remove`,
// `weight` for the last service, `vip ADDR up|down`, `packets` with a packet a line
// (`1s 10.0.0.1:1000 > 10.0.0.100:80 SYN`, UDP without flags, ttl=, mf and frag= for fragments,
// icmp for an error about it), `expire at=`, `conns`, `status`, `recycle` for a table that does;
// `drain`, `undrain`, `fail` and `evict` with ADDR:PORT, or for the last service, `sweep`;
// `explain tcp|udp` with flows (`1s CLIENT > VIRTUAL`), `estimate at=` for the rates.
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
	case "recycle":
		w.f = New(Config{MaxConns: 8, Seed: 1, Recycle: true})
	case "gone":
		w.f.RemoveService(w.last)
	case "server":
		weight, _ := strconv.Atoi(options["weight"])
		upper, _ := strconv.Atoi(options["upper"])
		lower, _ := strconv.Atoi(options["lower"])
		s := Server{Addr: netip.MustParseAddrPort(args[0]), Weight: int32(weight), Upper: uint32(upper), Lower: uint32(lower)}
		for _, word := range args[1:] {
			s.Method = methods[word]
		}
		if _, err := w.f.AddServer(w.last, s); err != nil {
			return err.Error() + "\n"
		}
	case "limit":
		upper, _ := strconv.Atoi(options["upper"])
		lower, _ := strconv.Atoi(options["lower"])
		return w.edit(args[0], func(s *Server) { s.Upper, s.Lower = uint32(upper), uint32(lower) })
	case "remove":
		w.f.RemoveServer(w.last, netip.MustParseAddrPort(args[0]))
	case "weight":
		n, _ := strconv.Atoi(args[1])
		return w.edit(args[0], func(s *Server) { s.Weight = int32(n) })
	case "method":
		return w.edit(args[0], func(s *Server) { s.Method = methods[args[1]] })
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
	case "drain", "undrain", "fail", "evict":
		w.steer(d.Cmd, args)
	case "sweep":
		for w.f.Sweep() {
		}
	case "explain":
		return w.explain(t, args[0], d.Input)
	case "estimate":
		return w.estimate(t, options["at"])
	case "conns":
		return w.conns()
	case "status":
		return w.status()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return ""
}

// edit changes one attribute of a server.
func (w *traceWorld) edit(addr string, change func(*Server)) string {
	id := w.f.find(w.last, netip.MustParseAddrPort(addr))
	if id < 0 {
		return "no such server\n"
	}
	s := w.f.servers[id].Server
	change(&s)
	if _, err := w.f.EditServer(w.last, s); err != nil {
		return err.Error() + "\n"
	}
	return ""
}

func (w *traceWorld) steer(how string, args []string) {
	to := map[string]Steering{"drain": Drain, "fail": Fail}[how]
	switch {
	case how == "evict" && len(args) == 0:
		w.f.EvictService(w.last)
	case how == "evict":
		w.f.Evict(w.last, netip.MustParseAddrPort(args[0]))
	case len(args) == 0:
		w.f.SteerService(w.last, to)
	default:
		w.f.SteerServer(w.last, netip.MustParseAddrPort(args[0]), to)
	}
}

// explain tells in one line about each flow, and checks that nothing has changed.
func (w *traceWorld) explain(t *testing.T, protocol, input string) string {
	var out strings.Builder
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		at, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatal(err)
		}
		flow := Flow{Protocol: proto.ProtocolTCP, Client: netip.MustParseAddrPort(words[1]), Virtual: netip.MustParseAddrPort(words[3])}
		if protocol == "udp" {
			flow.Protocol = proto.ProtocolUDP
		}
		before := w.status() + w.conns()
		e := w.f.Explain(at, flow)
		if after := w.status() + w.conns(); after != before {
			t.Errorf("%s: was\n%sis\n%s", line, before, after)
		}
		if e.Fails {
			out.WriteString("fails; ")
		}
		if e.Conn == nil {
			out.WriteString("new: ")
		}
		out.WriteString(e.Verdict.String())
		if e.Server.IsValid() {
			fmt.Fprintf(&out, " %v", e.Server.Addr())
		}
		if e.Conn != nil {
			fmt.Fprintf(&out, " since %v by %s", e.Conn.Began, e.Conn.By)
		}
		if e.Template != nil {
			fmt.Fprintf(&out, " template %v since %v by %s", e.Template.Client.Addr(), e.Template.Began, e.Template.By)
		}
		if e.Service != nil {
			for i := range e.Service.Servers {
				if s := &e.Service.Servers[i]; s.Excluded() != "" {
					fmt.Fprintf(&out, "; not %v: %s", s.Addr.Addr(), s.Excluded())
				}
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// estimate brings the rates up to date, and tells those of services and servers.
func (w *traceWorld) estimate(t *testing.T, text string) string {
	at, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	next, ok := w.f.Estimate(at)
	var out strings.Builder
	for _, s := range w.f.Services() {
		fmt.Fprintf(&out, "%v %+v\n", s.Key, s.Rates)
		for _, r := range s.Servers {
			fmt.Fprintf(&out, "  %v %+v\n", r.Addr, r.Rates)
		}
	}
	if !ok {
		return out.String() + "nothing moves\n"
	}
	return out.String() + fmt.Sprintf("next at %v\n", next)
}

func (w *traceWorld) service(t *testing.T, how string, args []string, options map[string]string) string {
	protocol := map[string]uint8{"tcp": proto.ProtocolTCP, "udp": proto.ProtocolUDP, "sctp": proto.ProtocolSCTP}[args[0]]
	s := Service{Key: ServiceKey{Protocol: protocol, Addr: netip.MustParseAddrPort(args[1])}, Scheduler: args[2]}
	for _, word := range args[3:] {
		switch word {
		case "ops":
			s.OnePacket = true
		case "drop":
			s.Midstream = Drop
		case "schedule":
			s.Midstream = Schedule
		case "expire-nodest":
			s.ExpireNoDest = true
		case "expire-quiescent":
			s.ExpireQuiescent = true
		case "reuse-fin-wait":
			s.Reuse = ReuseFinWait
		case "reuse-never":
			s.Reuse = ReuseNever
		default:
			t.Fatalf("unknown word %s", word)
		}
	}
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

var methods = map[string]Method{"dr": DR, "nat": NAT, "tun": TUN, "local": Local}

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
		src := proto.IP(p).Src().As16()
		d := w.f.Packet(at, Ingress{From: Hop{Port: 1, MAC: proto.MAC{2, 0, 0, 0, 0, src[15]}}}, p)
		fmt.Fprintf(&out, "%s", d.Verdict)
		ip := proto.IP(p)
		switch s, _ := w.f.Server(d.Server); {
		case d.Verdict == Return:
			fmt.Fprintf(&out, " %v port %d ttl=%d as %s", d.Hop.MAC, d.Hop.Port, ip.TTL(), ends(p))
		case d.Verdict == Forward && s.Method == NAT:
			fmt.Fprintf(&out, " %v ttl=%d as %s", s.Addr.Addr(), ip.TTL(), ends(p))
		case d.Verdict == Forward && ip.Dst() == s.Addr.Addr():
			t.Errorf("%s: the destination was changed", line)
		case d.Verdict == Forward || d.Verdict == Deliver:
			fmt.Fprintf(&out, " %v ttl=%d", s.Addr.Addr(), ip.TTL())
		}
		if err := sound(p); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func (w *traceWorld) conns() string {
	var lines []string
	for _, c := range conns(w.f) {
		kind := c.State
		if c.Template {
			kind = "template"
		}
		if c.State == "ASSURED" {
			kind = "assured template"
		}
		lines = append(lines, fmt.Sprintf("%v > %v at %v %s until %v\n", c.Client, c.Virtual, c.Server.Addr(), kind, c.Expires))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (w *traceWorld) status() string {
	var out strings.Builder
	for _, s := range w.f.Services() {
		fmt.Fprintf(&out, "%v %s conns=%d packets=%d bytes=%d", s.Key, s.Scheduler, s.Conns, s.Packets, s.Bytes)
		if s.OutPackets > 0 {
			fmt.Fprintf(&out, " out=%d/%d", s.OutPackets, s.OutBytes)
		}
		out.WriteByte('\n')
		for _, r := range s.Servers {
			gone := ""
			if !r.Present {
				gone = " removed"
			}
			if r.Steering != Serve {
				gone += " " + r.Steering.String()
			}
			fmt.Fprintf(&out, "  %v weight=%d active=%d inactive=%d persist=%d conns=%d%s\n", r.Addr, r.Weight, r.Active, r.Inactive, r.Persist, r.Conns, gone)
		}
	}
	return out.String()
}
