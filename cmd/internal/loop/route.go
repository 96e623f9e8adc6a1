package loop

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// Router is what the loop needs of the kernel for routes and rules.
type Router interface {
	AddRoute(kernel.Route) (fresh bool, err error)
	RemoveRoute(kernel.Route) error
	AddRule(kernel.Rule) (fresh bool, err error)
	RemoveRule(kernel.Rule) error
}

func (l *Loop) addRoute(a node.AddRoute) {
	r, err := routeOf(l.Names, a.Route)
	r.Number = a.Number
	fresh := false
	if err == nil {
		fresh, err = l.Host.AddRoute(r)
	}
	l.added("route", a.Route.String(), a.Instance, a.Again, fresh, err)
}

func (l *Loop) removeRoute(a node.RemoveRoute) {
	r, err := routeOf(l.Names, a.Route)
	if err != nil {
		return // it was told when it was to be added
	}
	r.Number = a.Number
	if err := l.Host.RemoveRoute(r); err != nil {
		l.Log.Error("route not removed", "route", a.Route.String(), "err", err)
	}
}

func (l *Loop) addRule(a node.AddRule) {
	r, err := ruleOf(l.Names, a.Rule)
	fresh := false
	if err == nil {
		fresh, err = l.Host.AddRule(r)
	}
	l.added("rule", a.Rule.String(), a.Instance, a.Again, fresh, err)
}

func (l *Loop) removeRule(a node.RemoveRule) {
	r, err := ruleOf(l.Names, a.Rule)
	if err != nil {
		return
	}
	if err := l.Host.RemoveRule(r); err != nil {
		l.Log.Error("rule not removed", "rule", a.Rule.String(), "err", err)
	}
}

// added logs what became of a route or rule, where that is news.
func (l *Loop) added(what, text, instance string, again, fresh bool, err error) {
	attrs := []any{what, text}
	if instance != "" {
		attrs = append(attrs, "instance", instance)
	}
	switch {
	case err != nil && again:
		l.Log.Warn(what+" is gone, and cannot be put back", append(attrs, "err", err)...)
	case err != nil:
		l.Log.Error(what+" not added", append(attrs, "err", err)...)
	case again && fresh:
		l.Log.Warn(what+" was gone, put back", attrs...)
	}
}

var routeTypes = map[string]uint8{
	"unicast": unix.RTN_UNICAST, "local": unix.RTN_LOCAL, "broadcast": unix.RTN_BROADCAST, "multicast": unix.RTN_MULTICAST, "throw": unix.RTN_THROW,
	"unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT, "blackhole": unix.RTN_BLACKHOLE, "nat": unix.RTN_NAT,
}

// preferences are the numbers of RFC 4191 §2.1.
var preferences = map[string]uint8{"medium": 0, "high": 1, "low": 3}

// numbers looks names up and keeps the first error.
type numbers struct {
	names kernel.Names
	err   error
}

func (n *numbers) of(kind, name string, most uint32) uint32 {
	v, err := n.names.Number(kind, name, most)
	if err != nil && n.err == nil {
		n.err = err
	}
	return v
}

// realms is [FROM/]TO.
func (n *numbers) realms(text string) uint32 {
	from, to, both := strings.Cut(text, "/")
	if !both {
		from, to = "", from
	}
	return n.of(kernel.RealmNames, from, 0xffff)<<16 | n.of(kernel.RealmNames, to, 0xffff)
}

