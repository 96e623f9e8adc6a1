package sched

import "slices"

// Peek returns what Pick would, and leaves the scheduler as it is. Unlike Pick it may
// allocate: the caches of lblc and lblcr are copied for it.
func Peek(s Scheduler, servers []Server, f Flow) int {
	switch was := s.(type) {
	case *rr:
		c := *was
		s = &c
	case *wrr:
		c := *was
		s = &c
	case *twos:
		c := *was
		s = &c
	case *lblc:
		s = &lblc{was.clone()}
	case *lblcr:
		s = &lblcr{was.clone()}
	}
	return s.Pick(servers, f) // the others keep nothing from one pick to the next
}

func (l *locality) clone() *locality {
	c := *l
	c.list, c.members = slices.Clone(l.list), slices.Clone(l.members)
	return &c
}
