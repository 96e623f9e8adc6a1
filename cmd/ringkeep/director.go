package main

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/loop"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

func nodeLinks(links []kernel.Link) []node.Link {
	out := make([]node.Link, len(links))
	for i, l := range links {
		out[i] = node.Link{Name: l.Name, MAC: proto.MAC(l.MAC), Up: l.Up, MTU: l.MTU, Loopback: l.Loopback, Router: l.Router, Missing: l.Index == 0, Base: l.Base, Prefixes: l.Prefixes}
	}
	return out
}

// director holds what run opened, to be closed in reverse.
type director struct {
	cfg      *config.Config
	node     *node.Node
	kernel   *kernel.Kernel
	links    []kernel.Link
	poller   *ring.Poller
	ports    []loop.Sockets
	loopback loop.Port
	opened   []*ring.Socket
	uses     []node.Use // of each port, what is open
	slots    []int      // of each port, the size of its control ring
	flows    []ring.Match
	workers  []*loop.Worker
	log      *slog.Logger
	share    ring.Fanout // of the clients among the workers, as it was when there were first any
	seed     uint64
	bfd      *kernel.BFD

	offloader *offloader
}

// Sizes of the rings. A service slot of 2 KiB holds every frame that is not a
// super-frame, and those are taken whole beside the ring.
const (
	controlSlots     = 64 // at least
	mostControlSlots = 8192
	serviceSlots     = 4096
	serviceSlotSize  = 2048
)

func (d *director) open() (err error) {
	if d.poller, err = ring.NewPoller(); err != nil {
		return err
	}
	d.bfd = kernel.NewBFD(func(fd int) error { return d.poller.Add(fd, bfdReady) }, d.poller.Remove)
	return d.follow()
}

// bfdReady is what the poller calls the sockets of BFD; the loop looks at all of them.
const bfdReady = 0

// followBFD opens the sockets that the sessions of BFD need now. Without them no session
// comes up, which is no reason to stop everything else.
func (d *director) followBFD() {
	var paths []kernel.BFDPath
	for _, p := range d.node.BFDPaths() {
		paths = append(paths, kernel.BFDPath{From: p.From, To: p.To, TTL: p.TTL, Multihop: p.Multihop})
	}
	if err := d.bfd.Follow(paths); err != nil {
		d.log.Error("BFD is not heard", "err", err)
	}
}

// follow opens what the node needs now and closes what it needs no longer. What cannot be
// opened is left out, and is in the error.
func (d *director) follow() error {
	errs := []error{d.shield()}
	flows := d.matches()
	for i, use := range d.node.Uses() {
		if i == len(d.ports) {
			d.addPort()
		}
		if slots := d.controlSlots(d.links[i].Name); d.uses[i].Control && use.Control && slots > d.slots[i] {
			d.closeControl(i) // it would be too small
		}
		if was := d.uses[i]; was.Service && use.Service && !slices.Equal(flows, d.flows) {
			errs = append(errs, d.refilter(i, flows))
		}
		errs = append(errs, d.use(i, use))
	}
	d.flows = flows
	if d.loopback == nil && d.node.GivesBack() {
		errs = append(errs, d.openLoopback())
	}
	return errors.Join(errs...)
}

// addPort makes room for the sockets of another port, where none may be opened.
func (d *director) addPort() {
	d.ports, d.uses, d.slots = append(d.ports, loop.Sockets{}), append(d.uses, node.Use{}), append(d.slots, 0)
	for _, w := range d.workers {
		w.Ports = append(w.Ports, loop.Sockets{})
	}
}

// use opens and closes the sockets of a port.
func (d *director) use(port int, use node.Use) (err error) {
	if d.links[port].Index == 0 {
		return nil // see reopen
	}
	was, s := &d.uses[port], &d.ports[port]
	name := d.links[port].Name
	if was.Control && !use.Control {
		d.closeControl(port)
	}
	if was.Service && !use.Service {
		d.closeService(port)
	}
	for _, group := range was.Groups {
		if !slices.Contains(use.Groups, group) && err == nil {
			err = d.kernel.LeaveGroup(name, group)
		}
	}
	for _, group := range use.Groups {
		if err == nil {
			err = d.kernel.JoinGroup(name, group)
		}
	}
	if err != nil {
		return err
	}
	if use.Control && !was.Control {
		if s.Control, err = d.control(d.links[port]); err != nil {
			s.Control = nil
			return err
		}
		d.slots[port] = d.controlSlots(name)
	}
	opens := use.Service && !was.Service
	if *was = use; opens {
		if err = d.service(port); err != nil {
			was.Service = false // the rest is open
		}
	}
	if errors.Is(err, ring.ErrDown) {
		return nil // see reopen
	}
	return err
}

