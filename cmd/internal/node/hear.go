package node

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

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
// against it, and changes nothing. Frames of our own addresses are for none, unless that is
// a virtual one: FRR speaks from the link-local one that both hold while two are MASTER.
func (n *Node) Hear(port int, frame []byte) []Hearing {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 {
		return nil
	}
	return n.hear(port, eth)
}

func (n *Node) hear(port int, eth proto.Ethernet) []Hearing {
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil {
		return nil
	}
	own := n.local(ip.Src())
	b, ok := proto.VRRPIn(ip)
	if !ok || len(b) < 2 {
		return nil
	}
	msg := proto.VRRP(b) // what is wrong with its length, Check says
	var list []Hearing
	for _, i := range n.routers[router{port, msg.VRID(), ip.Is6()}] {
		in := &n.instances[i]
		if in.unicast() != n.local(ip.Dst()) {
			continue
		}
		if _, shared := in.vips[ip.Src()]; own && (!shared || in.source == ip.Src()) {
			continue
		}
		h := Hearing{Instance: in.cfg, Source: in.source, Message: fsm.Message{IP: ip, VRRP: msg, Wall: n.wall}, index: i}
		if h.Verdict = in.fsm.Check(h.Message); h.Verdict == fsm.Accepted {
			h.Remarks = in.fsm.Remark(h.Message)
		}
		list = append(list, h)
	}
	return list
}

// heardVRRP gives an advertisement to the instance of its VRID on this port.
func (n *Node) heardVRRP(now time.Duration, port int, eth proto.Ethernet) {
	list := n.hear(port, eth)
	if list == nil {
		n.heardByNone(now, port, eth)
		return
	}
	for _, h := range list {
		in := &n.instances[h.index]
		n.report(now, in, h)
		if h.Verdict == fsm.Accepted {
			n.tellLower(in, h.VRRP.Priority())
			n.stepInstance(now, h.index, h.Message.Heard())
		}
	}
}

// report counts what is wrong with an advertisement, and tells it once.
func (n *Node) report(now time.Duration, in *instance, h Hearing) {
	if h.Verdict == fsm.Accepted && h.Remarks == 0 {
		return
	}
	src := h.IP.Src()
	if !in.book.add(now, mistake{src, in.cfg.VRID, h.Verdict}, h.detail()) {
		return
	}
	if h.Verdict == fsm.Accepted {
		n.emit(Remarked{Instance: in.cfg.Name, VRID: in.cfg.VRID, Src: src, Remarks: h.Remarks})
		return
	}
	n.emit(Refused{Instance: in.cfg.Name, Interface: in.cfg.Interface, VRID: in.cfg.VRID, Src: src, Verdict: h.Verdict, Why: h.Why()})
}

// heardByNone counts an advertisement that is for no instance: of an unknown VRID, or of
// another host with one of our addresses. The first is told with log_unknown_vrids, or
// where it carries an address of ours: then a VRID is mistyped.
func (n *Node) heardByNone(now time.Duration, port int, eth proto.Ethernet) {
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil {
		return
	}
	b, ok := proto.VRRPIn(ip)
	if !ok || len(b) < 8 {
		return
	}
	m, book := fsm.Message{IP: ip, VRRP: b}, &n.ports[port].book
	r := Refused{Interface: n.ports[port].link.Name, VRID: m.VRRP.VRID(), Src: ip.Src()}
	var why func() string // put together only if it is to be told
	switch known := n.routers[router{port, r.VRID, ip.Is6()}]; {
	case n.local(r.Src):
		if n.ourMAC(eth.Src()) || eth.Src().IsVirtual() {
			return // our own frame came back
		}
		r.Verdict = fsm.OwnSource
		why = func() string {
			return fmt.Sprintf("%v sends with %v, an address of this node; give one of them another address", eth.Src(), r.Src)
		}
	case !ip.Dst().IsMulticast() && !n.local(ip.Dst()):
		return // to another host
	case known != nil: // to a host where the group is heard, or the other way round
		in := &n.instances[known[0]]
		n.report(now, in, Hearing{Instance: in.cfg, Source: in.source, Message: m, Verdict: fsm.WrongDestination, index: known[0]})
		return
	case n.routers[router{port, r.VRID, !ip.Is6()}] != nil:
		return // of the other family, which is another virtual router
	default:
		r.Verdict = fsm.WrongVRID
		vip, of := n.sharedAddress(port, m)
		if of < 0 && !n.cfg.Global.LogUnknownVRIDs {
			book.counts[r.Verdict]++
			return
		}
		why = func() string { return n.stranger(port, m, vip, of) }
	}
	if book.add(now, mistake{r.Src, r.VRID, r.Verdict}, 0) {
		r.Why = why()
		n.emit(r)
	}
}

// ourMAC tells whether an interface of this host has the MAC.
func (n *Node) ourMAC(mac proto.MAC) bool {
	for i := range n.ports {
		if n.ports[i].link.MAC == mac {
			return true
		}
	}
	return false
}
