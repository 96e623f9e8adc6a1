package node

import (
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
	for i := range n.instances {
		in := &n.instances[i]
		if in.port != port || in.six() != ip.Is6() || in.cfg.VRID != msg.VRID() || in.unicast() != n.local(ip.Dst()) {
			continue
		}
		if _, shared := in.vips[ip.Src()]; own && (!shared || in.source == ip.Src()) {
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
		n.stepInstance(now, h.index, h.Message.Heard())
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
