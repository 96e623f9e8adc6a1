package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// Check is a health check of a real server.
type Check struct {
	Kind      string  `json:"kind"`   // its keyword
	Target    string  `json:"target"` // whom or what it asks
	At        string  `json:"at"`     // where it stands in the file
	Up        bool    `json:"up"`
	Known     bool    `json:"known"`               // a result has decided that
	Suspended bool    `json:"suspended,omitempty"` // by ha_suspend
	Failures  int     `json:"failures"`            // in a row, while it is up
	Left      int     `json:"retries_left"`        // further failures that decide nothing yet
	Adjust    int     `json:"weight,omitempty"`    // what it adds to the weight of its server
	Shared    int     `json:"shared,omitempty"`    // so many equal ones of other services, that are made together
	Next      float64 `json:"next"`                // in so many seconds; 0 while one is made, and where it tells its changes itself
	Last      *Result `json:"last,omitempty"`
}

// Script is a tracking script.
type Script struct {
	Name  string  `json:"name"`
	Up    bool    `json:"up"`
	Known bool    `json:"known"` // a result has decided that
	Last  *Result `json:"last,omitempty"`
}

// Result is that of the last try.
type Result struct {
	Ago    float64 `json:"ago"`
	Took   float64 `json:"took"`
	URL    string  `json:"url,omitempty"` // the path that was asked for
	OK     bool    `json:"ok"`
	Local  bool    `json:"local,omitempty"` // this host could not make it: it says nothing of the server
	Exit   int     `json:"exit,omitempty"`
	Reason string  `json:"reason,omitempty"` // of the failure, in words
}

func newScript(now time.Duration, s node.ScriptView) Script {
	return Script{Name: s.Name, Up: s.Up, Known: s.Known, Last: newResult(now, s.Last)}
}

func newCheck(now time.Duration, c *node.CheckView) Check {
	v := Check{
		Kind: c.Check.Kind, Target: target(c.Check), At: c.Check.Pos.String(), Up: c.Up, Known: c.Known, Suspended: c.Suspended,
		Failures: c.Failures, Left: c.Left, Adjust: c.Adjust, Shared: c.Shared, Last: newResult(now, c.Last),
	}
	if c.Next > 0 {
		v.Next = max(0, c.Next-now).Seconds()
	}
	if v.Last != nil && c.Last.URL < len(c.Check.URLs) {
		v.Last.URL = c.Check.URLs[c.Last.URL].Path
	}
	return v
}

func newResult(now time.Duration, t node.Tried) *Result {
	if t.At == 0 {
		return nil
	}
	return &Result{Ago: max(0, now-t.At).Seconds(), Took: t.Took.Seconds(), OK: t.OK, Local: t.Local, Exit: t.Exit, Reason: t.Reason}
}

// target is whom or what a check asks.
func target(c *config.Check) string {
	switch c.Kind {
	case "MISC_CHECK":
		return strings.Join(c.MiscPath.Args, " ")
	case "FILE_CHECK":
		return c.TrackFile
	case "BFD_CHECK":
		return c.BFD
	case "PING_CHECK":
		return c.Connect.Addr().String()
	}
	return c.Connect.String()
}

// reasonOf is why a server takes no new connections, and if that is its weight, why it is 0.
func reasonOf(s *Server, p *node.ServiceView, c *node.ServerView) string {
	switch {
	case !c.Up && s.Listed && c.Inhibit:
		return "down, weight 0 by inhibit_on_failure"
	case !c.Up:
		return "down"
	case p.Sorry && s.Steering == "serve" && (!s.Listed || s.Weight == 0):
		return "the sorry server stands in"
	case s.Reason != "weight 0":
		return s.Reason
	case c.Weight == 0 && c.Effective == 0:
		return "weight 0 in the file"
	}
	var kinds []string
	for _, k := range c.Checks {
		if k.Adjust < 0 && !slices.Contains(kinds, k.Check.Kind) {
			kinds = append(kinds, k.Check.Kind)
		}
	}
	return strings.TrimSuffix("weight 0 by "+strings.Join(kinds, " and "), " by ")
}

// words is a check in the columns of the overview.
func (c *Check) words() []string {
	list := []string{c.Kind + " " + c.Target, upWord(c.Up), c.remark()}
	if list[2] == "" {
		list = list[:2]
	}
	return list
}

func upWord(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// remark says what is known of a check, and what not yet.
func (c *Check) remark() string {
	var list []string
	if c.Suspended {
		list = append(list, "suspended: the address of the service is not here")
	}
	if c.Last == nil && c.Next > 0 {
		list = append(list, "not tried yet")
	}
	if c.Last != nil {
		list = append(list, c.Last.String())
	}
	if c.Failures > 0 {
		list = append(list, Plural(c.Failures, "failure")+", "+left(c.Left))
	}
	if c.Adjust != 0 {
		list = append(list, fmt.Sprintf("weight %+d", c.Adjust))
	}
	return strings.Join(list, "; ")
}

func left(n int) string {
	switch n {
	case 0:
		return "no retry left"
	case 1:
		return "1 retry left"
	}
	return fmt.Sprintf("%d retries left", n)
}

// String is the result in words: what it was, and when.
func (r *Result) String() string {
	what := "ok"
	switch {
	case r.Local:
		what = "not made"
	case !r.OK && r.Exit > 1:
		what = "exit status"
	case !r.OK:
		what = "failed"
	}
	s := fmt.Sprintf("%s %s ago", what, Span(r.Ago))
	if r.Took > 0 {
		s += " in " + short(r.Took)
	}
	if r.URL != "" {
		s += ", " + r.URL
	}
	if r.Reason != "" && (!r.OK || r.Took == 0) {
		s += ": " + strings.TrimPrefix(r.Reason, "check not made: ")
	}
	return s
}

// short is a duration in three digits: 1.24ms, 310µs.
func short(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}
