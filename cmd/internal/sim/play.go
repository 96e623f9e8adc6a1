package sim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/reading"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/netlab/report"
	"github.com/ringkeep/ringkeep/proto"
)

// Result is how a run ended.
type Result struct {
	Seed        uint64
	Failure     error         // of an expectation, with its place, or of an invariant
	Elapsed     time.Duration // virtual
	Frames      uint64
	Transitions []Transition
	Measured    []report.Measure
	Report      *report.Run // if it was asked for
}

// Options is what a run is given.
type Options struct {
	Seed           uint64
	Out            io.Writer       // the time line; nil for none
	InvariantsOnly bool            // what a statement expects is not judged
	Done           <-chan struct{} // ends the run
	Record         bool            // collect what the report shows
	Capture        io.Writer       // every frame, as pcapng; nil for none
}

func newWorld(s *netlab.Scenario, o Options) *world {
	w := &world{
		random: rand.New(rand.NewPCG(o.Seed, 0)), scenario: s, lans: map[string]*lan{}, hosts: map[string]*host{}, flows: map[string]*flow{},
		observer: observer{elections: map[netlab.RouterID]*election{}}, out: o.Out, done: o.Done,
	}
	w.captureTo = o.Capture
	if o.Record || o.Capture != nil {
		w.record = netlab.NewRecord(s, fmt.Sprintf("virtual time, seed %d", o.Seed))
	}
	return w
}

// Run plays a scenario.
func Run(s *netlab.Scenario, o Options) *Result {
	w := newWorld(s, o)
	r := &Result{Seed: o.Seed}
	p := &player{world: w, result: r, lenient: o.InvariantsOnly}
	r.Failure = p.play()
	r.Elapsed, r.Frames, r.Transitions = w.now, w.frames, w.trace
	if w.capture != nil {
		if err := w.capture.Flush(); err != nil && r.Failure == nil {
			r.Failure = err
		}
	}
	if w.record != nil {
		for _, f := range w.flows {
			w.record.Flow(f.report())
		}
		r.Report = w.record.Report(w.now, r.Failure, r.Measured, "")
	}
	return r
}

// player carries out the statements of a scenario.
type player struct {
	*world
	result  *Result
	lenient bool
}

// prepare builds what the scenario declares.
func (p *player) prepare() error {
	for _, st := range p.scenario.Statements {
		if err := p.build(st.Words); err != nil {
			return st.Errorf(0, "%v", err)
		}
	}
	var routers []netlab.Router
	for _, h := range p.order {
		if h.dir == nil {
			p.record.Machine(h.machine, nil, nil)
			continue
		}
		own := reading.Routers(h.dir.cfg, h.machine)
		routers = append(routers, own...)
		if p.record != nil {
			reader, err := reading.Of(h.dir.cfg, h.machine)
			if err != nil {
				return err
			}
			p.record.Machine(h.machine, own, reader)
		}
	}
	if p.captureTo != nil {
		if err := p.capturing(p.captureTo); err != nil {
			return err
		}
	}
	p.judge = netlab.NewJudge(routers, &p.network, p.violate)
	p.judge.Holds = func(node string, a netip.Addr) bool { return p.hosts[node].announces(a) }
	return nil
}

func (p *player) play() error {
	if err := p.prepare(); err != nil {
		return err
	}
	for _, st := range p.scenario.Statements {
		p.say(nil, "> %s", st)
		p.record.Step(p.now, st)
		if err := p.execute(st.Words); err != nil && !p.lenient {
			return st.Errorf(0, "%s: %v", st, err)
		}
		if p.failure != nil {
			return st.Errorf(0, "during %s: %v", st, p.failure)
		}
	}
	return nil
}

// build carries out the statements that declare.
func (p *player) build(w []string) error {
	switch w[0] {
	case "lan":
		p.lans[w[1]] = &lan{name: w[1], table: map[proto.MAC]*nic{}}
		return p.network.SetLan(w)
	case "host", "router", "realserver", "node":
		m, _, err := netlab.ParseMachine(w)
		if err != nil {
			return err
		}
		h := p.declare(m)
		if w[0] == "node" {
			h.dir = newDirector(h, w[1]+".conf", p.scenario.Files[w[1]+".conf"])
			p.writable(h)
		}
	}
	return nil
}

// writable gives a node the files that the scenario writes, as they are before.
func (p *player) writable(h *host) {
	for _, st := range p.scenario.Statements {
		if w := st.Words; w[0] == "write" && w[1] == h.name {
			h.dir.files[w[2]] = netlab.Unwritten
			if text, ok := p.scenario.Files[h.name+":"+w[2]]; ok {
				h.dir.files[w[2]] = string(text)
			}
		}
	}
}

