package node

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// Where multicast advertisements go (RFC 9568 §5.1.1.2, §5.1.2.2).
var (
	vrrpGroup    = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	vrrpGroupMAC = proto.MAC{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}
	vrrpGroup6   = netip.AddrFrom16([16]byte{0xff, 0x02, 15: 0x12})
)

const (
	vrrpTTL = 255  // RFC 9568 §5.1.1.3
	vrrpTOS = 0xc0 // internetwork control, as every implementation sends
)

// instance is a VRRP instance with its place on the host.
type instance struct {
	cfg     *config.Instance
	fsm     *fsm.Instance
	port    int       // a macvlan is none: it is the interface under it
	virtual proto.MAC // with use_vmac; zero without
	timer   int
	settle  int        // the timer of it; of instances with a virtual MAC
	source  netip.Addr // of the advertisements
	mcast   netip.Addr // the group that they go to, unless it is unicast
	hmac    *fsm.HMAC
	stamp   uint64 // number of the last signed one
	id      uint16 // IP identification of the last advertisement
	vips    map[netip.Addr]config.Address
	group   int            // that it is a member of, -1 for none
	member  int            // its number there
	devices map[string]int // tracked interfaces that are not the own: name to port
	book    book
	late    lateness
	mailed  string        // the state of the last mail
	since   time.Duration // of the state
	cause   fsm.Cause     // of it
	acts    []fsm.Action

	trackers []fsm.Tracker

	routes, rules span
	routed        bool               // they are there
	blocked       bool               // packets to the addresses are dropped
	queue         []announcement     // the virtual addresses, as they are announced
	queued        map[netip.Addr]int // their places in it

	former map[netip.Addr]config.Address // virtual addresses, while they are exchanged
}

func (in *instance) unicast() bool { return in.cfg.Unicast() }

func (in *instance) master() bool { return in.fsm.State() == fsm.Master }

func (in *instance) six() bool { return in.cfg.Family() == 6 }

// router is what an advertisement shows of the virtual router that it is of: port, VRID and
// family.
type router struct {
	port int
	vrid uint8
	six  bool
}

// sharing is an address on a port, by which nodes of different VRIDs are found out.
type sharing struct {
	port int
	addr netip.Addr
}

func (n *Node) addInstance(c *config.Instance) error {
	p, err := n.portNamed(c.At("interface"), c.Interface)
	if err != nil {
		return err
	}
	i := len(n.instances)
	in := instance{
		cfg: c, port: p, group: -1, timer: n.newTimer(timerInstance, i),
		vips: map[netip.Addr]config.Address{}, queued: map[netip.Addr]int{}, devices: map[string]int{}, book: book{patience: max(time.Minute, 3*c.AdvertInterval)},
	}
	if v := n.vmac(c); v != nil {
		in.virtual, in.settle = v.MAC, n.newTimer(timerSettle, i)
	}
	for _, a := range slices.Concat(c.Addresses, c.Excluded) {
		if a.Device == "" {
			a.Device = n.deviceOf(c, a)
		}
		p, err := n.portNamed(a.Pos, a.Device)
		if err != nil {
			return err
		}
		in.vips[a.Prefix.Addr()] = a
		in.queued[a.Prefix.Addr()] = len(in.queue)
		in.queue = append(in.queue, announcement{addr: a.Prefix.Addr(), port: p})
	}
	in.routes, in.rules = n.addRoutes(c.Routes, c.Name), n.addRules(c.Rules, c.Name)
	n.instances = append(n.instances, in)
	r := router{p, c.VRID, c.Family() == 6}
	n.routers[r], n.signs = append(n.routers[r], i), n.signs || c.HMAC != nil
	for _, a := range c.Addresses {
		n.advertised[sharing{p, a.Prefix.Addr()}] = i
	}
	trackers, err := n.trackers(i)
	if err != nil {
		return err
	}
	made := &n.instances[i]
	made.source, made.trackers, made.mcast, made.hmac = n.sourceOf(made), trackers, groupOf(c, &n.cfg.Global), hmacOf(c.HMAC)
	made.fsm = fsm.New(n.instanceConfig(i))
	return nil
}

