package model

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// Way is what a packet of a capture is to a director.
type Way uint8

const (
	// Elsewhere: on a link, or to a MAC, that is not the director's.
	Elsewhere Way = iota
	// Sent by the director.
	Sent
	// Heard: it reached the director.
	Heard
	// Lost: the lab dropped or damaged it on the way to the director.
	Lost
)

// Seat is the place of a director in a capture.
type Seat struct {
	Links []node.Link // as the capture and the configuration show them

	cfg   *config.Config
	name  string         // of the host in a capture of the lab, "" in any other
	ports map[string]int // by interface of the capture
	own   []netip.Addr   // as they were named
	macs  []proto.MAC
	holds map[proto.MAC]bool // of virtual MACs: whether the director was the last to advertise with it
}

// Place says which director of a capture is meant.
type Place struct {
	Node      string       // the host, in a capture of the lab
	Own       []netip.Addr // its addresses; where the capture shows them, none
	Interface string       // of the configuration, for a capture that names none
}

// Find looks for the seat of a director in a capture file. The error says what has to be
// named.
func Find(cfg *config.Config, at Place, path string) (*Seat, error) {
	s := &Seat{cfg: cfg, name: at.Node, own: slices.Clone(at.Own), ports: map[string]int{}, holds: map[proto.MAC]bool{}}
	s.Links = []node.Link{{Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}}
	names := cfg.Interfaces()
	for _, name := range names {
		s.Links = append(s.Links, node.Link{Name: name, Up: true})
	}
	for _, in := range cfg.Instances {
		for _, a := range []netip.Addr{in.UnicastSource, in.McastSource} {
			if a.IsValid() && in.Disabled == "" {
				s.address(s.port(in.Interface), a)
			}
		}
	}
	if at.Interface == "" && len(names) == 1 {
		at.Interface = names[0]
	}
	for _, a := range at.Own {
		s.address(s.port(at.Interface), a)
	}
	first := true
	err := pcap.Each(path, func(p pcap.Packet, list []pcap.Interface) {
		if first {
			s.look(list, s.port(at.Interface))
			first = false
		}
		s.learn(p)
	})
	if err == nil && first {
		err = fmt.Errorf("%s: holds no packets", path)
	}
	if err != nil {
		return nil, err
	}
	return s, s.complete(names)
}

// port is the number of the link with that name, or -1.
func (s *Seat) port(name string) int {
	return slices.IndexFunc(s.Links, func(l node.Link) bool { return l.Name == name })
}

// look finds the links of the director among the interfaces of the capture.
func (s *Seat) look(list []pcap.Interface, only int) {
	for _, in := range list {
		host, iface, lab := strings.Cut(in.Name, ":")
		switch {
		case s.name == "" && !lab && s.port(in.Name) >= 0:
			s.ports[in.Name] = s.port(in.Name)
		case s.name == "" && only >= 0:
			s.ports[in.Name] = only
		case host == s.name && s.port(iface) >= 0:
			s.ports[in.Name] = s.port(iface)
			for _, other := range list {
				if other.Description == in.Description && other.Description != "" {
					s.ports[other.Name] = s.port(iface)
				}
			}
		}
	}
	if s.name == "" && len(list) == 0 && only >= 0 {
		s.ports[""] = only // a pcap file
	}
}

// learn takes in what a packet that the director sent shows of it: its MACs, and an
// address that is not virtual. Packets that it forwards have the addresses of others.
func (s *Seat) learn(p pcap.Packet) {
	port, ok := s.ports[p.Interface]
	eth, err := proto.ParseEthernet(p.Data)
	if !ok || err != nil {
		return
	}
	src, sure := source(eth)
	mine := s.sent(p.Interface, eth) || slices.Contains(s.own, src)
	if !mine {
		return
	}
	l := &s.Links[port]
	known := eth.Src().IsVirtual() // which another director's frames have too
	if l.MAC == (proto.MAC{}) && !known {
		l.MAC = eth.Src()
	}
	if !slices.Contains(s.macs, eth.Src()) && !known {
		s.macs = append(s.macs, eth.Src())
	}
	switch {
	case sure:
		s.address(port, src)
	case src.IsValid() && !src.IsUnspecified() && !virtual(s.cfg, src) && !speaks(l, src.Is6()) && (src.Is4() || src.IsLinkLocalUnicast()):
		l.Prefixes = append(l.Prefixes, netip.PrefixFrom(src, src.BitLen()))
	}
}