func (p *player) declare(m netlab.Machine) *host {
	h := &host{
		w: p.world, machine: m, name: m.Name, via: m.Via, forwards: m.Forwarding, quiet: []netip.Addr{m.VIP},
		servers: map[service]bool{}, conns: map[connKey]*serverConn{},
	}
	for i, n := range m.NICs {
		p.macs++
		c := &nic{
			host: h, port: i + 1, lan: p.lans[n.LAN], iface: n.Iface, mac: proto.MAC{2, 0, 0, 0, byte(p.macs >> 8), byte(p.macs)}, linkUp: true,
			own: n.Addrs, addrs: slices.Clone(n.Addrs), cache: map[netip.Addr]*arpEntry{},
		}
		h.nics = append(h.nics, c)
		c.lan.nics = append(c.lan.nics, c)
	}
	p.hosts[m.Name] = h
	p.order = append(p.order, h)
	return h
}

func (p *player) execute(w []string) error {
	switch w[0] {
	case "lan", "host", "router", "realserver", "node", "say", "needs", "repeat", "sweep":
		return nil
	case "run":
		d, err := duration(w[1])
		p.run(p.now+d, nil)
		return err
	case "at":
		d, err := duration(w[1])
		if err == nil && d < p.now {
			return fmt.Errorf("it is %v already", p.now)
		}
		p.run(d, nil)
		return err
	case "wait", "stays":
		return p.wait(w)
	case "expect":
		return p.expect(w)
	case "mark":
		for _, e := range p.observer.elections {
			e.silence = -1
		}
		for _, f := range p.flows {
			f.mark()
		}
		return nil
	case "up":
		return p.up(w[1:])
	case "stop", "kill", "crash", "freeze", "thaw":
		return p.process(p.hosts[w[1]], w[0])
	case "iface":
		return p.iface(p.hosts[w[1]], w[2], w[3] == "create")
	case "starve":
		return p.hosts[w[1]].dir.starve(w[2])
	case "link":
		return p.link(p.hosts[w[1]], w[2] == "up", w[3:]...)
	case "drop", "duplicate", "delay", "reorder", "corrupt":
		p.judge.Disturbed(p.now)
		return p.network.Add(w)
	case "partition":
		p.judge.Disturbed(p.now)
		p.network.Partition(w)
		return nil
	case "heal":
		p.judge.Disturbed(p.now)
		p.network.Heal()
		return nil
	case "tolerate":
		p.judge.Tolerant[w[1]] = true
		return nil
	case "serve", "unserve":
		return p.serve(w)
	case "addr":
		prefix, err := netip.ParsePrefix(w[3])
		if h := p.hosts[w[1]]; h.machine.Kind == "realserver" && w[4] == "lo" {
			h.quiet = slices.DeleteFunc(h.quiet, func(a netip.Addr) bool { return a == prefix.Addr() })
			if w[2] == "add" {
				h.quiet = append(h.quiet, prefix.Addr())
			}
			return err
		}
		p.hosts[w[1]].nicNamed(w[4]).setAddr(w[4], prefix, w[2] == "add")
		return err
	case "script":
		p.hosts[w[1]].dir.script[w[2]] = w[3]
		return nil
	case "write":
		p.hosts[w[1]].dir.write(w[2], w[3])
		return nil
	case "reload":
		return p.hosts[w[1]].dir.reload(p.scenario.Files[w[2]], len(w) > 3)
	case "advert":
		return p.craft(w)
	case "frame":
		frame, err := netlab.RawFrame(w)
		if err == nil {
			p.inject(p.hosts[w[1]].nics[0], frame)
		}
		return err
	case "play":
		list, err := p.scenario.Recording(w)
		for _, r := range list {
			p.at(r.After, event{what: played, nic: p.hosts[w[1]].nics[0], frame: r.Frame})
		}
		return err
	case "ask":
		return p.ask(w)
	}
	return p.traffic(w)
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s: must be a time such as 4s", s)
	}
	return d, nil
}

