package netlab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/netlab/report"
	"github.com/ringkeep/ringkeep/proto"
)

// Reader says in words what the instances of a node make of a frame that arrives on an
// interface; states tells where an instance stands, and its effective priority.
type Reader interface {
	Verdict(iface string, frame []byte, states func(instance string) (state string, priority uint8)) string
}

// Record collects what a back end sees of a run, for its report. A nil Record collects
// nothing. It may be told things from several goroutines, and a little out of order.
type Record struct {
	mu      sync.Mutex
	run     report.Run
	now     map[place]report.State
	routers map[place]Router
	readers map[string]Reader
	open    map[string]int // what opened a fault, to its place in the list
}

// place is an instance of a node.
type place struct{ node, instance string }

// NewRecord makes a record of a run of a scenario. clock says how time passes in it.
func NewRecord(s *Scenario, clock string) *Record {
	return &Record{
		run: report.Run{Scenario: s.Name, Drawing: s.Drawing, Clock: clock},
		now: map[place]report.State{}, routers: map[place]Router{}, readers: map[string]Reader{}, open: map[string]int{},
	}
}

// Machine tells a host of the lab; a node comes with its instances and its reader.
func (r *Record) Machine(m Machine, routers []Router, reader Reader) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Hosts = append(r.run.Hosts, report.Host{Name: m.Name, Kind: m.Kind})
	r.instances(m.Name, routers, reader)
}

// Instances tells those that a node has from now on.
func (r *Record) Instances(node string, routers []Router, reader Reader) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instances(node, routers, reader)
}

func (r *Record) instances(node string, routers []Router, reader Reader) {
	for _, router := range routers {
		r.routers[place{node, router.Instance}] = router
	}
	if reader != nil {
		r.readers[node] = reader
	}
}

// State tells a transition.
func (r *Record) State(at time.Duration, node, instance, state, cause string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := place{node, instance}
	router := r.routers[m]
	s := report.State{At: at, Node: node, Instance: instance, VRID: router.VRID, Name: state, Priority: router.Priority, Cause: cause}
	if old := r.now[m]; old.Priority != 0 {
		s.Priority = old.Priority
	}
	r.put(m, s)
	if state == "BACKUP" {
		r.run.Timers = append(r.run.Timers, report.Timer{At: at, Until: at + router.Down, Node: node, Instance: instance})
	}
}

func (r *Record) put(m place, s report.State) {
	r.now[m] = s
	r.run.States = append(r.run.States, s)
}

// Priority tells a new effective priority.
func (r *Record) Priority(at time.Duration, node, instance string, priority uint8) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := place{node, instance}
	s := r.now[m]
	s.At, s.Node, s.Instance, s.Priority, s.Cause = at, node, instance, priority, "tracking"
	r.put(m, s)
}

// Gone tells that the process of a node has ended.
func (r *Record) Gone(at time.Duration, node string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for m, s := range r.now {
		if m.node == node && s.Name != "" {
			s.At, s.Name, s.Cause, s.Priority = at, "", "", r.routers[m].Priority
			r.put(m, s)
		}
	}
}

// Hold tells that a node got or lost an address.
func (r *Record) Hold(at time.Duration, node string, a netip.Addr, present bool) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Holdings = append(r.run.Holdings, report.Holding{At: at, Node: node, Addr: a, Present: present})
}

// Verdict is what a node makes of a frame on an interface, as far as is known of it.
func (r *Record) Verdict(node, iface string, frame []byte) string {
	if r == nil || r.readers[node] == nil || !r.runs(node) {
		return ""
	}
	return r.readers[node].Verdict(iface, frame, func(instance string) (string, uint8) {
		r.mu.Lock()
		defer r.mu.Unlock()
		s := r.now[place{node, instance}]
		return s.Name, s.Priority
	})
}

// runs tells whether any instance of a node is in a state.
func (r *Record) runs(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m, s := range r.now {
		if m.node == node && s.Name != "" {
			return true
		}
	}
	return false
}

