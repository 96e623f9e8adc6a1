package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Endpoint is what one service of the data plane is of: an address with a port, of which 0
// means every port, or a mark of a family.
type Endpoint struct {
	Addr netip.AddrPort // with a mark the unspecified address of the family, port 0
	Mark uint32         // 0 for none
}

func (e Endpoint) String() string {
	if e.Mark != 0 {
		return fmt.Sprintf("fwmark %d", e.Mark)
	}
	return e.Addr.String()
}

// mostEndpoints bounds what a virtual server may be of: more have no room in the filters.
const mostEndpoints = 4096

// Endpoints lists what the virtual server is of: itself, or what its group comes to, in the
// order of the file. What a virtual server above is of already is left out.
func (vs *VirtualServer) Endpoints() []Endpoint {
	switch {
	case vs.ByMark:
		return []Endpoint{markOf(vs.Fwmark, vs.family())}
	case vs.Group != "":
		return vs.members
	}
	return []Endpoint{{Addr: vs.Addr}}
}

func markOf(mark uint32, family int) Endpoint {
	if family == 6 {
		return Endpoint{netip.AddrPortFrom(netip.IPv6Unspecified(), 0), mark}
	}
	return Endpoint{netip.AddrPortFrom(netip.IPv4Unspecified(), 0), mark}
}

// family is 4 or 6: of the address, or of a mark what ip_family says, or else what
// persistence_granularity is of, or the real servers that are not behind tunnels.
func (vs *VirtualServer) family() int {
	switch {
	case vs.Addr.IsValid():
		return familyOf(vs.Addr.Addr())
	case vs.IPFamily != "":
		return families[vs.IPFamily]
	}
	if vs.PersistenceMask > 32 {
		return 6
	}
	for _, rs := range vs.RealServers {
		if cmp.Or(rs.Method.Forwarding, vs.Method.Forwarding) != "TUN" {
			return familyOf(rs.Addr.Addr())
		}
	}
	return 4
}

var families = map[string]int{"inet": 4, "inet6": 6}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return 4
	}
	return 6
}

// resolveEndpoints finds out what a virtual server by group is of.
func (r *reader) resolveEndpoints(vs *VirtualServer) {
	if vs.IPFamily != "" && vs.Addr.IsValid() {
		r.say(Warning, vs.At("ip_family"), "virtual_server %v: ip_family is for marks; it is ignored", vs)
		vs.IPFamily = ""
	}
	i := slices.IndexFunc(r.cfg.ServerGroups, func(g *ServerGroup) bool { return g.Name == vs.Group })
	if vs.Group == "" || i < 0 {
		return
	}
	for _, one := range r.cfg.ServerGroups[i].Entries {
		if vs.members = one.expand(vs, vs.members); len(vs.members) > mostEndpoints {
			return
		}
	}
}

// expand appends what an entry of a group comes to, up to one more than there may be.
func (one GroupEntry) expand(vs *VirtualServer, list []Endpoint) []Endpoint {
	if one.ByMark {
		family := families[one.IPFamily]
		if family == 0 {
			family = vs.family()
		}
		return append(list, markOf(one.Fwmark, family))
	}
	for addr := one.From; ; addr = addr.Next() {
		for port := int(one.Port); port <= int(one.LastPort); port++ {
			if list = append(list, Endpoint{Addr: netip.AddrPortFrom(addr, uint16(port))}); len(list) > mostEndpoints {
				return list
			}
		}
		if addr == one.To {
			return list
		}
	}
}

// serves tells whether a real server can take packets of a virtual server, if of some of its
// addresses only: across families no more than a tunnel takes them.
func (rs *RealServer) serves(vs *VirtualServer) bool {
	list := vs.Endpoints()
	like := func(e Endpoint) bool { return rs.Addr.Addr().Is4() == e.Addr.Addr().Is4() }
	return rs.Method.Forwarding == "TUN" || len(list) == 0 || slices.ContainsFunc(list, like)
}

