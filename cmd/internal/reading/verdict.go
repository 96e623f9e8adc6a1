package reading

import (
	"fmt"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// refusal is the rule that refused a message and what broke it, "" for none
// (RFC 9568 §7.1, RFC 3768 §7.1).
func refusal(h node.Hearing) string {
	v, name, detail := h.VRRP, h.Instance.Name, ""
	switch h.Verdict {
	case fsm.Accepted:
		return ""
	case fsm.WrongProtocol:
		detail = fmt.Sprintf("an authentication header, %s has %s", name, authName(h.Instance.AuthType))
		if h.Instance.AuthType == "AH" {
			detail = "no authentication header"
		}
	case fsm.WrongSPI:
		detail = fmt.Sprintf("%s, sent by %s", proto.AH(h.IP.Payload()).SPI(), h.IP.Src())
	case fsm.Replayed:
		detail = fmt.Sprintf("sequence number %d", proto.AH(h.IP.Payload()).Sequence())
	case fsm.BadTTL:
		detail = fmt.Sprintf("TTL %d: it came through a router", h.IP.TTL())
		if len(h.Instance.UnicastPeers) > 0 {
			detail = fmt.Sprintf("TTL %d, the peer has others", h.IP.TTL())
		}
	case fsm.UnknownSender:
		detail = fmt.Sprintf("%s is no peer of %s", h.IP.Src(), name)
	case fsm.WrongDestination:
		detail = h.IP.Dst().String()
	case fsm.BadSource, fsm.OwnSource:
		detail = h.IP.Src().String()
	case fsm.WrongVersion:
		detail = fmt.Sprintf("version %d, %s speaks %d", v.Version(), name, h.Instance.Version)
	case fsm.WrongType:
		detail = fmt.Sprintf("type %d", v.Type())
	case fsm.BadLength:
		detail = fmt.Sprintf("%d bytes", len(v))
	case fsm.WrongAuthType:
		detail = fmt.Sprintf("type %d, %s has %s", v.AuthType(), name, authName(h.Instance.AuthType))
	case fsm.WrongInterval:
		detail = fmt.Sprintf("%s, %s has %s", v.Interval(), name, h.Instance.AdvertInterval)
	}
	if detail != "" {
		detail = " (" + detail + ")"
	}
	return h.Verdict.String() + detail
}

func authName(word string) string {
	if word == "" {
		return "none"
	}
	return word
}

// hearing is an accepted message at an instance of a known effective priority.
type hearing struct {
	node.Hearing
	own uint8
}

// in follows RFC 9568 §6.4 for the state.
func (h hearing) in(state string) string {
	switch state {
	case "BACKUP":
		return h.inBackup()
	case "MASTER":
		return h.inMaster()
	case "INIT", "FAULT":
		return fmt.Sprintf("ignored: %s is in %s and takes no part", h.Instance.Name, state)
	}
	return "accepted by " + h.Instance.Name
}

// inBackup follows RFC 9568 §6.4.2.
func (h hearing) inBackup() string {
	in, p := h.Instance, h.VRRP.Priority()
	resets := "accepted, resets the master down timer of " + in.Name
	lower := fmt.Sprintf("%d is lower than %d", p, h.own)
	switch {
	case p == 0:
		// In version 3 the MASTER's interval counts: it is taken to be that of this message.
		after := skew(h.own, skewUnit(in, h.VRRP.Interval()))
		return fmt.Sprintf("priority 0: %s takes over after its skew time of %s", in.Name, after)
	case p >= h.own:
		return resets
	case in.Priority == fsm.OwnerPriority: // preempts always (RFC 9568 §6.1)
	case in.NoPreempt:
		return resets + ": " + lower + ", but it does not preempt"
	case in.PreemptDelay > 0:
		return fmt.Sprintf("%s: %s, but the preempt delay of %s comes first", resets, lower, in.PreemptDelay)
	}
	return fmt.Sprintf("discarded: %s, the master down timer of %s runs on", lower, in.Name)
}

// inMaster follows RFC 9568 §6.4.3; of equals the greater address wins.
func (h hearing) inMaster() string {
	in, p, src := h.Instance, h.VRRP.Priority(), h.IP.Src()
	goesOn := fmt.Sprintf("accepted: %s (MASTER, priority %d) goes on", in.Name, h.own)
	switch {
	case p == 0:
		return fmt.Sprintf("priority 0: %s (MASTER, priority %d) advertises at once", in.Name, h.own)
	case p > h.own:
		return fmt.Sprintf("%s yields: %d is higher than %d", in.Name, p, h.own)
	case p == h.own && h.Source.Less(src):
		return fmt.Sprintf("%s yields: %d is its own priority, and %s is higher than %s", in.Name, p, src, h.Source)
	case p == h.own:
		goesOn += fmt.Sprintf(", the sender has the same and %s is lower than %s", src, h.Source)
	default:
		goesOn += ", the sender is lower"
	}
	if in.LowerPrioNoAdvert {
		return goesOn
	}
	return goesOn + " and is answered"
}
