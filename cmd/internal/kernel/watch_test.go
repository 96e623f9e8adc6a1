package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// words is an event as one line.
func words(ev Event) string {
	switch ev := ev.(type) {
	case LinkChanged:
		return fmt.Sprintf("%s up=%t", ev.Link.Name, ev.Link.Up)
	case AddressAdded:
		return fmt.Sprintf("%s + %s", ev.Interface, ev.Prefix)
	case AddressRemoved:
		return fmt.Sprintf("%s - %s", ev.Interface, ev.Prefix)
	}
	return fmt.Sprintf("%T", ev)
}

func watch(t *testing.T, k *Kernel) <-chan Event {
	t.Helper()
	events := make(chan Event, 10000)
	must(t, k.Watch(t.Context(), func(ev Event) { events <- ev }))
	return events
}

// await reads events until one says want.
func await(t *testing.T, events <-chan Event, want string) Event {
	t.Helper()
	var heard []string
	end := time.After(deadline)
	for {
		select {
		case ev := <-events:
			if words(ev) == want {
				return ev
			}
			heard = append(heard, words(ev))
		case <-end:
			t.Fatalf("no event %q; heard %q", want, heard)
		}
	}
}

func TestWatchTellsLinksAndAddresses(t *testing.T) {
	namespace(t)
	veth(t, "v0", "v1")
	k := open(t)
	events := watch(t, k)
	v1, err := netlink.LinkByName("v1")
	must(t, err)
	must(t, netlink.LinkSetDown(v1)) // v0 loses its carrier and stays administratively up
	await(t, events, "v0 up=false")
	must(t, netlink.LinkSetUp(v1))
	if ev := await(t, events, "v0 up=true").(LinkChanged); ev.Link.MAC == [6]byte{} || ev.Link.MTU != 1500 || ev.Link.Index == 0 {
		t.Errorf("event with %+v", ev.Link)
	}
	must(t, k.AddAddress(vip("v0", "10.1.0.100/24")))
	await(t, events, "v0 + 10.1.0.100/24")
	must(t, k.RemoveAddress(vip("v0", "10.1.0.100/24")))
	await(t, events, "v0 - 10.1.0.100/24")
	must(t, k.AddAddress(vip("v0", "2001:db8::1/64")))
	await(t, events, "v0 + 2001:db8::1/64")
	must(t, netlink.LinkDel(v1))
	await(t, events, "v0 up=false")
	if err := k.Watch(t.Context(), nil); err == nil {
		t.Error("watched twice")
	}
}

func TestWatchTellsWhatHappenedSinceOpen(t *testing.T) {
	namespace(t)
	k := open(t)
	link(t, "d0")
	must(t, k.AddAddress(vip("d0", "10.1.0.100/24")))
	events := watch(t, k)
	await(t, events, "d0 up=true")
	await(t, events, "d0 + 10.1.0.100/24")
}

func TestWatchResyncsAfterLoss(t *testing.T) {
	namespace(t)
	link(t, "d0")
	before := vip("d0", "10.2.0.1/32")
	must(t, open(t).AddAddress(before))
	k := open(t)
	must(t, k.events.SetReceiveBufferSize(1, true)) // the kernel's least: a few messages
	for i := range 100 {
		must(t, k.AddAddress(vip("d0", fmt.Sprintf("10.1.0.%d/32", i))))
	}
	must(t, k.RemoveAddress(before)) // nobody hears of it
	events := watch(t, k)
	await(t, events, "d0 - 10.2.0.1/32")
	for i := range 100 {
		await(t, events, fmt.Sprintf("d0 + 10.1.0.%d/32", i))
	}
	must(t, k.AddAddress(before))
	await(t, events, "d0 + 10.2.0.1/32")
}

// The comparison alone: what is told when a list read anew differs.
func TestBecomeTellsTheDifferences(t *testing.T) {
	p := netip.MustParsePrefix
	old := snapshot{
		1: {Index: 1, Name: "a", Up: true, Prefixes: []netip.Prefix{p("10.0.0.1/24"), p("10.0.0.2/24")}},
		2: {Index: 2, Name: "b", Up: true, Prefixes: []netip.Prefix{p("10.0.1.1/24")}},
	}
	now := snapshot{
		1: {Index: 1, Name: "a", Up: false, Prefixes: []netip.Prefix{p("10.0.0.2/24"), p("10.0.0.3/24")}},
	}
	var told []string
	old.become(now, func(ev Event) { told = append(told, words(ev)) })
	want := "b - 10.0.1.1/24; b up=false; a up=false; a - 10.0.0.1/24; a + 10.0.0.3/24"
	if got := strings.Join(told, "; "); got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
	told = nil
	old.become(now, func(ev Event) { told = append(told, words(ev)) })
	if len(told) != 0 {
		t.Errorf("told twice: %q", told)
	}
}