// claim leaves every endpoint to the first virtual server that is of it. Those of the kernel's
// IPVS share it: one service has the settings of the first and the servers of all.
func (r *reader) claim() {
	type claimed struct {
		Endpoint
		protocol Protocol
	}
	owner := map[claimed]*VirtualServer{}
	for _, vs := range r.cfg.VirtualServers {
		if vs.Disabled != "" {
			continue
		}
		taken := func(e Endpoint) bool {
			c := claimed{e, vs.Protocol}
			if e.Mark != 0 {
				c.protocol = 0
			}
			first := owner[c]
			switch owner[c] = cmp.Or(first, vs); {
			case first == nil:
				return false
			case first != vs && first.kernel && vs.kernel:
				r.say(Warning, vs.Pos, "virtual_server %v: %v is that of virtual_server %v at %v too: IPVS has one service for both, with the settings of that one", vs, e, first, first.Pos)
				return false
			}
			r.say(Warning, vs.Pos, "virtual_server %v: %v is that of virtual_server %v at %v already; it is left to that one", vs, e, first, first.Pos)
			return true
		}
		kept := slices.DeleteFunc(slices.Clone(vs.Endpoints()), taken)
		if vs.Group != "" {
			vs.members = kept
		}
		if len(kept) == 0 {
			r.disable(vs, "nothing is left of it")
		}
	}
}

// served says why the data plane of this version cannot serve a service.
func (r *reader) served(vs *VirtualServer) {
	list := vs.Endpoints()
	unmarked := func(e Endpoint) bool { return e.Mark == 0 && e.Addr.Addr().IsUnspecified() }
	switch {
	case len(list) > mostEndpoints:
		r.disable(vs, fmt.Sprintf("the group comes to more than %d addresses and ports; give their packets a mark with packet_mark, and serve that", mostEndpoints))
	case !vs.Addr.IsValid() && slices.ContainsFunc(list, unmarked):
		r.disable(vs, "mark 0 is that of packets without a mark")
	}
}

func (r *reader) disable(vs *VirtualServer, why string) {
	vs.Disabled = why
	r.say(Warning, vs.Pos, "virtual_server %v: %s: the service is not served", vs, why)
}

// crossMarks tells of marks that no packet gets, and of those that nobody serves.
func (r *reader) crossMarks() {
	given, served := map[uint32]bool{0: true}, map[uint32]bool{0: true}
	for _, m := range r.cfg.Global.PacketMarks {
		given[m.Mark] = true
	}
	for _, vs := range r.cfg.VirtualServers {
		for _, e := range vs.Endpoints() {
			if !served[e.Mark] && !given[e.Mark] && vs.Disabled == "" && !vs.kernel {
				r.say(Warning, vs.Pos, "virtual_server %v: no packet gets mark %d, since those of nftables are not seen here: say in global_defs which do, as in @ringkeep packet_mark %d ip daddr 192.0.2.0/24 tcp dport 80,443", vs, e.Mark, e.Mark)
			}
			served[e.Mark] = true
		}
	}
	for _, m := range r.cfg.Global.PacketMarks {
		if !served[m.Mark] {
			r.say(Notice, m.Pos, "packet_mark %d: there is no virtual_server of that mark", m.Mark)
		}
	}
}

// resolveSync takes what stands in an instance for the global line, and drops a synchronization
// that follows nobody.
func (r *reader) resolveSync() {
	const keyword, old = "lvs_sync_daemon", "lvs_sync_daemon_interface"
	g := &r.cfg.Global
	at := g.At(keyword)
	for _, in := range r.cfg.Instances {
		if in.LVSSyncDaemonInterface == "" {
			continue
		}
		r.say(Notice, in.At(old), "%s: deprecated: write %s in global_defs", old, keyword)
		switch s := g.LVSSyncDaemon; {
		case s == nil:
			g.LVSSyncDaemon, at = &SyncDaemon{Interface: in.LVSSyncDaemonInterface, Instance: in.Name}, in.At(old)
			g.mark(keyword, at)
		case s.Instance != in.Name || s.Interface != in.LVSSyncDaemonInterface:
			r.say(Warning, in.At(old), "%s: the connections are synchronized over %s already; it is ignored", old, s.Interface)
		}
	}
	switch s := g.LVSSyncDaemon; {
	case s == nil:
	case s.Instance != "" && !slices.ContainsFunc(r.cfg.Instances, func(in *Instance) bool { return in.Name == s.Instance }):
		r.say(Warning, at, "%s: there is no vrrp_instance %s; it is ignored", keyword, s.Instance)
		g.LVSSyncDaemon = nil
	case !r.cfg.UsesIPVS():
		r.say(Notice, at, "%s: is for the kernel's IPVS (--dataplane ipvs); connections of the ring stay on their director", keyword)
	}
}
