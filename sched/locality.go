package sched

import (
	"net/netip"
	"time"
)

// The bounds of the caches of lblc and lblcr, as the kernel has them. Above the maximum
// old entries are looked for every minute; above half as much again nothing is kept.
const (
	localityBits  = 10
	localityMost  = 16 << localityBits
	localityFull  = localityMost * 3 / 2
	localityTick  = time.Minute
	localitySweep = 30 // ticks between two sweeps of everything
	localityFresh = 6 * time.Minute
	localityAge   = 24 * time.Hour // lblc_expiration, lblcr_expiration
)

// kept is where a destination goes: to a server, or to one of a set. It holds no pointer.
type kept struct {
	to       [16]byte
	used     time.Duration
	modified time.Duration // of the set
	chain    int32         // next of the bucket; number 0 is nobody
	server   int32         // of lblc
	set      int32         // of lblcr: its first member
}

// member is one server of a set.
type member struct{ server, next int32 }

// locality remembers where destinations went.
type locality struct {
	bucket  [1 << localityBits]int32
	list    []kept // number 0 is unused
	free    int32
	used    int
	members []member // of all sets, number 0 is unused
	spare   int32
	next    time.Duration // when the next tick is due
	ticks   int
	rover   int
}

func newLocality() *locality {
	return &locality{list: make([]kept, 1, localityFull+1), members: make([]member, 1, localityFull+1), next: localityTick}
}

func (l *locality) at(to netip.Addr) *int32 { return &l.bucket[hash32(Fold(to), localityBits)] }

// find returns the entry of a destination, which is used now, or nil.
func (l *locality) find(f Flow) *kept {
	l.tick(f.At)
	to := f.Dst.Addr().As16()
	for i := *l.at(f.Dst.Addr()); i != 0; i = l.list[i].chain {
		if k := &l.list[i]; k.to == to {
			k.used = f.At
			return k
		}
	}
	return nil
}

// insert makes an entry, nil when there are too many.
func (l *locality) insert(f Flow) *kept {
	if l.used >= localityFull {
		return nil
	}
	i := l.free
	if i != 0 {
		l.free = l.list[i].chain
	} else {
		i = int32(len(l.list))
		l.list = append(l.list, kept{})
	}
	head := l.at(f.Dst.Addr())
	l.list[i] = kept{to: f.Dst.Addr().As16(), used: f.At, chain: *head, server: -1}
	*head = i
	l.used++
	return &l.list[i]
}

// tick forgets, as the kernel's timer does each minute.
func (l *locality) tick(now time.Duration) {
	for now >= l.next {
		passed := int((now-l.next)/localityTick) + 1 // without a flow nothing was looked at
		l.next += time.Duration(passed) * localityTick
		full := l.ticks/localitySweep != (l.ticks+passed)/localitySweep
		l.ticks += passed
		switch {
		case full:
			l.forget(now-localityAge, len(l.list))
		case l.used > localityMost:
			l.forget(now-localityFresh, min((l.used-localityMost)*4/3, localityMost/2))
		}
	}
}

// forget removes what was not used since then, up to a goal, from where it ended before.
func (l *locality) forget(since time.Duration, goal int) {
	for range l.bucket {
		l.rover = (l.rover + 1) % len(l.bucket)
		for at := &l.bucket[l.rover]; *at != 0; {
			i := *at
			k := &l.list[i]
			if k.used > since {
				at = &k.chain
				continue
			}
			for k.set != 0 {
				l.drop(&k.set)
			}
			*at, k.chain, l.free = k.chain, l.free, i
			l.used--
			goal--
		}
		if goal <= 0 {
			return
		}
	}
}

// drop takes the member out of the set that at leads to.
func (l *locality) drop(at *int32) {
	i := *at
	*at, l.members[i].next, l.spare = l.members[i].next, l.spare, i
}

