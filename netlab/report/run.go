// Package report shows what a lab saw of a run: as one HTML file, as SVG, and as text
// for a terminal.
package report

import (
	"net/netip"
	"time"
)

// Run is what was seen. Times count from the start of the lab. The lists are in the
// order of time unless they say otherwise.
type Run struct {
	Scenario string   // its file
	Drawing  []string // its comment at the beginning, without the marks
	Clock    string   // how time passed: "real time, in namespaces" or "virtual time, seed 7"
	Elapsed  time.Duration
	Failure  string // "" if it passed
	Capture  string // the path of the capture, "" without one

	Hosts    []Host // as declared: the columns of the ladder
	States   []State
	Timers   []Timer
	Holdings []Holding
	Answers  []Answer
	Packets  []Packet
	Lost     int // packets that Packets lacks because there were too many
	Faults   []Fault
	Flows    []Flow
	Steps    []Step
	Breaches []Breach
	Measures []Measure
}

// Host is a machine of the lab.
type Host struct {
	Name string
	Kind string // ringkeep, keepalived, frr, host, realserver, router
}

// State is the state of an instance from then on.
type State struct {
	At             time.Duration
	Node, Instance string
	VRID           uint8
	Name           string // MASTER, BACKUP, FAULT, INIT; "" once the process is gone
	Priority       uint8  // the effective one
	Cause          string
}

// Timer says that the master down timer of an instance was started: at Until it runs out.
type Timer struct {
	At, Until      time.Duration
	Node, Instance string
}

// Holding is a virtual address that a node got or lost.
type Holding struct {
	At      time.Duration
	Node    string
	Addr    netip.Addr
	Present bool
}

// Answer is a node that answered or announced an address by ARP.
type Answer struct {
	At         time.Duration
	Node       string
	Addr       netip.Addr
	Gratuitous bool
}

// Packet is one control packet: VRRP or ARP.
type Packet struct {
	At       time.Duration
	Number   int    // in the capture, from 1; 0 without one
	From     string // host
	Kind     string // vrrp or arp
	Text     string // what it says, in one line
	Sender   string // what the sender was then, such as "MASTER of VI_1"
	VRID     uint8  // of an advertisement
	Priority uint8
	To       []Delivery
}

// Delivery is what became of a packet at one host.
type Delivery struct {
	Host    string
	Lost    string // what dropped it on the way, "" if it arrived
	Verdict string // what the receiver made of it, such as "accepted" or "ignored: …"; "" if nothing can be said
}

// Fault is a fault of the scenario while it was in force.
type Fault struct {
	From, To time.Duration
	Text     string // the statement
	Hosts    []string
}

// Flow is a client's traffic.
type Flow struct {
	Name, Host       string
	Text             string // what it did: "probe http 10.0.0.100:80"
	From, To         time.Duration
	Answered, Failed int
	Gaps             []Gap // that were longer than usual
}

// Gap is a time without an answer.
type Gap struct{ From, To time.Duration }

// Step is a statement of the scenario that was carried out.
type Step struct {
	At   time.Duration
	Text string
}

// Breach is an invariant that was hurt.
type Breach struct {
	At        time.Duration
	Invariant string // its name
	Text      string
	Packets   []int // numbers of the packets that show it
}

// Measure is what an expectation found.
type Measure struct {
	Text           string
	Got, Low, High time.Duration
	Late           time.Duration // more than High that is the machine's: its processes had to wait
}
