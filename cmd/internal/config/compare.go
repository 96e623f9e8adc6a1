package config

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// File is a configuration and the name that people know it by.
type File struct {
	Name   string
	Config *Config
}

// router is one virtual router: its instances on the nodes, nil where a node has none.
type router struct {
	name  string
	nodes []*Instance
}

// Compare holds the files of all nodes of a cluster against each other.
func Compare(files []File) []Message {
	c := &comparison{files: files, reader: &reader{}}
	c.routers = routers(files)
	for _, v := range c.routers {
		c.router(v)
	}
	c.reused()
	c.services()
	c.src = &source{texts: map[string]string{}}
	for _, f := range files {
		maps.Copy(c.src.texts, f.Config.texts)
	}
	return c.reader.sorted()
}

type comparison struct {
	files   []File
	routers []router
	*reader
}

// routers finds which instances of the files are one virtual router: those with a
// virtual address in common, else those with one name, VRID and family.
func routers(files []File) []router {
	var list []router
	for n, f := range files {
		for _, in := range f.Config.Instances {
			best, most := -1, 0
			for i, v := range list {
				if v.nodes[n] != nil {
					continue
				}
				for _, other := range v.nodes {
					if s := alike(in, other); s > most {
						best, most = i, s
					}
				}
			}
			if best < 0 {
				list = append(list, router{in.Name, make([]*Instance, len(files))})
				best = len(list) - 1
			}
			list[best].nodes[n] = in
		}
	}
	return list
}

// alike is 0 where two instances have nothing to do with each other.
func alike(a, b *Instance) int {
	if b == nil || a.Family() != b.Family() {
		return 0
	}
	score := 0
	for _, x := range a.Addresses {
		if slices.ContainsFunc(b.Addresses, func(y Address) bool { return x.Prefix.Addr() == y.Prefix.Addr() }) {
			score += 10
		}
	}
	if a.VRID == b.VRID && a.VRID != 0 && a.Name == b.Name {
		score += 5
	}
	if score > 0 && a.Name == b.Name {
		score++
	}
	return score
}

func (c *comparison) router(v router) {
	var first *Instance
	for n, in := range v.nodes {
		switch {
		case in == nil:
			for _, other := range v.nodes {
				if other != nil {
					c.say(Notice, other.Pos, "vrrp_instance %s: %s has no counterpart of it", other.Name, c.files[n].Name)
					break
				}
			}
		case first == nil:
			first = in
		default:
			c.pair(first, in)
		}
	}
	for i, a := range v.nodes {
		for _, b := range v.nodes[i+1:] {
			if a != nil && b != nil {
				c.priorities(a, b)
				c.reach(a, b)
				c.reach(b, a)
				c.preemption(a, b)
			}
		}
	}
}

// differ says that b has another value than a.
func (c *comparison) differ(a, b *Instance, keyword string, x, y any, consequence string) {
	if x != y {
		c.say(Warning, b.At(keyword), "vrrp_instance %s: %s %v here, %v at %v: %s", b.Name, keyword, y, x, a.At(keyword), consequence)
	}
}

const both = "each discards the advertisements of the other, and both become MASTER"

