package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ProtocolKeepalived is RTPROT_KEEPALIVED: who has added a route or rule, in its own
// words. [Kernel.Sweep] takes what carries it for ours.
const ProtocolKeepalived = 18

// Route is a route to be added, or removed. Its zero values mean what they mean to the
// kernel, but for those that are explained.
type Route struct {
	Number    int // the caller's, told by [RouteRemoved]
	To        netip.Prefix
	From      netip.Prefix // of a source-specific route, IPv6 only
	Type      uint8        // RTN number; 0 is unicast
	Table     uint32       // 0 is main
	VRF       string       // an interface whose table is meant
	Scope     uint8        // IPv4
	Protocol  uint8
	TOS       uint8
	Metric    uint32
	Source    netip.Addr
	Hop       // the one hop, or the zero value
	Hops      []Hop
	Realms    uint32
	Expires   uint32 // seconds, IPv6
	Pref      uint8  // ICMPV6_ROUTER_PREF number, IPv6
	Propagate int8   // of the TTL into labels: 1 enabled, -1 disabled
	Metrics   []Metric
	Lock      uint32 // bit RTAX of every metric that path MTU discovery and TCP must keep
	CongCtl   string
	Insert    Insert
}

// Hop is a next hop.
type Hop struct {
	Via       netip.Addr
	Interface string
	OnLink    bool
	Weight    int // of several; at least 1
	Realms    uint32
}

// Metric is a number of RTA_METRICS.
type Metric struct {
	Kind  uint16 // RTAX number
	Value uint32
}

// Insert says where a route goes beside others to the same destination.
type Insert uint8

const (
	Prepend Insert = iota // before them
	Append                // behind them
	Only                  // nowhere: there must be none
)

var insertFlags = map[Insert]int{Prepend: unix.NLM_F_CREATE, Append: unix.NLM_F_CREATE | unix.NLM_F_APPEND, Only: unix.NLM_F_CREATE | unix.NLM_F_EXCL}

// AddRoute adds a route; one that is there already is success, and fresh false. From
// now on its loss is told by [Kernel.Watch].
func (k *Kernel) AddRoute(r Route) (fresh bool, err error) {
	if r.Table, err = k.tableOf(r); err == nil {
		k.owned.put(r)
		err = k.route(unix.RTM_NEWROUTE, insertFlags[r.Insert], r)
	}
	if errors.Is(err, unix.EEXIST) && r.Insert != Only {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add the route to %s: %w", r.To, explain(err))
	}
	return true, nil
}

// RemoveRoute removes a route; one that is absent, or whose interface is gone, is
// success.
func (k *Kernel) RemoveRoute(r Route) (err error) {
	if r.Table, err = k.tableOf(r); err == nil {
		k.owned.drop(r)
		err = k.route(unix.RTM_DELROUTE, 0, r)
	}
	if err != nil && !absent(err) {
		return fmt.Errorf("remove the route to %s: %w", r.To, explain(err))
	}
	return nil
}

// absent tells whether what was to be removed is not there.
func absent(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, errNoLink)
}

// tableOf is the number of the table that a route belongs to.
func (k *Kernel) tableOf(r Route) (uint32, error) {
	switch {
	case r.VRF != "":
		l, err := k.links.LinkByName(r.VRF)
		if err != nil {
			return 0, fmt.Errorf("vrf %s: %w", r.VRF, err)
		}
		v, ok := l.(*netlink.Vrf)
		if !ok {
			return 0, fmt.Errorf("%s is no VRF", r.VRF)
		}
		return v.Table, nil
	case r.Table == 0:
		return unix.RT_TABLE_MAIN, nil
	}
	return r.Table, nil
}

