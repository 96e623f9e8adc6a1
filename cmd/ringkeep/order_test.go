package main

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// orderConf has two services: of the first each server counts for itself, the second has a quorum.
// Server i of a service is given up 3 s after the one before it.
func orderConf() string {
	var b strings.Builder
	service := func(net int, more string) {
		fmt.Fprintf(&b, "virtual_server 10.1.1.%d 80 {\n delay_loop 1\n lb_algo wrr\n lb_kind DR\n protocol TCP\n %s\n", net, more)
	}
	server := func(net, i int, more, kind, what string) {
		fmt.Fprintf(&b, " real_server %v 80 {\n  weight %d\n  %s\n  %s {\n   warmup 0\n   connect_timeout 1\n   retry %d\n   delay_before_retry 2\n   %s\n  }\n }\n",
			orderServer(net, i), i+1, more, kind, i, what)
	}
	service(1, "")
	server(1, 0, "", "TCP_CHECK", "")
	server(1, 1, "", "TCP_CHECK", "")
	server(1, 2, "inhibit_on_failure", "TCP_CHECK", "")
	server(1, 3, "", "HTTP_GET", "url {\n    path /\n    status_code 200\n   }")
	server(1, 4, "", "TCP_CHECK", "")
	b.WriteString("}\n")
	service(2, "quorum 6\n hysteresis 2\n sorry_server 10.2.9.9 80")
	for i := range 4 {
		server(2, i, "", "TCP_CHECK", "")
	}
	b.WriteString("}\n")
	return b.String()
}

func orderServer(net, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 2, byte(net), byte(i + 1)})
}

// playOrder has servers fail and come back at the same times for both programs, and compares the order
// of what each does to its kernel's IPVS.
func playOrder(t *testing.T, certificate tls.Certificate) {
	p := newPair(t, "order", orderConf(), certificate)
	p.start()
	p.compare(started)
	at := orderServer
	began := time.Now()
	watch := p.watch(began)
	steps := []struct {
		wait time.Duration // before the next one
		up   bool
		who  []netip.Addr
	}{
		// All fail at once: they are given up one after the other.
		{20 * time.Second, false, []netip.Addr{at(1, 4), at(1, 3), at(1, 2), at(1, 1), at(1, 0)}},
		{4 * time.Second, true, []netip.Addr{at(1, 3)}},
		{4 * time.Second, true, []netip.Addr{at(1, 0)}},
		{4 * time.Second, true, []netip.Addr{at(1, 4)}},
		{4 * time.Second, true, []netip.Addr{at(1, 2)}},
		{4 * time.Second, true, []netip.Addr{at(1, 1)}},
		// Too short for those that try again.
		{2500 * time.Millisecond, false, []netip.Addr{at(1, 0), at(1, 1), at(1, 2)}},
		{6 * time.Second, true, []netip.Addr{at(1, 0), at(1, 1), at(1, 2)}},
		{2500 * time.Millisecond, false, []netip.Addr{at(2, 0), at(2, 1)}},
		{6 * time.Second, true, []netip.Addr{at(2, 0), at(2, 1)}},
		// The weights are 10 together: the quorum is lost below 4, and there again at 8.
		{20 * time.Second, false, []netip.Addr{at(2, 1), at(2, 2), at(2, 3)}},
		{4 * time.Second, true, []netip.Addr{at(2, 1)}},
		{4 * time.Second, true, []netip.Addr{at(2, 2)}},
		{4 * time.Second, true, []netip.Addr{at(2, 3)}},
	}
	for _, s := range steps {
		p.reach(s.up, s.who...)
		time.Sleep(s.wait)
	}
	told := watch()
	for i, s := range p.sides {
		t.Logf("%s:\n%s", s.kind, told[i])
	}
	if told[0].order() != told[1].order() || len(told[0]) < 20 {
		t.Errorf("the order differs\nlog of keepalived\n%s\nlog of ringkeep\n%s", p.sides[0].tail(), p.sides[1].tail())
	}
}

// turn is a change of a kernel's IPVS that was seen at a time.
type turn struct {
	at   time.Duration
	what string
}

type orderOfTurns []turn

const (
	watchEvery  = 200 * time.Millisecond
	oneDecision = 2 * watchEvery
)

func (o orderOfTurns) String() string {
	var b strings.Builder
	for _, t := range o {
		fmt.Fprintf(&b, "%6.1f s  %s\n", t.at.Seconds(), t.what)
	}
	return b.String()
}

// order is the turns without their times. Those within oneDecision are one decision, which is seen in two
// looks now and then.
func (o orderOfTurns) order() string {
	var b strings.Builder
	for len(o) > 0 {
		n := 1
		for n < len(o) && o[n].at-o[n-1].at <= oneDecision {
			n++
		}
		var decision []string
		for _, t := range o[:n] {
			decision = append(decision, t.what)
		}
		slices.Sort(decision)
		b.WriteString(strings.Join(decision, ", ") + "\n")
		o = o[n:]
	}
	return b.String()
}

// watch looks at both kernels every watchEvery, until the function that it returns is called, which
// tells what has changed.
func (p *pair) watch(began time.Time) (end func() [2]orderOfTurns) {
	var told [2]orderOfTurns
	var was [2]map[string]int
	for i, s := range p.sides {
		was[i] = p.weights(s)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(watchEvery):
			}
			for i, s := range p.sides {
				is, at := p.weights(s), time.Since(began)
				for _, name := range slices.Sorted(maps.Keys(was[i])) {
					if _, ok := is[name]; !ok {
						told[i] = append(told[i], turn{at, name + " is out"})
					}
				}
				for _, name := range slices.Sorted(maps.Keys(is)) {
					if before, ok := was[i][name]; !ok || before != is[name] {
						told[i] = append(told[i], turn{at, fmt.Sprintf("%s has weight %d", name, is[name])})
					}
				}
				was[i] = is
			}
		}
	}()
	return func() [2]orderOfTurns {
		close(stop)
		<-stopped
		return told
	}
}

// weights are those of the servers in a kernel's IPVS.
func (p *pair) weights(s *side) map[string]int {
	services, err := s.kernel.Services()
	if err != nil {
		p.Error(err)
	}
	w := map[string]int{}
	for _, v := range services {
		for _, rs := range v.Servers {
			w[fmt.Sprintf("%v %v", v.Key, rs.Addr)] = int(rs.Weight)
		}
	}
	return w
}
