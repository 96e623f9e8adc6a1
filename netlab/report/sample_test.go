package report

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const ms = time.Millisecond

var vip = netip.MustParseAddr("10.0.0.100")

// tale writes down a run: two directors, a crash and a return, a partition and what comes
// of it. Its times are those of RFC 9568 for priorities 150 and 100 and 1 s.
type tale struct{ *Run }

const (
	down1 = 3*time.Second + 414062500*time.Nanosecond // of lb1: 3 × 1s + (256-150)/256 s
	down2 = 3*time.Second + 609375*time.Microsecond   // of lb2
)

func (t tale) state(at time.Duration, node, name string, priority uint8, cause string) {
	t.States = append(t.States, State{at, node, "VI_1", 51, name, priority, cause})
	if had := t.holds(node); had != (name == "MASTER") {
		t.Holdings = append(t.Holdings, Holding{at + ms/5, node, vip, !had})
	}
}

func (t tale) holds(node string) bool {
	has := false
	for _, h := range t.Holdings {
		if h.Node == node {
			has = h.Present
		}
	}
	return has
}

func (t tale) packet(at time.Duration, p Packet) {
	p.At = at
	t.Packets = append(t.Packets, p)
}

// announce is the five gratuitous ARPs of a new MASTER.
func (t tale) announce(at time.Duration, node string, lost map[string]string) {
	for i := range time.Duration(5) {
		t.Answers = append(t.Answers, Answer{at + i*ms/4, node, vip, true})
		p := Packet{From: node, Kind: "arp", Text: "gratuitous ARP: 10.0.0.100 is at 02:00:00:00:00:0" + node[2:], Sender: "MASTER of VI_1"}
		for _, h := range t.Hosts {
			if h.Name != node {
				p.To = append(p.To, Delivery{Host: h.Name, Lost: lost[h.Name]})
			}
		}
		t.packet(at+i*ms/4, p)
	}
}

// adverts sends from a time to another, every second; verdict is what the other director
// makes of them, and whether it starts its timer again.
func (t tale) adverts(from, to time.Duration, node, verdict string, lost map[string]string) {
	priority := map[string]uint8{"lb1": 150, "lb2": 100}[node]
	for at := from; at < to; at += time.Second {
		p := Packet{From: node, Kind: "vrrp", VRID: 51, Priority: priority, Sender: "MASTER of VI_1",
			Text: fmt.Sprintf("VRRPv2 advertisement, VRID 51, priority %d, every 1s, 10.0.0.100", priority)}
		for _, h := range t.Hosts {
			d := Delivery{Host: h.Name, Lost: lost[h.Name]}
			if strings.HasPrefix(h.Name, "lb") && d.Lost == "" {
				d.Verdict = verdict
			}
			if h.Name != node {
				p.To = append(p.To, d)
			}
		}
		t.packet(at, p)
		if verdict == "accepted" && lost["lb2"] == "" && node == "lb1" {
			t.Timers = append(t.Timers, Timer{at + ms/10, at + ms/10 + down2, "lb2", "VI_1"})
		}
	}
}

func sample() *Run {
	t := tale{&Run{
		Scenario: "netlab/scenarios/crash-and-split.txtar",
		Drawing: []string{
			"           lan",
			" client ────┬──── lb1  priority 150  10.0.0.11 ┐  director: VRRP and LVS/DR",
			"            ├──── lb2  priority 100  10.0.0.12 ┘  VIP 10.0.0.100, udp/9",
			"            └──── rs1  10.0.0.21     real server, the VIP on lo",
			"",
			"Two directors elect a MASTER. It loses power: the other takes over.",
			"It comes back and preempts. Then the network is cut between them.",
		},
		Clock:   "virtual time, seed 7",
		Elapsed: 33 * time.Second,
		Failure: "two-masters: lb1 and lb2 hear each other and are both MASTER of VRID 51 since 28s",
		Capture: "lab-crash-and-split/lab.pcapng",
		Hosts:   []Host{{"client", "host"}, {"lb1", "ringkeep"}, {"lb2", "ringkeep"}, {"rs1", "realserver"}},
	}}
	t.election()
	t.crash()
	t.split()
	inOrder(t.Packets, func(p Packet) time.Duration { return p.At })
	for i := range t.Packets {
		t.Packets[i].Number = 3*i + 1 // there is other traffic between
	}
	t.judged()
	return t.Run
}

func (t tale) step(at time.Duration, text string) { t.Steps = append(t.Steps, Step{at, text}) }

func (t tale) election() {
	t.step(0, "lan lan")
	t.step(0, "host client lan:eth0 10.0.0.1/24")
	t.step(20*ms, "up lb1 lb2")
	t.step(20*ms, "wait 6s lb1 state MASTER")
	t.Timers = append(t.Timers, Timer{50 * ms, 50*ms + down1, "lb1", "VI_1"}, Timer{52 * ms, 52*ms + down2, "lb2", "VI_1"})
	t.state(40*ms, "lb1", "INIT", 150, "startup")
	t.state(42*ms, "lb2", "INIT", 100, "startup")
	t.state(50*ms, "lb1", "BACKUP", 150, "startup, priority 150")
	t.state(52*ms, "lb2", "BACKUP", 100, "startup, priority 100")
	t.state(50*ms+down1, "lb1", "MASTER", 150, "the master down timer ran out, 3.414s after startup")
	t.announce(3466*ms, "lb1", nil)
	t.step(3470*ms, "probe every-ms client udp 10.0.0.100:9")
	t.Answers = append(t.Answers, Answer{3490 * ms, "lb1", vip, false})
	t.adverts(3465*ms, 9500*ms, "lb1", "accepted", nil)
	t.step(9470*ms, "mark")
}