func (d *director) closeControl(port int) {
	d.closeSocket(d.ports[port].Control)
	d.ports[port].Control, d.uses[port].Control = nil, false
}

func (d *director) closeSocket(p loop.Port) {
	for i, s := range d.opened {
		if s != nil && loop.Port(s) == p {
			s.Close()
			d.opened[i] = nil
		}
	}
}

// reopen follows an interface that was deleted and made again under its name, or that
// did not exist before, or that has come up where a ring could not be opened.
func (d *director) reopen(port int) (loop.Sockets, error) {
	defer d.offloadSoon()
	l, err := d.kernel.Link(d.links[port].Name)
	if err != nil {
		return loop.Sockets{}, err
	}
	d.closeSocket(d.ports[port].Control)
	d.closeService(port)
	d.links[port], d.ports[port], d.uses[port] = l, loop.Sockets{}, node.Use{}
	if err := promote(d.cfg, d.kernel, l.Name); err != nil {
		return loop.Sockets{}, err
	}
	err = d.use(port, d.node.Uses()[port])
	return d.ports[port], err
}

// shield keeps the kernel from answering the flows that the ring forwards.
func (d *director) shield() error {
	var flows []kernel.Flow
	for _, f := range d.node.Flows() {
		if f.Quoted {
			continue
		}
		one := kernel.Flow{
			Protocol: f.Protocol, Src: f.Src, Dst: f.Dst, SrcPorts: f.SrcPorts, DstPorts: f.DstPorts, Answer: f.Answer, Pass: f.Pass,
		}
		if f.Port != node.AnyPort {
			one.Interface = d.links[f.Port].Name
		}
		flows = append(flows, one)
	}
	if len(flows) == 0 && len(d.flows) == 0 {
		return nil
	}
	var names []string
	for i, use := range d.node.Uses() {
		if use.Service {
			names = append(names, d.links[i].Name)
		}
	}
	return d.kernel.DropRules(names, flows)
}

func (d *director) control(l kernel.Link) (loop.Port, error) {
	filter, err := ring.ControlFilter(l.MAC)
	if err != nil {
		return nil, err
	}
	return d.socket(ring.Config{Interface: l.Name, Slots: d.controlSlots(l.Name), SlotSize: serviceSlotSize, Filter: filter}, d.poller)
}

// controlSlots has room for what comes at once when another node becomes MASTER of
// every instance of an interface: an advertisement each, and the announcement of each
// address, several times.
func (d *director) controlSlots(iface string) int {
	frames := 0
	for _, in := range d.cfg.Instances {
		if in.Interface == iface {
			frames += 1 + in.GARPMasterRepeat*(len(in.Addresses)+len(in.Excluded))
		}
	}
	slots := controlSlots
	for slots < 2*frames && slots < mostControlSlots {
		slots *= 2
	}
	return slots
}

// matches lists the flows that the service rings take.
func (d *director) matches() []ring.Match {
	var list []ring.Match
	for _, f := range d.node.Flows() {
		if !f.Pass { // the node looks again
			list = append(list, ring.Match{
				Protocol: f.Protocol, Src: f.Src, Dst: f.Dst, SrcPorts: f.SrcPorts, DstPorts: f.DstPorts, Answer: f.Answer, Quoted: f.Quoted,
			})
		}
	}
	return list
}

func (d *director) socket(c ring.Config, poller loop.Poller) (*ring.Socket, error) {
	s, err := ring.Open(c)
	if err != nil {
		return nil, err
	}
	return s, d.watch(s, poller)
}

// watch has a poller report a socket, and the director close it.
func (d *director) watch(s *ring.Socket, poller loop.Poller) error {
	d.opened = append(d.opened, s)
	return poller.(*ring.Poller).Add(s.FD(), len(d.opened))
}

func (d *director) close() {
	for _, s := range d.opened {
		if s == nil {
			continue
		}
		st := s.Stats()
		d.log.Info("ring", "iface", s.Name(), "received", st.Received, "dropped", st.Dropped, "superframes", st.SuperFrames,
			"truncated", st.Truncated, "freezes", st.Freezes, "sent", st.Sent, "unsent", st.SendErrors.Total())
		s.Close()
	}
	if d.bfd != nil {
		d.bfd.Close()
	}
	if d.poller != nil {
		d.poller.Close()
	}
	for _, w := range d.workers {
		w.Poller.(*ring.Poller).Close()
	}
	d.offloader.close()
}
