package sched

import "math/bits"

// overhead weighs a server's connections: an active one as 257 inactive ones, as in Linux
// 6.1.192 and 6.12.117. Earlier kernels weigh it as 256; the order differs only when the
// inactive counts differ by hundreds.
func overhead(s *Server) int64 { return int64(s.Active)*257 + int64(s.Inactive) }

// lc is least connection: the weight only says whether a server takes part.
type lc struct{}

func (lc) Removed([]Server, int) {}
func (lc) Changed([]Server)      {}

func (lc) Pick(servers []Server, _ Flow) int {
	best := -1
	for i := range servers {
		if servers[i].eligible() && (best < 0 || overhead(&servers[i]) < overhead(&servers[best])) {
			best = i
		}
	}
	return best
}

// less tells whether load over weight of s is less than that of best. It compares by multiplication,
// strictly: of equals the first in the list stays.
func less(load int64, s *Server, least int64, best *Server) bool {
	return least*int64(s.Weight) > load*int64(best.Weight)
}

// wlc is weighted least connection.
type wlc struct{}

func (wlc) Removed([]Server, int) {}
func (wlc) Changed([]Server)      {}

func (wlc) Pick(servers []Server, _ Flow) int {
	best := -1
	for i := range servers {
		s := &servers[i]
		if s.eligible() && (best < 0 || less(overhead(s), s, overhead(&servers[best]), &servers[best])) {
			best = i
		}
	}
	return best
}

// sed is shortest expected delay: the connection to come counts, finished ones do not.
type sed struct{}

func (sed) Removed([]Server, int) {}
func (sed) Changed([]Server)      {}

func (sed) Pick(servers []Server, _ Flow) int {
	best := -1
	for i := range servers {
		s := &servers[i]
		if s.eligible() && (best < 0 || less(int64(s.Active)+1, s, int64(servers[best].Active)+1, &servers[best])) {
			best = i
		}
	}
	return best
}

// nq is never queue: the first server without an active connection, whatever its
// weight, else as sed.
type nq struct{ sed }

func (q nq) Pick(servers []Server, f Flow) int {
	for i := range servers {
		if servers[i].eligible() && servers[i].Active == 0 {
			return i
		}
	}
	return q.sed.Pick(servers, f)
}

// fo is weighted failover: all to the greatest weight.
type fo struct{}

func (fo) Removed([]Server, int) {}
func (fo) Changed([]Server)      {}

func (fo) Pick(servers []Server, _ Flow) int {
	best := -1
	for i := range servers {
		if servers[i].eligible() && (best < 0 || servers[i].Weight > servers[best].Weight) {
			best = i
		}
	}
	return best
}

// ovf is weighted overflow: as fo among those with no more active connections than
// their weight.
type ovf struct{}

func (ovf) Removed([]Server, int) {}
func (ovf) Changed([]Server)      {}

func (ovf) Pick(servers []Server, _ Flow) int {
	best := -1
	for i := range servers {
		s := &servers[i]
		if s.eligible() && int64(s.Active) <= int64(s.Weight) && (best < 0 || s.Weight > servers[best].Weight) {
			best = i
		}
	}
	return best
}

// twos draws two servers by weight and takes the less loaded one.
type twos struct{ random uint64 }

func (*twos) Removed([]Server, int) {}
func (*twos) Changed([]Server)      {}

func (t *twos) Pick(servers []Server, _ Flow) int {
	var sum int64
	for i := range servers {
		if servers[i].eligible() {
			sum += int64(servers[i].Weight)
		}
	}
	if sum == 0 {
		return -1
	}
	first, second := draw(servers, t.upTo(sum)), draw(servers, t.upTo(sum))
	if a, b := &servers[first], &servers[second]; less(overhead(b), b, overhead(a), a) {
		return second
	}
	return first
}

// upTo is a number of [0, most], all equally likely (splitmix64).
func (t *twos) upTo(most int64) int64 {
	t.random += 0x9e3779b97f4a7c15
	x := t.random
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	n, _ := bits.Mul64(x^x>>31, uint64(most)+1)
	return int64(n)
}

// draw is the server at which n, less the weights on the way, comes to nothing.
func draw(servers []Server, n int64) int {
	for i := range servers {
		if s := &servers[i]; s.eligible() {
			if n -= int64(s.Weight); n <= 0 {
				return i
			}
		}
	}
	return -1
}
