package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// poll is how often a condition is looked at.
const poll = 2 * time.Millisecond

// mostLate bounds what is added to the time of a wait, for processes that have waited for a
// processor meanwhile: so many times that time.
const mostLate = 4

// wait is for both: wait until, and stays.
func (l *lab) wait(w []string) error {
	limit, err := parseTime(w[1])
	if err != nil {
		return err
	}
	holds, err := l.condition(w[2:])
	if err != nil {
		return err
	}
	began, given := l.moment(true), time.Duration(0)
	for end := time.Now().Add(limit); ; {
		if l.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err := l.violated(); err != nil {
			return err
		}
		ok := holds()
		switch {
		case w[0] == "wait" && ok:
			return nil
		case w[0] == "stays" && !ok:
			return errors.New("does not hold any more")
		case time.Now().After(end):
			if w[0] == "stays" {
				return nil
			}
			late := min(l.moment(true).since(began), mostLate*limit)
			if now := time.Now(); now.Before(end.Add(late - given)) {
				end, given = end.Add(late-given), late
				break
			}
			if given > 0 {
				return fmt.Errorf("not within this time, and %v for the machine", given.Round(time.Millisecond))
			}
			return errors.New("not within this time")
		}
		pause(l.ctx, poll)
	}
}

// condition reads a condition into a question.
func (l *lab) condition(w []string) (func() bool, error) {
	switch w[0] {
	case "no":
		holds, err := l.condition(w[1:])
		return func() bool { return !holds() }, err
	case "advert":
		return l.advertCondition(w)
	case "log", "file":
		return l.textCondition(w)
	case "says":
		return l.saysCondition(w)
	case "prints":
		return l.printsCondition(w)
	case "flow":
		f := l.flows[w[1]]
		if f == nil {
			return nil, fmt.Errorf("no flow %s", w[1])
		}
		return func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			if w[2] == "answers" {
				return f.answers > 0
			}
			if w[2] == "failed" {
				return f.failure != nil && strings.Contains(f.failure.Error(), strings.Join(w[3:], " "))
			}
			if f.failure != nil {
				l.violate("flow %s: %v", f.name, f.failure)
			}
			return f.complete
		}, nil
	}
	h := l.hosts[w[0]]
	if h == nil || len(w) < 3 {
		return nil, fmt.Errorf("condition %q: not known", strings.Join(w, " "))
	}
	if w[1] == "state" {
		if h.node == nil {
			return nil, fmt.Errorf("%s is no node", w[0])
		}
		instance := ""
		if len(w) > 3 {
			instance = w[3]
		}
		return func() bool { return h.node.state(instance) == w[2] && (w[2] != "BACKUP" || h.node.shut(instance)) }, nil
	}
	if w[1] == "mtu" && len(w) == 4 {
		to, err := netip.ParseAddr(w[2])
		return func() bool { return strconv.Itoa(h.learned(to)) == w[3] }, err
	}
	if w[1] == "routes" || w[1] == "unroutes" {
		text, want := strings.Join(w[2:], " "), w[1] == "routes"
		return func() bool { return h.routes(text) == want }, nil
	}
	return l.addressCondition(h, w)
}

func (l *lab) addressCondition(h *host, w []string) (func() bool, error) {
	a, err := netip.ParseAddr(w[2])
	if err != nil {
		return nil, err
	}
	switch {
	case w[1] == "holds":
		return func() bool { return h.carries(a) }, nil
	case w[1] == "lacks":
		return func() bool { return !h.carries(a) }, nil
	case w[1] == "sees" && len(w) == 5 && strings.Contains(w[4], ":"):
		mac, err := proto.ParseMAC(w[4])
		return func() bool { return h.seesMAC(a, mac) }, err
	case w[1] == "sees" && len(w) == 5 && l.hosts[w[4]] != nil:
		return func() bool { return h.sees(a, l.hosts[w[4]]) || h.seesVirtual(a, l.hosts[w[4]]) }, nil
	}
	return nil, fmt.Errorf("condition %q: not known", strings.Join(w, " "))
}

// advertCondition waits for the next advertisement of a node.
func (l *lab) advertCondition(w []string) (func() bool, error) {
	h := l.hosts[w[1]]
	if h == nil {
		return nil, fmt.Errorf("no host %s", w[1])
	}
	priority := -1
	if len(w) == 4 && w[2] == "priority" {
		p, err := strconv.Atoi(w[3])
		if err != nil {
			return nil, fmt.Errorf("priority %s: must be a number", w[3])
		}
		priority = p
	}
	l.wire.with(func() { l.observer.adverts = nil })
	return func() (seen bool) {
		l.wire.with(func() {
			for _, a := range l.observer.adverts {
				seen = seen || a.from == h && (priority < 0 || int(a.priority) == priority)
			}
			l.observer.adverts = nil
		})
		return seen
	}, nil
}

func (l *lab) textCondition(w []string) (func() bool, error) {
	h := l.hosts[w[1]]
	if h == nil || h.node == nil && (w[0] != "log" || h.written == nil) {
		return nil, fmt.Errorf("no node %s", w[1])
	}
	if w[0] == "log" {
		text := strings.Join(w[2:], " ")
		if h.node == nil {
			return func() bool { return h.wrote(text) }, nil
		}
		return func() bool { return h.node.logged(text) }, nil
	}
	if len(w) < 4 {
		return nil, errors.New("file NODE PATH TEXT")
	}
	text := strings.Join(w[3:], " ")
	return func() bool {
		data, err := h.node.readFile(w[2])
		return err == nil && strings.Contains(string(data), text)
	}, nil
}