func (p *player) up(names []string) error {
	for _, name := range names {
		h := p.hosts[name]
		if h.dir.crashed {
			h.dir.crashed = false
			for _, n := range h.nics {
				n.addrs = slices.Clone(n.own)
				clear(n.cache)
				n.carrier(true)
			}
		}
		if err := h.dir.start(); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) process(h *host, how string) error {
	switch how {
	case "stop":
		h.dir.stop()
	case "kill":
		h.dir.end()
	case "crash":
		h.dir.crashed = true
		for _, n := range h.nics {
			n.carrier(false)
		}
		h.dir.end()
	default:
		h.dir.freeze(how == "freeze")
	}
	return nil
}

// link changes the carrier of all interfaces, or of one: the node hears of it a little later.
func (p *player) link(h *host, up bool, iface ...string) error {
	list := h.nics
	if len(iface) > 0 {
		list = []*nic{h.nicNamed(iface[0])}
		if list[0].iface != iface[0] {
			return fmt.Errorf("%s has no interface %s", h.name, iface[0])
		}
	}
	for _, n := range list {
		n.carrier(up)
	}
	p.changed = true
	p.judge.Disturbed(p.now)
	if h.dir != nil {
		p.run(p.now+linkNotice, nil)
		for _, n := range list {
			h.dir.linkChanged(n)
		}
	}
	return nil
}

// iface deletes an interface with its addresses, or makes it again with its own.
func (p *player) iface(h *host, name string, create bool) error {
	n := h.nicNamed(name)
	if n.iface != name || create == n.linkUp {
		return fmt.Errorf("%s has no interface %s, or has it already", h.name, name)
	}
	clear(n.cache)
	n.deleted = !create
	list := n.own
	if !create {
		list = slices.Clone(n.addrs)
	}
	if err := p.link(h, create, name); err != nil {
		return err
	}
	for _, a := range list {
		n.setAddr(n.iface, a, create)
	}
	return nil
}

func (n *nic) carrier(up bool) {
	n.linkUp = up
	n.host.w.judge.Link(n.host.w.now, n.host.name, n.iface, up)
}

func (p *player) serve(w []string) error {
	n, err := strconv.ParseUint(w[3], 10, 16)
	number := uint8(proto.ProtocolTCP)
	if w[2] == "udp" {
		number = proto.ProtocolUDP
	}
	p.hosts[w[1]].servers[service{number, uint16(n)}] = w[0] == "serve"
	return err
}

func (p *player) expect(w []string) error {
	switch w[1] {
	case "gap":
		if f := p.flows[w[2]]; f != nil && len(w) == 5 {
			return p.between("gap of "+f.name, f.longest(), w[3], w[4])
		}
		return errors.New("expect gap NAME LOW HIGH, of a probe that was started")
	case "silence":
		n, _ := strconv.Atoi(w[2])
		e := netlab.ForVRID(uint8(n), p.observer.elections)
		if e == nil || e.silence < 0 {
			return fmt.Errorf("nobody took VRID %s over since mark", w[2])
		}
		return p.between("silence of VRID "+w[2], e.silence, w[3], w[4])
	}
	f := p.flows[w[2]]
	if f == nil {
		return fmt.Errorf("no flow %s", w[2])
	}
	return netlab.JudgeFlow(w, f.served, f.failures, f.failure)
}

func (p *player) between(what string, got time.Duration, low, high string) error {
	m, err := netlab.Between(what, got, low, high, 0)
	if m.Text != "" {
		p.say(nil, "= %s", netlab.Found(m))
		p.result.Measured = append(p.result.Measured, m)
	}
	return err
}

// traffic starts and ends flows.
func (p *player) traffic(w []string) error {
	if w[0] == "stopflow" {
		if p.flows[w[1]] == nil {
			return fmt.Errorf("no flow %s", w[1])
		}
		p.flows[w[1]].stopped = true
		return nil
	}
	if w[0] == "probe" {
		return p.newFlow(w[1], w[2], w[4], w[3] != "udp", time.Millisecond, false)
	}
	n, err := strconv.Atoi(w[5])
	if err != nil || n < 1 {
		return fmt.Errorf("%s: must be a number of connections a second, or of bytes", w[5])
	}
	if w[3] == "download" || w[3] == "upload" {
		return p.newFlow(w[1], w[2], w[4], true, time.Second, true)
	}
	return p.newFlow(w[1], w[2], w[4], true, time.Second/time.Duration(n), false)
}

func (p *player) newFlow(name, from, to string, tcp bool, every time.Duration, once bool) error {
	target, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	f := &flow{
		w: p.world, name: name, from: p.hosts[from], to: target, tcp: tcp, every: every, once: once,
		open: map[uint16]*clientConn{}, served: map[string]int{}, last: -1, began: p.now,
	}
	p.flows[name] = f
	f.step(0)
	return nil
}

// ask puts one question and looks who answers.
func (p *player) ask(w []string) error {
	if err := p.newFlow("ask", w[1], w[3], w[2] != "udp", time.Second, true); err != nil {
		return err
	}
	f := p.flows["ask"]
	defer delete(p.flows, "ask")
	p.run(p.now+5*time.Second, func() bool { return f.answers+f.failures > 0 })
	if f.answers == 0 && w[4] == netlab.Nobody {
		return nil
	}
	if f.answers == 0 {
		return fmt.Errorf("no answer: %s", f.failure)
	}
	for name := range f.served {
		if !slices.Contains(strings.Split(w[4], "|"), name) {
			return fmt.Errorf("%s answered", name)
		}
	}
	return nil
}

// craft sends a made-up advertisement: advert HOST vrid N priority N [version N]
// [interval T] [src ADDR] [ttl N] [auth TEXT] [vip ADDR]... [checksum bad].
func (p *player) craft(w []string) error {
	a, err := netlab.ParseCraft(w)
	if err != nil {
		return err
	}
	h := p.hosts[w[1]]
	p.inject(h.nics[0], a.Frame(h.nics[0].mac, h.nics[0].own[0].Addr()))
	return nil
}
