package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// plan is the network that a set of files needs.
type plan struct {
	cfgs  []*config.Config
	names []string
	ends  []*end
	lans  []lanPlan
	taken map[netip.Addr]bool
	text  strings.Builder
}

// end is an interface of a node.
type end struct {
	node  int
	iface string
	net   netip.Prefix // that its virtual or its own addresses are in; invalid if none tells
	addr  netip.Addr   // its own, as the files have it
	vrids []uint8      // of multicast instances
	lan   int
	at    netip.Prefix // its own, as placed
}

type lanPlan struct {
	name   string
	net    netip.Prefix
	router netip.Prefix // invalid without one
}

// Scenario makes the network of a set of files - lans, the nodes with their addresses,
// a router where peers are in other networks, real servers, a client - as the head of a
// scenario. The error names what a lab cannot have.
func Scenario(files []File) (string, error) {
	p := &plan{taken: map[netip.Addr]bool{}}
	var from []string
	for i, f := range files {
		name := NodeName(f.Name, i)
		cfg, messages := config.Parse(f.Name, f.Text, config.Options{ConfigID: name})
		for _, m := range messages {
			if m.Level == config.Error {
				return "", fmt.Errorf("%v", m)
			}
		}
		p.cfgs, p.names, from = append(p.cfgs, cfg), append(p.names, name), append(from, filepath.Base(f.Name))
	}
	for i, cfg := range p.cfgs {
		if err := p.node(i, cfg, files[i].Name); err != nil {
			return "", err
		}
	}
	p.join()
	if err := p.place(); err != nil {
		return "", err
	}
	fmt.Fprintf(&p.text, "# made from %s\n", strings.Join(from, ", "))
	err := p.write()
	return p.text.String(), err
}

// NodeName is the file's name as far as it can name a node.
func NodeName(file string, i int) string {
	name := strings.TrimSuffix(filepath.Base(file), ".conf")
	if j := strings.LastIndexByte(name, '.'); j >= 0 {
		name = name[j+1:]
	}
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c == '-' {
			return c
		}
		return '-'
	}, name)
	if name == "" || name == "keepalived" || name == "client" {
		name = fmt.Sprintf("n%d", i+1)
	}
	return name
}

// NodeNames lists the names of the nodes of a set of files.
func NodeNames(files []File) string {
	var list []string
	for i, f := range files {
		list = append(list, NodeName(f.Name, i))
	}
	return strings.Join(list, " ")
}

// end finds the interface of a node, or makes it.
func (p *plan) end(node int, iface string) *end {
	for _, e := range p.ends {
		if e.node == node && e.iface == iface {
			return e
		}
	}
	e := &end{node: node, iface: iface}
	p.ends = append(p.ends, e)
	return e
}

// node notes what a file says of its node: interfaces, and addresses that are taken.
func (p *plan) node(i int, cfg *config.Config, file string) error {
	if len(cfg.Instances) == 0 {
		return fmt.Errorf("%s: has no vrrp_instance to try", file)
	}
	for _, in := range cfg.Instances {
		if in.Disabled != "" {
			return fmt.Errorf("%v: %s", in.Pos, in.Disabled)
		}
		e := p.end(i, in.Interface)
		if len(in.UnicastPeers) == 0 {
			e.vrids = append(e.vrids, in.VRID)
		}
		if a := p.ownAddress(i, in); a.IsValid() {
			e.addr, p.taken[a] = a, true
		}
		for _, a := range slices.Concat(in.Addresses, in.Excluded) {
			p.taken[a.Prefix.Addr()] = true
			at := e
			if a.Device != "" {
				at = p.end(i, a.Device)
			}
			if !at.net.IsValid() && a.Prefix.Addr().Is4() {
				at.net = network(a.Prefix)
			}
		}
		for _, t := range in.TrackInterfaces {
			p.end(i, t.Name)
		}
	}
	for _, name := range cfg.Devices() {
		p.end(i, name)
	}
	for _, a := range cfg.StaticAddresses {
		p.taken[a.Prefix.Addr()] = true
	}
	for _, e := range p.ends {
		if e.addr.IsValid() && !e.net.Contains(e.addr) {
			e.net = network(netip.PrefixFrom(e.addr, 32))
		}
	}
	for _, vs := range cfg.VirtualServers {
		for _, rs := range vs.RealServers {
			p.taken[rs.Addr.Addr()] = true
		}
	}
	return nil
}

// network is what an address is in: a host prefix says nothing about it, and then it is
// taken for one of 24 bits.
func network(a netip.Prefix) netip.Prefix {
	if a.Bits() >= 31 {
		a = netip.PrefixFrom(a.Addr(), 24)
	}
	return a.Masked()
}

// ownAddress is what an instance advertises from: its own file says so, or it is the one
// peer that the files of all other nodes have.
func (p *plan) ownAddress(node int, in *config.Instance) netip.Addr {
	switch {
	case in.UnicastSource.IsValid():
		return in.UnicastSource
	case in.McastSource.IsValid():
		return in.McastSource
	}
	var common []netip.Addr
	for i, cfg := range p.cfgs {
		if i == node {
			continue
		}
		var peers []netip.Addr
		for _, other := range cfg.Instances {
			if other.VRID == in.VRID {
				peers = append(peers, other.UnicastPeers.Addrs()...)
			}
		}
		if common == nil {
			common = peers
		}
		common = slices.DeleteFunc(slices.Clone(common), func(a netip.Addr) bool { return !slices.Contains(peers, a) })
	}
	if len(common) != 1 {
		return netip.Addr{}
	}
	return common[0]
}

