package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Event is a change that the kernel told: [LinkChanged], [AddressAdded],
// [AddressRemoved], [RoutesChanged], [RouteRemoved] or [RulesChanged].
type Event interface{ event() }

// LinkChanged says that an interface appeared, vanished (then it is not Up), or is
// no longer what it was: state, name, MAC or MTU. Its Prefixes are as known then.
type LinkChanged struct{ Link Link }

// AddressAdded says that an interface has a new address, ours or anybody's.
type AddressAdded struct {
	Interface string
	Prefix    netip.Prefix
}

// AddressRemoved says that an interface lost an address.
type AddressRemoved struct {
	Interface string
	Prefix    netip.Prefix
}

// RoutesChanged says that a route to an address that [Kernel.Gateway] was asked for came
// or went: ask again.
type RoutesChanged struct{}

// RouteRemoved says that another program may have removed the route of [Kernel.AddRoute]
// that has this number, or has removed one to the same place: adding it again tells. What
// the kernel drops with a link or an address it does not tell.
type RouteRemoved struct{ Number int }

// RulesChanged says that another program has removed a policy rule, of anybody.
type RulesChanged struct{}

func (RoutesChanged) event()  {}
func (RouteRemoved) event()   {}
func (RulesChanged) event()   {}
func (LinkChanged) event()    {}
func (AddressAdded) event()   {}
func (AddressRemoved) event() {}

// Watch starts a goroutine that calls report for every change since Open, one call
// at a time, until ctx ends or the Kernel is closed. Changes are told once, by
// comparing with what is known; when the kernel had to drop messages (ENOBUFS),
// everything is read anew and the differences are told. Watch works once. Ask
// [Kernel.Gateway] before: if it was not, changes of routes to peers are not told.
func (k *Kernel) Watch(ctx context.Context, report func(Event)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.watched {
		return errors.New("watch: already watching")
	}
	k.watched = true
	if len(k.asked) == 0 {
		if err := k.ignoreStrangers(); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, k.events.Close)
	go func() {
		defer stop()
		k.watch(ctx, report)
	}()
	return nil
}

func (k *Kernel) watch(ctx context.Context, report func(Event)) {
	for {
		msgs, from, err := k.events.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			k.log.Warn("link and address changes were lost, reading everything anew", "err", err)
			k.drain()
			k.resync(report)
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return // closed
		case from.Pid == 0: // the kernel, nobody else
			for _, m := range msgs {
				k.message(m, report)
			}
		}
	}
}

func (k *Kernel) message(m syscall.NetlinkMessage, report func(Event)) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// Other families tell of a port's membership in a bridge, not of the link.
		if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC {
			return
		}
		l, err := netlink.LinkDeserialize(nil, m.Data)
		if err != nil {
			k.log.Warn("unreadable link change", "err", err)
			return
		}
		k.mendOn(l.Attrs().Name)
		k.seen.link(linkOf(l), m.Header.Type == unix.RTM_NEWLINK, report)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		k.routeMessage(m, report)
	case unix.RTM_DELRULE:
		if m.Header.Pid != k.own {
			report(RulesChanged{})
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if e, ok := parseEntry(m.Data); ok {
			if m.Header.Type == unix.RTM_DELADDR { // before the instance puts it back
				k.mend(k.seen[e.index].Name)
			}
			k.seen.address(e.index, e.prefix, m.Header.Type == unix.RTM_NEWADDR, report)
		}
	}
}

// routeMessage reports what a change of the routing tables means to us. A route that
// takes the place of another (ip route replace) is told as a new one only.
func (k *Kernel) routeMessage(m syscall.NetlinkMessage, report func(Event)) {
	if k.leads(m.Data) {
		report(RoutesChanged{})
	}
	if m.Header.Pid == k.own || m.Header.Type == unix.RTM_NEWROUTE && m.Header.Flags&unix.NLM_F_REPLACE == 0 {
		return
	}
	for _, number := range k.owned.hurt(m.Data) {
		report(RouteRemoved{number})
	}
}

// leads tells whether a route leads to an address that was asked for.
func (k *Kernel) leads(m []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.asked) == 0 {
		return false
	}
	key, ok := keyOf(m)
	return ok && slices.ContainsFunc(k.asked, key.to.Contains)
}

// link takes a link's state in and reports it if that is news.
func (s snapshot) link(l Link, present bool, report func(Event)) {
	old, known := s[l.Index]
	l.Prefixes = slices.Clone(old.Prefixes)
	switch {
	case !present && known:
		delete(s, l.Index)
		for _, p := range old.Prefixes {
			report(AddressRemoved{Interface: old.Name, Prefix: p})
		}
		old.Up, old.Prefixes = false, nil
		report(LinkChanged{Link: old})
	case present && (!known || !same(old, l)):
		s[l.Index] = l
		report(LinkChanged{Link: l})
	}
}

func same(a, b Link) bool {
	a.Prefixes, b.Prefixes = nil, nil
	return a.Name == b.Name && a.MAC == b.MAC && a.MTU == b.MTU && a.Up == b.Up && a.Loopback == b.Loopback
}

// address takes one address in or out and reports it if that is news.
func (s snapshot) address(index int, p netip.Prefix, present bool, report func(Event)) {
	l, ok := s[index]
	at := slices.Index(l.Prefixes, p)
	switch {
	case !ok:
	case present && at < 0:
		l.Prefixes = append(slices.Clone(l.Prefixes), p) // what was reported keeps its list
		s[index] = l
		report(AddressAdded{Interface: l.Name, Prefix: p})
	case !present && at >= 0:
		l.Prefixes = slices.Delete(slices.Clone(l.Prefixes), at, at+1)
		s[index] = l
		report(AddressRemoved{Interface: l.Name, Prefix: p})
	}
}

// drain throws away what still waits after a loss. The kernel queues nothing more
// until all is read, and an old message read after the resync would stand as news.
func (k *Kernel) drain() {
	var b [4096]byte
	for {
		_, _, err := unix.Recvfrom(k.events.GetFd(), b[:], unix.MSG_DONTWAIT)
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// resync reads everything and reports the differences.
func (k *Kernel) resync(report func(Event)) {
	now, err := k.snapshot()
	if err != nil {
		k.log.Error("links and addresses not read", "err", err)
		return
	}
	k.seen.become(now, report)
	report(RoutesChanged{})
	for _, number := range k.owned.all() {
		report(RouteRemoved{number})
	}
	report(RulesChanged{})
}

func (s snapshot) become(now snapshot, report func(Event)) {
	for index, old := range s {
		if _, ok := now[index]; !ok {
			s.link(old, false, report)
		}
	}
	for index, l := range now {
		s.link(l, true, report)
		for _, p := range s[index].Prefixes {
			if !contains(l.Prefixes, p) {
				s.address(index, p, false, report)
			}
		}
		for _, p := range l.Prefixes {
			s.address(index, p, true, report)
		}
	}
}

func contains(list []netip.Prefix, p netip.Prefix) bool { return slices.Contains(list, p) }
