package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/fsm/bfd"
	"github.com/ringkeep/ringkeep/proto"
)

// Link is an interface of the host as it was when the node was made.
type Link struct {
	Name     string
	MAC      proto.MAC
	Up       bool // IFF_UP and running
	Missing  bool // it does not exist yet (dynamic_interfaces): only its Name is known
	MTU      int  // bytes of IP packet, 0 for unknown
	Loopback bool
	Router   bool           // forwards IPv6, which neighbour advertisements tell
	Base     string         // of a macvlan in private mode: the interface under it
	Prefixes []netip.Prefix // addresses, each with the length of its network
}

// port is a link with what has happened to it since.
type port struct {
	link     Link
	prefixes []netip.Prefix
	book     book // of advertisements that are for no instance
	pace     pacers
	settling settling
	under    *outlet // of a macvlan with a virtual MAC of ours
}

// has tells whether the address is on the interface.
func (p *port) has(addr netip.Addr) bool {
	return slices.ContainsFunc(p.prefixes, func(q netip.Prefix) bool { return q.Addr() == addr })
}

// Use says which sockets a port needs.
type Use struct {
	Control bool         // VRRP, ARP and neighbour discovery
	Groups  []netip.Addr // that it is a member of, of either family
	Service bool         // frames for virtual services
}

// join notes that a group is to be joined.
func (u *Use) join(group netip.Addr) {
	if !slices.Contains(u.Groups, group) {
		u.Groups = append(u.Groups, group)
	}
}

type timerKind uint8

const (
	timerInstance timerKind = iota
	timerNeighbour
	timerCheck
	timerScript
	timerForward
	timerSweep
	timerRates
	timerProcess
	timerPacer
	timerLink
	timerSettle
	timerBFD
)

// timerOwner tells whose a timer is.
type timerOwner struct {
	kind  timerKind
	index int
}

// Node is one director. It is not safe for concurrent use.
type Node struct {
	cfg        *config.Config
	ports      []port
	instances  []instance
	routers    map[router][]int // which of them an advertisement may be for
	advertised map[sharing]int  // which of them has an address
	signs      bool             // one of them has auth_hmac
	vmacs      []VMAC
	routes     []route // of the instances and static ones, by number
	numbered   int     // how many routes were given a number
	rules      []rule
	statics    []config.Address
	scripts    []script
	groups     []group
	files      []file
	processes  []process
	sessions   []session
	services   []service
	marks      []forward.Rule
	timeouts   config.Timeouts // of connections
	checks     []checker
	neighbours []neighbour
	gateways   map[Peer]gateway
	removing   map[netip.Addr]int // addresses that we asked the kernel to remove
	started    bool
	began      time.Duration // when it was started
	delay      time.Duration // of the startup, what is left of it
	hops       []hop         // by forward's server number
	fwd        *forward.Forwarder
	fwdTimer   int
	sweepTimer int // of the connections that an operator evicts
	rateTimer  int
	natted     map[answerer]bool
	strangers  uint64   // datagrams of BFD that are for no session
	planes     []*Plane // the first is of fwd
	workers    Workers
	held       bool    // its guard
	changes    uint64  // of what decisions on frames depend on
	claims     []claim // what the workers have of the instances

	programming programming // of the kernel's IPVS

	staticRoutes, staticRules span

	timers timers
	owners []timerOwner
	pacers []pacer
	seed   uint64
	// discriminator counts those of BFD that were given away.
	discriminator uint64

	offset time.Duration // of the clock, see Clock

	// During a Step.
	now  time.Duration
	wall time.Duration // time since 1970
	out  []Action
}

// strangerGone is how long a router that is none of ours must be silent to be news again.
const strangerGone = 10 * time.Minute

// maxConnections bounds the connection table, unless the file does.
const maxConnections = 1 << 20

// New composes a director from its configuration and the links of its host. The
// seed spreads the first health checks (keepalived's warmup) and keys the hash of
// the connection table. The error names the position of a configuration line that
// cannot work on this host.
func New(cfg *config.Config, links []Link, seed uint64) (*Node, error) {
	return NewShared(cfg, links, seed, Workers{Count: 1})
}

