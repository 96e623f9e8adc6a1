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
	devices map[string]int // tracked interfaces that are not the own: name to port
	refused map[refusal]uint64

	remarked map[netip.Addr]fsm.Remarks
	acts     []fsm.Action
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
		cfg: c, port: p, timer: n.newTimer(timerInstance, i),
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
	n.instances = append(n.instances, in)
	trackers, err := n.trackers(i)
	if err != nil {
		return err
	}
	n.instances[i].source = n.sourceOf(&n.instances[i])
	n.instances[i].fsm = fsm.New(instanceConfig(c, n.cfg.Global.StartupDelay, n.instances[i].source, trackers))
	return nil
}

// trackers lists what the instance tracks beside its own interface.
func (n *Node) trackers(i int) ([]fsm.Tracker, error) {
	in := &n.instances[i]
	var list []fsm.Tracker
	for _, t := range in.cfg.TrackInterfaces {
		if t.Name == in.cfg.Interface && t.Weight == 0 {
			continue // the own interface is tracked anyway
		}
		p, err := n.portNamed(t.Pos, t.Name)
		if err != nil {
			return nil, err
		}
		in.devices[t.Name] = p
		up := fsm.Down
		if n.ports[p].link.Up {
			up = fsm.Up
		}
		list = append(list, fsm.Tracker{Kind: "interface", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: up})
	}
	for _, t := range in.cfg.TrackScripts {
		for s := range n.scripts {
			if n.scripts[s].cfg.Name == t.Name {
				n.scripts[s].users = append(n.scripts[s].users, i)
				list = append(list, fsm.Tracker{Kind: "script", Name: t.Name, Weight: t.Weight, Reverse: t.Reverse, Initial: fsm.Unknown})
			}
		}
	}
	return list, nil
}

