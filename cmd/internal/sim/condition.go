package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ringkeep/ringkeep/proto"
)

// wait is for both: wait until, and stays.
func (p *player) wait(w []string) error {
	limit, err := duration(w[1])
	if err != nil {
		return err
	}
	holds, err := p.condition(w[2:])
	if err != nil {
		return err
	}
	if w[0] == "wait" {
		if !p.run(p.now+limit, holds) && p.failure == nil {
			return errors.New("not within this time")
		}
		return nil
	}
	if p.run(p.now+limit, func() bool { return !holds() }) {
		return errors.New("does not hold any more")
	}
	return nil
}

func (p *player) condition(w []string) (func() bool, error) {
	switch w[0] {
	case "no":
		holds, err := p.condition(w[1:])
		return func() bool { return !holds() }, err
	case "advert":
		return p.advertCondition(w)
	case "log", "file":
		text := strings.Join(w[2:], " ")
		if w[0] == "file" {
			text = strings.Join(w[3:], " ")
		}
		if p.hosts[w[1]] == nil || p.hosts[w[1]].dir == nil {
			return nil, fmt.Errorf("no node %s", w[1])
		}
		d := p.hosts[w[1]].dir
		return func() bool {
			return slices.ContainsFunc(d.log, func(l string) bool { return strings.Contains(l, text) })
		}, nil
	case "flow":
		f := p.flows[w[1]]
		if f == nil {
			return nil, fmt.Errorf("no flow %s", w[1])
		}
		return func() bool { return f.answers > 0 }, nil
	}
	if len(w) < 3 {
		return nil, fmt.Errorf("condition %q: not known", strings.Join(w, " "))
	}
	h := p.hosts[w[0]]
	if h == nil || w[1] == "state" && h.dir == nil {
		return nil, fmt.Errorf("condition %q: not known", strings.Join(w, " "))
	}
	if w[1] == "state" {
		return func() bool { return h.dir.is(w[2], w[3:]) }, nil
	}
	a, err := netip.ParseAddr(w[2])
	if err != nil {
		return nil, err
	}
	switch w[1] {
	case "holds":
		return func() bool { return h.announces(a) }, nil
	case "lacks":
		return func() bool { return !h.announces(a) }, nil
	case "sees":
		return func() bool {
			n, _ := h.route(a)
			if n == nil || n.cache[a] == nil || !n.cache[a].known || len(w) < 5 {
				return false
			}
			return p.isAt(n, n.cache[a].mac, w[4])
		}, nil
	}
	return nil, fmt.Errorf("condition %q: not known", strings.Join(w, " "))
}

// isAt tells whether a MAC is the one written, or leads from an interface to a host.
func (p *player) isAt(from *nic, mac proto.MAC, where string) bool {
	if m, err := proto.ParseMAC(where); err == nil {
		return mac == m
	}
	return p.hosts[where] != nil && slices.ContainsFunc(p.hosts[where].nics, func(o *nic) bool {
		return o.mac == mac || o.takes(mac) && from.lan.table[mac] == o
	})
}

// is tells whether the instance is in a state: the one named, or any.
func (d *director) is(state string, instance []string) bool {
	if len(instance) > 0 {
		return d.states[instance[0]] == state
	}
	for _, s := range d.states {
		if s == state {
			return true
		}
	}
	return false
}

func (p *player) advertCondition(w []string) (func() bool, error) {
	h := p.hosts[w[1]]
	if h == nil {
		return nil, fmt.Errorf("no host %s", w[1])
	}
	priority := -1
	if len(w) == 4 {
		n, err := strconv.Atoi(w[3])
		if err != nil {
			return nil, fmt.Errorf("priority %s: must be a number", w[3])
		}
		priority = n
	}
	p.observer.adverts = nil
	return func() bool {
		return slices.ContainsFunc(p.observer.adverts, func(a seen) bool { return a.from == h && (priority < 0 || int(a.priority) == priority) })
	}, nil
}
