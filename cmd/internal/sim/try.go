package sim

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/netlab"
)

// File is a configuration as somebody wrote it.
type File struct {
	Name string
	Text []byte
}

// Finding is what one fault did to one virtual router.
type Finding struct {
	Fault, Router string
	Before, After string        // the MASTER, by node; "" for none
	Silence       time.Duration // of advertisements when the MASTER changed, -1 if it did not
	Back          string        // the MASTER when the fault was over
	Remark        string        // what surprises: an invariant that was hurt
}

// plan is the network that a set of files needs.
type plan struct {
	files  []File
	cfgs   []*config.Config
	names  []string
	addrs  []netip.Prefix // of the nodes
	ifaces []string
	taken  map[netip.Addr]bool
	text   strings.Builder
}

// Scenario makes the network of a set of files - a lan, the nodes with their addresses,
// real servers, a client - as the head of a scenario. The error names what a lab of one
// lan cannot have.
func Scenario(files []File) (string, error) {
	p := &plan{files: files, taken: map[netip.Addr]bool{}}
	for i, f := range files {
		name := NodeName(f.Name, i)
		cfg, messages := config.Parse(f.Name, f.Text, config.Options{ConfigID: name})
		for _, m := range messages {
			if m.Level == config.Error {
				return "", fmt.Errorf("%v", m)
			}
		}
		p.cfgs, p.names = append(p.cfgs, cfg), append(p.names, name)
		if err := p.node(cfg, f.Name); err != nil {
			return "", err
		}
	}
	p.text.WriteString("# made from " + strings.Join(p.fileNames(), ", ") + "\nlan lan\n")
	if err := p.place(); err != nil {
		return "", err
	}
	p.servers()
	client, err := p.free(p.addrs[0])
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&p.text, "host client lan:eth0 %v\n", client)
	for i, name := range p.names {
		fmt.Fprintf(&p.text, "node %s ringkeep lan:%s %v\n", name, p.ifaces[i], p.addrs[i])
	}
	return p.text.String(), nil
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

func (p *plan) fileNames() []string {
	var list []string
	for _, f := range p.files {
		list = append(list, filepath.Base(f.Name))
	}
	return list
}

// node notes what a file says of its node: the interface, and addresses that are taken.
func (p *plan) node(cfg *config.Config, file string) error {
	iface := ""
	use := func(pos config.Pos, name string) error {
		if name == "" || name == iface {
			return nil
		}
		if iface != "" {
			return fmt.Errorf("%v: %s beside %s: the lab gives a node one interface", pos, name, iface)
		}
		iface = name
		return nil
	}
	for _, in := range cfg.Instances {
		if in.Disabled != "" {
			return fmt.Errorf("%v: %s", in.Pos, in.Disabled)
		}
		if err := use(in.At("interface"), in.Interface); err != nil {
			return err
		}
		for _, a := range slices.Concat(in.Addresses, in.Excluded) {
			p.taken[a.Prefix.Addr()] = true
			if err := use(a.Pos, a.Device); err != nil {
				return err
			}
		}
		for _, t := range in.TrackInterfaces {
			if err := use(t.Pos, t.Name); err != nil {
				return err
			}
		}
	}
	if iface == "" {
		return fmt.Errorf("%s: has no vrrp_instance to try", file)
	}
	p.ifaces = append(p.ifaces, iface)
	for _, vs := range cfg.VirtualServers {
		for _, rs := range vs.RealServers {
			p.taken[rs.Addr.Addr()] = true
		}
	}
	return nil
}

// subnet is the network of the lan: that of the first virtual address.
func (p *plan) subnet() netip.Prefix {
	a := p.cfgs[0].Instances[0].Addresses[0].Prefix
	if a.Bits() >= 31 {
		a = netip.PrefixFrom(a.Addr(), 24)
	}
	return a.Masked()
}