// route sends one RTM_NEWROUTE or RTM_DELROUTE. A raw request: netlink.Route has no
// words for locks, expiry, router preference and much else.
func (k *Kernel) route(kind, flags int, r Route) error {
	msg := nl.NewRtMsg()
	msg.Family = familyOf(r.To.Addr())
	msg.Type, msg.Scope, msg.Protocol, msg.Tos = max(r.Type, unix.RTN_UNICAST), r.Scope, r.Protocol, r.TOS
	msg.Table = unix.RT_TABLE_UNSPEC // the attribute counts
	msg.Dst_len = uint8(r.To.Bits())
	req := k.request(kind, flags|unix.NLM_F_ACK)
	req.AddData(msg)
	add := func(kind int, value []byte) { req.AddData(nl.NewRtAttr(kind, value)) }
	add(unix.RTA_TABLE, nl.Uint32Attr(r.Table))
	if r.To.Bits() > 0 {
		add(unix.RTA_DST, r.To.Masked().Addr().AsSlice())
	}
	if r.From.Bits() > 0 {
		msg.Src_len = uint8(r.From.Bits())
		add(unix.RTA_SRC, r.From.Masked().Addr().AsSlice())
	}
	if r.Source.IsValid() {
		add(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	for _, v := range []struct {
		kind  int
		value uint32
	}{{unix.RTA_PRIORITY, r.Metric}, {unix.RTA_FLOW, r.Realms}, {unix.RTA_EXPIRES, r.Expires}} {
		if v.value != 0 {
			add(v.kind, nl.Uint32Attr(v.value))
		}
	}
	if r.Pref != 0 {
		add(unix.RTA_PREF, []byte{r.Pref})
	}
	if r.Propagate != 0 {
		add(unix.RTA_TTL_PROPAGATE, []byte{uint8(max(r.Propagate, 0))})
	}
	if m := r.metrics(); m != nil && kind == unix.RTM_NEWROUTE {
		req.AddData(m)
	}
	if err := k.hops(req, msg, r); err != nil {
		return err
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// hops adds where the packets go.
func (k *Kernel) hops(req *nl.NetlinkRequest, msg *nl.RtMsg, r Route) error {
	if r.Via.IsValid() {
		req.AddData(via(r.To.Addr(), r.Via))
	}
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	if r.Interface != "" {
		index, err := k.index(r.Interface)
		if err != nil {
			return err
		}
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	var legs []byte
	for _, h := range r.Hops {
		leg := &nl.RtNexthop{RtNexthop: unix.RtNexthop{Hops: uint8(max(h.Weight, 1) - 1)}}
		if h.Interface != "" {
			index, err := k.index(h.Interface)
			if err != nil {
				return err
			}
			leg.Ifindex = int32(index)
		}
		if h.OnLink {
			leg.Flags |= unix.RTNH_F_ONLINK
		}
		if h.Via.IsValid() {
			leg.Children = append(leg.Children, via(r.To.Addr(), h.Via))
		}
		if h.Realms != 0 {
			leg.Children = append(leg.Children, nl.NewRtAttr(unix.RTA_FLOW, nl.Uint32Attr(h.Realms)))
		}
		legs = append(legs, leg.Serialize()...)
	}
	if legs != nil {
		req.AddData(nl.NewRtAttr(unix.RTA_MULTIPATH, legs))
	}
	return nil
}

// via is the gateway: RTA_VIA where it is of another family than the destination.
func via(to, gateway netip.Addr) *nl.RtAttr {
	if to.Is4() == gateway.Is4() {
		return nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	family := make([]byte, 2)
	nl.NativeEndian().PutUint16(family, uint16(familyOf(gateway)))
	return nl.NewRtAttr(unix.RTA_VIA, append(family, gateway.AsSlice()...))
}

func (r *Route) metrics() *nl.RtAttr {
	all := nl.NewRtAttr(unix.RTA_METRICS, nil)
	for _, m := range r.Metrics {
		all.AddRtAttr(int(m.Kind), nl.Uint32Attr(m.Value))
	}
	if r.CongCtl != "" {
		all.AddRtAttr(unix.RTAX_CC_ALGO, nl.ZeroTerminated(r.CongCtl))
	}
	if r.Lock != 0 {
		all.AddRtAttr(unix.RTAX_LOCK, nl.Uint32Attr(r.Lock))
	}
	if len(r.Metrics) == 0 && r.CongCtl == "" && r.Lock == 0 {
		return nil
	}
	return all
}

func familyOf(a netip.Addr) uint8 {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// SweepRoutes removes the routes and rules of our protocol, which an earlier run left
// that could not clean up, and says which those were. Call it as [Kernel.Sweep].
func (k *Kernel) SweepRoutes() (routes []string, rules []uint32, err error) {
	routes, err = k.sweepRoutes()
	rules, err2 := k.sweepRules()
	return routes, rules, errors.Join(err, err2)
}

// sweepRoutes removes the routes of our protocol. The kernel is asked for those only
// (strict checking), so that a box with a full table of routes does not dump it.
func (k *Kernel) sweepRoutes() (gone []string, err error) {
	strict, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open routing netlink: %w", err)
	}
	defer strict.Close()
	_ = unix.SetsockoptInt(strict.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1) // without it all come
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: strict}}
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := k.ownRoutes(sockets, family)
		errs = append(errs, err)
		for _, m := range list {
			req := k.request(unix.RTM_DELROUTE, unix.NLM_F_ACK)
			req.AddRawData(m)
			if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !absent(err) {
				errs = append(errs, fmt.Errorf("remove a route that a killed run left: %w", explain(err)))
				continue
			}
			gone = append(gone, destination(m))
		}
	}
	return gone, errors.Join(errs...)
}

// ownRoutes dumps the routes of our protocol, each as the message that removes it.
func (k *Kernel) ownRoutes(sockets map[int]*nl.SocketHandle, family uint8) (own [][]byte, err error) {
	err = retryDump(func() error {
		own = nil
		req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.Sockets = sockets
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Protocol: ProtocolKeepalived}})
		return req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
			if len(m) >= unix.SizeofRtMsg && m[rtmProtocol] == ProtocolKeepalived && m[0] == family {
				own = append(own, removal(m))
			}
			return true
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return own, nil
}

// removal leaves of a route what identifies it.
func removal(m []byte) []byte {
	out := append([]byte(nil), m[:unix.SizeofRtMsg]...)
	eachAttr(m[unix.SizeofRtMsg:], func(kind uint16, value, whole []byte) {
		switch kind {
		case unix.RTA_TABLE, unix.RTA_DST, unix.RTA_SRC, unix.RTA_PRIORITY, unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_MULTIPATH, unix.RTA_PREFSRC:
			out = append(out, whole...)
		}
	})
	return out
}

// destination writes where a route of a message leads, for the log.
func destination(m []byte) string {
	key, ok := keyOf(m)
	if !ok {
		return "?"
	}
	text := key.to.String()
	if key.table != unix.RT_TABLE_MAIN {
		text += fmt.Sprintf(" table %d", key.table)
	}
	return strings.Replace(text, "0.0.0.0/0", "default", 1)
}
