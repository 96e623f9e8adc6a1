package loop

import (
	"context"
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// known is a link that the node has a port for.
type known struct {
	port, index int
	up          bool
}

// Watch turns what the kernel tells about links, addresses and routes into events, until ctx
// ends. links is the list that the node was made with.
func (l *Loop) Watch(ctx context.Context, k *kernel.Kernel, links []kernel.Link) error {
	l.links = map[string]known{}
	l.Know(links)
	return k.Watch(ctx, func(ev kernel.Event) {
		switch ev := ev.(type) {
		case kernel.LinkChanged:
			l.linkChanged(ev.Link)
		case kernel.AddressAdded:
			l.postAddress(ev.Interface, ev.Prefix, true)
		case kernel.AddressRemoved:
			l.postAddress(ev.Interface, ev.Prefix, false)
		case kernel.RoutesChanged:
			l.Route(k)
		case kernel.RouteRemoved:
			l.Post(node.RouteLost{Number: ev.Number})
		case kernel.RulesChanged:
			l.Post(node.RulesChanged{})
		}
	})
}

// Know takes the links that the node has ports for, in their order, and its present peers.
// Links that it knows already stay.
func (l *Loop) Know(links []kernel.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for port, link := range links {
		if _, ok := l.links[link.Name]; !ok {
			l.links[link.Name] = known{port, link.Index, link.Up}
		}
	}
	l.peers = l.peers[:0:0]
	for _, p := range l.Node.Peers() {
		l.peers = append(l.peers, peer{p, ifaceOf(p, links)})
	}
}

// ifaceOf is the name of the interface towards a peer, "" where the routes choose it.
func ifaceOf(p node.Peer, links []kernel.Link) string {
	if p.Port == node.AnyPort {
		return ""
	}
	return links[p.Port].Name
}

// Towards asks by which gateway a peer is reached; ok is false where that is by an interface
// that is not in links, which are those of the node's ports.
func Towards(k *kernel.Kernel, p node.Peer, links []kernel.Link) (ev node.Routed, ok bool) {
	via, index := k.NextHop(p.Addr, ifaceOf(p, links))
	ev = node.Routed{Peer: p, Via: via}
	if p.Port != node.AnyPort || index == 0 {
		return ev, true
	}
	ev.Out = slices.IndexFunc(links, func(l kernel.Link) bool { return l.Index == index })
	return ev, ev.Out >= 0
}

// peer is one with the interface towards it.
type peer struct {
	node.Peer
	iface string
}

// Route tells the node by which gateways its peers are reached.
func (l *Loop) Route(k *kernel.Kernel) {
	l.mu.Lock()
	peers := l.peers
	l.mu.Unlock()
	for _, p := range peers {
		via, index := k.NextHop(p.Addr, p.iface)
		if out := l.portOf(index); p.Port != node.AnyPort || index == 0 || out >= 0 {
			l.Post(node.Routed{Peer: p.Peer, Via: via, Out: max(0, out)})
		}
	}
}

// portOf is the port of the link with that number, -1 for none.
func (l *Loop) portOf(index int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.links {
		if known.index == index && index != 0 {
			return known.port
		}
	}
	return -1
}

func (l *Loop) linkChanged(link kernel.Link) {
	l.mu.Lock()
	was, ok := l.links[link.Name]
	if ok {
		l.links[link.Name] = known{was.port, link.Index, link.Up}
	}
	l.mu.Unlock()
	if !ok {
		return
	}
	switch {
	case link.Index != was.index:
		l.renew(was.port)
	case link.Up && !was.up:
		l.Do(func() { l.complete(was.port) })
	}
	l.Post(node.LinkChanged{Port: was.port, MAC: proto.MAC(link.MAC), MTU: link.MTU, Up: link.Up})
}

func (l *Loop) postAddress(iface string, p netip.Prefix, present bool) {
	l.mu.Lock()
	link, ok := l.links[iface]
	l.mu.Unlock()
	if ok {
		l.Post(node.AddressChanged{Port: link.port, Prefix: p, Present: present})
	}
}
