package status

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// String is the report in some lines for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ringkeep %s, running for %s, %s\n", r.Version, Span(r.Running), Plural(r.Connections, "connection"))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, in := range r.Instances {
		fmt.Fprintf(w, "%s\t%s\tfor %s\tpriority %d\tVRID %d on %s\t%s\n", in.Name, in.State, Span(in.For), in.Priority, in.VRID, in.Interface, in.Cause)
	}
	for _, s := range r.Scripts {
		state := upWord(s.Up)
		if !s.Known {
			state = "unknown"
		}
		fmt.Fprintf(w, "vrrp_script %s\t%s", s.Name, state)
		if s.Last != nil {
			fmt.Fprintf(w, "\t%v", s.Last)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	for i := range r.BFD {
		r.BFD[i].write(w)
	}
	w.Flush()
	for i := range r.Services {
		r.Services[i].write(&b)
	}
	if len(r.Refused) > 0 {
		b.WriteString("scripts that do not run:\n")
	}
	for _, one := range r.Refused {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", one.Of, one.Script, one.Reason)
	}
	w.Flush()
	return b.String()
}

func (s *Service) write(b *strings.Builder) {
	name := fmt.Sprintf("FWM %d", s.Mark)
	if s.Address != nil {
		name = fmt.Sprintf("%s %v", s.Protocol, s.Address)
	} else if s.Family == 6 {
		name += " IPv6"
	}
	up, all := 0, 0
	for _, r := range s.Servers {
		if r.configured {
			all++
			if r.Up {
				up++
			}
		}
	}
	scheduler := s.Scheduler
	switch {
	case s.Dataplane == "ipvs" && scheduler == "":
		scheduler = "not in the kernel's IPVS, which is to have it"
	case s.Dataplane == "ipvs":
		scheduler += " in the kernel's IPVS"
	}
	notes := []string{scheduler, fmt.Sprintf("%d of %s up", up, Plural(all, "server"))}
	if !s.Here {
		notes = append(notes, "its address is not here")
	}
	switch {
	case !s.Quorum:
		notes = append(notes, fmt.Sprintf("no quorum: weight %d, gained at %d", s.QuorumWeight, s.QuorumGained))
	case s.QuorumGained > 1:
		notes = append(notes, fmt.Sprintf("quorum: weight %d, lost below %d", s.QuorumWeight, s.QuorumLost))
	}
	if s.SorryActive {
		notes = append(notes, fmt.Sprintf("the sorry server %v stands in", s.Sorry))
	}
	switch s.Steering {
	case "drain":
		notes = append(notes, "drained")
	case "fail":
		notes = append(notes, "fails")
	}
	fmt.Fprintf(b, "%s: %s\n", name, strings.Join(notes, ", "))
	var servers, checks strings.Builder
	w, lines := tabwriter.NewWriter(&servers, 0, 0, 2, ' ', 0), tabwriter.NewWriter(&checks, 0, 0, 2, ' ', 0)
	for _, r := range s.Servers {
		for i := range r.Checks {
			fmt.Fprintf(lines, "    %s\n", strings.Join(r.Checks[i].words(), "\t"))
		}
		state := upWord(r.Up)
		fmt.Fprintf(w, "  %v\t%s\tweight %d\t%d active\t%d inactive", r.Address, state, r.Weight, r.Active, r.Inactive)
		if r.Reason != "" && r.Reason != state {
			fmt.Fprintf(w, "\t%s", r.Reason)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	lines.Flush()
	s.interleave(b, servers.String(), checks.String())
}

// interleave puts the lines of the checks behind those of their servers.
func (s *Service) interleave(b *strings.Builder, servers, checks string) {
	for _, r := range s.Servers {
		line, rest, _ := strings.Cut(servers, "\n")
		servers = rest
		b.WriteString(line + "\n")
		for range r.Checks {
			line, rest, _ := strings.Cut(checks, "\n")
			checks = rest
			b.WriteString(line + "\n")
		}
	}
}

// Span is a time in its two largest units: 3d4h, 5m0s, 12s.
func Span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Truncate(time.Second)
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

// Plural is a number of things.
func Plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
