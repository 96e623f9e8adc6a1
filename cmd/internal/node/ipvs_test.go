package node

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
)

// TestProgram gives a node files and events, and shows what it asks of the kernel's IPVS.
// The commands: start and reload with a file, check with results, run with a time, link with
// up or down, steer, programmed with what the driver tells, flows, stop.
func TestProgram(t *testing.T) {
	datadriven.Walk(t, "testdata/ipvs", func(t *testing.T, path string) {
		var m *machine
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if m != nil {
				m.asked = nil
			}
			switch d.Cmd {
			case "start":
				m = newMachine(t, readFile(t, d))
			case "reload":
				m.reload(t, readFile(t, d))
			case "check":
				for _, a := range d.CmdArgs {
					i, err := strconv.Atoi(a.Vals[0])
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					m.step(CheckDone{Check: i, OK: a.Key == "ok", Reason: "test"})
				}
			case "run":
				var seconds int
				d.ScanArgs(t, "seconds", &seconds)
				m.run(time.Duration(seconds) * time.Second)
			case "link":
				m.step(LinkChanged{Port: 1, MAC: macOf(0), Up: d.HasArg("up")})
				m.run(0)
			case "steer":
				ev := Steer{Service: forward.ServiceKey{Protocol: 6, Addr: netip.MustParseAddrPort(d.CmdArgs[1].Key)}}
				if len(d.CmdArgs) > 2 {
					ev.Server = netip.MustParseAddrPort(d.CmdArgs[2].Key)
				}
				ev.To = map[string]forward.Steering{"serve": forward.Serve, "drain": forward.Drain, "fail": forward.Fail}[d.CmdArgs[0].Key]
				m.step(ev)
			case "programmed":
				ev := Programmed{Restored: strings.FieldsFunc(d.Input, func(r rune) bool { return r == '\n' })}
				d.MaybeScanArgs(t, "reason", &ev.Reason)
				m.step(ev)
			case "flows":
				return fmt.Sprintf("ring %v\n%sflows %v\nservice %v\npeers %v\n", m.n.GivesBack(), m.pools(), m.n.Flows(), m.n.Uses()[1].Service, m.n.Peers())
			case "stop":
				m.step(Stop{})
			default:
				t.Fatalf("%s: no such command %s", d.Pos, d.Cmd)
			}
			return describePrograms(m.asked)
		})
	})
}

// readFile parses a file, of which services that do not say so are the kernel's with ipvs.
func readFile(t *testing.T, d *datadriven.TestData) *config.Config {
	c, messages := config.Parse("a.conf", []byte(d.Input), config.Options{IPVS: d.HasArg("ipvs")})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	return c
}

// describePrograms writes what is asked of the kernel, and what is reported of it.
func describePrograms(list []Action) string {
	var b strings.Builder
	for _, a := range list {
		switch a := a.(type) {
		case Program:
			a.describe(&b)
		case EndProgram:
			fmt.Fprintf(&b, "end flush=%v\n", a.Flush)
		case IPVSFailed:
			fmt.Fprintf(&b, "failed %q\n", a.Reason)
		case IPVSRestored:
			fmt.Fprintf(&b, "restored %s\n", a.Command)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (p Program) describe(b *strings.Builder) {
	fmt.Fprintf(b, "program flush=%v timeouts=%v\n", p.Flush, p.Timeouts)
	for _, s := range p.Services {
		fmt.Fprintf(b, "  %v %s", s.Key, s.Scheduler)
		if s.Persistence > 0 {
			fmt.Fprintf(b, " persistent %v/%d", s.Persistence, s.PersistenceMask)
		}
		for _, o := range []struct {
			name string
			on   bool
		}{{"ops", s.OnePacket}, {"flag-1", s.Options.Fallback}, {"flag-2", s.Options.Port}, {"flag-3", s.Flag3}, {"pe " + s.Engine, s.Engine != ""}} {
			if o.on {
				b.WriteString(" " + o.name)
			}
		}
		b.WriteByte('\n')
		for _, rs := range s.Servers {
			method := map[forward.Method]string{forward.DR: "DR", forward.NAT: "NAT", forward.TUN: "TUN", forward.Local: "local"}[rs.Method]
			fmt.Fprintf(b, "    %v %s weight %d", rs.Addr, method, rs.Weight)
			if rs.Upper > 0 {
				fmt.Fprintf(b, " from %d to %d", rs.Upper, rs.Lower)
			}
			if rs.Tunnel != (forward.Tunnel{}) {
				fmt.Fprintf(b, " %+v", rs.Tunnel)
			}
			b.WriteByte('\n')
		}
	}
	for _, d := range p.Daemons {
		fmt.Fprintf(b, "  daemon %+v\n", d)
	}
	if p.Sync && len(p.Daemons) == 0 {
		b.WriteString("  no daemon\n")
	}
}