// pair compares what must be the same on every node.
func (c *comparison) pair(a, b *Instance) {
	c.differ(a, b, "virtual_router_id", a.VRID, b.VRID, "these are two virtual routers with one address; both become MASTER")
	c.differ(a, b, "version", a.Version, b.Version, both)
	interval := "each discards the advertisements of the other (version 2), and both become MASTER"
	if a.Version == 3 {
		interval = "a BACKUP takes the interval of the MASTER (version 3), so that failover takes longer than one of the files says"
	}
	c.differ(a, b, "advert_int", a.AdvertInterval, b.AdvertInterval, interval)
	c.differ(a, b, "auth_type", orNone(a.AuthType), orNone(b.AuthType), both)
	if a.AuthType == b.AuthType && a.AuthPass != b.AuthPass {
		c.say(Warning, b.At("auth_pass"), "vrrp_instance %s: auth_pass is not that at %v: %s", b.Name, a.At("auth_pass"), both)
	}
	c.addresses(a, b)
	c.differ(a, b, "mcast_dst_ip", a.McastDestination, b.McastDestination, "neither hears the other, and both become MASTER")
	c.differ(a, b, "strict_mode", a.Strict, b.Strict, "the nodes follow different rules")
	if (a.UseVMAC != nil) != (b.UseVMAC != nil) {
		c.say(Warning, b.At("use_vmac"), "vrrp_instance %s: only one of the nodes uses a virtual MAC (the other is at %v)", b.Name, a.Pos)
	}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func (c *comparison) addresses(a, b *Instance) {
	missing := func(from, in Addresses) []string {
		var list []string
		for _, x := range from {
			if !slices.ContainsFunc(in, func(y Address) bool { return y.Prefix.Addr() == x.Prefix.Addr() }) {
				list = append(list, x.Prefix.Addr().String())
			}
		}
		return list
	}
	const consequence = "older keepalived discards advertisements with another list, and after a failover these addresses are nowhere"
	if list := missing(a.Addresses, b.Addresses); list != nil {
		c.say(Warning, b.At("virtual_ipaddress"), "vrrp_instance %s: lacks %s, which %v has: %s", b.Name, strings.Join(list, ", "), a.At("virtual_ipaddress"), consequence)
	}
	if list := missing(b.Addresses, a.Addresses); list != nil {
		c.say(Warning, a.At("virtual_ipaddress"), "vrrp_instance %s: lacks %s, which %v has: %s", a.Name, strings.Join(list, ", "), b.At("virtual_ipaddress"), consequence)
	}
	for _, x := range a.Addresses {
		for _, y := range b.Addresses {
			if x.Prefix.Addr() == y.Prefix.Addr() && x.Prefix.Bits() != y.Prefix.Bits() {
				c.say(Warning, y.Pos, "%v: has the prefix length %d at %v", y.Prefix, x.Prefix.Bits(), x.Pos)
			}
		}
	}
}

func (c *comparison) priorities(a, b *Instance) {
	if a.Priority != b.Priority {
		return
	}
	if a.Priority == 255 {
		c.say(Warning, b.At("priority"), "vrrp_instance %s: priority 255 on both nodes (the other is at %v): only the owner of the address may have it, and two owners fight", b.Name, a.At("priority"))
		return
	}
	c.say(Warning, b.At("priority"), "vrrp_instance %s: priority %d on both nodes (the other is at %v): the higher address becomes MASTER, and a tie at the start may flap", b.Name, b.Priority, a.At("priority"))
}

// sourceOf is where a's advertisements come from: what it says, or the only peer of b.
func sourceOf(a, b *Instance) netip.Addr {
	if !a.UnicastSource.IsValid() && len(b.UnicastPeers) == 1 {
		return b.UnicastPeers[0].Addr
	}
	return a.UnicastSource
}

// reach tells what keeps a's advertisements from b.
func (c *comparison) reach(a, b *Instance) {
	switch {
	case len(a.UnicastPeers) > 0 && len(b.UnicastPeers) == 0:
		c.say(Warning, b.Pos, "vrrp_instance %s: sends to the multicast group, but %v has unicast_peer: both become MASTER", b.Name, a.At("unicast_peer"))
	case len(b.UnicastPeers) == 0:
	case !sourceOf(a, b).IsValid():
		c.say(Notice, a.Pos, "vrrp_instance %s: has no unicast_src_ip: whether %v points at it cannot be told", a.Name, b.At("unicast_peer"))
	case !slices.Contains(b.UnicastPeers.Addrs(), sourceOf(a, b)):
		c.say(Warning, b.At("unicast_peer"), "vrrp_instance %s: unicast_peer does not name %v, the unicast_src_ip at %v: that node never hears this one, and both become MASTER", b.Name, a.UnicastSource, a.At("unicast_src_ip"))
	}
	c.foreign(a, b)
}

// foreign tells that b holds an address in a subnet that it is not in.
func (c *comparison) foreign(a, b *Instance) {
	from, here := sourceOf(a, b), sourceOf(b, a)
	if !from.IsValid() || !here.IsValid() {
		return
	}
	for _, vip := range b.Addresses {
		p := vip.Prefix
		if p.Bits() >= 31 && p.Addr().Is4() {
			p = netip.PrefixFrom(p.Addr(), 24)
		}
		if p.Contains(from) && !p.Contains(here) {
			c.say(Warning, vip.Pos, "%v: this node is at %v, in another subnet than %v (%v): while it is MASTER, hosts and routers of %v do not find the address here", vip.Prefix, here, from, a.Pos, p.Masked())
		}
	}
}

func (c *comparison) preemption(a, b *Instance) {
	if a.NoPreempt != b.NoPreempt {
		with, without := a, b
		if b.NoPreempt {
			with, without = b, a
		}
		if without.Priority > with.Priority {
			c.say(Warning, with.At("nopreempt"), "vrrp_instance %s: nopreempt stands on the node of the lower priority only, where it changes nothing: %v takes the address back", with.Name, without.At("priority"))
		} else {
			c.say(Notice, with.At("nopreempt"), "vrrp_instance %s: nopreempt is missing at %v", with.Name, without.Pos)
		}
	}
}

// reused tells of a VRID that two virtual routers of one link have.
func (c *comparison) reused() {
	for i, v := range c.routers {
		for _, w := range c.routers[i+1:] {
			for n, a := range v.nodes {
				for m, b := range w.nodes {
					if n == m || a == nil || b == nil || a.VRID != b.VRID || a.VRID == 0 || a.Interface != b.Interface || a.Family() != b.Family() ||
						len(a.UnicastPeers) > 0 || len(b.UnicastPeers) > 0 {
						continue
					}
					c.say(Warning, b.At("virtual_router_id"), "vrrp_instance %s: virtual_router_id %d is that of %s at %v: on one link they hear each other", b.Name, b.VRID, a.Name, a.At("virtual_router_id"))
				}
			}
		}
	}
}

// services compares the virtual servers, which every director must have alike.
func (c *comparison) services() {
	for i, f := range c.files {
		for _, vs := range f.Config.VirtualServers {
			for j, other := range c.files {
				if i != j {
					c.service(vs, other, i < j)
				}
			}
		}
		if first := c.files[0]; i > 0 && f.Config.Global.PacketMarks.text() != first.Config.Global.PacketMarks.text() {
			c.say(Warning, f.Config.Global.At("packet_mark"), "packet_mark: the lines are not those of %s: after a failover packets have other marks", first.Name)
		}
	}
}

// service tells what another file lacks of a service; what it has otherwise is told
// in one direction.
func (c *comparison) service(vs *VirtualServer, other File, differences bool) {
	i := slices.IndexFunc(other.Config.VirtualServers, func(o *VirtualServer) bool { return o.String() == vs.String() && o.Protocol == vs.Protocol })
	if i < 0 {
		c.say(Warning, vs.Pos, "virtual_server %v: %s does not have it: after a failover nobody serves it", vs, other.Name)
		return
	}
	o := other.Config.VirtualServers[i]
	for _, one := range []struct {
		keyword string
		a, b    string
	}{
		{"lvs_sched", string(vs.Scheduler), string(o.Scheduler)},
		{"lvs_method", strings.Join(vs.Method.words(), " "), strings.Join(o.Method.words(), " ")},
		{"persistence_timeout", vs.Persistence.Timeout().String(), o.Persistence.Timeout().String()},
	} {
		if differences && one.a != one.b {
			c.say(Warning, o.At(one.keyword), "virtual_server %v: %s is %s here, %s at %v", vs, one.keyword, one.b, one.a, vs.At(one.keyword))
		}
	}
	lacks := slices.DeleteFunc(slices.Clone(vs.Endpoints()), func(e Endpoint) bool { return slices.Contains(o.Endpoints(), e) })
	if len(lacks) > 0 {
		c.say(Warning, vs.Pos, "virtual_server %v: that of %s lacks %v, one of %d: after a failover nobody serves them", vs, other.Name, lacks[0], len(lacks))
	}
	for _, rs := range vs.RealServers {
		if !slices.ContainsFunc(o.RealServers, func(x *RealServer) bool { return x.Addr == rs.Addr }) {
			c.say(Warning, rs.Pos, "real_server %v of %v: %s does not have it", rs.Addr, vs, other.Name)
		}
	}
}
