package replay

import (
	"fmt"
	"strings"
)

// String tells a difference to people, in a few lines.
func (d *Difference) String() string {
	var b strings.Builder
	switch {
	case d.Seen != nil:
		fmt.Fprintf(&b, "packet %d at %.6f differs\n", d.Number, d.At.Seconds())
	case d.Number > 0:
		fmt.Fprintf(&b, "something is missing before packet %d, at %.6f\n", d.Number, d.At.Seconds())
	default:
		fmt.Fprintf(&b, "something is missing after the last packet, at %.6f\n", d.At.Seconds())
	}
	expected, seen := "nothing", "nothing"
	if d.Expected != nil {
		expected = fmt.Sprintf("%v, at %.6f", d.Expected.Said, d.Expected.At.Seconds())
	}
	if d.Seen != nil {
		seen = d.Seen.String()
	}
	fmt.Fprintf(&b, "  expected  %s\n  seen      %s\n", expected, seen)
	switch {
	case d.Seen == nil && d.Silence < 0:
		b.WriteString("            and nothing more: a crash, a freeze or a cut link looks like this\n")
	case d.Seen == nil:
		fmt.Fprintf(&b, "            it spoke again %.6f s later\n", d.Silence.Seconds())
	}
	if m := d.Model; m.Instance != "" {
		fmt.Fprintf(&b, "  model     %s %v since %.6f (%v), priority %d", m.Instance, m.State, m.Since.Seconds(), m.Cause, m.Priority)
	} else {
		b.WriteString("  model     no instance has this VRID here")
	}
	return b.String()
}