// routeOf puts a line of the configuration into the kernel's terms.
func routeOf(names kernel.Names, c *config.Route) (kernel.Route, error) {
	n := numbers{names: names}
	r := kernel.Route{
		To: c.To, Type: routeTypes[c.Type], Table: n.of(kernel.TableNames, c.Table, 1<<32-1), VRF: c.VRF,
		Scope: uint8(n.of(kernel.ScopeNames, c.Scope, 255)), Protocol: kernel.ProtocolKeepalived, TOS: uint8(n.of(kernel.TOSNames, c.TOS, 255)),
		Metric: c.Metric, Source: c.Src, Realms: n.realms(c.Realms), Expires: uint32(c.Expires.Seconds()), Pref: preferences[c.Pref],
		Hop: kernel.Hop{Via: c.Via.Addr, Interface: c.Device, OnLink: c.OnLink},
	}
	if p := n.of(kernel.ProtocolNames, c.Protocol, 255); c.Protocol != "" {
		r.Protocol = uint8(p)
	}
	if from := c.From.Addr(); from.IsValid() {
		r.From = c.From.Prefix()
	}
	switch c.TTLPropagate {
	case "enabled":
		r.Propagate = 1
	case "disabled":
		r.Propagate = -1
	}
	switch {
	case c.Append:
		r.Insert = kernel.Append
	case c.Add:
		r.Insert = kernel.Only
	}
	if c.Or.Addr.IsValid() { // the old spelling of a multipath route
		r.Hops = []kernel.Hop{r.Hop, {Via: c.Or.Addr, Interface: c.Device, OnLink: c.OnLink}}
		r.Hop = kernel.Hop{}
	}
	for _, h := range c.NextHops {
		r.Hops = append(r.Hops, kernel.Hop{Via: h.Via.Addr, Interface: h.Device, OnLink: h.OnLink, Weight: h.Weight, Realms: n.realms(h.Realms)})
	}
	if err := metricsOf(&r, c); n.err == nil {
		n.err = err
	}
	return r, n.err
}

// ecn is the only bit of RTAX_FEATURES that has a name.
const ecn = 1

// metricsOf fills in RTA_METRICS. Round trip times are kept in eighths of a millisecond,
// their variance in quarters.
func metricsOf(r *kernel.Route, c *config.Route) error {
	for _, m := range []struct {
		kind  uint16
		value config.Lockable
		unit  float64 // of a millisecond; 0 for what is no time
	}{
		{unix.RTAX_MTU, c.MTU, 0}, {unix.RTAX_ADVMSS, c.AdvMSS, 0}, {unix.RTAX_REORDERING, c.Reordering, 0}, {unix.RTAX_CWND, c.CWnd, 0},
		{unix.RTAX_SSTHRESH, c.SSThresh, 0}, {unix.RTAX_RTT, c.RTT, 8}, {unix.RTAX_RTTVAR, c.RTTVar, 4}, {unix.RTAX_RTO_MIN, c.RTOMin, 1},
	} {
		if m.value.Value == "" {
			continue
		}
		v, err := metric(m.value.Value, m.unit)
		if err != nil {
			return err
		}
		if m.unit > 1 { // as keepalived does
			v = max(v, leastRTT*uint32(m.unit))
		}
		r.Metrics = append(r.Metrics, kernel.Metric{Kind: m.kind, Value: v})
		if m.value.Lock {
			r.Lock |= 1 << m.kind
		}
	}
	for _, m := range []kernel.Metric{
		{Kind: unix.RTAX_HOPLIMIT, Value: uint32(c.HopLimit)}, {Kind: unix.RTAX_WINDOW, Value: c.Window}, {Kind: unix.RTAX_INITCWND, Value: c.InitCWnd},
		{Kind: unix.RTAX_INITRWND, Value: c.InitRWnd}, {Kind: unix.RTAX_QUICKACK, Value: uint32(c.QuickAck)}, {Kind: unix.RTAX_FASTOPEN_NO_COOKIE, Value: uint32(c.FastOpenNoCookie)},
	} {
		if m.Value != 0 { // which is what the kernel takes anyway
			r.Metrics = append(r.Metrics, m)
		}
	}
	if c.Features == "ecn" {
		r.Metrics = append(r.Metrics, kernel.Metric{Kind: unix.RTAX_FEATURES, Value: ecn})
	}
	if r.CongCtl = c.CongCtl.Value; c.CongCtl.Lock {
		r.Lock |= 1 << unix.RTAX_CC_ALGO
	}
	return nil
}

// leastRTT is the shortest round trip time in milliseconds that keepalived sets.
const leastRTT = 200