// Packet tells a control packet that a host put on the wire, with its deliveries, and
// returns it with what it says and who its sender was.
func (r *Record) Packet(at time.Duration, number int, from string, eth proto.Ethernet, to []report.Delivery) report.Packet {
	p := report.Packet{At: at, Number: number, From: from, To: to}
	if r == nil {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := ParseResolution(eth); ok || eth.Type() == proto.EtherTypeARP {
		r.describeResolution(&p, a, ok)
	} else {
		r.describeVRRP(&p, eth)
	}
	r.run.Packets = append(r.run.Packets, p)
	for _, d := range to {
		r.restart(at, d)
	}
	return p
}

// describeResolution tells ARP and neighbour discovery, which the report calls by the
// shorter name.
func (r *Record) describeResolution(p *report.Packet, a Resolution, ok bool) {
	p.Kind = "arp"
	switch {
	case !ok:
		p.Text = "malformed"
		return
	case a.Question:
		p.Text = fmt.Sprintf("who has %v, tell %v", a.Addr, a.Asker)
		return
	case a.Gratuitous:
		p.Text = fmt.Sprintf("gratuitous: %v is at %v", a.Addr, a.MAC)
	default:
		p.Text = fmt.Sprintf("%v is at %v", a.Addr, a.MAC)
	}
	if r.virtual(a.Addr) {
		r.run.Answers = append(r.run.Answers, report.Answer{At: p.At, Node: p.From, Addr: a.Addr, Gratuitous: a.Gratuitous})
	}
}

// virtual tells whether an address is one of any instance's.
func (r *Record) virtual(a netip.Addr) bool {
	for _, router := range r.routers {
		if slices.Contains(router.VIPs, a) {
			return true
		}
	}
	return false
}

func (r *Record) describeVRRP(p *report.Packet, eth proto.Ethernet) {
	p.Kind = "vrrp"
	ip, v, err := ParseVRRP(eth)
	if err != nil {
		p.Text = err.Error()
		return
	}
	p.VRID, p.Priority = v.VRID(), v.Priority()
	p.Text = fmt.Sprintf("VRID %d priority %d", p.VRID, p.Priority)
	if p.Priority == 0 {
		p.Text += ": leaves"
	}
	for m, router := range r.routers {
		if m.node == p.From && router.VRID == p.VRID && ip.Src() == router.Addr {
			p.Sender = "MASTER of " + m.instance // who advertises is, whatever its log has said so far
		}
	}
}

// restart notes that an advertisement started the master down timer of a receiver.
func (r *Record) restart(at time.Duration, d report.Delivery) {
	const words = "resets the master down timer of "
	if i := strings.Index(d.Verdict, words); i >= 0 {
		instance, _, _ := strings.Cut(strings.Fields(d.Verdict[i+len(words):])[0], ":")
		router := r.routers[place{d.Host, instance}]
		r.run.Timers = append(r.run.Timers, report.Timer{At: at, Until: at + router.Down, Node: d.Host, Instance: instance})
	}
}

// Comment is what the capture says of a packet: the sender's state, and what became of
// it at each host that has something to say.
func Comment(p report.Packet) string {
	var lines []string
	if p.Sender != "" {
		lines = append(lines, "from "+p.From+": "+p.Sender)
	}
	for _, d := range p.To {
		switch {
		case d.Lost != "":
			lines = append(lines, "to "+d.Host+": dropped by: "+d.Lost)
		case d.Verdict != "":
			lines = append(lines, "to "+d.Host+": "+d.Verdict)
		}
	}
	return strings.Join(lines, "\n")
}

// faultKey tells whether a statement begins or ends a fault, and which: its key is the
// word that ends it, and what it is done to.
func faultKey(w []string) (key string, begins, ends bool) {
	switch w[0] {
	case "drop", "duplicate", "delay", "reorder", "corrupt", "partition":
		return "heal " + strings.Join(w, " "), true, false
	case "heal":
		return "heal ", false, true
	case "link":
		return "link " + w[1] + strings.Join(w[3:], ""), w[2] == "down", w[2] == "up"
	case "iface":
		return "iface " + w[1] + w[2], w[3] == "delete", w[3] == "create"
	case "freeze", "starve", "thaw":
		return "freeze " + w[1], w[0] != "thaw", w[0] == "thaw"
	case "kill", "crash", "stop":
		return "up " + w[1], true, false
	case "up":
		return "up ", false, true
	case "script":
		return "script " + w[1] + w[2], w[3] != "ok", w[3] == "ok"
	case "serve", "unserve":
		return "serve " + strings.Join(w[1:], ""), w[0] == "unserve", w[0] == "serve"
	}
	return "", false, false
}

// Step tells a statement that is carried out.
func (r *Record) Step(at time.Duration, st Statement) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := st.Words
	switch w[0] {
	case "lan", "host", "router", "realserver", "node", "needs", "repeat", "sweep", "tolerate":
		return // nothing that happens
	}
	r.run.Steps = append(r.run.Steps, report.Step{At: at, Text: st.String()})
	key, begins, ends := faultKey(w)
	if ends {
		for k, i := range r.open {
			over := k == key || w[0] == "heal" && strings.HasPrefix(k, key)
			if w[0] == "up" {
				over = strings.HasPrefix(k, key) && slices.Contains(w[1:], strings.TrimPrefix(k, key))
			}
			if over {
				r.run.Faults[i].To = at
				delete(r.open, k)
			}
		}
	}
	if _, ok := r.open[key]; begins && !ok {
		r.open[key] = len(r.run.Faults)
		r.run.Faults = append(r.run.Faults, report.Fault{From: at, To: -1, Text: st.String(), Hosts: r.hostsIn(w)})
	}
}