// join finds out which interfaces are on one lan: those that hear the group of one VRID,
// those of one network, and, where no address tells, those of one name.
func (p *plan) join() {
	for i, e := range p.ends {
		e.lan = i
	}
	for _, a := range p.ends {
		for _, b := range p.ends {
			group := slices.ContainsFunc(a.vrids, func(v uint8) bool { return slices.Contains(b.vrids, v) })
			network := a.net.IsValid() && b.net.IsValid() && a.net.Overlaps(b.net)
			name := a.iface == b.iface && (!a.net.IsValid() || !b.net.IsValid())
			if a.node != b.node && (group || network || name) {
				was, is := max(a.lan, b.lan), min(a.lan, b.lan)
				for _, e := range p.ends {
					if e.lan == was {
						e.lan = is
					}
				}
			}
		}
	}
	number := map[int]int{}
	for _, e := range p.ends {
		if _, ok := number[e.lan]; !ok {
			number[e.lan] = len(p.lans)
			p.lans = append(p.lans, lanPlan{name: "lan"})
			if n := len(p.lans); n > 1 {
				p.lans[n-1].name = fmt.Sprintf("lan%d", n)
			}
		}
		e.lan = number[e.lan]
		if l := &p.lans[e.lan]; !l.net.IsValid() {
			l.net = e.net
		}
	}
	for i := range p.lans {
		if l := &p.lans[i]; !l.net.IsValid() {
			l.net = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i), 0}), 24) // RFC 2544
		}
	}
}

// place gives every interface the address that the files say it has, or a free one, and
// the lans a router if peers are on two of them.
func (p *plan) place() (err error) {
	for _, e := range p.ends {
		net := p.lans[e.lan].net
		if e.at = netip.PrefixFrom(e.addr, net.Bits()); !e.addr.IsValid() {
			if e.at, err = p.free(net); err != nil {
				return err
			}
		}
	}
	for i, cfg := range p.cfgs {
		for _, in := range cfg.Instances {
			for _, peer := range in.UnicastPeers.Addrs() {
				if err := p.route(p.end(i, in.Interface), peer); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// route puts a router between an interface and a peer that is on another lan.
func (p *plan) route(e *end, peer netip.Addr) (err error) {
	for _, other := range p.ends {
		if other.at.Addr() != peer || other.lan == e.lan {
			continue
		}
		for _, l := range []*lanPlan{&p.lans[e.lan], &p.lans[other.lan]} {
			if !l.router.IsValid() {
				if l.router, err = p.free(l.net); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// free finds an address of the network that nobody has.
func (p *plan) free(net netip.Prefix) (netip.Prefix, error) {
	a := net.Masked().Addr().Next()
	for range 10 {
		a = a.Next()
	}
	for ; net.Masked().Contains(a); a = a.Next() {
		if !p.taken[a] {
			p.taken[a] = true
			return netip.PrefixFrom(a, net.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free address in %v", net)
}

// via is the word for the gateway of a lan, if it has one.
func (p *plan) via(lan int) string {
	if r := p.lans[lan].router; r.IsValid() {
		return fmt.Sprintf(" via %v", r.Addr())
	}
	return ""
}

// write writes the statements.
func (p *plan) write() error {
	router := ""
	for _, l := range p.lans {
		fmt.Fprintf(&p.text, "lan %s\n", l.name)
		if l.router.IsValid() {
			router += fmt.Sprintf(" %s:%s %v", l.name, "to-"+l.name, l.router)
		}
	}
	if router != "" {
		fmt.Fprintf(&p.text, "router router%s\n", router)
	}
	p.servers()
	home := p.end(0, p.cfgs[0].Instances[0].Interface).lan
	client, err := p.free(p.lans[home].net)
	if err != nil {
		return err
	}
	fmt.Fprintf(&p.text, "host client %s:eth0 %v%s\n", p.lans[home].name, client, p.via(home))
	for i, name := range p.names {
		fmt.Fprintf(&p.text, "node %s ringkeep", name)
		via := ""
		for _, e := range p.ends {
			if e.node == i {
				fmt.Fprintf(&p.text, " %s:%s %v", p.lans[e.lan].name, e.iface, e.at)
				if via == "" {
					via = p.via(e.lan)
				}
			}
		}
		fmt.Fprintf(&p.text, "%s\n", via)
	}
	return nil
}

// servers puts the real servers on the lans of their networks, each with the address of
// its service.
func (p *plan) servers() {
	seen := map[netip.AddrPort]bool{}
	hosts := map[netip.Addr]string{}
	var serve []string
	for _, cfg := range p.cfgs {
		for _, vs := range cfg.VirtualServers {
			i := slices.IndexFunc(vs.Endpoints(), func(e config.Endpoint) bool { return e.Mark == 0 })
			if i < 0 {
				continue
			}
			to := vs.Endpoints()[i].Addr
			for _, rs := range vs.RealServers {
				addr := rs.Addr.Addr()
				lan := slices.IndexFunc(p.lans, func(l lanPlan) bool { return l.net.Contains(addr) })
				if seen[rs.Addr] || lan < 0 || slices.ContainsFunc(p.ends, func(e *end) bool { return e.at.Addr() == addr }) {
					continue
				}
				seen[rs.Addr] = true
				if hosts[addr] == "" {
					hosts[addr] = fmt.Sprintf("rs%d", len(hosts)+1)
					fmt.Fprintf(&p.text, "realserver %s %s:eth0 %v/%d vip %v%s\n", hosts[addr], p.lans[lan].name, addr, p.lans[lan].net.Bits(), to.Addr(), p.via(lan))
				}
				serve = append(serve, fmt.Sprintf("serve %s http %d\n", hosts[addr], cmp.Or(rs.Addr.Port(), to.Port())))
			}
		}
	}
	p.text.WriteString(strings.Join(serve, ""))
}
