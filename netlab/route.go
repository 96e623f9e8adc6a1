package netlab

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// entry is a line of a host's routing tables or policy rules.
type entry struct {
	text   string
	kept   bool // the kernel's own, or the lab's
	remove func() error
}

// Rules that every namespace begins with.
var ownRules = map[int]bool{0: true, 32766: true, 32767: true}

// entries lists routes (192.0.2.0/24 via 10.0.0.1 dev eth0 src 10.0.0.9 metric 5 table 100)
// and rules (rule 1000 from 192.0.2.0/24 table 100).
func (h *host) entries() ([]entry, error) {
	routes, err := h.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("%s: list routes: %w", h.name, err)
	}
	var list []entry
	for _, r := range routes {
		kept := r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_BOOT
		list = append(list, entry{h.routeText(&r), kept, func() error { return h.nl.RouteDel(&r) }})
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := h.nl.RuleList(family)
		if err != nil {
			return nil, fmt.Errorf("%s: list rules: %w", h.name, err)
		}
		for _, r := range rules {
			r.Family = family
			list = append(list, entry{ruleText(&r), ownRules[r.Priority], func() error { return h.nl.RuleDel(&r) }})
		}
	}
	return list, nil
}

func (h *host) routeText(r *netlink.Route) string {
	b := &strings.Builder{}
	b.WriteString(netText(r.Dst))
	leg := func(gateway net.IP, index int) {
		if gateway != nil {
			fmt.Fprintf(b, " via %v", gateway)
		}
		if l, err := h.nl.LinkByIndex(index); index > 0 && err == nil {
			fmt.Fprintf(b, " dev %s", l.Attrs().Name)
		}
	}
	leg(r.Gw, r.LinkIndex)
	for _, hop := range r.MultiPath {
		b.WriteString(" nexthop")
		leg(hop.Gw, hop.LinkIndex)
		fmt.Fprintf(b, " weight %d", hop.Hops+1)
	}
	if r.Src != nil {
		fmt.Fprintf(b, " src %v", r.Src)
	}
	if r.Priority != 0 {
		fmt.Fprintf(b, " metric %d", r.Priority)
	}
	if r.Table != unix.RT_TABLE_MAIN {
		fmt.Fprintf(b, " table %d", r.Table)
	}
	return b.String()
}

func ruleText(r *netlink.Rule) string {
	text := fmt.Sprintf("rule %d from %s", r.Priority, netText(r.Src))
	if r.Dst != nil {
		text += " to " + netText(r.Dst)
	}
	return fmt.Sprintf("%s table %d", text, r.Table)
}

// netText writes a destination; all of them are the default.
func netText(n *net.IPNet) string {
	if n == nil {
		return "default"
	}
	if ones, _ := n.Mask.Size(); ones == 0 {
		return "default"
	}
	return n.String()
}

// routes tells whether a line contains the text.
func (h *host) routes(text string) bool {
	list, _ := h.entries()
	for _, e := range list {
		if strings.Contains(e.text, text) {
			return true
		}
	}
	return false
}

// unroute removes every route and rule whose line contains the text.
func (h *host) unroute(l *lab, text string) error {
	list, err := h.entries()
	found := false
	for _, e := range list {
		if strings.Contains(e.text, text) {
			found = true
			verb := "route del " + e.text
			if rule, ok := strings.CutPrefix(e.text, "rule "); ok {
				verb = "rule del pref " + rule
			}
			l.command("ip -n %s %s", h.name, verb)
			err = errors.Join(err, e.remove())
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("%s has no route or rule with %q", h.name, text)
	}
	return err
}

// forgetRoutes removes what programs have added, as a power loss does.
func (h *host) forgetRoutes() error {
	list, err := h.entries()
	for _, e := range list {
		if !e.kept {
			err = errors.Join(err, e.remove())
		}
	}
	return err
}
