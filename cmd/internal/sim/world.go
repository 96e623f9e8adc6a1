package sim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/netlab/report"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// world is one run: hosts, the wire between them, and what will happen next.
type world struct {
	now       time.Duration
	random    *rand.Rand
	events    queue
	seq       uint64
	scenario  *netlab.Scenario
	network   netlab.Network
	lans      map[string]*lan
	hosts     map[string]*host
	order     []*host
	flows     map[string]*flow
	judge     *netlab.Judge
	record    *netlab.Record // nil unless a report is wanted
	capture   *pcap.Writer   // nil unless one is wanted
	captureTo io.Writer
	observer  observer
	failure   error // the first violation
	out       io.Writer
	changed   bool // something that conditions ask for
	trace     []Transition
	frames    uint64
	judged    time.Duration // when the judge last looked
	ports     int           // client ports handed out
	macs      int           // and MACs
	done      <-chan struct{}
}

// lan is a learning switch.
type lan struct {
	name  string
	nics  []*nic
	table map[proto.MAC]*nic
}

const (
	wireDelay  = 20 * time.Microsecond  // of a frame through the switch
	wireJitter = 30 * time.Microsecond  // at most, beside it
	wakeDelay  = 20 * time.Microsecond  // of a process that is woken
	wakeJitter = 180 * time.Microsecond // at most, beside it
)

func (w *world) at(d time.Duration, e event) {
	w.seq++
	e.at, e.seq = w.now+d, w.seq
	w.events.push(e)
}

// jitter draws a delay below d.
func (w *world) jitter(d time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(d)))
}

// send puts a frame of an interface on its lan. The frame is the wire's from now on.
func (w *world) send(from *nic, frame []byte) {
	if !from.linkUp || len(frame) < 14 {
		return
	}
	w.frames++
	eth := proto.Ethernet(frame)
	w.observer.frame(w, from, eth)
	l := from.lan
	l.table[eth.Src()] = from
	var to []report.Delivery
	if known, ok := l.table[eth.Dst()]; ok && !eth.Dst().IsGroup() {
		if known != from {
			to = w.deliver(from, known, frame, false, to)
		}
	} else {
		for _, n := range l.nics {
			if n != from {
				to = w.deliver(from, n, frame, true, to)
			}
		}
	}
	if w.record != nil {
		w.note(from, eth, to)
	}
}

// note tells the record a control packet, and writes every frame into the capture.
func (w *world) note(from *nic, eth proto.Ethernet, to []report.Delivery) {
	p := report.Packet{To: to}
	if netlab.IsControl(eth) {
		p = w.record.Packet(w.now, int(w.frames), from.host.name, eth, to)
	}
	if w.capture != nil {
		at := time.Unix(0, 0).Add(w.now)
		if err := w.capture.Write(from.index, at, eth, len(eth), netlab.Comment(p)); err != nil && w.failure == nil {
			w.failure = fmt.Errorf("capture: %w", err)
		}
	}
}

// capturing begins the capture, with an interface for each of the hosts'.
func (w *world) capturing(to io.Writer) (err error) {
	var list []pcap.Interface
	for _, h := range w.order {
		for _, n := range h.nics {
			n.index = len(list)
			list = append(list, pcap.Interface{Name: h.name + ":" + n.iface, Description: "lan " + n.lan.name})
		}
	}
	w.capture, err = pcap.NewWriter(to, list)
	return err
}

// deliver puts a frame on its way to one interface. It appends what becomes of it there,
// if somebody wants to know.
func (w *world) deliver(from, to *nic, frame []byte, shared bool, out []report.Delivery) []report.Delivery {
	f := w.network.Fate(w.now, from.lan.name, from.host.name, to.host.name, frame, w.random)
	if f.Lost != "" {
		w.say(from.host, "lost to %s: %s", to.host.name, f.Lost)
		return w.fate(to, frame, f.Lost, out)
	}
	if shared || f.Corrupt || f.Twice {
		frame = append([]byte(nil), frame...)
	}
	if f.Corrupt {
		netlab.Corrupt(frame, w.random)
	}
	// Frames to one interface keep their order, but for those that a fault delays.
	d := wireDelay + w.jitter(wireJitter) + f.Delay
	if !f.Loose {
		d = max(d, to.arrived-w.now)
		to.arrived = w.now + d
	}
	e := event{what: arrive, nic: to, frame: frame}
	if o := &w.observer; o.id != 0 && to.host.dir != nil && !f.Corrupt {
		e.from, e.n = o.from, int(o.id)<<8|int(o.priority)
	}
	out = w.fate(to, frame, "", out)
	w.at(d, e)
	if f.Twice {
		w.at(d+w.jitter(time.Millisecond), event{what: arrive, nic: to, frame: append([]byte(nil), frame...)})
	}
	return out
}

