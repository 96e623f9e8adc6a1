package bench

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
)

// Kind is what a case measures.
type Kind string

// The kinds.
const (
	Forward        Kind = "Forward"        // frames of established flows, more than can be forwarded
	NewConnections Kind = "NewConnections" // every frame is the SYN of another flow
	PingPong       Kind = "PingPong"       // one UDP datagram and its answer at a time
	HalfLoad       Kind = "HalfLoad"       // latency while half of what is possible comes
	Bulk           Kind = "Bulk"           // one TCP stream with default offloads
	Rest           Kind = "Rest"           // a daemon without traffic
)

// Case is one thing that is measured, in every round once.
type Case struct {
	Kind      Kind
	Forwarder string
	Method    string // of Ringkeep and IPVS: DR, NAT or TUN
	Scheduler string // of Ringkeep and IPVS
	Frame     int    // bytes, see [Traffic]
	Flows     int
	Through   bool // the answers go through the forwarder, too
}

// Name is the case in Go's benchmark format, with keys and values as benchstat groups by them.
func (c Case) Name() string { return string(c.Kind) + "/forwarder=" + c.Forwarder + c.suffix() }

func (c Case) suffix() string {
	var b strings.Builder
	if director(c.Forwarder) {
		fmt.Fprintf(&b, "/method=%s/scheduler=%s", c.Method, c.Scheduler)
	}
	b.WriteString(c.group())
	return b.String()
}

// group is what cases that are compared with each other have in common.
func (c Case) group() string {
	var b strings.Builder
	switch c.Kind {
	case Forward:
		fmt.Fprintf(&b, "/frame=%s/flows=%d", c.frame(), c.Flows)
	case HalfLoad:
		fmt.Fprintf(&b, "/flows=%d", c.Flows)
	case PingPong, Bulk:
		way := "direct"
		if c.Through {
			way = "through"
		}
		b.WriteString("/answers=" + way)
	}
	return b.String()
}

func (c Case) frame() string {
	if c.Frame == Super {
		return "super"
	}
	return fmt.Sprint(c.Frame)
}

// protocol is that of the service, as in a keepalived.conf.
func (c Case) protocol() string {
	if c.traffic().Protocol == proto.ProtocolTCP {
		return "TCP"
	}
	return "UDP"
}

func (c Case) traffic() Traffic {
	t := Traffic{Protocol: proto.ProtocolUDP, Frame: c.Frame, Flows: c.Flows}
	if c.Kind == NewConnections || c.Kind == Bulk || c.Kind == Forward && c.Frame == Super {
		t.Protocol = proto.ProtocolTCP
	}
	return t
}

// Sizes of the plan.
const (
	someFlows  = 10_000
	manyFlows  = 1_000_000
	superFlows = 1_000
	scheduler  = "wlc"
	overflow   = "ovf"
	ovfFlows   = 120_000
)

// plan lists the cases, those that are compared beside each other.
func plan(o Options) []Case {
	p := &planner{options: o}
	p.forwarding()
	p.connections()
	p.answers()
	half := manyFlows
	if o.Quick {
		half = someFlows
	}
	if slices.Contains(o.Methods, "DR") { // the watcher knows frames by their destination
		p.add(Case{Kind: HalfLoad, Forwarder: Ringkeep, Method: "DR", Frame: 64, Flows: half})
		p.add(Case{Kind: HalfLoad, Forwarder: GoBare, Frame: 64, Flows: half})
		p.add(Case{Kind: HalfLoad, Forwarder: CBare, Frame: 64, Flows: half})
	}
	p.add(Case{Kind: Rest, Forwarder: Ringkeep})
	return p.cases
}

type planner struct {
	options Options
	cases   []Case
}

// add takes a case in, of a director with wlc and the first method unless it says otherwise.
func (p *planner) add(c Case) {
	if director(c.Forwarder) {
		if c.Scheduler == "" {
			c.Scheduler = scheduler
		}
		if c.Method == "" {
			c.Method = p.options.Methods[0]
		}
	}
	if p.options.Only == nil || p.options.Only.MatchString(c.Name()) {
		p.cases = append(p.cases, c)
	}
}

// forwarding varies one thing at a time around 64 bytes and 10,000 flows.
func (p *planner) forwarding() {
	for _, m := range p.options.Methods {
		for _, f := range []string{Ringkeep, IPVS} {
			p.add(Case{Kind: Forward, Forwarder: f, Method: m, Frame: 64, Flows: someFlows})
		}
	}
	for _, f := range []string{GoBare, CBare, GoNaive, Kernel} {
		p.add(Case{Kind: Forward, Forwarder: f, Frame: 64, Flows: someFlows})
	}
	flows := []int{1, manyFlows}
	if p.options.Quick {
		flows = []int{1}
	}
	for _, n := range flows {
		for _, f := range []string{Ringkeep, IPVS, GoBare, CBare} {
			p.add(Case{Kind: Forward, Forwarder: f, Frame: 64, Flows: n})
		}
	}
	for _, f := range []string{Ringkeep, IPVS, GoBare, CBare, Kernel} {
		p.add(Case{Kind: Forward, Forwarder: f, Frame: 1500, Flows: someFlows})
	}
	for _, f := range []string{Ringkeep, CVNet} {
		p.add(Case{Kind: Forward, Forwarder: f, Frame: Super, Flows: superFlows})
	}
}

// connections has every scheduler place new ones.
func (p *planner) connections() {
	names := sched.Names
	if p.options.Quick {
		names = []string{scheduler}
	}
	for _, name := range names {
		flows := manyFlows
		if name == overflow {
			flows = ovfFlows
		}
		for _, f := range []string{Ringkeep, IPVS} {
			p.add(Case{Kind: NewConnections, Forwarder: f, Scheduler: name, Frame: 64, Flows: flows})
		}
	}
}

// answers are the cases with a server that answers. With NAT its answers come back through the
// director, and so they do to what it is compared with.
func (p *planner) answers() {
	for _, through := range []bool{false, true} {
		methods := slices.DeleteFunc(slices.Clone(p.options.Methods), func(m string) bool { return (m == "NAT") != through || m == "TUN" })
		if len(methods) == 0 {
			continue
		}
		for _, kind := range []Kind{PingPong, Bulk} {
			for _, m := range methods {
				for _, f := range []string{Ringkeep, IPVS} {
					p.add(Case{Kind: kind, Forwarder: f, Method: m, Through: through})
				}
			}
			others := []string{GoBare, CBare, Kernel}
			if kind == Bulk {
				others = []string{CVNet, Kernel}
			}
			for _, f := range others {
				p.add(Case{Kind: kind, Forwarder: f, Through: through})
			}
		}
	}
}