// trackers lists what the instance tracks beside its own interface.
func (n *Node) trackers(i int) ([]fsm.Tracker, error) {
	in := &n.instances[i]
	var list []fsm.Tracker
	tracks := n.tracksOf(in.cfg)
	for _, t := range tracks.interfaces {
		if t.Name == in.cfg.Interface && t.Weight == 0 && !in.cfg.DontTrackPrimary {
			continue // the own interface is tracked anyway
		}
		p, err := n.portNamed(t.Pos, t.Name)
		if err != nil {
			return nil, err
		}
		in.devices[t.Name] = p
		list = append(list, fsm.Tracker{Kind: "interface", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: reading(n.ports[p].link.Up)})
	}
	for _, name := range in.cfg.Needs() {
		p, err := n.portNamed(in.cfg.At("interface"), name)
		if _, told := in.devices[name]; told || err != nil {
			continue // tracked by the sync group; of a route or rule, which the kernel will refuse
		}
		in.devices[name] = p
		list = append(list, fsm.Tracker{Kind: "interface", Name: name, Initial: reading(n.ports[p].link.Up)})
	}
	for _, t := range tracks.scripts {
		for s := range n.scripts {
			if n.scripts[s].cfg.Name == t.Name {
				n.scripts[s].users = append(n.scripts[s].users, i)
				list = append(list, fsm.Tracker{Kind: "script", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: fsm.Unknown})
			}
		}
	}
	for _, t := range tracks.files {
		for f := range n.files {
			if n.files[f].cfg.Name == t.Name {
				n.files[f].users = append(n.files[f].users, i)
				list = append(list, fsm.Tracker{Kind: "file", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: fsm.Up, Number: true})
			}
		}
	}
	for _, t := range tracks.processes {
		for p := range n.processes {
			if n.processes[p].cfg.Name == t.Name {
				n.processes[p].users = append(n.processes[p].users, i)
				list = append(list, fsm.Tracker{Kind: "process", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: fsm.Unknown})
			}
		}
	}
	for _, t := range tracks.bfds {
		for s := range n.sessions {
			if n.sessions[s].cfg.Name == t.Name {
				n.sessions[s].users = append(n.sessions[s].users, i)
			}
		}
		list = append(list, fsm.Tracker{Kind: "bfd", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: fsm.Down})
	}
	return list, nil
}

func reading(up bool) fsm.Tri {
	if up {
		return fsm.Up
	}
	return fsm.Down
}

// instanceConfig is what the state machine needs of an instance's configuration.
func (n *Node) instanceConfig(i int) fsm.Config {
	in := &n.instances[i]
	c := in.cfg
	f := fsm.Config{
		Name: c.Name, VRID: c.VRID, Version: c.Version, Priority: c.Priority, Interval: c.AdvertInterval,
		NoPreempt: c.NoPreempt, PreemptDelay: c.PreemptDelay,
		IPv6: c.Family() == 6, Source: in.source, Group: in.mcast, Unicast: c.Unicast(), NoPeer: c.Unicast() && len(c.UnicastPeers) == 0,
		DownTimerAdverts: c.DownTimerAdverts, StartupDelay: n.delay,
		GARPRepeat: c.GARPMasterRepeat, GARPDelay: c.GARPMasterDelay,
		GARPRefresh: c.GARPMasterRefresh, GARPRefreshRepeat: c.GARPMasterRefreshRepeat,
		GARPLowerPrioRepeat: c.GARPLowerPrioRepeat, GARPLowerPrioDelay: c.GARPLowerPrioDelay,
		HigherPrioSendAdvert: c.HigherPrioSendAdvert, LowerPrioNoAdvert: c.LowerPrioNoAdvert,
		SkipCheckAdvAddr: c.SkipCheckAdvAddr, TimerExpiredBackup: c.TimerExpiredBackup, StateMaster: c.State == "MASTER",
		MessageChecksum: c.V3ChecksumAsV2, OldUnicastChecksum: c.OldUnicastSum(), OwnerIgnoreAdverts: c.OwnerIgnoreAdverts,
		HMAC: in.hmac, Trackers: in.trackers,
	}
	f.AuthType = map[string]uint8{"PASS": proto.VRRPAuthPass, "AH": proto.VRRPAuthAH}[c.AuthType]
	copy(f.Auth[:], c.AuthPass)
	f.Senders = senders(c)
	for _, a := range c.Addresses {
		f.Addrs = append(f.Addrs, a.Prefix.Addr())
	}
	for _, a := range c.Excluded {
		f.Excluded = append(f.Excluded, a.Prefix.Addr())
	}
	return f
}

