package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

type (
	// AddRoute adds a route, RemoveRoute removes it; Number stands for it in RouteLost.
	// Again means that it was added before and may be gone.
	AddRoute struct {
		*config.Route
		Number   int
		Instance string // "" for a static one
		Again    bool
	}
	RemoveRoute struct {
		*config.Route
		Number int
	}
	// AddRule and RemoveRule do the same with a policy rule.
	AddRule struct {
		*config.Rule
		Instance string
		Again    bool
	}
	RemoveRule struct{ *config.Rule }
	// RouteLost tells that another program may have removed a route.
	RouteLost struct{ Number int }
	// RulesChanged tells that another program has removed a rule, of anybody.
	RulesChanged struct{}
)

func (AddRoute) action()    {}
func (RemoveRoute) action() {}
func (AddRule) action()     {}
func (RemoveRule) action()  {}

func (RouteLost) event()    {}
func (RulesChanged) event() {}

// route is a route of an instance, or a static one.
type route struct {
	*config.Route
	number   int
	instance string
	there    bool // it should be
}

// rule is a policy rule likewise.
type rule struct {
	*config.Rule
	instance string
	there    bool
}

// span is a part of the list of routes or rules.
type span struct{ from, to int }

// addStatics takes in what is neither an instance's nor a service's.
func (n *Node) addStatics(cfg *config.Config) error {
	for _, a := range cfg.StaticAddresses {
		if a.Device == "" {
			a.Device = cfg.Global.DefaultInterface
		}
		if _, err := n.portNamed(a.Pos, a.Device); err != nil {
			return err
		}
		n.statics = append(n.statics, a)
	}
	n.staticRoutes, n.staticRules = n.addRoutes(cfg.StaticRoutes, ""), n.addRules(cfg.StaticRules, "")
	return nil
}

func (n *Node) addRoutes(list config.Routes, instance string) span {
	from := len(n.routes)
	for i := range list {
		n.routes = append(n.routes, route{Route: &list[i], number: n.numbered, instance: instance})
		n.numbered++
	}
	return span{from, len(n.routes)}
}

func (n *Node) addRules(list config.Rules, instance string) span {
	from := len(n.rules)
	for i := range list {
		n.rules = append(n.rules, rule{Rule: &list[i], instance: instance})
	}
	return span{from, len(n.rules)}
}

// startStatics removes what a killed run may have left without our mark, and adds all that is static. The addresses are taken for present at once, so that the
// instances find their sources.
func (n *Node) startStatics(now time.Duration) {
	n.uninstall(span{0, len(n.routes)}, span{0, len(n.rules)}, nameless)
	for _, a := range n.statics {
		p, _ := n.portNamed(a.Pos, a.Device) // looked up before, when the node was made
		if n.ports[p].link.Missing {
			continue // added when it appears
		}
		n.emit(AddAddress{a})
		n.setLocal(a.Prefix.Addr(), true)
		if !slices.Contains(n.ports[p].prefixes, a.Prefix) {
			n.ports[p].prefixes = append(n.ports[p].prefixes, a.Prefix)
		}
	}
	n.install(n.staticRoutes, n.staticRules)
	for i := range n.instances {
		n.instanceSource(now, i)
	}
}

func (n *Node) stopStatics() {
	n.uninstall(n.staticRoutes, n.staticRules, present)
	for _, a := range n.statics {
		n.removeAddress(a)
	}
}

// install adds routes, then rules.
func (n *Node) install(routes, rules span) {
	for i := routes.from; i < routes.to; i++ {
		r := &n.routes[i]
		r.there = true
		n.emit(AddRoute{Route: r.Route, Number: r.number, Instance: r.instance})
	}
	for i := rules.from; i < rules.to; i++ {
		r := &n.rules[i]
		r.there = true
		n.emit(AddRule{Rule: r.Rule, Instance: r.instance})
	}
}

// uninstall removes rules, then routes: those of whom there says so.
func (n *Node) uninstall(routes, rules span, there func(should, unmarked bool) bool) {
	for i := rules.from; i < rules.to; i++ {
		if r := &n.rules[i]; there(r.there, r.NoTrack || r.Protocol != "") {
			r.there = false
			n.emit(RemoveRule{r.Rule})
		}
	}
	for i := routes.from; i < routes.to; i++ {
		if r := &n.routes[i]; there(r.there, r.Protocol != "") {
			r.there = false
			n.emit(RemoveRoute{Route: r.Route, Number: r.number})
		}
	}
}

// What is to be removed: what is there, or what carries no mark by which the driver's
// sweep would have found it.
func present(should, _ bool) bool    { return should }
func nameless(_, unmarked bool) bool { return unmarked }

// accompany moves routes and rules with the addresses: they come after these and before
// the announcement, and go first.
func (n *Node) accompany(in *instance, a fsm.Action) {
	master := in.fsm.State() == fsm.Master
	switch a.(type) {
	case fsm.SendGARP, fsm.Notify, fsm.RemoveVIP, fsm.NotifyStop:
	default:
		return
	}
	switch {
	case master && !in.routed:
		n.install(in.routes, in.rules)
	case !master && in.routed:
		n.uninstall(in.routes, in.rules, present)
	}
	in.routed = master
}

// routeLost puts a route back that another program has removed.
func (n *Node) routeLost(ev RouteLost) {
	for i := range n.routes {
		if r := &n.routes[i]; r.number == ev.Number && r.there && !r.NoTrack && r.Expires == 0 {
			n.emit(AddRoute{Route: r.Route, Number: r.number, Instance: r.instance, Again: true})
		}
	}
}

// rulesChanged looks after all rules: the kernel's word on one is not exact, and adding
// one that is there is harmless. There are few.
func (n *Node) rulesChanged() {
	for i := range n.rules {
		if r := &n.rules[i]; r.there && !r.NoTrack {
			n.emit(AddRule{Rule: r.Rule, Instance: r.instance, Again: true})
		}
	}
}

// restoreRoutes looks after the routes by a port, and those that name none: the kernel
// drops them with the link, or with its last address, without a word.
func (n *Node) restoreRoutes(port int) {
	name := n.ports[port].link.Name
	for i := range n.routes {
		r := &n.routes[i]
		uses := r.Device == name || r.Device == "" && (len(r.NextHops) == 0 || slices.ContainsFunc(r.NextHops, func(h config.NextHop) bool { return h.Device == name || h.Device == "" }))
		if r.there && uses && (!r.NoTrack || r.Device == "") {
			n.emit(AddRoute{Route: r.Route, Number: r.number, Instance: r.instance, Again: true})
		}
	}
}

// restoreSources looks after the routes whose source address was gone.
func (n *Node) restoreSources(addr netip.Addr) {
	for i := range n.routes {
		if r := &n.routes[i]; r.there && r.Src == addr && !r.NoTrack {
			n.emit(AddRoute{Route: r.Route, Number: r.number, Instance: r.instance, Again: true})
		}
	}
}

// restoreStatics adds the static addresses of a port again that it lost with its link.
func (n *Node) restoreStatics(port int) {
	for _, a := range n.statics {
		if a.Device == n.ports[port].link.Name && !slices.Contains(n.ports[port].prefixes, a.Prefix) {
			n.emit(AddAddress{a})
		}
	}
}

// staticLost puts a static address back that another program has removed.
func (n *Node) staticLost(port int, prefix netip.Prefix) {
	for _, a := range n.statics {
		if a.Prefix == prefix && a.Device == n.ports[port].link.Name && !a.NoTrack && n.ports[port].link.Up {
			n.emit(Restored{Addr: prefix.Addr()})
			n.emit(AddAddress{a})
		}
	}
}
