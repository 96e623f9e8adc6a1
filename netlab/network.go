package netlab

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Network is what befalls frames on their way: the properties of lans and the faults
// in force. Both back ends of the lab ask it about every delivery.
type Network struct {
	lans       map[string]Impairment
	busy       map[string]time.Duration // until when a port of a lan with a rate sends
	faults     []*Impairment
	partitions [][]string // hosts that hear only each other; empty: all do
}

// Impairment is what a statement does to frames, always, by chance or a number of times.
type Impairment struct {
	Text     string // the statement
	From, To string // hosts; "" for any
	Kind     string // vrrp, arp (and neighbour discovery), tcp, udp, multicast or all
	Action   string // drop, duplicate, delay, reorder or corrupt
	Percent  float64
	Left     int // how many more frames; -1 for no end
	Delay    time.Duration
	Jitter   time.Duration
	Rate     float64 // bits a second of every port of a lan; 0 for no bound
	Bridge   bool    // a lan whose frames the kernel carries
}

// Fate is what becomes of one delivery.
type Fate struct {
	Lost    string // what dropped it, "" if it arrives
	Loose   bool   // it may overtake others, or be overtaken
	Delay   time.Duration
	Twice   bool
	Corrupt bool
}

var kinds = []string{"vrrp", "arp", "tcp", "udp", "multicast", "all"}

// SetLan reads lan NAME [delay T] [jitter T] [loss P%] [rate R], or lan NAME bridge.
func (n *Network) SetLan(w []string) error {
	lan := Impairment{Text: strings.Join(w, " "), Bridge: IsBridge(w)}
	for i := 2; i+1 < len(w); i += 2 {
		var err error
		switch w[i] {
		case "delay":
			lan.Delay, err = time.ParseDuration(w[i+1])
		case "jitter":
			lan.Jitter, err = time.ParseDuration(w[i+1])
		case "loss":
			lan.Percent, err = percent(w[i+1])
		case "rate":
			lan.Rate, err = rate(w[i+1])
		default:
			err = fmt.Errorf("%s: must be delay, jitter, loss or rate", w[i])
		}
		if err != nil {
			return err
		}
	}
	if n.lans == nil {
		n.lans = map[string]Impairment{}
	}
	n.lans[w[1]] = lan
	return nil
}

// IsBridge tells whether a lan statement is of one whose frames the kernel carries.
func IsBridge(w []string) bool { return len(w) == 3 && w[2] == "bridge" }

// rate reads bits a second, such as 10mbit.
func rate(s string) (float64, error) {
	for unit, n := range map[string]float64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			if r, err := strconv.ParseFloat(digits, 64); err == nil && r > 0 {
				return r * n, nil
			}
		}
	}
	return 0, fmt.Errorf("%s: must be a rate such as 10mbit", s)
}

// queueTime is how much a port with a rate holds; more is lost.
const queueTime = 100 * time.Millisecond

// wait is how long a frame waits and is sent at a port of a rate; ok is false if the
// queue is full.
func (n *Network) wait(now time.Duration, port string, bytes int, rate float64) (d time.Duration, ok bool) {
	if n.busy == nil {
		n.busy = map[string]time.Duration{}
	}
	from := max(now, n.busy[port])
	if from-now > queueTime {
		return 0, false
	}
	n.busy[port] = from + time.Duration(float64(bytes)*8/rate*float64(time.Second))
	return n.busy[port] - now, true
}

func percent(s string) (float64, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || p < 0 || p > 100 || !strings.HasSuffix(s, "%") {
		return 0, fmt.Errorf("%s: must be a share such as 30%%", s)
	}
	return p, nil
}

// Add reads a fault: drop, duplicate, delay, reorder or corrupt HOST [to HOST] [KIND]
// and then a share (30%), a number of frames (3 frames), a time.
func (n *Network) Add(w []string) error {
	f := &Impairment{Text: strings.Join(w, " "), Action: w[0], From: w[1], Kind: "all", Percent: 100, Left: -1}
	for i := 2; i < len(w); i++ {
		var err error
		switch {
		case w[i] == "to" && i+1 < len(w):
			i++
			f.To = w[i]
		case slices.Contains(kinds, w[i]):
			f.Kind = w[i]
		case strings.HasSuffix(w[i], "%"):
			f.Percent, err = percent(w[i])
		case i+1 < len(w) && strings.HasPrefix(w[i+1], "frame"):
			f.Left, err = strconv.Atoi(w[i])
			i++
		case f.Delay == 0:
			f.Delay, err = time.ParseDuration(w[i])
		default:
			f.Jitter, err = time.ParseDuration(w[i])
		}
		if err != nil {
			return fmt.Errorf("%s: must be a kind (%s), a share such as 30%%, a number of frames such as 3 frames, or a time", w[i], strings.Join(kinds, ", "))
		}
	}
	if f.Action == "reorder" && f.Delay == 0 {
		f.Delay = 2 * time.Millisecond
	}
	n.faults = append(n.faults, f)
	return nil
}

