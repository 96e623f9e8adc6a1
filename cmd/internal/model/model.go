package model

import (
	"math"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

// Standing is where an instance of the model stands.
type Standing struct {
	Instance string
	VRID     uint8
	State    fsm.State
	Priority uint8 // effective
	Since    time.Duration
	Cause    fsm.Cause
}

// Model is one director that only thinks. Times may begin anywhere, and never go back.
type Model struct {
	node      *node.Node
	standings []Standing
	now       time.Duration
	pending   []node.Event // that follow from actions
	do        func(at time.Duration, a node.Action)
}

// New makes a model of a director with this configuration and links. do is told of
// everything that it would do. The error names the position of a line that cannot work.
func New(cfg *config.Config, links []node.Link, do func(at time.Duration, a node.Action)) (*Model, error) {
	vrrp := *cfg
	vrrp.VirtualServers, vrrp.BFDs = nil, speaking(cfg.BFDs)
	n, err := node.New(&vrrp, reach(cfg, links), 1)
	if err != nil {
		return nil, err
	}
	m := &Model{node: n, now: math.MinInt64, do: do}
	for _, in := range cfg.Instances {
		if in.Disabled == "" {
			m.standings = append(m.standings, Standing{Instance: in.Name, VRID: in.VRID, Priority: in.Priority})
		}
	}
	return m, nil
}

// Start begins the elections.
func (m *Model) Start(at time.Duration) {
	for i, p := range m.node.Processes() { // taken to run, as scripts are to succeed
		if p != nil && !(p.Has("quorum_max") && p.QuorumMax == 0) {
			m.step(at, node.ProcessesCounted{Process: i, Count: p.Quorum})
		} else if p != nil {
			m.step(at, node.ProcessesCounted{Process: i})
		}
	}
	m.step(at, node.Start{})
}

// Stop ends them.
func (m *Model) Stop(at time.Duration) { m.step(at, node.Stop{}) }

// Tick does what is due.
func (m *Model) Tick(at time.Duration) { m.step(at, node.Tick{}) }

// Hear gives it a frame that arrived.
func (m *Model) Hear(at time.Duration, port int, frame []byte) {
	m.step(at, node.Received{Port: port, Frame: frame, At: at})
}

// Deadline is when the next timer fires; ok is false with none.
func (m *Model) Deadline() (at time.Duration, ok bool) { return m.node.Deadline() }

// Before lets all timers fire that are due before a moment. What arrives at that very
// moment counts before the timer that waited for it.
func (m *Model) Before(until time.Duration) {
	for {
		at, ok := m.node.Deadline()
		if !ok || at >= until {
			return
		}
		m.Tick(max(at, m.now))
	}
}

// Standings lists the instances in the order of the configuration.
func (m *Model) Standings() []Standing { return m.standings }

// State tells state and effective priority of an instance, for package reading.
func (m *Model) State(instance string) (state string, priority uint8) {
	for _, s := range m.standings {
		if s.Instance == instance {
			return s.State.String(), s.Priority
		}
	}
	return "", 0
}

func (m *Model) step(at time.Duration, ev node.Event) {
	m.now = max(m.now, at)
	m.pending = append(m.pending, ev)
	for len(m.pending) > 0 {
		ev := m.pending[0]
		m.pending = m.pending[1:]
		for _, a := range m.node.Step(m.now, ev, nil) {
			m.follow(a)
			m.do(m.now, a)
		}
	}
}

// follow keeps the standings, and is the host that the node asks for things.
func (m *Model) follow(a node.Action) {
	switch a := a.(type) {
	case node.Changed:
		s := m.standing(a.Instance)
		s.State, s.Priority, s.Since, s.Cause = a.To, a.Priority, m.now, a.Cause
	case node.PriorityChanged:
		m.standing(a.Instance).Priority = a.To
	case node.AddAddress:
		m.pending = append(m.pending, node.AddressChanged{Port: m.node.Port(a.Device), Prefix: a.Prefix, Present: true})
	case node.RemoveAddress:
		m.pending = append(m.pending, node.AddressChanged{Port: m.node.Port(a.Device), Prefix: a.Prefix})
	case node.RunScript:
		m.pending = append(m.pending, node.ScriptDone{Script: a.Script, OK: true, Reason: "not run: taken to succeed"})
	case node.SendBFD:
		if heard, ok := agreed(a); ok {
			m.pending = append(m.pending, heard)
		}
	case node.Send:
		if who, ok := Asked(a.Frame); ok {
			m.pending = append(m.pending, node.Received{Port: a.Port, Frame: answer(a.Frame, who), At: m.now})
		}
	}
}

func (m *Model) standing(instance string) *Standing {
	for i := range m.standings {
		if m.standings[i].Instance == instance {
			return &m.standings[i]
		}
	}
	panic("model: no instance " + instance)
}

// Asked is whose MAC a frame asks for.
func Asked(frame []byte) (netip.Addr, bool) {
	r, ok := resolution(frame)
	return r.Addr, ok && r.Question
}

// Announced is the address that a gratuitous ARP or an unsolicited neighbour advertisement
// announces.
func Announced(frame []byte) (netip.Addr, bool) {
	r, ok := resolution(frame)
	return r.Addr, ok && r.Gratuitous
}

func resolution(frame []byte) (r netlab.Resolution, ok bool) {
	eth, err := proto.ParseEthernet(frame)
	if err != nil {
		return r, false
	}
	return netlab.ParseResolution(eth)
}

// neighbourMAC is the MAC of every neighbour of a model: nothing is sent to it.
var neighbourMAC = proto.MAC{2, 0, 0, 0, 0, 0}

func answer(request []byte, who netip.Addr) []byte {
	r, _ := resolution(request)
	if who.Is6() {
		told := proto.NDPMessage{Type: proto.NeighbourAdvertisement, Solicited: true, Override: true, Target: who, MAC: neighbourMAC}
		return proto.AppendNDP(nil, r.MAC, neighbourMAC, who, r.Asker, told)
	}
	f := proto.AppendEthernet(nil, r.MAC, neighbourMAC, proto.EtherTypeARP)
	return proto.ARPMessage{Op: proto.ARPReply, SenderMAC: neighbourMAC, Sender: who, TargetMAC: r.MAC, Target: r.Asker}.Append(f)
}
