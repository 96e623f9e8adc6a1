package node

import "time"

// settling is a change of a link that must last before it counts (interface_up_down_delays).
type settling struct {
	down, up time.Duration
	timer    int // -1 where every change counts at once
}

// addDelays reads how long the changes of each link must last. Losing one is noticed in
// time to be told before the others stop waiting, whatever the file says.
func (n *Node) addDelays() {
	for i := range n.ports {
		n.ports[i].settling.timer = -1
	}
	for _, d := range n.cfg.InterfaceDelays {
		p, err := n.portNamed(d.Pos, d.Interface)
		if err != nil {
			continue // said when the file was read
		}
		s := &n.ports[p].settling
		s.down, s.up = d.Down, d.Up
		for _, in := range n.cfg.Instances {
			if in.Interface == d.Interface && in.Disabled == "" {
				s.down = min(s.down, max(0, time.Duration(in.DownTimerAdverts-1)*in.AdvertInterval-in.AdvertInterval/256))
			}
		}
		if s.timer < 0 {
			s.timer = n.newTimer(timerLink, p)
		}
	}
}

// linkChanged follows the carrier of a port, unless the change has to last first.
func (n *Node) linkChanged(now time.Duration, ev LinkChanged) {
	p := &n.ports[ev.Port]
	p.link.MAC, p.link.Missing = ev.MAC, p.link.Missing && !ev.Up
	if ev.MTU > 0 && ev.MTU != p.link.MTU {
		p.link.MTU = ev.MTU
		n.tellMTUs()
	}
	s := &p.settling
	wait := s.down
	if ev.Up {
		wait = s.up
	}
	switch {
	case s.timer < 0 || wait == 0 && ev.Up != p.link.Up:
		n.turnLink(now, ev.Port, ev.Up)
	case ev.Up == p.link.Up: // as it was: it did not last
		n.timers.clear(s.timer)
	case s.timer >= 0 && n.timers.pos[s.timer] < 0:
		n.timers.set(s.timer, now+wait)
	}
}

// linkSettled is the end of such a wait.
func (n *Node) linkSettled(now time.Duration, port int) {
	n.turnLink(now, port, !n.ports[port].link.Up)
}

func (n *Node) turnLink(now time.Duration, port int, up bool) {
	p := &n.ports[port]
	if p.settling.timer >= 0 {
		n.timers.clear(p.settling.timer)
	}
	back := up && !p.link.Up
	p.link.Up = up
	if back {
		n.forget(now, port)
		n.restoreStatics(port)
		n.restoreRoutes(port)
	}
	for i := range n.instances {
		n.instanceLink(now, i, port, up)
	}
}
