package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Rule is a policy rule to be added, or removed. Pointers are nil for what is not asked.
type Rule struct {
	Six              bool
	Not              bool
	From, To         netip.Prefix
	Action           uint8  // FR_ACT number
	Table            uint32 // of FR_ACT_TO_TBL
	Goto             uint32 // of FR_ACT_GOTO
	Preference       uint32
	TOS              uint8
	Mark, Mask       *uint32
	Realms           uint32
	SuppressPrefix   *uint32
	SuppressGroup    *uint32
	IIF, OIF         string
	TunnelID         uint64
	UIDs             *[2]uint32
	L3mdev           bool
	Protocol         uint8
	IPProto          uint8
	SrcPort, DstPort *[2]uint16
}

// FR_ACT numbers of linux/fib_rules.h.
const (
	RuleTable       = 1
	RuleGoto        = 2
	RuleNop         = 3
	RuleBlackhole   = 6
	RuleUnreachable = 7
	RuleProhibit    = 8
)

const (
	fraL3mdev     = 19     // FRA_L3MDEV
	fibRuleInvert = 1 << 1 // FIB_RULE_INVERT
)

// AddRule adds a rule; one that is there already is success, and fresh false.
func (k *Kernel) AddRule(r Rule) (fresh bool, err error) {
	err = k.rule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add the rule with preference %d: %w", r.Preference, explain(err))
	}
	return true, nil
}

// RemoveRule removes a rule; one that is absent is success.
func (k *Kernel) RemoveRule(r Rule) error {
	if err := k.rule(unix.RTM_DELRULE, 0, r); err != nil && !absent(err) {
		return fmt.Errorf("remove the rule with preference %d: %w", r.Preference, explain(err))
	}
	return nil
}

// rule sends one RTM_NEWRULE or RTM_DELRULE. A raw request: netlink.Rule has no words
// for l3mdev, nop and ranges that include 0.
func (k *Kernel) rule(kind, flags int, r Rule) error {
	msg := nl.NewRtMsg() // a fib_rule_hdr has the same layout, with the action for the type
	msg.Family, msg.Type, msg.Scope, msg.Protocol, msg.Tos = unix.AF_INET, r.Action, 0, unix.RTPROT_UNSPEC, r.TOS
	msg.Table = unix.RT_TABLE_UNSPEC
	if r.Six {
		msg.Family = unix.AF_INET6
	}
	if r.Not {
		msg.Flags |= fibRuleInvert
	}
	req := k.request(kind, flags|unix.NLM_F_ACK)
	req.AddData(msg)
	add := func(kind int, value []byte) { req.AddData(nl.NewRtAttr(kind, value)) }
	if r.From.Bits() > 0 { // a length of 0, or none, is everything
		msg.Src_len = uint8(r.From.Bits())
		add(nl.FRA_SRC, r.From.Masked().Addr().AsSlice())
	}
	if r.To.Bits() > 0 {
		msg.Dst_len = uint8(r.To.Bits())
		add(nl.FRA_DST, r.To.Masked().Addr().AsSlice())
	}
	add(nl.FRA_PRIORITY, nl.Uint32Attr(r.Preference))
	r.selectors(add)
	r.results(add)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// selectors adds which packets the rule is for.
func (r *Rule) selectors(add func(int, []byte)) {
	for _, v := range []struct {
		kind  int
		value *uint32
	}{{nl.FRA_FWMARK, r.Mark}, {nl.FRA_FWMASK, r.Mask}} {
		if v.value != nil {
			add(v.kind, nl.Uint32Attr(*v.value))
		}
	}
	if r.IIF != "" {
		add(nl.FRA_IIFNAME, nl.ZeroTerminated(r.IIF))
	}
	if r.OIF != "" {
		add(nl.FRA_OIFNAME, nl.ZeroTerminated(r.OIF))
	}
	if r.TunnelID != 0 {
		add(nl.FRA_TUN_ID, nl.BEUint64Attr(r.TunnelID))
	}
	if r.UIDs != nil {
		add(nl.FRA_UID_RANGE, append(nl.Uint32Attr(r.UIDs[0]), nl.Uint32Attr(r.UIDs[1])...))
	}
	if r.IPProto != 0 {
		add(nl.FRA_IP_PROTO, []byte{r.IPProto})
	}
	if r.SrcPort != nil {
		add(nl.FRA_SPORT_RANGE, append(nl.Uint16Attr(r.SrcPort[0]), nl.Uint16Attr(r.SrcPort[1])...))
	}
	if r.DstPort != nil {
		add(nl.FRA_DPORT_RANGE, append(nl.Uint16Attr(r.DstPort[0]), nl.Uint16Attr(r.DstPort[1])...))
	}
}

// results adds what becomes of them.
func (r *Rule) results(add func(int, []byte)) {
	if r.Table != 0 {
		add(nl.FRA_TABLE, nl.Uint32Attr(r.Table))
	}
	if r.Goto != 0 {
		add(nl.FRA_GOTO, nl.Uint32Attr(r.Goto))
	}
	if r.L3mdev {
		add(fraL3mdev, []byte{1})
	}
	if r.Realms != 0 {
		add(nl.FRA_FLOW, nl.Uint32Attr(r.Realms))
	}
	if r.SuppressPrefix != nil {
		add(nl.FRA_SUPPRESS_PREFIXLEN, nl.Uint32Attr(*r.SuppressPrefix))
	}
	if r.SuppressGroup != nil {
		add(nl.FRA_SUPPRESS_IFGROUP, nl.Uint32Attr(*r.SuppressGroup))
	}
	if r.Protocol != 0 {
		add(nl.FRA_PROTOCOL, []byte{r.Protocol})
	}
}

// sweepRules removes the rules of our protocol, and returns their preferences.
func (k *Kernel) sweepRules() (gone []uint32, err error) {
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := k.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
		list, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		if err != nil {
			errs = append(errs, fmt.Errorf("list rules: %w", err))
			continue
		}
		for _, m := range list {
			preference, own := ownRule(m)
			if !own {
				continue
			}
			del := k.request(unix.RTM_DELRULE, unix.NLM_F_ACK)
			del.AddRawData(m)
			if _, err := del.Execute(unix.NETLINK_ROUTE, 0); err != nil && !absent(err) {
				errs = append(errs, fmt.Errorf("remove rule %d, which a killed run left: %w", preference, explain(err)))
				continue
			}
			gone = append(gone, preference)
		}
	}
	return gone, errors.Join(errs...)
}

func ownRule(m []byte) (preference uint32, own bool) {
	if len(m) < unix.SizeofRtMsg {
		return 0, false
	}
	eachAttr(m[unix.SizeofRtMsg:], func(kind uint16, value, _ []byte) {
		switch {
		case kind == nl.FRA_PRIORITY && len(value) == 4:
			preference = nl.NativeEndian().Uint32(value)
		case kind == nl.FRA_PROTOCOL && len(value) == 1:
			own = value[0] == ProtocolKeepalived
		}
	})
	return preference, own
}