// NewShared is [New] for a director whose service frames several loops judge.
func NewShared(cfg *config.Config, links []Link, seed uint64, workers Workers) (*Node, error) {
	n := &Node{cfg: cfg, seed: seed, workers: workers, gateways: map[Peer]gateway{}, removing: map[netip.Addr]int{}, delay: cfg.Global.StartupDelay}
	for _, l := range links {
		n.ports = append(n.ports, port{link: l, prefixes: slices.Clone(l.Prefixes), book: book{patience: strangerGone}})
	}
	defer n.readmit()
	table := cfg.Global.ConnectionTable
	if err := n.compose(forward.Config{MaxConns: cmp.Or(table.Size, maxConnections), Seed: seed, Recycle: table.Recycle}); err != nil {
		return nil, err
	}
	return n, nil
}

// compose makes everything that the configuration names, on the ports that there are.
func (n *Node) compose(table forward.Config) error {
	cfg := n.cfg
	n.routers, n.advertised = map[router][]int{}, map[sharing]int{}
	if err := n.addVMACs(); err != nil {
		return err
	}
	n.addPacers()
	n.addDelays()
	if err := n.addStatics(cfg); err != nil {
		return err
	}
	for _, c := range cfg.Scripts {
		n.scripts = append(n.scripts, script{cfg: c, good: -1, timer: n.newTimer(timerScript, len(n.scripts))})
	}
	for _, c := range cfg.TrackFiles {
		n.files = append(n.files, file{cfg: c})
	}
	for _, c := range cfg.TrackProcesses {
		n.processes = append(n.processes, process{cfg: c, count: -1, timer: n.newTimer(timerProcess, len(n.processes))})
	}
	n.addSessions()
	for _, c := range cfg.Instances {
		if c.Disabled != "" {
			continue
		}
		if err := n.addInstance(c); err != nil {
			return err
		}
	}
	n.addGroups()
	n.addPlanes(table)
	n.fwdTimer, n.sweepTimer, n.rateTimer = n.newTimer(timerForward, 0), n.newTimer(timerSweep, 0), n.newTimer(timerRates, 0)
	n.addTimeouts()
	if err := n.addMarks(); err != nil {
		return err
	}
	for _, c := range cfg.VirtualServers {
		if c.Disabled != "" {
			continue
		}
		if err := n.addService(c); err != nil {
			return err
		}
	}
	n.share()
	n.natted = n.answerers()
	return nil
}

// Uses tells for every port which sockets it needs: VRRP where an instance lives,
// service traffic on every link that is not the loopback. A macvlan of ours needs none: its
// frames pass the sockets of the interface under it.
func (n *Node) Uses() []Use {
	uses := make([]Use, len(n.ports))
	for i := range n.instances {
		u := &uses[n.instances[i].port]
		u.Control = true
		if in := &n.instances[i]; !in.unicast() {
			u.join(in.mcast)
		}
		for _, a := range n.instances[i].vips {
			if p, err := n.portNamed(a.Pos, a.Device); err == nil {
				p, _ = n.outlet(p)
				uses[p].Control = true // gratuitous ARP leaves where the address is
			}
		}
	}
	forwards := n.forwards()
	for i := range n.ports {
		if forwards && !n.ports[i].link.Loopback && n.ports[i].under == nil {
			uses[i].Control, uses[i].Service = true, true
		}
	}
	return uses
}

// Step tells the node what happened at now and appends to out what must be done
// about it, in order. now is monotonic and never goes back. Timers run in a [Tick] alone: what
// they wait for may be behind the event.
func (n *Node) Step(now time.Duration, ev Event, out []Action) []Action {
	n.now, n.out = now, out
	if n.wall = 0; n.offset > 0 {
		n.wall = n.offset + now
	}
	switch ev := ev.(type) {
	case Start:
		n.exclusive()
		n.start(now)
	case Stop:
		n.stop(now)
	case Tick:
		n.due(now)
	case Clock:
		n.offset = ev.Offset
	case Received:
		n.received(now, ev)
	case LinkChanged:
		n.exclusive()
		n.linkChanged(now, ev)
	case AddressChanged:
		n.exclusive()
		n.addressChanged(now, ev)
	case Routed:
		n.routed(now, ev)
	case RouteLost:
		n.routeLost(ev)
	case RulesChanged:
		n.rulesChanged()
	case CheckDone:
		n.checkDone(now, ev)
	case ScriptDone:
		n.scriptDone(now, ev)
	case FileRead:
		n.fileRead(now, ev)
	case ProcessesCounted:
		n.processesCounted(now, ev)
	case BFDHeard:
		n.heardBFD(now, ev)
	case Steer:
		n.steer(now, ev)
	case Evict:
		n.evict(now, ev)
	case Unresolved:
		n.unresolved(now, ev)
	case Programmed:
		n.programmed(ev)
	default:
		panic(fmt.Sprintf("node: unknown event %T", ev))
	}
	n.program()
	n.claim()
	n.readmit()
	out, n.out = n.out, nil
	return out
}