func (t tale) crash() {
	t.step(9471*ms, "crash lb1")
	t.Faults = append(t.Faults, Fault{9471 * ms, 15 * time.Second, "crash lb1", []string{"lb1"}})
	t.state(9471*ms, "lb1", "", 0, "killed")
	t.step(9472*ms, "wait 6s lb2 state MASTER")
	at := 8465*ms + time.Second + ms/10 + down2
	t.state(at, "lb2", "MASTER", 100, "the master down timer ran out, 3.609s after the last packet of 10.0.0.11")
	t.announce(at+ms, "lb2", nil)
	t.adverts(at+ms/2, 15*time.Second, "lb2", "", nil)
	t.adverts(at+ms/2+2*time.Second, 18480*ms, "lb2", "ignored: priority 100 is lower than ours, 150, and we preempt", nil)
	t.Answers = append(t.Answers, Answer{at + 20*ms, "lb2", vip, false})
	t.step(13100*ms, "expect gap every-ms 3.5s 3.709s")
	t.step(15*time.Second, "up lb1")
	t.state(15020*ms, "lb1", "INIT", 150, "startup")
	t.state(15030*ms, "lb1", "BACKUP", 150, "startup, priority 150")
	t.Timers = append(t.Timers, Timer{15030 * ms, 15030*ms + down1, "lb1", "VI_1"})
	back := 15030*ms + down1
	t.state(back, "lb1", "MASTER", 150, "the master down timer ran out, 3.414s after startup")
	t.announce(back+ms, "lb1", nil)
	t.adverts(back+ms/2, 22*time.Second, "lb1", "accepted", nil)
	t.state(back+ms, "lb2", "BACKUP", 100, "heard priority 150 of 10.0.0.11, higher than 100")
}

func (t tale) split() {
	cut := map[string]string{"lb2": "partition client lb1 rs1 | lb2"}
	rest := map[string]string{"client": cut["lb2"], "lb1": cut["lb2"], "rs1": cut["lb2"]}
	t.step(22*time.Second, "partition client lb1 rs1 | lb2")
	t.Faults = append(t.Faults, Fault{22 * time.Second, 28 * time.Second, cut["lb2"], []string{"client", "lb1", "rs1", "lb2"}})
	t.adverts(22444*ms, 28*time.Second, "lb1", "accepted", cut)
	at := 21444*ms + 3*ms/5 + down2
	t.state(at, "lb2", "MASTER", 100, "the master down timer ran out, 3.609s after the last packet of 10.0.0.11")
	t.announce(at+ms, "lb2", rest)
	t.adverts(at+ms/2, 28*time.Second, "lb2", "accepted", rest)
	t.step(28*time.Second, "heal")
	t.step(28*time.Second, "wait 4s lb2 state BACKUP")
	t.adverts(28444*ms, 30*time.Second, "lb1", "refused: authentication differs", nil)
	t.adverts(28055*ms, 30*time.Second, "lb2", "ignored: priority 100 is lower than ours, 150", nil)
	t.Answers = append(t.Answers, Answer{29 * time.Second, "lb1", vip, false}, Answer{29*time.Second + ms/3, "lb2", vip, false})
	t.adverts(30444*ms, 33*time.Second, "lb1", "accepted", nil)
	t.state(30445*ms, "lb2", "BACKUP", 100, "heard priority 150 of 10.0.0.11, higher than 100")
	t.step(30446*ms, "expect silence 51 3.609s 3.709s")
}

func (t tale) judged() {
	t.Flows = []Flow{{
		Name: "every-ms", Host: "client", Text: "probe udp 10.0.0.100:9", From: 3480 * ms, To: 33 * time.Second,
		Answered: 25872, Failed: 3634, Gaps: []Gap{{9471 * ms, 13078 * ms}, {29001 * ms, 29029 * ms}},
	}, {
		Name: "web", Host: "client", Text: "connect 10.0.0.100:80 200", From: 4 * time.Second, To: 9 * time.Second, Answered: 1000,
	}}
	t.Measures = []Measure{
		{"gap of every-ms since crash lb1", 3607 * ms, 3500 * ms, 3709 * ms, 0},
		{"silence of VRID 51", 4012 * ms, 3609 * ms, 3709 * ms, 0},
	}
	t.Breaches = []Breach{{28500 * ms, "two-masters", "lb1 and lb2 hear each other and are both MASTER of VRID 51 since 28s", nil}}
	for _, p := range t.Packets {
		if p.At > 28*time.Second && p.At < 28500*ms {
			t.Breaches[0].Packets = append(t.Breaches[0].Packets, p.Number)
		}
	}
}