func TestWatchEndsWithContext(t *testing.T) {
	namespace(t)
	k := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	must(t, k.Watch(ctx, func(Event) {}))
	cancel()
	eventually(t, "the subscription is closed", func() bool {
		_, _, err := k.events.Receive()
		return err != nil
	})
}

func TestLinks(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	must(t, k.AddAddress(vip("d0", "10.1.0.1/24")))
	links, err := k.Links()
	must(t, err)
	if len(links) != 3 || links[0].Name != "lo" || !links[0].Loopback || !links[0].Up {
		t.Fatalf("links %+v", links)
	}
	d, err := k.Link("d0")
	must(t, err)
	if !d.Up || d.Loopback || len(d.Prefixes) == 0 || d.Prefixes[0].String() != "10.1.0.1/24" {
		t.Errorf("d0 is %+v", d)
	}
	if _, err := k.Link("d1"); err == nil || err.Error() != "interface d1: does not exist" {
		t.Errorf("missing link: %v", err)
	}
}

func TestGatewayFollowsTheRoutes(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	must(t, k.AddAddress(vip("d0", "10.1.0.1/24")))
	peer, router := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("10.1.0.254")
	if via := k.Gateway(peer, "d0"); via.IsValid() {
		t.Errorf("gateway %v without a route", via)
	}
	events := watch(t, k)
	d, err := netlink.LinkByName("d0")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: d.Attrs().Index, Gw: router.AsSlice()}))
	await(t, events, "kernel.RoutesChanged")
	if via := k.Gateway(peer, "d0"); via != router {
		t.Errorf("gateway %v, not %v", via, router)
	}
	if via, index := k.NextHop(peer, ""); via != router || index != d.Attrs().Index {
		t.Errorf("next hop %v by interface %d, not %v by %d", via, index, router, d.Attrs().Index)
	}
	if via, index := k.NextHop(netip.MustParseAddr("2001:db8:7::1"), ""); via.IsValid() || index != 0 {
		t.Errorf("next hop %v by interface %d without a route", via, index)
	}
	if via := k.Gateway(netip.MustParseAddr("10.1.0.9"), "d0"); via.IsValid() {
		t.Errorf("gateway %v for an address on the link", via)
	}
}

// The calls of one Kernel stay in its namespace, whichever goroutine makes them.
func TestOtherGoroutinesStayInTheNamespace(t *testing.T) {
	namespace(t)
	link(t, "only-here")
	k := open(t)
	done := make(chan error)
	go func() {
		_, err := k.Link("only-here")
		if err == nil {
			err = k.AddAddress(vip("only-here", "10.1.0.1/24"))
		}
		if err == nil {
			err = k.JoinGroup("only-here", vrrpGroup())
		}
		if err == nil {
			err = k.DropRules([]string{"only-here"}, []Flow{serviceFlow(6, netip.MustParseAddr("10.1.0.1"), 80)})
		}
		done <- err
	}()
	must(t, <-done)
}

func TestJoinIsAMembership(t *testing.T) {
	namespace(t)
	for i := range 25 { // more than one socket may have
		link(t, fmt.Sprintf("d%d", i))
	}
	k := open(t)
	for i := range 25 {
		must(t, k.JoinGroup(fmt.Sprintf("d%d", i), vrrpGroup()))
		must(t, k.JoinGroup(fmt.Sprintf("d%d", i), vrrpGroup()))
	}
	if n := memberships(t); n != 25 {
		t.Errorf("%d interfaces are members, want 25", n)
	}
	if err := k.JoinGroup("nosuch0", vrrpGroup()); err == nil || err.Error() != "join 224.0.0.18: interface nosuch0: does not exist" {
		t.Errorf("got %v", err)
	}
	must(t, k.Close())
	if n := memberships(t); n != 0 {
		t.Errorf("%d interfaces are members after Close", n)
	}
}

// memberships counts 224.0.0.18 in the kernel's list, which is in host byte order.
func memberships(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/igmp")
	must(t, err)
	return strings.Count(string(b), "120000E0")
}
