package node

import "time"

// share finds the checks that ask the same of one server for several services: such a server
// is asked once. Two of one service are two, as in its file.
func (n *Node) share() {
	type turn struct {
		asks    string
		service int
	}
	type group struct {
		asks string
		turn int // which it is of those of its service
	}
	if len(n.services) < 2 {
		return
	}
	turns, groups := map[turn]int{}, map[group][]int{}
	for i := range n.checks {
		c := &n.checks[i]
		if !asks(c.cfg) {
			continue
		}
		text := c.cfg.Asks(n.services[c.service].servers[c.server].cfg.Addr.Addr())
		k := turn{text, c.service}
		g := group{text, turns[k]}
		turns[k]++
		groups[g] = append(groups[g], i)
	}
	for _, list := range groups {
		for _, i := range list {
			if len(list) > 1 {
				n.checks[i].equal = list
			}
		}
	}
}

// takeAlong lets the try of check i count for its equals too, which then make none of their
// own this time. Only those come along for which every result means the same: so each service
// decides as it would alone, also where one of them has another past, by a reload or
// ha_suspend. That one tries by itself until it has caught up.
func (n *Node) takeAlong(now time.Duration, i int) {
	c := &n.checks[i]
	c.with = c.with[:0]
	for _, k := range c.equal {
		o := &n.checks[k]
		waits := n.timers.pos[o.timer] >= 0
		if k == i || !waits || n.services[o.service].suspended || !o.alike(&c.trial) {
			continue
		}
		n.timers.clear(o.timer)
		o.began = now
		c.with = append(c.with, k)
	}
}

// alike tells whether the next result leads two equal checks to the same decision.
func (t *trial) alike(o *trial) bool {
	return t.up == o.up && t.ran == o.ran && t.known == o.known && t.failures == o.failures &&
		t.url == o.url && t.clean == o.clean && t.passed == o.passed
}