// Partition reads partition HOST... | HOST...: the groups do not hear each other.
func (n *Network) Partition(w []string) {
	n.partitions = [][]string{nil}
	for _, host := range w[1:] {
		if host == "|" {
			n.partitions = append(n.partitions, nil)
			continue
		}
		last := len(n.partitions) - 1
		n.partitions[last] = append(n.partitions[last], host)
	}
}

// Clone is a copy with counters of its own.
func (n *Network) Clone() Network {
	c := Network{lans: n.lans, partitions: slices.Clone(n.partitions)}
	for _, f := range n.faults {
		one := *f
		c.faults = append(c.faults, &one)
	}
	return c
}

// Heal ends all faults; the properties of lans stay.
func (n *Network) Heal() { n.faults, n.partitions = nil, nil }

// Faulty tells whether a fault is in force.
func (n *Network) Faulty() bool {
	return len(n.partitions) > 0 || slices.ContainsFunc(n.faults, func(f *Impairment) bool { return f.Left != 0 })
}

// Connected tells whether nothing that lasts keeps advertisements of one host from
// another, or holds them up, or damages them.
func (n *Network) Connected(from, to string) bool {
	if n.parted(from, to) {
		return false
	}
	return !slices.ContainsFunc(n.faults, func(f *Impairment) bool {
		return (f.Action == "drop" || f.Action == "corrupt" || f.Action == "delay") && f.Left < 0 && f.Percent > 0 && f.From == from && (f.To == "" || f.To == to) && f.Kind != "tcp" && f.Kind != "udp" && f.Kind != "arp"
	})
}

func (n *Network) parted(from, to string) bool {
	if len(n.partitions) == 0 {
		return false
	}
	a, b := n.group(from), n.group(to)
	return a >= 0 && b >= 0 && a != b
}

// group is the group of a partition that a host is in, or -1.
func (n *Network) group(host string) int {
	return slices.IndexFunc(n.partitions, func(g []string) bool { return slices.Contains(g, host) })
}

// Alone tells whether a partition leaves the host without any other.
func (n *Network) Alone(host string) bool {
	i := n.group(host)
	return i >= 0 && len(n.partitions[i]) == 1
}

// Fate decides on one delivery at a time of the lab. It draws random numbers only where something is left
// to chance, so that a seed gives the same run.
func (n *Network) Fate(now time.Duration, lan, from, to string, eth proto.Ethernet, random *rand.Rand) Fate {
	var f Fate
	if n.parted(from, to) {
		f.Lost = "partition"
		return f
	}
	if l, ok := n.lans[lan]; ok {
		f.Delay = l.Delay + upTo(l.Jitter, random)
		if l.Percent > 0 && random.Float64()*100 < l.Percent {
			f.Lost = l.Text
			return f
		}
		if l.Rate > 0 {
			d, ok := n.wait(now, lan+" "+to, len(eth), l.Rate)
			if f.Delay += d; !ok {
				f.Lost = l.Text + ": the queue is full"
				return f
			}
		}
	}
	for _, i := range n.faults {
		if i.Left == 0 || i.From != from || i.To != "" && i.To != to || !Matches(i.Kind, eth) || i.Percent < 100 && random.Float64()*100 >= i.Percent {
			continue
		}
		if i.Left > 0 {
			i.Left--
		}
		switch i.Action {
		case "drop":
			f.Lost = i.Text
			return f
		case "duplicate":
			f.Twice = true
		case "corrupt":
			f.Corrupt = true
		default:
			f.Loose = true
			f.Delay += i.Delay + upTo(i.Jitter, random)
		}
	}
	return f
}

func upTo(d time.Duration, random *rand.Rand) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(random.Int64N(int64(d)))
}

// Matches tells whether a frame is of a kind.
func Matches(kind string, eth proto.Ethernet) bool {
	switch kind {
	case "all":
		return true
	case "multicast":
		return eth.Dst().IsGroup() && !eth.Dst().IsBroadcast()
	}
	if _, ok := ParseResolution(eth); ok {
		return kind == "arp"
	}
	ip, err := proto.ParseIP(eth.Payload())
	if eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 || err != nil {
		return false
	}
	switch ip.Protocol() {
	case proto.ProtocolVRRP, proto.ProtocolAH:
		return kind == "vrrp"
	case proto.ProtocolTCP:
		return kind == "tcp"
	case proto.ProtocolUDP:
		return kind == "udp"
	}
	return false
}

// Corrupt turns one bit behind the Ethernet header.
func Corrupt(frame []byte, random *rand.Rand) {
	if len(frame) > 34 {
		frame[34+random.IntN(len(frame)-34)] ^= 1 << random.IntN(8)
	}
}
