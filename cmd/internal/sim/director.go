package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

// director drives the node of a host as the daemon's loop does.
type director struct {
	h         *host
	cfg       *config.Config
	messages  []config.Message
	n         *node.Node
	alive     bool
	frozen    bool
	crashed   bool
	gen       int        // of the process: what was meant for an older one is lost
	loaded    int        // of its configuration, likewise for results of scripts and checks
	rx        []received // while it stood still
	datagrams [][]byte   // likewise of BFD
	tickAt    time.Duration
	woken     time.Duration // when the last frame is read
	ticking   bool
	idle      int           // ticks in a row that left the deadline where it was
	late      bool          // a tick came while it stood still
	still     time.Duration // of every starvePeriod, while it is starved
	batch     node.Batch
	script    map[string]string // ok, fail or hang, by name
	files     map[string]string // what the scenario wrote, by path
	states    map[string]string // by instance
	log       []string
	services  map[target]bool
	marks     map[uint32]bool    // of services
	blocked   map[netip.Addr]int // addresses whose packets are dropped
}

// received is a frame that waits in a ring.
type received struct {
	nic   *nic
	frame []byte
}

const (
	rxFrames   = 64
	mostIdle   = 1000
	scriptTime = 5 * time.Millisecond
	checkTime  = 200 * time.Microsecond
	linkNotice = time.Millisecond // of a carrier, by netlink
)

func newDirector(h *host, name string, text []byte) *director {
	d := &director{h: h, script: map[string]string{}, files: map[string]string{}, states: map[string]string{}, services: map[target]bool{}}
	d.cfg, d.messages = config.Parse(name, text, config.Options{ConfigID: h.name})
	d.serve()
	return d
}

// epoch is the time since 1970 at which a simulation begins.
const epoch = 1704067200 * time.Second