func (r *Record) hostsIn(words []string) (list []string) {
	for _, h := range r.run.Hosts {
		if slices.Contains(words[1:], h.Name) {
			list = append(list, h.Name)
		}
	}
	return list
}

// Breach tells an invariant that was hurt, and returns the numbers of the packets that
// show it: the last ones of the hosts that it speaks of.
func (r *Record) Breach(at time.Duration, invariant, text string) (packets []int) {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	words := strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" ,()", c) })
	for _, h := range r.run.Hosts {
		for i := len(r.run.Packets) - 1; i >= 0 && slices.Contains(words, h.Name); i-- {
			if p := r.run.Packets[i]; p.From == h.Name && p.At <= at {
				packets = append(packets, p.Number)
				break
			}
		}
	}
	r.run.Breaches = append(r.run.Breaches, report.Breach{At: at, Invariant: invariant, Text: text, Packets: packets})
	return packets
}

// Packets names packets of the capture in a message, if there are any.
func Packets(numbers []int) string {
	if len(numbers) == 0 || numbers[0] == 0 {
		return ""
	}
	return " (packets " + strings.Trim(fmt.Sprint(numbers), "[]") + ")"
}

// AddGap adds the time between two answers if it is a gap: longer than some questions,
// and than what a busy machine adds.
func AddGap(gaps []report.Gap, from, to, every time.Duration) []report.Gap {
	if to-from < max(20*time.Millisecond, 3*every) || len(gaps) >= mostGaps {
		return gaps
	}
	return append(gaps, report.Gap{From: from, To: to})
}

const mostGaps = 1000

// Flow tells a client's traffic, when it has ended.
func (r *Record) Flow(f report.Flow) {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.run.Flows = append(r.run.Flows, f)
	}
}

// Report is what was collected until elapsed. What is told afterwards is no part of it.
func (r *Record) Report(elapsed time.Duration, failure error, measures []report.Measure, capture string) *report.Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := &r.run
	run.Elapsed, run.Measures, run.Capture = elapsed, measures, capture
	if failure != nil {
		run.Failure = failure.Error()
	}
	for _, i := range r.open {
		run.Faults[i].To = elapsed
	}
	sortByTime(run.States, func(s report.State) time.Duration { return s.At })
	sortByTime(run.Timers, func(t report.Timer) time.Duration { return t.At })
	sortByTime(run.Holdings, func(h report.Holding) time.Duration { return h.At })
	sortByTime(run.Answers, func(a report.Answer) time.Duration { return a.At })
	sortByTime(run.Packets, func(p report.Packet) time.Duration { return p.At })
	slices.SortFunc(run.Flows, func(a, b report.Flow) int { return cmp.Compare(a.Name, b.Name) })
	return r.copy()
}

func sortByTime[T any](list []T, at func(T) time.Duration) {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(at(a), at(b)) })
}