// hmacOf is what the state machine needs of auth_hmac.
func hmacOf(c *config.HMAC) *fsm.HMAC {
	if c == nil {
		return nil
	}
	return &fsm.HMAC{
		Keys: c.Secrets(), Active: c.ActiveKey, Window: c.TimeWindow, Monotonic: c.AntiReplay == "monotonic",
		Send: c.Mode != "receive-only", Enforce: c.Mode == "enforce",
	}
}

// groupOf is where an instance sends to and what it hears, unless it is unicast.
func groupOf(c *config.Instance, g *config.Global) netip.Addr {
	group, otherwise := g.MulticastGroup4, vrrpGroup
	if c.Family() == 6 {
		group, otherwise = g.MulticastGroup6, vrrpGroup6
	}
	switch {
	case c.McastDestination.IsValid():
		return c.McastDestination
	case group.IsValid():
		return group
	}
	return otherwise
}

// groupMAC is the MAC of a group of either family (RFC 1112 §6.4, RFC 2464 §7).
func groupMAC(group netip.Addr) proto.MAC {
	if group.Is6() {
		return proto.GroupMAC6(group)
	}
	a := group.As4()
	return proto.MAC{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}
}

// senders lists the peers that a unicast instance hears; nil for anybody.
func senders(c *config.Instance) []fsm.Sender {
	if !c.CheckUnicastSrc {
		return nil
	}
	var list []fsm.Sender
	for _, p := range c.UnicastPeers {
		s := fsm.Sender{Addr: p.Addr, MinTTL: 0, MaxTTL: 255}
		if p.MinTTL >= 0 {
			s.MinTTL = uint8(p.MinTTL)
		}
		if p.MaxTTL >= 0 {
			s.MaxTTL = uint8(p.MaxTTL)
		}
		list = append(list, s)
	}
	return list
}

// sourceOf picks the source of an instance's advertisements: the configured one,
// or the first address of its interface that is not virtual, which for IPv6 is
// link-local (RFC 9568 §5.1.2.1). An owner has no other.
func (n *Node) sourceOf(in *instance) netip.Addr {
	configured := in.cfg.UnicastSource
	if !configured.IsValid() {
		configured = in.cfg.McastSource
	}
	if configured.IsValid() {
		if in.cfg.TrackSrcIP && !n.ports[in.port].has(configured) {
			return netip.Addr{}
		}
		return configured
	}
	var owned netip.Addr
	for _, p := range n.ports[in.port].prefixes {
		switch {
		case p.Addr().Is6() != in.six() || in.six() && !p.Addr().IsLinkLocalUnicast():
		case !n.virtual(p.Addr()):
			return p.Addr()
		case in.cfg.Priority == 255:
			owned = p.Addr()
		}
	}
	return owned
}

// startInstance begins the election.
func (n *Node) startInstance(now time.Duration, i int) {
	n.prepareInstance(now, i)
	n.stepInstance(now, i, fsm.Startup{})
}

// prepareInstance removes what a killed run left, before the election.
func (n *Node) prepareInstance(now time.Duration, i int) {
	in := &n.instances[i]
	if begins := in.fsm.Priority(); begins != in.cfg.Priority { // what it tracks counts from the start
		n.emit(PriorityChanged{Instance: in.cfg.Name, From: in.cfg.Priority, To: begins})
	}
	for _, peer := range in.cfg.UnicastPeers.Addrs() {
		n.seek(now, in.port, n.nextHop(Peer{in.port, peer}))
	}
	if in.cfg.Priority != 255 {
		for _, a := range in.addresses() {
			if n.local(a.Prefix.Addr()) && n.removing[a.Prefix.Addr()] == 0 {
				n.removeAddress(a)
			}
		}
	}
	if !n.ports[in.port].link.Up && !in.cfg.DontTrackPrimary {
		n.stepInstance(now, i, fsm.LinkChanged{Up: false})
	}
}

// addresses lists the virtual addresses in the order of the configuration.
func (in *instance) addresses() []config.Address {
	var list []config.Address
	for _, a := range slices.Concat(in.cfg.Addresses, in.cfg.Excluded) {
		if vip, ok := in.vips[a.Prefix.Addr()]; ok {
			list = append(list, vip)
		}
	}
	return list
}

func (n *Node) stopInstance(now time.Duration, i int) {
	n.stepInstance(now, i, fsm.Shutdown{})
}

func (n *Node) tickInstance(now time.Duration, i int) { n.stepInstance(now, i, fsm.Tick{}) }