// speaks tells whether a link has an address that an instance of the family may advertise
// from: over IPv6 that is a link-local one (RFC 9568 §5.1.2.1).
func speaks(l *node.Link, six bool) bool {
	return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool {
		return p.Addr().Is6() == six && (!six || p.Addr().IsLinkLocalUnicast())
	})
}

// source is the host that a packet shows: surely that of an advertisement, probably that
// of ARP, neighbour discovery and of a membership report.
func source(eth proto.Ethernet) (a netip.Addr, sure bool) {
	if r, ok := netlab.ParseResolution(eth); ok && r.Question {
		return r.Asker, false
	} else if ok {
		return r.Addr, false
	}
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil || eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 {
		return netip.Addr{}, false
	}
	switch ip.Protocol() {
	case proto.ProtocolVRRP, proto.ProtocolAH:
		return ip.Src(), true
	case protocolIGMP, hopByHop:
		return ip.Src(), false
	}
	return netip.Addr{}, false
}

const (
	protocolIGMP = 2
	hopByHop     = 0 // what a membership report of IPv6 begins with (RFC 3810 §5)
)

// address notes an address of a port, in front of what was only probable.
func (s *Seat) address(port int, a netip.Addr) {
	if port < 0 || slices.ContainsFunc(s.Links[port].Prefixes, func(p netip.Prefix) bool { return p.Addr() == a }) {
		return
	}
	s.Links[port].Prefixes = append([]netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, s.Links[port].Prefixes...)
}

// sent tells whether a frame is the director's own.
func (s *Seat) sent(iface string, eth proto.Ethernet) bool {
	if s.name != "" {
		host, _, _ := strings.Cut(iface, ":")
		return host == s.name
	}
	mac := eth.Src()
	if !mac.IsVirtual() {
		return slices.Contains(s.macs, mac)
	}
	if src, sure := source(eth); sure { // who advertises with it announces with it
		s.holds[mac] = slices.Contains(s.own, src)
	}
	return s.holds[mac]
}

// complete demands an address for every interface that an instance speaks on.
func (s *Seat) complete(names []string) error {
	if len(s.ports) == 0 && s.name != "" {
		return fmt.Errorf("the capture has no interface of %s that the configuration names (%s)", s.name, strings.Join(names, ", "))
	}
	if len(s.ports) == 0 {
		return fmt.Errorf("name the interface of the configuration that the capture is of with -i (%s)", strings.Join(names, ", "))
	}
	for _, in := range s.cfg.Instances {
		named := in.UnicastSource.IsValid() || in.McastSource.IsValid()
		if in.Disabled == "" && !named && !speaks(&s.Links[s.port(in.Interface)], in.Family() == 6) {
			return fmt.Errorf("the capture does not show the address of %s: name it with --own", in.Interface)
		}
	}
	return nil
}

// Way tells what a packet is to the director, and on which port.
func (s *Seat) Way(p pcap.Packet) (port int, w Way) {
	port, ok := s.ports[p.Interface]
	eth, err := proto.ParseEthernet(p.Data)
	if !ok || err != nil {
		return -1, Elsewhere
	}
	own := s.Links[port].MAC
	switch {
	case s.sent(p.Interface, eth):
		return port, Sent
	case !eth.Dst().IsGroup() && eth.Dst() != own && own != (proto.MAC{}):
		return port, Elsewhere
	}
	if s.lost(p.Comment) {
		return port, Lost
	}
	return port, Heard
}

// lost reads the lab's comment on a packet, a line for each host that it was for. What was
// damaged on the way is in the capture as it was sent, but the comment tells the refusal;
// to leave out what would be refused anyway does no harm.
func (s *Seat) lost(comment string) bool {
	for line := range strings.Lines(comment) {
		what, mine := strings.CutPrefix(strings.TrimSpace(line), "to "+s.name+": ")
		refused := strings.HasPrefix(what, "ignored: ") && !strings.HasSuffix(what, "takes no part") || strings.HasPrefix(what, "no instance has VRID ")
		if mine && (refused || strings.HasPrefix(what, "dropped by: ")) {
			return true
		}
	}
	return false
}