// fate appends what became of a frame at an interface, if somebody wants to know.
func (w *world) fate(to *nic, frame []byte, lost string, out []report.Delivery) []report.Delivery {
	control := netlab.IsControl(frame)
	if w.record == nil || !control && lost == "" {
		return out
	}
	d := report.Delivery{Host: to.host.name, Lost: lost}
	if dir := to.host.dir; control && lost == "" && dir != nil && dir.alive && to.linkUp {
		d.Verdict = w.record.Verdict(to.host.name, to.iface, frame)
	}
	return append(out, d)
}

// inject puts a frame on the wire that nobody sent.
func (w *world) inject(from *nic, frame []byte) {
	from.host.crafting = true
	w.send(from, frame)
	from.host.crafting = false
}

// judgeEvery is how often the invariants over time are looked at.
const judgeEvery = 10 * time.Millisecond

// run lets time pass until the moment, or until holds says so. It returns whether it did.
func (w *world) run(until time.Duration, holds func() bool) bool {
	if holds != nil && holds() {
		return true
	}
	for w.failure == nil {
		if len(w.events) == 0 || w.events[0].at > until {
			w.now = until
			return holds != nil && holds()
		}
		e := w.events.pop()
		w.now = e.at
		if w.seq%4096 == 0 && w.interrupted() {
			return false
		}
		w.happen(&e)
		if w.changed || w.now-w.judged >= judgeEvery {
			w.judged = w.now
			w.judge.Check(w.now)
		}
		if w.changed && holds != nil && holds() {
			return true
		}
		w.changed = false
	}
	return false
}

func (w *world) interrupted() bool {
	select {
	case <-w.done:
		w.failure = errors.New("interrupted")
		return true
	default:
		return false
	}
}

func (w *world) happen(e *event) {
	switch e.what {
	case arrive:
		if e.from != nil && e.nic.linkUp {
			w.judge.Heard(w.now, e.from.name, e.nic.host.name, e.nic.lan.name, netlab.RouterID(e.n>>8), uint8(e.n))
		}
		e.nic.receive(e.frame)
	case process:
		e.nic.wake(e)
	case tick:
		e.host.tick(e.gen)
	case checked:
		e.host.checkDone(e)
	case played:
		w.inject(e.nic, e.frame)
	case starved:
		e.host.starved(e)
	case scripted:
		e.host.scriptDone(e)
	case flowing:
		e.flow.step(e.n)
	case resolve:
		e.nic.arpDue(e)
	case datagram:
		e.host.datagramDue(e)
	}
}

// say prints a line of the time line, if somebody wants it.
func (w *world) say(h *host, format string, args ...any) {
	if w.out != nil {
		name := ""
		if h != nil {
			name = h.name
		}
		fmt.Fprintf(w.out, "%12.6fs  %-8s %s\n", w.now.Seconds(), name, fmt.Sprintf(format, args...))
	}
}

// violate notes the first breach of an invariant.
func (w *world) violate(at time.Duration, invariant, text string) {
	packets := w.record.Breach(at, invariant, text)
	if w.failure == nil {
		w.failure = fmt.Errorf("at %v: %s: %s%s", at, invariant, text, netlab.Packets(packets))
		w.say(nil, "! %v", w.failure)
	}
}

// observer follows the advertisements on the wire, for silences.
type observer struct {
	elections map[netlab.RouterID]*election
	adverts   []seen          // since the last wait for one began
	id        netlab.RouterID // of the frame that is being sent, if it is an advertisement
	priority  uint8
	from      *host // who made it: a router passes on what others made
}