// Deadline is when the node next wants a Tick; ok is false with no timer.
func (n *Node) Deadline() (at time.Duration, ok bool) {
	_, at, ok = n.timers.next()
	return at, ok
}

// AsksClock tells whether the node wants to be told [Clock].
func (n *Node) AsksClock() bool { return n.signs }

// Forwarder gives a view of the connections and their statistics, with several workers of
// those of the first.
func (n *Node) Forwarder() *forward.Forwarder { return n.fwd }

func (n *Node) emit(a Action) { n.out = append(n.out, a) }

func (n *Node) newTimer(kind timerKind, index int) int {
	n.owners = append(n.owners, timerOwner{kind, index})
	return n.timers.add()
}

// due runs everything whose time has come.
func (n *Node) due(now time.Duration) {
	for {
		owner, at, ok := n.timers.next()
		if !ok || at > now {
			return
		}
		n.timers.clear(owner)
		switch o := n.owners[owner]; o.kind {
		case timerInstance:
			n.tickInstance(now, o.index)
		case timerNeighbour:
			n.probe(now, o.index)
		case timerCheck:
			n.startCheck(now, o.index)
		case timerScript:
			n.startScript(now, o.index)
		case timerForward:
			n.expire(now)
		case timerSweep:
			n.sweep(now)
		case timerRates:
			n.estimate(now)
		case timerProcess:
			n.judgeProcess(now, o.index)
		case timerPacer:
			n.release(o.index)
		case timerLink:
			n.linkSettled(now, o.index)
		case timerSettle:
			n.settle(o.index)
		case timerBFD:
			n.stepSession(now, o.index, bfd.Tick{})
		}
	}
}

func (n *Node) start(now time.Duration) {
	n.started, n.began = true, now
	n.programming.due = true
	n.tellMTUs()
	n.startStatics(now)
	for i := range n.services {
		n.startService(now, i)
	}
	for i := range n.instances {
		if g := n.instances[i].group; g < 0 {
			n.startInstance(now, i)
		} else if n.instances[i].member == 0 {
			n.startGroup(now, g)
		}
	}
	for i := range n.scripts {
		n.startScript(now, i)
	}
	for i := range n.sessions {
		n.startSession(now, i)
	}
}

func (n *Node) stop(now time.Duration) {
	for i := range n.instances {
		n.stopInstance(now, i)
	}
	n.stopStatics()
	for i := range n.groups { // after all instances, as keepalived does (reference 4.2)
		n.notifyGroup(&n.groups[i], "STOP")
	}
	for i := range n.services {
		n.stopService(&n.services[i])
	}
	n.endProgram()
	n.stopSessions(now)
	n.tally()
	n.timers = timers{at: n.timers.at, pos: n.timers.pos}
	for i := range n.timers.pos {
		n.timers.pos[i] = -1
	}
}

// received sorts a control frame to the neighbour table or to an instance.
func (n *Node) received(now time.Duration, ev Received) {
	eth, err := proto.ParseEthernet(ev.Frame)
	if err != nil {
		return
	}
	switch eth.Type() {
	case proto.EtherTypeARP:
		n.heardARP(now, ev.Port, eth)
	case proto.EtherTypeIPv4:
		n.heardVRRP(min(ev.At, now), ev.Port, eth)
	case proto.EtherTypeIPv6:
		n.heardNDP(now, ev.Port, eth)
		n.heardVRRP(min(ev.At, now), ev.Port, eth)
	}
}

// portNamed returns the number of the link with that name, or the error that
// says which there are.
func (n *Node) portNamed(pos config.Pos, name string) (int, error) {
	var have []string
	for i := range n.ports {
		if n.ports[i].link.Name == name {
			return i, nil
		}
		have = append(have, n.ports[i].link.Name)
	}
	return -1, fmt.Errorf("%s: interface %s does not exist (this host has %s)", pos, name, strings.Join(have, ", "))
}
