package node

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// pacer keeps announcements of one kind apart, on one interface or on several that share it
// (vrrp_garp_interval, vrrp_gna_interval, garp_group). Advertisements do not pass it.
type pacer struct {
	gap     time.Duration
	next    time.Duration // when one may leave again
	waiting int           // addresses whose announcement waits
	timer   int
}

// pacers are those of a port, by number: of gratuitous ARP and of unsolicited neighbour
// advertisements; -1 where all are sent at once.
type pacers struct{ garp, gna int }

func (p pacers) of(addr netip.Addr) int {
	if addr.Is6() {
		return p.gna
	}
	return p.garp
}

// announcement is a virtual address with the port that it is announced on. It waits at most
// once, however many were called for: more would not tell more.
type announcement struct {
	addr    netip.Addr
	port    int
	waiting bool
}

// addPacers gives every port its pacers: those of the first garp_group that names it, or
// ones of its own with what global_defs says. Of a group, an interval that is not written
// is none, as in keepalived.
func (n *Node) addPacers() {
	grouped := make([]bool, len(n.ports))
	for _, g := range n.cfg.GARPGroups {
		p := pacers{n.newPacer(g.GARPInterval), n.newPacer(g.GNAInterval)}
		for _, name := range append([]string{g.Interface}, g.Interfaces...) {
			if i, err := n.portNamed(g.Pos, name); err == nil && !grouped[i] {
				n.ports[i].pace, grouped[i] = p, true
			}
		}
	}
	for i := range n.ports {
		if !grouped[i] {
			n.ports[i].pace = pacers{n.newPacer(n.cfg.Global.GARPInterval), n.newPacer(n.cfg.Global.GNAInterval)}
		}
	}
	for i := range n.ports {
		if u := n.ports[i].under; u != nil { // its frames leave by the interface under it
			n.ports[i].pace = n.ports[u.port].pace
		}
	}
}

func (n *Node) newPacer(gap time.Duration) int {
	if gap <= 0 {
		return -1
	}
	i := len(n.pacers)
	n.pacers = append(n.pacers, pacer{gap: gap, timer: n.newTimer(timerPacer, i)})
	return i
}

// announce sends one gratuitous ARP or unsolicited neighbour advertisement on the interface
// that carries the address, or has it wait: for a virtual one that is the device of its
// line, for the own source, which never waits, that of the instance.
func (n *Node) announce(in *instance, addr netip.Addr) {
	i, virtual := in.queued[addr]
	if !virtual {
		n.sendAnnouncement(in.port, addr)
		return
	}
	a := &in.queue[i]
	if p := n.ports[a.port].pace.of(addr); p >= 0 && !n.mayLeave(p) {
		n.await(p, a)
		return
	}
	n.sendAnnouncement(a.port, addr)
}

// mayLeave tells whether an announcement may leave now. Those that wait go before it.
func (n *Node) mayLeave(p int) bool {
	return n.pacers[p].waiting == 0 && n.now >= n.pacers[p].next
}

func (n *Node) await(p int, a *announcement) {
	if a.waiting {
		return
	}
	a.waiting = true
	n.pacers[p].waiting++
	n.timers.set(n.pacers[p].timer, n.pacers[p].next)
}

// release sends the first announcement that waits for a pacer, in the order of the file.
func (n *Node) release(p int) {
	for i := range n.instances {
		for j := range n.instances[i].queue {
			a := &n.instances[i].queue[j]
			if !a.waiting || n.ports[a.port].pace.of(a.addr) != p {
				continue
			}
			n.unqueue(p, a)
			n.sendAnnouncement(a.port, a.addr)
			if n.pacers[p].waiting > 0 {
				n.timers.set(n.pacers[p].timer, n.pacers[p].next)
			}
			return
		}
	}
}

func (n *Node) unqueue(p int, a *announcement) {
	a.waiting = false
	if n.pacers[p].waiting--; n.pacers[p].waiting == 0 {
		n.timers.clear(n.pacers[p].timer)
	}
}

// dropAnnouncements forgets what waits of an instance that is MASTER no more.
func (n *Node) dropAnnouncements(in *instance) {
	for i := range in.queue {
		if a := &in.queue[i]; a.waiting {
			n.unqueue(n.ports[a.port].pace.of(a.addr), a)
		}
	}
}

func (n *Node) sendAnnouncement(port int, addr netip.Addr) {
	if p := n.ports[port].pace.of(addr); p >= 0 {
		n.pacers[p].next = n.now + n.pacers[p].gap
	}
	port, mac := n.outlet(port)
	if addr.Is6() {
		n.emit(Send{Port: port, Frame: proto.AppendUnsolicitedNA(make([]byte, 0, 86), mac, addr, n.ports[port].link.Router)})
		return
	}
	n.emit(Send{Port: port, Frame: proto.AppendGratuitousARP(make([]byte, 0, 42), mac, addr)})
}