func (n *Node) instanceLink(now time.Duration, i, port int, up bool) {
	in := &n.instances[i]
	if in.port == port && !in.cfg.DontTrackPrimary {
		n.stepInstance(now, i, fsm.LinkChanged{Up: up})
	}
	for name, p := range in.devices {
		if p == port {
			n.stepInstance(now, i, fsm.Tracked{Kind: "interface", Name: name, Up: up})
		}
	}
}

// instanceSource follows the primary address of the interface.
func (n *Node) instanceSource(now time.Duration, i int) {
	in := &n.instances[i]
	if src := n.sourceOf(in); src != in.source {
		in.source = src
		n.stepInstance(now, i, fsm.SourceChanged{Addr: src})
	}
}

// stepInstance drives one state machine and carries its actions to the driver's.
func (n *Node) stepInstance(now time.Duration, i int, ev fsm.Event) {
	in := &n.instances[i]
	if in.group >= 0 {
		n.stepGroup(now, in.group, in.member, ev)
		return
	}
	in.acts = in.fsm.Step(now, ev, in.acts[:0])
	for _, a := range in.acts {
		n.act(in, a)
	}
	n.waitFor(in)
}

// waitFor sets the timer of an instance to its deadline.
func (n *Node) waitFor(in *instance) {
	if at, ok := in.fsm.Deadline(); ok {
		n.timers.set(in.timer, at)
	} else {
		n.timers.clear(in.timer)
	}
}

func (n *Node) act(in *instance, a fsm.Action) {
	n.accompany(in, a)
	n.shut(in, a)
	switch a := a.(type) {
	case fsm.SendAdvert:
		n.advertise(in, a)
	case fsm.AddVIP:
		n.addAddress(in.vips[a.Addr])
	case fsm.RemoveVIP:
		vip, ok := in.former[a.Addr]
		if !ok {
			vip = in.vips[a.Addr]
		}
		n.removeAddress(vip)
	case fsm.SendGARP:
		n.announce(in, a.Addr)
	case fsm.Changed:
		in.book.renew()
		in.since, in.cause = n.now, a.Cause
		if !in.virtual.IsZero() { // frames to it are ours, or no longer
			n.exclusive()
		}
		n.programming.due = n.programming.due || n.syncs(in)
		n.dropAnnouncements(in)
		n.settleSoon(in, a.To)
		n.emit(Changed{Instance: in.cfg.Name, VRID: in.cfg.VRID, Priority: in.fsm.Priority(), Changed: a})
	case fsm.PriorityChanged:
		n.emit(PriorityChanged{Instance: in.cfg.Name, From: a.From, To: a.To})
		n.tellPriority(in, a.To)
	case fsm.Late:
		n.tellLate(in, a.By)
	case fsm.Notify:
		n.notify(in, a.State.String())
	case fsm.NotifyStop:
		n.notify(in, "STOP")
	}
}

// shut keeps packets to the addresses out while this node is MASTER and neither owns them
// nor accepts for them: before the first address is there until the last is gone.
func (n *Node) shut(in *instance, a fsm.Action) {
	master := in.fsm.State() == fsm.Master
	switch a.(type) {
	case fsm.AddVIP:
		if master && !in.blocked && in.cfg.NoAccept {
			in.blocked = true
			n.emit(BlockAddresses{in.addresses()})
		}
	case fsm.Notify, fsm.NotifyStop:
		if !master && in.blocked {
			in.blocked = false
			n.emit(UnblockAddresses{in.addresses()})
		}
	}
}

// notify runs the script for the state, then the general one with the four
// arguments that keepalived appends.
func (n *Node) notify(in *instance, state string) {
	specific := map[string]*config.Command{
		"MASTER": in.cfg.NotifyMaster, "BACKUP": in.cfg.NotifyBackup, "FAULT": in.cfg.NotifyFault, "STOP": in.cfg.NotifyStop,
	}[state]
	standard := []string{"INSTANCE", in.cfg.Name, state, strconv.Itoa(int(in.fsm.Priority()))}
	if specific != nil {
		n.emit(Notify{Queue: in.cfg.Name, Command: specific})
	}
	if in.cfg.Notify != nil {
		n.emit(Notify{Queue: in.cfg.Name, Command: in.cfg.Notify, Extra: standard})
	}
	n.tell(true, "INSTANCE %q %s %d", in.cfg.Name, state, in.fsm.Priority())
	n.mailInstance(in, state)
}