// add puts a server at the head of a set.
func (l *locality) add(k *kept, server int32) {
	i := l.spare
	if i != 0 {
		l.spare = l.members[i].next
	} else {
		i = int32(len(l.members))
		l.members = append(l.members, member{})
	}
	l.members[i] = member{server, k.set}
	k.set = i
}

// Forget takes a server out of what is remembered: its ID may be another's from now on.
func (l *locality) Forget(server int32) {
	for i := range l.list {
		k := &l.list[i]
		if k.server == server {
			k.server = -1
		}
		for at := &k.set; *at != 0; {
			if l.members[*at].server == server {
				l.drop(at)
			} else {
				at = &l.members[*at].next
			}
		}
	}
}

// hot tells whether a server has more active connections than its weight while
// another has less than half.
func hot(servers []Server, s *Server) bool {
	if int64(s.Active) <= int64(s.Weight) {
		return false
	}
	for i := range servers {
		if 2*int64(servers[i].Active) < int64(servers[i].Weight) {
			return true
		}
	}
	return false
}

// lblc is locality-based least connection, for caches: a destination stays on its
// server until that is hot.
type lblc struct{ *locality }

func (lblc) Removed([]Server, int) {}
func (lblc) Changed([]Server)      {}

func (l lblc) Pick(servers []Server, f Flow) int {
	k := l.find(f)
	if k != nil {
		if at := place(servers, k.server); at >= 0 && servers[at].Weight > 0 && !hot(servers, &servers[at]) {
			return at
		}
	}
	at, k := l.anew(servers, f, k)
	if k != nil {
		k.server = servers[at].ID
	}
	return at
}

// anew asks wlc. The entry is that of the destination, made if there was none; nil where
// there is no server or no room.
func (l *locality) anew(servers []Server, f Flow, k *kept) (int, *kept) {
	at := wlc{}.Pick(servers, f)
	if at < 0 {
		return -1, nil
	}
	if k == nil {
		k = l.insert(f)
	}
	return at, k
}

// lblcr is lblc with replication: a destination has a set of servers, which grows when
// they are hot and shrinks after a day.
type lblcr struct{ *locality }

func (lblcr) Removed([]Server, int) {}
func (lblcr) Changed([]Server)      {}

func (l lblcr) Pick(servers []Server, f Flow) int {
	k := l.find(f)
	if k != nil {
		at := l.least(servers, k)
		if k.set != 0 && l.members[k.set].next != 0 && f.At > k.modified+localityAge {
			l.dropMost(servers, k)
			k.modified = f.At
		}
		if at >= 0 && !hot(servers, &servers[at]) {
			return at
		}
	}
	at, k := l.anew(servers, f, k)
	if k != nil && !l.holds(k, servers[at].ID) {
		l.add(k, servers[at].ID)
		k.modified = f.At
	}
	return at
}

func (l lblcr) holds(k *kept, server int32) bool {
	for i := k.set; i != 0; i = l.members[i].next {
		if l.members[i].server == server {
			return true
		}
	}
	return false
}

// least is the least loaded member of a set that can take a connection, -1 if none can.
func (l lblcr) least(servers []Server, k *kept) int {
	best := -1
	for i := k.set; i != 0; i = l.members[i].next {
		at := place(servers, l.members[i].server)
		if at < 0 || !servers[at].eligible() {
			continue
		}
		if s := &servers[at]; best < 0 || less(overhead(s), s, overhead(&servers[best]), &servers[best]) {
			best = at
		}
	}
	return best
}

// dropMost takes the most loaded member out of a set.
func (l lblcr) dropMost(servers []Server, k *kept) {
	var most *int32
	var worst *Server
	for at := &k.set; *at != 0; at = &l.members[*at].next {
		i := place(servers, l.members[*at].server)
		if i < 0 || servers[i].Weight <= 0 {
			continue
		}
		if s := &servers[i]; worst == nil || less(overhead(worst), worst, overhead(s), s) {
			most, worst = at, s
		}
	}
	if most != nil {
		l.drop(most)
	}
}