// instanceConfig is what the state machine needs of an instance's configuration.
func instanceConfig(c *config.Instance, startupDelay time.Duration, source netip.Addr, trackers []fsm.Tracker) fsm.Config {
	f := fsm.Config{
		Name: c.Name, VRID: c.VRID, Version: c.Version, Priority: c.Priority, Interval: c.AdvertInterval,
		NoPreempt: c.NoPreempt, PreemptDelay: c.PreemptDelay,
		IPv6: c.Family() == 6, Source: source, Unicast: len(c.UnicastPeers) > 0,
		DownTimerAdverts: c.DownTimerAdverts, StartupDelay: startupDelay,
		GARPRepeat: c.GARPMasterRepeat, GARPDelay: c.GARPMasterDelay,
		GARPRefresh: c.GARPMasterRefresh, GARPRefreshRepeat: c.GARPMasterRefreshRepeat,
		GARPLowerPrioRepeat: c.GARPLowerPrioRepeat, GARPLowerPrioDelay: c.GARPLowerPrioDelay,
		HigherPrioSendAdvert: c.HigherPrioSendAdvert, LowerPrioNoAdvert: c.LowerPrioNoAdvert,
		SkipCheckAdvAddr: c.SkipCheckAdvAddr, StateMaster: c.State == "MASTER",
		Trackers: trackers,
	}
	if c.AuthType == "PASS" {
		f.AuthType = 1
		copy(f.Auth[:], c.AuthPass)
	}
	for _, a := range c.Addresses {
		f.Addrs = append(f.Addrs, a.Prefix.Addr())
	}
	for _, a := range c.Excluded {
		f.Excluded = append(f.Excluded, a.Prefix.Addr())
	}
	return f
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

// startInstance removes what a killed run left, and begins the election.
func (n *Node) startInstance(now time.Duration, i int) {
	in := &n.instances[i]
	for _, peer := range in.cfg.UnicastPeers.Addrs() {
		n.seek(now, in.port, n.nextHop(Peer{in.port, peer}))
	}
	if in.cfg.Priority != 255 {
		for _, a := range in.addresses() {
			if n.local(a.Prefix.Addr()) {
				n.removeAddress(a)
			}
		}
	}
	if !n.ports[in.port].link.Up {
		n.stepInstance(now, i, fsm.LinkChanged{Up: false})
	}
	n.stepInstance(now, i, fsm.Startup{})
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
			n.stepInstance(now, i, fsm.Tracked{Name: name, Up: up})
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
	in.acts = in.fsm.Step(now, ev, in.acts[:0])
	for _, a := range in.acts {
		n.act(in, a)
	}
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
		n.removeAddress(in.vips[a.Addr])
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

// advertise sends an advertisement to the group or to every unicast peer. All
// copies of one advertisement carry the same IP identification.
func (n *Node) advertise(in *instance, a fsm.SendAdvert) {
	if in.id++; in.id == 0 {
		in.id = 1
	}
	if !in.unicast() {
		mac, group := vrrpGroupMAC, vrrpGroup
		if in.six() {
			mac, group = vrrpGroupMAC6, vrrpGroup6
		}
		n.emit(Send{Port: in.port, Frame: n.advert(in, a, mac, group)})
		return
	}
	for _, peer := range in.cfg.UnicastPeers.Addrs() {
		nb := n.neighbourFor(in.port, n.nextHop(Peer{in.port, peer}))
		if nb < 0 || !n.neighbours[nb].resolved {
			continue // asked for since the start; the next advertisement will find it
		}
		n.emit(Send{Port: in.port, Frame: n.advert(in, a, n.neighbours[nb].mac, peer)})
	}
}

// ttl is that of the advertisements; only to peers it may be another (unicast_ttl).
func (in *instance) ttl() uint8 {
	if in.unicast() && in.cfg.UnicastTTL > 0 {
		return in.cfg.UnicastTTL
	}
	return vrrpTTL
}

// advert builds one frame. Version 3 sums the pseudo-header as keepalived and FRR
// do (reference: interoperation; RFC 9568 §5.2.8 would leave it out over IPv4).
func (n *Node) advert(in *instance, a fsm.SendAdvert, mac proto.MAC, dst netip.Addr) []byte {
	msg := in.fsm.Advert(a.Priority).Append(make([]byte, 0, 8+16*len(in.cfg.Addresses)+8))
	form := proto.ChecksumMessage
	if in.cfg.Version == 3 {
		form = proto.ChecksumPseudo
	}
	proto.SealVRRP(msg, a.Src, dst, form)
	if in.six() {
		f := proto.AppendEthernet(make([]byte, 0, 14+40+len(msg)), mac, n.ports[in.port].link.MAC, proto.EtherTypeIPv6)
		h := proto.IPv6Header{TrafficClass: vrrpTOS, HopLimit: in.ttl(), NextHeader: proto.ProtocolVRRP, Src: a.Src, Dst: dst}
		return append(h.Append(f, len(msg)), msg...)
	}
	f := proto.AppendEthernet(make([]byte, 0, 14+20+len(msg)), mac, n.ports[in.port].link.MAC, proto.EtherTypeIPv4)
	h := proto.IPv4Header{TOS: vrrpTOS, ID: in.id, TTL: in.ttl(), Protocol: proto.ProtocolVRRP, Src: a.Src, Dst: dst}
	return append(h.Append(f, len(msg)), msg...)
}

// announce sends one gratuitous ARP or unsolicited neighbour advertisement on the interface that carries the address: for a
// virtual one the device of its line, for the own source that of the instance.
func (n *Node) announce(in *instance, addr netip.Addr) {
	p := in.port
	if vip, ok := in.vips[addr]; ok {
		p, _ = n.portNamed(vip.Pos, vip.Device) // looked up before, when the node was made
	}
	link := &n.ports[p].link
	if addr.Is6() {
		n.emit(Send{Port: p, Frame: proto.AppendUnsolicitedNA(make([]byte, 0, 86), link.MAC, addr, link.Router)})
		return
	}
	n.emit(Send{Port: p, Frame: proto.AppendGratuitousARP(make([]byte, 0, 42), link.MAC, addr)})
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

// Hearing is what one instance makes of a received VRRP message before its state is asked.
type Hearing struct {
	Instance *config.Instance
	Source   netip.Addr // of its own advertisements
	fsm.Message
	Verdict fsm.Verdict
	Remarks fsm.Remarks // of an accepted message

	index int
}

// Hear tells which instances a frame of the control socket is for and what each holds
// against it, and changes nothing. Frames of our own addresses are for none.
func (n *Node) Hear(port int, frame []byte) []Hearing {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 {
		return nil
	}
	return n.hear(port, eth)
}

func (n *Node) hear(port int, eth proto.Ethernet) []Hearing {
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil || ip.Protocol() != proto.ProtocolVRRP || n.local(ip.Src()) {
		return nil
	}
	msg := proto.VRRP(ip.Payload()) // what is wrong with its length, Check says
	if len(msg) < 2 {
		return nil
	}
	var list []Hearing
	for i := range n.instances {
		in := &n.instances[i]
		if in.port != port || in.six() != ip.Is6() || in.cfg.VRID != msg.VRID() || in.unicast() != n.local(ip.Dst()) {
			continue
		}
		h := Hearing{Instance: in.cfg, Source: in.source, Message: fsm.Message{IP: ip, VRRP: msg}, index: i}
		if h.Verdict = in.fsm.Check(h.Message); h.Verdict == fsm.Accepted {
			h.Remarks = in.fsm.Remark(h.Message)
		}
		list = append(list, h)
	}
	return list
}

// heardVRRP gives an advertisement to the instance of its VRID on this port.
func (n *Node) heardVRRP(now time.Duration, port int, eth proto.Ethernet) {
	for _, h := range n.hear(port, eth) {
		in, src := &n.instances[h.index], h.IP.Src()
		if h.Verdict != fsm.Accepted {
			n.refuse(in, src, h.Verdict)
			continue
		}
		n.remark(in, src, h.Remarks)
		n.tellLower(in, h.VRRP.Priority())
		n.stepInstance(now, h.index, fsm.Heard{Priority: h.VRRP.Priority(), Interval: h.VRRP.Interval(), Src: src})
	}
}

// remark reports what is odd about an accepted advertisement, once for each sender.
func (n *Node) remark(in *instance, src netip.Addr, r fsm.Remarks) {
	if in.remarked[src] == r || len(in.remarked) == refusalsKept {
		return
	}
	in.remarked[src] = r
	if r != 0 {
		n.emit(Remarked{Instance: in.cfg.Name, VRID: in.cfg.VRID, Src: src, Remarks: r})
	}
}

// refuse counts a refused advertisement and reports the first of its kind.
func (n *Node) refuse(in *instance, src netip.Addr, v fsm.Verdict) {
	key := refusal{src, v}
	if in.refused[key] == 0 && len(in.refused) < refusalsKept {
		n.emit(Refused{Instance: in.cfg.Name, VRID: in.cfg.VRID, Src: src, Verdict: v})
	} else if in.refused[key] == 0 {
		return
	}
	in.refused[key]++
}

// addressLost looks whether an address that the kernel has lost is missed: one that was
// there, is virtual, and was not removed by this node.
func (n *Node) addressLost(now time.Duration, addr netip.Addr, known bool) {
	if n.removing[addr] > 0 {
		n.removing[addr]--
		return
	}
	for i := range n.instances {
		if _, ok := n.instances[i].vips[addr]; ok && known {
			if n.instances[i].fsm.State() == fsm.Master {
				n.emit(Restored{Instance: n.instances[i].cfg.Name, Addr: addr})
			}
			n.stepInstance(now, i, fsm.VIPLost{Addr: addr})
		}
	}
}
