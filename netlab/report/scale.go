package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// scale maps the time of a window to a place between left and right.
type scale struct {
	from, to    time.Duration
	left, right float64
}

func (s scale) x(t time.Duration) float64 {
	share := float64(t-s.from) / float64(s.to-s.from)
	return s.left + min(max(share, 0), 1)*(s.right-s.left)
}

func (s scale) sees(from, to time.Duration) bool { return to >= s.from && from <= s.to }

// ticks are round times within the window, at most n of them.
func (s scale) ticks(n int) []time.Duration {
	step := round((s.to - s.from) / time.Duration(max(n-1, 1)))
	var list []time.Duration
	for t := (s.from + step - 1) / step * step; t <= s.to; t += step {
		list = append(list, t)
	}
	return list
}

// round is the smallest round duration of at least d.
func round(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit < 10*time.Second; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if d <= n*unit {
				return n * unit
			}
		}
	}
	for _, n := range []time.Duration{10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200} {
		if d <= n*time.Second {
			return n * time.Second
		}
	}
	day := 24 * time.Hour
	return (d + day - 1) / day * day
}

// short is a time without the zeros that time.Duration ends with.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// seconds is a time as tshark prints it beside a packet.
func seconds(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }

// moment is a time for people: to the millisecond.
func moment(d time.Duration) string { return short(d.Round(time.Millisecond)) }

// millis is a duration in milliseconds, with a decimal where that matters.
func millis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", math.Round(float64(d)/float64(time.Millisecond)))
}

// many is n of something, with thousands set apart.
func many(n int, thing string) string {
	s := grouped(n) + " " + thing
	if n != 1 {
		s += "s"
	}
	return s
}

func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
