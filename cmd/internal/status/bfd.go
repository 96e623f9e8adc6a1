package status

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// Session is a session of BFD.
type Session struct {
	Name             string      `json:"name"`
	Neighbor         netip.Addr  `json:"neighbor"`
	Source           *netip.Addr `json:"source,omitempty"` // none where the routes choose it
	State            string      `json:"state"`            // AdminDown, Down, Init or Up
	For              float64     `json:"for"`              // how long it is in this state
	Cause            string      `json:"cause"`            // of the state
	Diagnostic       string      `json:"diagnostic"`       // why this end last left Up
	RemoteState      string      `json:"remote_state"`     // as the neighbour last said
	RemoteDiagnostic string      `json:"remote_diagnostic"`
	Local            uint32      `json:"local_discriminator"`
	Remote           uint32      `json:"remote_discriminator"` // 0 while the neighbour is silent
	Interval         float64     `json:"interval"`             // between packets that are sent, before jitter; 0 for none
	Detection        float64     `json:"detection_time"`       // how long none may come; 0 while the neighbour is silent
	Sent             uint64      `json:"sent"`
	Received         uint64      `json:"received"`
	Refused          uint64      `json:"refused"`
}

// AddBFD puts in how the sessions of BFD stand.
func (r *Report) AddBFD(now time.Duration, list []node.BFDView) {
	r.BFD = []Session{}
	for _, v := range list {
		s := Session{
			Name: v.Name, Neighbor: v.Neighbor, State: v.State.String(), For: max(0, now-v.Since).Seconds(), Cause: v.Cause, Diagnostic: v.Diag.String(),
			RemoteState: v.Remote.String(), RemoteDiagnostic: v.RemoteDiag.String(), Local: v.Own, Remote: v.Theirs,
			Interval: v.Interval.Seconds(), Detection: v.Detection.Seconds(), Sent: v.Sent, Received: v.Received, Refused: v.Refused,
		}
		if v.From.IsValid() {
			s.Source = &v.From
		}
		r.BFD = append(r.BFD, s)
	}
}

// write is the session in one line for people.
func (s *Session) write(w io.Writer) {
	notes := []string{"remote " + s.RemoteState}
	if s.Interval > 0 {
		notes = append(notes, "sends every "+milliseconds(s.Interval))
	}
	if s.Detection > 0 {
		notes = append(notes, "detects in "+milliseconds(s.Detection))
	}
	fmt.Fprintf(w, "BFD %s\t%s\tfor %s\twith %v\tdiscriminators %08x %08x\t%s\t%s\n",
		s.Name, s.State, Span(s.For), s.Neighbor, s.Local, s.Remote, strings.Join(notes, ", "), s.Cause)
}

func milliseconds(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond).String()
}
