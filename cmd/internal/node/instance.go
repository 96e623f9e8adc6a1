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
	vrrpGroup     = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	vrrpGroupMAC  = proto.MAC{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}
	vrrpGroup6    = netip.AddrFrom16([16]byte{0xff, 0x02, 15: 0x12})
	vrrpGroupMAC6 = proto.GroupMAC6(vrrpGroup6)
)

const (
	vrrpTTL = 255  // RFC 9568 §5.1.1.3
	vrrpTOS = 0xc0 // internetwork control, as every implementation sends
)

// instance is a VRRP instance with its place on the host.
type instance struct {
	cfg     *config.Instance
	fsm     *fsm.Instance
	port    int
	timer   int
	source  netip.Addr // of the advertisements
	id      uint16     // IP identification of the last advertisement
	vips    map[netip.Addr]config.Address
	group   int            // that it is a member of, -1 for none
	member  int            // its number there
	devices map[string]int // tracked interfaces that are not the own: name to port
	refused map[refusal]uint64

	remarked map[netip.Addr]fsm.Remarks
	acts     []fsm.Action

	trackers []fsm.Tracker

	routes, rules span
	routed        bool // they are there

	former map[netip.Addr]config.Address // virtual addresses, while they are exchanged
}

// refusal is what is reported once and then counted.
type refusal struct {
	src     netip.Addr
	verdict fsm.Verdict
}

// refusalsKept bounds how many different refusals one instance counts.
const refusalsKept = 64

func (in *instance) unicast() bool { return len(in.cfg.UnicastPeers) > 0 }

func (in *instance) six() bool { return in.cfg.Family() == 6 }

func (n *Node) addInstance(c *config.Instance) error {
	p, err := n.portNamed(c.At("interface"), c.Interface)
	if err != nil {
		return err
	}
	i := len(n.instances)
	in := instance{
		cfg: c, port: p, group: -1, timer: n.newTimer(timerInstance, i),
		vips: map[netip.Addr]config.Address{}, devices: map[string]int{}, refused: map[refusal]uint64{}, remarked: map[netip.Addr]fsm.Remarks{},
	}
	for _, a := range slices.Concat(c.Addresses, c.Excluded) {
		if a.Device == "" {
			a.Device = c.Interface
		}
		if _, err := n.portNamed(a.Pos, a.Device); err != nil {
			return err
		}
		in.vips[a.Prefix.Addr()] = a
	}
	in.routes, in.rules = n.addRoutes(c.Routes, c.Name), n.addRules(c.Rules, c.Name)
	n.instances = append(n.instances, in)
	trackers, err := n.trackers(i)
	if err != nil {
		return err
	}
	n.instances[i].source, n.instances[i].trackers = n.sourceOf(&n.instances[i]), trackers
	n.instances[i].fsm = fsm.New(n.instanceConfig(i))
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
		if err != nil {
			continue // of a route or rule, which the kernel will refuse
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
	c, source, trackers := n.instances[i].cfg, n.instances[i].source, n.instances[i].trackers
	f := fsm.Config{
		Name: c.Name, VRID: c.VRID, Version: c.Version, Priority: c.Priority, Interval: c.AdvertInterval,
		NoPreempt: c.NoPreempt, PreemptDelay: c.PreemptDelay,
		IPv6: c.Family() == 6, Source: source, Unicast: len(c.UnicastPeers) > 0,
		DownTimerAdverts: c.DownTimerAdverts, StartupDelay: n.delay,
		GARPRepeat: c.GARPMasterRepeat, GARPDelay: c.GARPMasterDelay,
		GARPRefresh: c.GARPMasterRefresh, GARPRefreshRepeat: c.GARPMasterRefreshRepeat,
		GARPLowerPrioRepeat: c.GARPLowerPrioRepeat, GARPLowerPrioDelay: c.GARPLowerPrioDelay,
		HigherPrioSendAdvert: c.HigherPrioSendAdvert, LowerPrioNoAdvert: c.LowerPrioNoAdvert,
		SkipCheckAdvAddr: c.SkipCheckAdvAddr, StateMaster: c.State == "MASTER",
		Trackers: trackers,
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
	if in.cfg.UnicastSource.IsValid() {
		return in.cfg.UnicastSource
	}
	if in.cfg.McastSource.IsValid() {
		return in.cfg.McastSource
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
		n.accompany(in, a)
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
		clear(in.refused)
		n.emit(Changed{Instance: in.cfg.Name, VRID: in.cfg.VRID, Priority: in.fsm.Priority(), Changed: a})
	case fsm.PriorityChanged:
		n.emit(PriorityChanged{Instance: in.cfg.Name, From: a.From, To: a.To})
		n.tellPriority(in, a.To)
	case fsm.Notify:
		n.notify(in, a.State.String())
	case fsm.NotifyStop:
		n.notify(in, "STOP")
	}
}

// addAddress asks for the address and takes it for present at once: the kernel's
// own word comes only after the frames that the gratuitous ARP attracts.
func (n *Node) addAddress(a config.Address) {
	n.emit(AddAddress{a})
	n.fwd.SetLocal(a.Prefix.Addr(), true)
}

func (n *Node) removeAddress(a config.Address) {
	n.emit(RemoveAddress{a})
	if n.local(a.Prefix.Addr()) {
		n.removing[a.Prefix.Addr()]++
	}
	n.fwd.SetLocal(a.Prefix.Addr(), false)
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
}

// addressLost looks whether an address that the kernel has lost is missed: one that was
// there, is virtual or static, and was not removed by this node.
func (n *Node) addressLost(now time.Duration, port int, prefix netip.Prefix, known bool) {
	addr := prefix.Addr()
	switch {
	case n.removing[addr] > 0:
		n.removing[addr]--
	case known:
		n.staticLost(port, prefix)
		n.virtualLost(now, addr)
		n.restoreSources(addr)
	}
	if bare := !slices.ContainsFunc(n.ports[port].prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }); bare {
		n.restoreRoutes(port)
	}
}

// virtualLost tells the instances that have the address.
func (n *Node) virtualLost(now time.Duration, addr netip.Addr) {
	for i := range n.instances {
		in := &n.instances[i]
		if a, ok := in.vips[addr]; !ok || a.NoTrack {
			continue
		}
		if in.fsm.State() == fsm.Master {
			n.emit(Restored{Instance: in.cfg.Name, Addr: addr})
		}
		n.stepInstance(now, i, fsm.VIPLost{Addr: addr})
	}
}
