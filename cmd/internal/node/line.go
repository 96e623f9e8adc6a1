package node

import (
	"fmt"
	"net/netip"

	"github.com/ringkeep/ringkeep/proto"
)

// tell emits a line for the notification FIFOs.
func (n *Node) tell(vrrp bool, format string, args ...any) {
	n.emit(Line{VRRP: vrrp, Text: fmt.Sprintf(format, args...)})
}

// tellsPriority is whether new priorities of an instance are told: what it says itself,
// or else its sync group, or else global_defs.
func (n *Node) tellsPriority(in *instance) bool {
	const keyword = "notify_priority_changes"
	if in.cfg.Has(keyword) {
		return in.cfg.NotifyPriorityChanges
	}
	if in.group >= 0 && n.groups[in.group].cfg.Has(keyword) {
		return n.groups[in.group].cfg.NotifyPriorityChanges
	}
	return n.cfg.Global.NotifyPriorityChanges
}

// tellPriority tells a new effective priority, where the configuration wants that.
func (n *Node) tellPriority(in *instance, to uint8) {
	if !n.tellsPriority(in) {
		return
	}
	kind := "BACKUP_PRIORITY"
	if in.fsm.State().String() == "MASTER" {
		kind = "MASTER_PRIORITY"
	}
	n.tell(true, "INSTANCE %q %s %d", in.cfg.Name, kind, to)
}

// tellLower tells a MASTER's hearing of a lower priority.
func (n *Node) tellLower(in *instance, priority uint8) {
	if in.fsm.State().String() != "MASTER" || priority == 0 || priority >= in.fsm.Priority() {
		return
	}
	if in.cfg.NotifyMasterRxLowerPri != nil {
		n.emit(Notify{Queue: in.cfg.Name, Command: in.cfg.NotifyMasterRxLowerPri})
	}
	n.tell(true, "INSTANCE %q MASTER_RX_LOWER_PRI %d", in.cfg.Name, in.fsm.Priority())
}

// lineName is how the FIFOs name a server: [ADDR]:proto:port.
func lineName(protocol uint8, a netip.AddrPort) string {
	name := map[uint8]string{proto.ProtocolTCP: "tcp", proto.ProtocolUDP: "udp", proto.ProtocolSCTP: "sctp", 0: "none"}[protocol]
	return fmt.Sprintf("[%s]:%s:%d", a.Addr(), name, a.Port())
}

func upOrDown(up bool) string {
	if up {
		return "UP"
	}
	return "DOWN"
}