type seen struct {
	from     *host
	priority uint8
}

// election is what the wire knows of one VRID.
type election struct {
	from     *host
	last     time.Duration // of priority above 0
	resigned time.Duration // -1 if the last one did not say priority 0
	silence  time.Duration // at the last change of sender, since mark; -1 without one
}

func (o *observer) frame(w *world, from *nic, eth proto.Ethernet) {
	o.id = 0
	if a, ok := netlab.ParseResolution(eth); ok {
		o.resolution(w, from.host, a)
		return
	}
	ip, v, err := netlab.ParseVRRP(eth)
	if err != nil {
		return
	}
	o.id, o.priority, o.from = netlab.IDOf(ip, v), v.Priority(), from.host
	switch {
	case from.host.forwards:
		o.from = w.owner(ip.Src())
	case !from.host.crafting:
		o.advert(w, from, v.Priority())
	}
}

// owner finds the host with an address of its own.
func (w *world) owner(a netip.Addr) *host {
	for _, h := range w.order {
		for _, n := range h.nics {
			if slices.ContainsFunc(n.own, func(p netip.Prefix) bool { return p.Addr() == a }) {
				return h
			}
		}
	}
	return nil
}

func (o *observer) resolution(w *world, from *host, a netlab.Resolution) {
	switch {
	case from.dir == nil || a.Question:
	case a.Gratuitous:
		w.judge.GARP(w.now, from.name, a.Addr)
	default:
		w.judge.ARPReply(w.now, from.name, a.Addr)
	}
}

func (o *observer) advert(w *world, nic *nic, priority uint8) {
	from := nic.host
	e := o.elections[o.id]
	if e == nil {
		e = &election{resigned: -1, silence: -1}
		o.elections[o.id] = e
	}
	w.judge.Advert(w.now, from.name, nic.lan.name, o.id, priority)
	o.adverts = append(o.adverts, seen{from, priority})
	if len(o.adverts) > 1000 {
		o.adverts = o.adverts[500:]
	}
	w.changed = true
	if priority == 0 {
		e.resigned = w.now
		return
	}
	if e.from != nil && e.from != from {
		since := e.last
		if e.resigned >= 0 {
			since = e.resigned
		}
		e.silence = w.now - since
	}
	e.from, e.last, e.resigned = from, w.now, -1
}

// host is a machine. Directors have a node.
type host struct {
	w        *world
	machine  netlab.Machine
	name     string
	nics     []*nic
	via      netip.Addr   // the default gateway
	forwards bool         // it is a router
	quiet    []netip.Addr // on lo, for direct routing
	servers  map[service]bool
	conns    map[connKey]*serverConn
	dir      *director
	crafting bool // it is sending what the scenario made up
}

// nic is an interface of a host.
type nic struct {
	host    *host
	port    int // its number for the node
	index   int // and in the capture
	lan     *lan
	iface   string
	mac     proto.MAC
	own     []netip.Prefix // as declared
	addrs   []netip.Prefix // with what was added
	linkUp  bool
	deleted bool          // there is no such interface
	arrived time.Duration // when the last frame reached it
	cache   map[netip.Addr]*arpEntry
	vmacs   []vmac
}

type service struct {
	proto uint8
	port  uint16
}

func (h *host) has(a netip.Addr) bool {
	if slices.Contains(h.quiet, a) {
		return true
	}
	return h.announces(a)
}

// announces tells whether the host answers ARP for an address.
func (h *host) announces(a netip.Addr) bool {
	for _, n := range h.nics {
		for _, p := range n.addrs {
			if p.Addr() == a {
				return true
			}
		}
	}
	return false
}

// nicNamed finds an interface; another name means the first.
func (h *host) nicNamed(iface string) *nic {
	for _, n := range h.nics {
		if n.iface == iface || slices.ContainsFunc(n.vmacs, func(v vmac) bool { return v.name == iface }) {
			return n
		}
	}
	return h.nics[0]
}

// Transition is a change of state that a run saw, for comparisons.
type Transition struct {
	At                    time.Duration
	Node, Instance, State string
	Cause                 string
}