// start starts the process.
func (d *director) start() error {
	for _, m := range d.messages {
		if m.Level == config.Error {
			return fmt.Errorf("%v", m)
		}
		d.log = append(d.log, m.Text)
	}
	d.unstack(nil)
	links := []node.Link{
		{Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
	}
	for _, n := range d.h.nics {
		if n.deleted && !d.cfg.Global.DynamicInterfaces.On {
			return fmt.Errorf("interface %s does not exist", n.iface)
		}
		links = append(links, node.Link{Name: n.iface, MAC: n.mac, Up: n.linkUp, Missing: n.deleted, Prefixes: slices.Clone(n.addrs)})
	}
	n, err := node.New(d.cfg, links, d.h.w.random.Uint64())
	if err != nil {
		return err
	}
	d.gen++
	d.loaded++
	d.n, d.alive, d.frozen, d.ticking, d.rx, d.datagrams = n, true, false, false, nil, nil
	d.blocked = map[netip.Addr]int{}
	d.stack()
	clear(d.states)
	d.h.w.judge.Up(d.h.w.now, d.h.name, true)
	for _, p := range n.Peers() {
		if nic, hop := d.h.route(p.Addr); hop != p.Addr {
			d.step(node.Routed{Peer: p, Via: hop, Out: d.n.Port(nic.iface)})
		}
	}
	for _, f := range n.Files() {
		if f != nil && f.InitFile != nil && (d.files[f.File] == "" || f.InitFile.Overwrite) {
			d.files[f.File] = fmt.Sprint(f.InitFile.Value)
		}
	}
	d.track()
	d.tellClock()
	d.step(node.Start{})
	return nil
}

// track tells the node what its files and processes are now.
func (d *director) track() {
	for i, f := range d.n.Files() {
		if f != nil {
			d.readFile(i, f.File)
		}
	}
	for i, p := range d.n.Processes() {
		if p != nil {
			d.step(node.ProcessesCounted{Process: i, Count: p.Quorum}) // no process is simulated
		}
	}
}

// tellClock tells the time of day.
func (d *director) tellClock() {
	if d.n.AsksClock() {
		d.step(node.Clock{Offset: epoch})
	}
}

// end ends the process, at once.
func (d *director) end() {
	d.alive, d.frozen, d.blocked = false, false, nil
	d.gen++
	clear(d.states)
	d.h.w.judge.Up(d.h.w.now, d.h.name, false)
	d.h.w.record.Gone(d.h.w.now, d.h.name)
	d.h.w.changed = true
}

func (d *director) stop() {
	if d.alive {
		d.step(node.Stop{})
		d.h.w.judge.Stopped(d.h.w.now, d.h.name)
		d.end()
	}
}

// starvePeriod is how long a node that is starved stands still and runs, by turns.
const starvePeriod = 100 * time.Millisecond

// starve takes a share of the time from the node until it is thawed. The judge is told to
// be patient meanwhile.
func (d *director) starve(share string) error {
	p, err := strconv.ParseFloat(strings.TrimSuffix(share, "%"), 64)
	if err != nil || !d.alive {
		return fmt.Errorf("%s does not run, or %s is no share", d.h.name, share)
	}
	if d.still == 0 {
		d.h.w.judge.Slack += 2 * starvePeriod
		d.h.w.at(d.h.w.jitter(starvePeriod), event{what: starved, host: d.h, gen: d.gen})
	}
	d.still = time.Duration(p / 100 * float64(starvePeriod))
	return nil
}

// starved is the next moment at which it stands still, or goes on.
func (h *host) starved(e *event) {
	d := h.dir
	if d.gen != e.gen || d.still == 0 {
		return
	}
	next := d.still
	if d.frozen {
		next = starvePeriod - d.still
		d.thaw()
	} else {
		d.frozen = true
	}
	h.w.at(next, event{what: starved, host: h, gen: e.gen})
}

func (d *director) freeze(on bool) {
	w := d.h.w
	if d.still > 0 && !on { // it was starved
		d.still = 0
		w.judge.Slack -= 2 * starvePeriod
		d.thaw()
		return
	}
	if !d.alive || d.frozen == on {
		return
	}
	w.judge.Frozen(w.now, d.h.name, on)
	if on {
		d.frozen = true
	} else {
		d.thaw()
	}
}

// thaw reads what has come meanwhile.
func (d *director) thaw() {
	w := d.h.w
	d.frozen = false
	rx, datagrams := d.rx, d.datagrams
	d.rx, d.datagrams = nil, nil
	for _, p := range datagrams {
		d.readBFD(p)
	}
	for _, f := range rx { // control before timers, as the loop does
		d.step(node.Received{Port: f.nic.port, Frame: f.frame, At: w.now})
	}
	if d.late {
		d.late = false
		d.step(node.Tick{})
	}
}

// receive gives the process what its sockets let through.
func (d *director) receive(n *nic, frame []byte, eth proto.Ethernet) {
	if !d.alive {
		return
	}
	if netlab.IsControl(eth) || d.serves(n, eth) {
		w := d.h.w
		d.woken = max(d.woken, w.now+wakeDelay+w.jitter(wakeJitter)) // a ring is read in order
		w.at(d.woken-w.now, event{what: process, nic: n, frame: frame, gen: d.gen})
	}
}

// serves tells whether a packet is for a virtual service.
func (d *director) serves(n *nic, eth proto.Ethernet) bool {
	if !d.alive || len(d.services)+len(d.marks) == 0 || eth.Type() != proto.EtherTypeIPv4 || !n.takes(eth.Dst()) {
		return false
	}
	ip, err := proto.ParseIPv4(eth.Payload())
	if err != nil {
		return false
	}
	if len(d.marks) > 0 && d.marks[d.n.Forwarder().MarkOf(int32(n.port), ip)] {
		return true
	}
	_, to, ok := proto.Ports(ip.Payload())
	every := target{ip.Protocol(), netip.AddrPortFrom(ip.Dst(), 0)}
	return ok && (d.services[target{ip.Protocol(), netip.AddrPortFrom(ip.Dst(), to)}] || d.services[every])
}

func (n *nic) wake(e *event) {
	h := n.host
	d := h.dir
	switch {
	case !d.alive || d.gen != e.gen:
		return
	case d.frozen:
		if len(d.rx) < rxFrames {
			d.rx = append(d.rx, received{n, e.frame})
		}
		return
	}
	eth := proto.Ethernet(e.frame)
	if !d.serves(n, eth) {
		d.step(node.Received{Port: n.port, Frame: e.frame, At: h.w.now})
		return
	}
	d.batch.Reset()
	d.n.Frame(h.w.now, n.port, nil, e.frame, &d.batch)
	switch v := d.batch.Verdicts[0]; v.Fate {
	case node.Forwarded:
		h.w.send(h.nics[v.Port-1], e.frame)
	case node.Delivered:
		h.packet(eth)
	}
	d.carry(d.batch.Actions)
	d.schedule()
}

func (h *host) tick(gen int) {
	d := h.dir
	if !d.alive || d.gen != gen {
		return
	}
	d.ticking = false
	if d.frozen {
		d.late = true
		return
	}
	if at, ok := d.n.Deadline(); ok && at <= h.w.now {
		d.step(node.Tick{})
		if again, ok := d.n.Deadline(); !ok || again > at {
			d.idle = 0
		} else if d.idle++; d.idle > mostIdle {
			h.w.violate(h.w.now, "timer", fmt.Sprintf("the deadline %v of %s is over, and it does nothing about it", at, h.name))
		}
		return
	}
	d.schedule()
}

func (d *director) step(ev node.Event) {
	if !d.alive {
		return
	}
	d.carry(d.n.Step(d.h.w.now, ev, nil))
	d.schedule()
}

// schedule wakes the process at its deadline, a little late as the kernel does.
func (d *director) schedule() {
	at, ok := d.n.Deadline()
	if !ok || !d.alive || d.ticking && d.tickAt <= at {
		return
	}
	w := d.h.w
	d.ticking, d.tickAt = true, at
	w.at(max(0, at-w.now)+w.jitter(wakeJitter), event{what: tick, host: d.h, gen: d.gen})
}

func (d *director) linkChanged(n *nic) {
	d.step(node.LinkChanged{Port: n.port, MAC: n.mac, Up: n.linkUp})
}

// carry does what the node asks for, in order. What follows from it is told afterwards.
func (d *director) carry(actions []node.Action) {
	w := d.h.w
	var then []func()
	for _, a := range actions {
		switch a := a.(type) {
		case node.Send:
			if a.Port > 0 {
				w.send(d.h.nics[a.Port-1], a.Frame)
			} else {
				d.h.packet(proto.Ethernet(a.Frame))
			}
		case node.AddAddress:
			w.say(d.h, "adds %v", a.Prefix)
			then = append(then, func() { d.h.nicNamed(a.Device).setAddr(a.Device, a.Prefix, true) })
		case node.RemoveAddress:
			w.say(d.h, "removes %v", a.Prefix)
			then = append(then, func() { d.h.nicNamed(a.Device).setAddr(a.Device, a.Prefix, false) })
		case node.BlockAddresses:
			d.block(a.Addresses, 1)
		case node.UnblockAddresses:
			then = append(then, func() { d.block(a.Addresses, -1) })
		case node.RunCheck:
			d.runCheck(a.Check)
		case node.RunScript:
			d.runScript(a.Script)
		case node.SendBFD:
			d.h.sendBFD(a)
		case node.Changed:
			d.transition(a)
		default:
			d.note(a)
		}
	}
	for _, f := range then {
		f()
	}
}

// block drops packets to addresses, or ends that.
func (d *director) block(list []config.Address, by int) {
	for _, a := range list {
		d.blocked[a.Prefix.Addr()] += by
	}
}

func (d *director) transition(a node.Changed) {
	w := d.h.w
	state := a.To.String()
	d.states[a.Instance] = state
	d.log = append(d.log, fmt.Sprintf("(%s) Entering %s STATE", a.Instance, state))
	w.say(d.h, "%s %v: %v", a.Instance, a.Changed, a.Cause)
	w.trace = append(w.trace, Transition{w.now, d.h.name, a.Instance, state, a.Cause.String()})
	w.changed = true
	w.judge.State(w.now, d.h.name, a.Instance, state, a.Cause.String())
	w.record.State(w.now, d.h.name, a.Instance, state, a.Cause.String())
}

// note keeps what conditions may ask for.
func (d *director) note(a node.Action) {
	w := d.h.w
	text := ""
	switch a := a.(type) {
	case node.Notify:
		text = strings.Join(append(slices.Clone(a.Command.Args), a.Extra...), " ")
	case node.Mail:
		text = "mails " + a.Subject
	case node.ServerChanged:
		verb := map[bool]string{true: "Enabling", false: "Disabling"}
		if !a.Inhibit {
			verb = map[bool]string{true: "Adding", false: "Removing"}
		}
		text = fmt.Sprintf("%s service %v: %s", verb[a.Up], a.Server, a.Reason)
	case node.QuorumChanged:
		text = map[bool]string{true: "Gained", false: "Lost"}[a.Up] + " quorum of " + a.Service
	case node.AddRoute:
		text = "adds route " + a.Route.String()
	case node.RemoveRoute:
		text = "removes route " + a.Route.String()
	case node.AddRule:
		text = "adds rule " + a.Rule.String()
	case node.RemoveRule:
		text = "removes rule " + a.Rule.String()
	case node.Restored:
		text = fmt.Sprintf("put %v back", a.Addr)
	case node.Late:
		text = fmt.Sprintf("advertisement late: %v after its time, %d others since the last such line", a.By, a.More)
	case node.Refused:
		text = fmt.Sprintf("refused %v: %v: %s", a.Src, a.Verdict, a.Why)
	case node.Tally:
		text = a.String()
	case node.FileChanged:
		text = fmt.Sprintf("track_file %s says %d", a.File, a.Value)
	case node.QuorumOfProcess:
		text = fmt.Sprintf("process %s: %d running", a.Process, a.Count)
	case node.GroupChanged:
		text = fmt.Sprintf("VRRP_Group(%s) Syncing instances to %v state", a.Group, a.State)
	case node.BFDChanged:
		text = fmt.Sprintf("(%s) Entering %v state: %v", a.Session, a.To, a.Cause)
	case node.BFDRefused:
		text = fmt.Sprintf("BFD packet of %v refused: %s", a.From, a.Why)
	case node.ScriptChanged:
		text = fmt.Sprintf("script %s: up=%v %s", a.Script, a.Up, a.Reason)
	case node.PriorityChanged:
		w.judge.Priority(w.now, d.h.name, a.Instance, a.To)
		w.record.Priority(w.now, d.h.name, a.Instance, a.To)
		text = fmt.Sprintf("priority %d to %d", a.From, a.To)
	default:
		return
	}
	d.log = append(d.log, text)
	w.say(d.h, "%s", text)
	w.changed = true
}

// write changes a file, of which the process is told if it tracks it.
func (d *director) write(path, text string) {
	d.files[path] = text
	if !d.alive {
		return
	}
	for i, f := range d.n.Files() {
		if f != nil && f.File == path {
			d.readFile(i, path)
		}
	}
}

func (d *director) readFile(i int, path string) {
	value, err := strconv.ParseInt(strings.TrimSpace(d.files[path]), 0, 32)
	if errors.Is(err, strconv.ErrRange) { // the old one stays
		return
	}
	d.step(node.FileRead{File: i, Value: int(value)})
}

// runScript ends as the scenario says that the script does.
func (d *director) runScript(i int) {
	sc := d.n.Script(i)
	after, code := scriptTime, 1
	switch d.script[sc.Name] {
	case "hang":
		after = sc.Timeout
	case "fail":
		code = 0
	default:
		code = 2
	}
	d.h.w.at(after, event{what: scripted, host: d.h, n: i<<2 | code, gen: d.loaded})
}

func (h *host) scriptDone(e *event) {
	if d := h.dir; d.alive && d.loaded == e.gen && !d.frozen {
		ok := e.n&3 == 2
		d.step(node.ScriptDone{Script: e.n >> 2, OK: ok, Reason: map[bool]string{true: "exit status 0", false: "exit status 1"}[ok]})
	}
}
