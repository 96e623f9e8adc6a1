package report

import (
	"fmt"
	"strings"
	"time"
)

// detail is a part of the lanes that is left out for want of room: the first of them
// first, then the next as well.
type detail int

const (
	nothing detail = iota
	arp
	pastFaults
	key
	timers
)

const (
	shortest = 10 * time.Second // of the time line of a run that has just begun
	nowRoom  = 18               // columns behind the present, for what is the case now
)

// SoFar draws the lanes of a run that still plays, in lines of at most width columns and
// at most height of them. The time line ends later than the run, at a round time, so that
// the drawing grows into it; behind the present it says what is the case.
func (r *Run) SoFar(width, height int) []string {
	var lines []string
	height = max(height, 0)
	for leave := nothing; leave <= timers; leave++ {
		s := newSheet(r, width)
		n := s.wide - s.label
		s.end, s.leave = round(max(shortest, s.Elapsed/time.Duration(n-nowRoom)*time.Duration(n))), leave
		s.lanes()
		if lines = strings.Split(strings.TrimSuffix(s.String(), "\n"), "\n"); len(lines) <= height {
			return lines
		}
	}
	more := len(lines) - max(height-1, 0)
	return append(lines[:len(lines)-more], fmt.Sprintf("… and %s", many(more, "more lane")))[:height]
}

// stretch fills a stretch of a lane. While the run plays, what the last one stands for is
// written behind it.
func (s *sheet) stretch(p *plot, from, to time.Duration, last bool, shade rune, labels ...string) {
	if !last || s.end == s.Elapsed {
		p.fill(from, to, shade, labels...)
		return
	}
	p.fill(from, to, shade)
	p.write(max(p.column(from)+1, p.column(to))+1, labels[0])
}

// doing is what a client sees at present, nothing once the run is over.
func (s *sheet) doing(f Flow) string {
	switch n := len(f.Gaps); {
	case s.end == s.Elapsed:
		return ""
	case n > 0 && f.Gaps[n-1].To == f.To:
		return "no answer"
	}
	return many(f.Answered, "answer")
}
