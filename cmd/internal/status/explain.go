package status

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Explain writes where a flow goes and why, for people. The view is that of the service.
func Explain(e *forward.Explanation, view *node.ServiceView, now time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", e.Flow)
	switch {
	case e.Fails:
		b.WriteString("has a connection to a server that fails, by an operator: ")
		if e.Protocol == proto.ProtocolTCP {
			b.WriteString("its next packet is answered with a reset, unless it is a SYN\n")
		} else {
			b.WriteString("its next packet is placed anew\n")
		}
	case e.Conn != nil:
		fmt.Fprintf(&b, "%s for %s, %s\n", outcome(e), Span((now - e.Conn.Began).Seconds()), placed(e))
		fmt.Fprintf(&b, "state %s, %s, expires in %s\n", e.Conn.State, Plural(int(e.Conn.Packets), "packet"), Span(max(0, e.Conn.Expires-now).Seconds()))
		if e.Conn.Moved {
			b.WriteString("offloaded: the kernel forwards what is neither its beginning nor its end\n")
		}
		if e.Verdict == forward.ServerGone {
			b.WriteString("its packets are dropped until the server comes back\n")
		}
	case e.Verdict != forward.NotMine:
		b.WriteString("has no connection; ")
	}
	if e.Conn == nil {
		if e.Fails {
			b.WriteString("then a new one ")
		} else if e.Verdict != forward.NotMine {
			b.WriteString("a new one now ")
		}
		b.WriteString(outcome(e))
		if e.Verdict == forward.Forward || e.Verdict == forward.Deliver {
			b.WriteString(", " + placed(e))
		}
		b.WriteByte('\n')
	}
	if t := e.Template; t != nil {
		fmt.Fprintf(&b, "template of %v: to %v for %s, placed by %s, expires in %s\n", t.Client.Addr(), t.Server, Span((now - t.Began).Seconds()), t.By, Span(max(0, t.Expires-now).Seconds()))
	}
	if e.Service != nil {
		candidates(&b, e, view)
	}
	return b.String()
}

func outcome(e *forward.Explanation) string {
	switch e.Verdict {
	case forward.Forward:
		return fmt.Sprintf("goes to %v", e.Server)
	case forward.Deliver:
		if !e.Server.IsValid() {
			return "goes where it was sent (cache_bypass)"
		}
		return fmt.Sprintf("goes to %v on this host", e.Server)
	case forward.ServerGone:
		return fmt.Sprintf("belongs to %v, which was removed,", e.Server)
	case forward.NotMine:
		return "is of no virtual service: the kernel's business"
	case forward.NotLocal:
		return "is left to the kernel: the service's address is not on this host"
	case forward.NoDestination:
		return "is refused with ICMP port unreachable: no server can take it"
	case forward.NoConn:
		return "is not scheduled: it comes from the port of FTP's data connections, and is answered with a reset"
	case forward.Stray:
		return "is not scheduled: it comes from the port of FTP's data connections, and is left to the local stack"
	case forward.TableFull:
		return "is dropped: the table of connections is full"
	}
	return e.Verdict.String()
}

// placed tells by what the server was, or would be, chosen.
func placed(e *forward.Explanation) string {
	switch {
	case e.Template != nil:
		return "placed by the client's template (persistence)"
	case e.Conn != nil:
		return "placed by " + e.Conn.By
	}
	return "placed by " + e.Service.Scheduler
}

// candidates lists the servers as the scheduler sees them now.
func candidates(b *strings.Builder, e *forward.Explanation, view *node.ServiceView) {
	fmt.Fprintf(b, "candidates of %v for new connections, %s, in the order of its list:\n", e.Service.Key, e.Service.Scheduler)
	var down []node.ServerView
	for _, s := range view.Servers {
		if !s.Up {
			down = append(down, s)
		}
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for i := range e.Service.Servers {
		s := &e.Service.Servers[i]
		mark := "  "
		if s.Addr == e.Server {
			mark = "->"
		}
		fmt.Fprintf(w, "%s %v\tweight %d\t%d active\t%d inactive", mark, s.Addr, s.Weight, s.Active, s.Inactive)
		if k := slices.IndexFunc(down, func(d node.ServerView) bool { return d.Addr == s.Addr }); k >= 0 {
			down = slices.Delete(down, k, k+1)
			fmt.Fprint(w, "\tno: down")
		} else if reason := s.Excluded(); reason != "" {
			fmt.Fprintf(w, "\tno: %s", reason)
		}
		fmt.Fprintln(w)
	}
	for _, s := range down {
		fmt.Fprintf(w, "   %v\tweight %d\t0 active\t0 inactive\tno: down\n", s.Addr, s.Weight)
	}
	w.Flush()
}
