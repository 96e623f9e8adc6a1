package main

import (
	"net/netip"

	"github.com/ringkeep/ringkeep/cmd/internal/loop"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/ring"
)

// mostWorkers is more than any machine has a use for.
const mostWorkers = 64

// addWorkers makes the workers beside the node's own loop, of which count includes that one.
func (d *director) addWorkers(count int) error {
	for range count - 1 {
		p, err := ring.NewPoller()
		if err != nil {
			return err
		}
		d.workers = append(d.workers, &loop.Worker{Poller: p})
	}
	return nil
}

// service opens the rings for services of a port, one for each worker.
func (d *director) service(port int) error {
	flows := d.matches()
	filter, err := ring.ServiceFilter(flows)
	if err != nil {
		return err
	}
	c := ring.Config{Interface: d.links[port].Name, Slots: serviceSlots, SlotSize: serviceSlotSize, Filter: filter, SuperFrames: true}
	if len(d.workers) == 0 {
		s, err := d.socket(c, d.poller)
		if err == nil {
			d.ports[port].Service, d.ports[port].Index = s, s.Index()
		}
		return err
	}
	group, err := ring.OpenGroup(c, 1+len(d.workers), d.fanout(flows))
	if err != nil {
		return err
	}
	d.ports[port].Service, d.ports[port].Index, err = group[0], group[0].Index(), d.watch(group[0], d.poller)
	for i, w := range d.workers {
		w.Ports[port].Service, w.Ports[port].Index = group[i+1], group[i+1].Index()
		if failed := d.watch(group[i+1], w.Poller); failed != nil {
			err = failed
		}
	}
	if err != nil {
		d.closeService(port)
	}
	return err
}

// fanout shares the clients among the workers. What tells them apart stays, since a flow
// whose client moved to another worker would be lost.
func (d *director) fanout(flows []ring.Match) ring.Fanout {
	if d.share.Bits4 == 0 {
		d.share.Seed = uint32(d.seed)
		d.share.Bits4, d.share.Bits6 = d.node.ClientBits()
	}
	f := d.share
	f.Matches = flows
	return f
}

// coarser tells whether the services tell clients less far apart than the workers do.
func (d *director) coarser() bool {
	four, six := d.node.ClientBits()
	return len(d.workers) > 0 && d.share.Bits4 > 0 && (four < d.share.Bits4 || six < d.share.Bits6)
}

// worker is the one that gets the packets of a client.
func (d *director) worker(client netip.Addr) int {
	if len(d.workers) == 0 || d.share.Bits4 == 0 {
		return 0
	}
	return d.share.Member(client, 1+len(d.workers))
}

// rings lists the rings for services of a port.
func (d *director) rings(port int) (group []*ring.Socket) {
	list := []loop.Port{d.ports[port].Service}
	for _, w := range d.workers {
		list = append(list, w.Ports[port].Service)
	}
	for _, p := range list {
		if s, ok := p.(*ring.Socket); ok {
			group = append(group, s)
		}
	}
	return group
}

func (d *director) closeService(port int) {
	group := d.rings(port)
	for _, s := range group { // before the first is closed: the others would get its frames
		s.SetFilter(ring.NothingFilter())
	}
	for _, s := range group {
		d.closeSocket(s)
	}
	d.ports[port].Service, d.ports[port].Index, d.uses[port].Service = nil, 0, false
	for _, w := range d.workers {
		w.Ports[port].Service, w.Ports[port].Index = nil, 0
	}
}

// refilter lets the frames of other services in; those in the rings stay there.
func (d *director) refilter(port int, flows []ring.Match) error {
	filter, err := ring.ServiceFilter(flows)
	if err != nil {
		return err
	}
	group := d.rings(port)
	if len(group) > 1 {
		return ring.SetGroupFilter(group, filter, d.fanout(flows))
	}
	for _, s := range group {
		err = s.SetFilter(filter)
	}
	return err
}

// openLoopback opens what takes frames to servers on this host, for each worker.
func (d *director) openLoopback() error {
	c := ring.Config{Interface: "lo", Slots: controlSlots, SlotSize: serviceSlotSize, Filter: ring.NothingFilter()}
	for _, w := range d.workers {
		s, err := d.socket(c, w.Poller)
		if err != nil {
			return err
		}
		w.Loopback = s
	}
	s, err := d.socket(c, d.poller)
	if err == nil {
		d.loopback = s
	}
	return err
}

// shared is how the node and the loop share the work; guard is of the loop.
func (r *runner) shared(guard node.Guard) node.Workers {
	if r.workers == 1 {
		return node.Workers{Count: 1}
	}
	return node.Workers{Count: r.workers, Guard: guard}
}