// place gives every node the address that the files say it has, or a free one.
func (p *plan) place() error {
	for _, cfg := range p.cfgs {
		if len(cfg.Instances[0].Addresses) == 0 {
			return fmt.Errorf("%v: has no virtual_ipaddress", cfg.Instances[0].Pos)
		}
	}
	net := p.subnet()
	for i, cfg := range p.cfgs {
		in := cfg.Instances[0]
		addr := in.UnicastSource
		if !addr.IsValid() {
			addr = in.McastSource
		}
		if !addr.IsValid() && len(p.cfgs) == 2 {
			if other := p.cfgs[1-i].Instances[0]; len(other.UnicastPeers) == 1 {
				addr = other.UnicastPeers[0].Addr
			}
		}
		if addr.IsValid() && !net.Contains(addr) {
			return fmt.Errorf("%v: the node is at %v, outside of %v: the lab has no router", in.Pos, addr, net)
		}
		if addr.IsValid() {
			p.taken[addr] = true
			p.addrs = append(p.addrs, netip.PrefixFrom(addr, net.Bits()))
			continue
		}
		free, err := p.free(net)
		if err != nil {
			return err
		}
		p.addrs = append(p.addrs, free)
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

// servers puts the real servers beside the nodes, each with the address of its service.
func (p *plan) servers() {
	seen := map[netip.AddrPort]bool{}
	hosts := map[netip.Addr]string{}
	var serve []string
	for _, cfg := range p.cfgs {
		for _, vs := range cfg.VirtualServers {
			for _, rs := range vs.RealServers {
				addr := rs.Addr.Addr()
				if seen[rs.Addr] || !p.subnet().Contains(addr) || slices.ContainsFunc(p.addrs, func(a netip.Prefix) bool { return a.Addr() == addr }) {
					continue
				}
				seen[rs.Addr] = true
				if hosts[addr] == "" {
					hosts[addr] = fmt.Sprintf("rs%d", len(hosts)+1)
					fmt.Fprintf(&p.text, "realserver %s lan:eth0 %v/%d vip %v\n", hosts[addr], addr, p.subnet().Bits(), vs.Addr.Addr())
				}
				serve = append(serve, fmt.Sprintf("serve %s http %d\n", hosts[addr], rs.Addr.Port()))
			}
		}
	}
	p.text.WriteString(strings.Join(serve, ""))
}

// trials are the standard faults, and what ends each. NODE is the one they are done to.
var trials = []struct{ name, begin, end string }{
	{"power loss of NODE", "crash NODE", "up NODE"},
	{"clean stop of NODE", "stop NODE", "up NODE"},
	{"process of NODE killed", "kill NODE", "up NODE"},
	{"link of NODE down", "link NODE down", "link NODE up"},
	{"NODE stands still", "freeze NODE", "thaw NODE"},
	{"NODE cut off", "partition NODE | REST", "heal"},
}

// Try plays the standard faults on every node of a set of files, in virtual time.
func Try(files []File) (head string, findings []Finding, err error) {
	if head, err = Scenario(files); err != nil {
		return "", nil, err
	}
	var text strings.Builder
	text.WriteString(head)
	p := &plan{}
	for i, f := range files {
		p.names = append(p.names, NodeName(f.Name, i))
		fmt.Fprintf(&text, "-- %s.conf --\n%s\n", p.names[i], f.Text)
	}
	s, err := netlab.Parse("try", []byte(text.String()))
	if err != nil {
		return "", nil, err
	}
	for _, t := range trials {
		for _, name := range p.names {
			rest := strings.Join(slices.DeleteFunc(append(slices.Clone(p.names), "client"), func(n string) bool { return n == name }), " ")
			fill := strings.NewReplacer("NODE", name, "REST", rest)
			findings = append(findings, trial(s, p.names, fill.Replace(t.name), strings.Fields(fill.Replace(t.begin)), strings.Fields(fill.Replace(t.end)))...)
		}
	}
	return head, findings, nil
}

// trial plays one fault: the election, the fault for a while, its end for a while.
func trial(s *netlab.Scenario, names []string, fault string, begin, end []string) []Finding {
	w := newWorld(s, Options{Seed: 1})
	p := &player{world: w, result: &Result{}}
	var findings []Finding
	remark := ""
	if err := p.prepare(); err != nil {
		return []Finding{{Fault: fault, Remark: err.Error()}}
	}
	settle := p.settle()
	steps := [][]string{append([]string{"up"}, names...), {"run", settle.String()}, {"mark"}, begin, {"run", settle.String()}}
	play := func(steps [][]string) {
		for _, words := range steps {
			if err := p.execute(words); err != nil && remark == "" {
				remark = err.Error()
			}
			if p.failure != nil && remark == "" {
				remark = p.failure.Error()
			}
			p.failure = nil
		}
	}
	play(steps[:2])
	before := p.masters()
	play(steps[2:])
	after := p.masters()
	for i := range after {
		after[i].Fault, after[i].Before = fault, before[i].After
		vrid := after[i].vrid
		if e := p.observer.elections[vrid]; e != nil && begin[0] != "partition" {
			after[i].Silence = e.silence
		}
	}
	play([][]string{end, {"run", settle.String()}})
	for i, back := range p.masters() {
		after[i].Back, after[i].Remark = back.After, remark
		findings = append(findings, after[i].Finding)
	}
	return findings
}

// settle is how long an election takes at most.
func (p *player) settle() time.Duration {
	longest := time.Second
	for _, h := range p.order {
		if h.dir == nil {
			continue
		}
		for _, in := range h.dir.cfg.Instances {
			longest = max(longest, 6*in.AdvertInterval+in.PreemptDelay+h.dir.cfg.Global.StartupDelay)
		}
	}
	return longest + 4*time.Second
}

// router is a finding and the VRID it is about.
type router struct {
	Finding
	vrid uint8
}

// masters lists who is MASTER of every VRID.
func (p *player) masters() []router {
	var list []router
	for _, h := range p.order {
		if h.dir == nil {
			continue
		}
		for _, in := range h.dir.cfg.Instances {
			i := slices.IndexFunc(list, func(r router) bool { return r.vrid == in.VRID })
			if i < 0 {
				list = append(list, router{Finding{Router: fmt.Sprintf("%s (VRID %d)", in.Name, in.VRID), Silence: -1}, in.VRID})
				i = len(list) - 1
			}
			if h.dir.alive && h.dir.states[in.Name] == "MASTER" {
				list[i].After = strings.TrimPrefix(list[i].After+" and "+h.name, " and ")
			}
		}
	}
	return list
}