// metric reads a number; of a time with s or ms behind it, or in the kernel's own unit.
func metric(text string, unit float64) (uint32, error) {
	number, factor := text, 1.0
	if unit != 0 {
		if n, ok := strings.CutSuffix(text, "ms"); ok {
			number, factor = n, unit
		} else if n, ok := strings.CutSuffix(text, "s"); ok {
			number, factor = n, 1000*unit
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v < 0 || v*factor > 1<<32-1 {
		return 0, fmt.Errorf("%s: must be a number", text)
	}
	return uint32(v * factor), nil
}

var ruleTypes = map[string]uint8{"blackhole": kernel.RuleBlackhole, "unreachable": kernel.RuleUnreachable, "prohibit": kernel.RuleProhibit}

// transports are the protocols of ipproto that have names here.
var transports = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "ospf": 89, "vrrp": 112, "sctp": 132, "udplite": 136}

// ruleOf puts a line of the configuration into the kernel's terms.
func ruleOf(names kernel.Names, c *config.Rule) (kernel.Rule, error) {
	n := numbers{names: names}
	r := kernel.Rule{
		Six: c.Inet6 || c.From.Addr().Is6() || c.To.Addr().Is6(), Not: c.Not, From: c.From.Prefix(), To: c.To.Prefix(), Preference: c.Preference,
		TOS: uint8(n.of(kernel.TOSNames, c.TOS, 255)), Realms: n.realms(c.Realms), IIF: c.IIF, OIF: c.OIF, TunnelID: c.TunnelID, L3mdev: c.L3mdev,
		Action: kernel.RuleTable, Table: n.of(kernel.TableNames, c.Table, 1<<32-1), Goto: c.Goto,
	}
	switch {
	case c.Goto != 0:
		r.Action = kernel.RuleGoto
	case c.Nop:
		r.Action = kernel.RuleNop
	case c.Type != "":
		r.Action = ruleTypes[c.Type]
	}
	switch {
	case c.Protocol != "":
		r.Protocol = uint8(n.of(kernel.ProtocolNames, c.Protocol, 255))
	case !c.NoTrack: // one that is not tracked has nobody's mark, as with keepalived
		r.Protocol = kernel.ProtocolKeepalived
	}
	if c.SuppressPrefixLength >= 0 {
		length := uint32(c.SuppressPrefixLength)
		r.SuppressPrefix = &length
	}
	if c.SuppressIfGroup != "" {
		group := n.of(kernel.GroupNames, c.SuppressIfGroup, 1<<32-1)
		r.SuppressGroup = &group
	}
	if err := selectorsOf(&r, c); n.err == nil {
		n.err = err
	}
	return r, n.err
}

// selectorsOf fills in marks, users, protocol and ports.
func selectorsOf(r *kernel.Rule, c *config.Rule) (err error) {
	if c.Fwmark != "" {
		mark, mask, masked := strings.Cut(c.Fwmark, "/")
		if r.Mark, err = number(mark, 32); err != nil {
			return err
		}
		if masked {
			if r.Mask, err = number(mask, 32); err != nil {
				return err
			}
		}
	}
	if c.UIDRange != "" {
		low, high, _ := strings.Cut(c.UIDRange, "-")
		from, err := number(low, 32)
		if err != nil {
			return err
		}
		to, err := number(high, 32)
		if err != nil {
			return err
		}
		r.UIDs = &[2]uint32{*from, *to}
	}
	if c.IPProto != "" {
		known := false
		if r.IPProto, known = transports[c.IPProto]; !known {
			v, err := number(c.IPProto, 8)
			if err != nil {
				return err
			}
			r.IPProto = uint8(*v)
		}
	}
	if c.SPort != (config.PortRange{}) {
		r.SrcPort = &[2]uint16{c.SPort.From, c.SPort.To}
	}
	if c.DPort != (config.PortRange{}) {
		r.DstPort = &[2]uint16{c.DPort.From, c.DPort.To}
	}
	return nil
}

func number(text string, bits int) (*uint32, error) {
	v, err := strconv.ParseUint(text, 0, bits)
	if err != nil {
		return nil, fmt.Errorf("%s: must be a number of %d bits", text, bits)
	}
	short := uint32(v)
	return &short, nil
}
