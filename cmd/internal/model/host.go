package model

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// virtual tells whether an address is one of a virtual router.
func virtual(cfg *config.Config, a netip.Addr) bool {
	for _, in := range cfg.Instances {
		for _, v := range slices.Concat(in.Addresses, in.Excluded) {
			if v.Prefix.Addr() == a {
				return true
			}
		}
	}
	return false
}

// reach widens the networks of links so that every unicast peer is a neighbour: who is
// behind a router no more than who answers does a model know.
func reach(cfg *config.Config, links []node.Link) []node.Link {
	links = slices.Clone(links)
	for _, in := range cfg.Instances {
		i := slices.IndexFunc(links, func(l node.Link) bool { return l.Name == in.Interface })
		if i < 0 || in.Disabled != "" {
			continue
		}
		for _, peer := range in.UnicastPeers.Addrs() {
			links[i].Prefixes = reaching(links[i].Prefixes, peer)
		}
	}
	return links
}

func reaching(list []netip.Prefix, peer netip.Addr) []netip.Prefix {
	for _, p := range list {
		if p.Bits() < p.Addr().BitLen() && p.Contains(peer) {
			return list
		}
	}
	for _, p := range list {
		for bits := peer.BitLen() - 1; p.Addr().BitLen() == peer.BitLen() && bits >= 0; bits-- {
			if wide := netip.PrefixFrom(p.Addr(), bits); wide.Contains(peer) {
				return append(slices.Clip(list), wide)
			}
		}
	}
	return list
}
