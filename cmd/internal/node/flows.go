package node

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// Flow is a kind of packets that the data plane takes: for the filters of the service
// rings, and what the kernel must not see, which would answer or forward it too. A zero
// Prefix is every address, two zero ports are every port.
type Flow struct {
	Protocol           uint8
	Src, Dst           netip.Prefix
	SrcPorts, DstPorts [2]uint16
	Answer             bool // what a NAT server sends back to clients; what it sends to this host is not
	Quoted             bool // only ICMP errors about such packets, which the kernel may see
	Pass               bool // none of it, whatever the flows of marks below say
	Port               int  // by which alone they come in, AnyPort for every one
}

// Flows lists them, as the configuration has services and servers, none twice. Those of
// marks come last, in the order of their rules.
func (n *Node) Flows() []Flow {
	var list []Flow
	seen := map[Flow]bool{}
	add := func(flows ...Flow) {
		for _, f := range flows {
			if !seen[f] {
				seen[f] = true
				list = append(list, f)
			}
		}
	}
	for i := range n.services {
		if n.services[i].cfg.InKernel() {
			continue
		}
		for _, k := range n.services[i].keys {
			if k.Mark == 0 {
				add(Flow{Protocol: k.Protocol, Dst: only(k.Addr.Addr()), DstPorts: one(k.Addr.Port()), Port: AnyPort})
			}
			for _, s := range n.known(&n.services[i], k) {
				add(comingBack(k, s)...)
			}
		}
	}
	for _, r := range n.marks {
		for _, six := range []bool{false, true} {
			add(n.marked(r, six)...)
		}
	}
	return list
}

func only(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func one(port uint16) [2]uint16 { return [2]uint16{port, port} }

// known lists the servers that service k may have at any time, the sorry server too.
func (n *Node) known(s *service, k forward.ServiceKey) (list []forward.Server) {
	servers := slices.Clone(s.cfg.RealServers)
	if s.cfg.SorryServer != nil {
		servers = append(servers, s.cfg.SorryServer)
	}
	for _, r := range servers {
		if n.serves(s, k, r) {
			list = append(list, n.server(s, k, r, 0))
		}
	}
	return list
}

// comingBack is what comes back about a server: by NAT its answers, from a tunnel the errors
// about the packets that carry others.
func comingBack(k forward.ServiceKey, s forward.Server) (list []Flow) {
	at := only(s.Addr.Addr())
	switch s.Method {
	case forward.NAT:
		for _, protocol := range protocolsOf(k.Protocol) {
			list = append(list, Flow{Protocol: protocol, Src: at, SrcPorts: one(s.Addr.Port()), Answer: true, Port: AnyPort})
		}
	case forward.TUN:
		switch s.Tunnel.Type {
		case forward.GUE:
			list = append(list, Flow{Protocol: proto.ProtocolUDP, Dst: at, DstPorts: one(s.Tunnel.Port), Quoted: true, Port: AnyPort})
		case forward.GRE:
			list = append(list, Flow{Protocol: proto.ProtocolGRE, Dst: at, Quoted: true, Port: AnyPort})
		default:
			carried := proto.ProtocolIPv4
			if k.Addr.Addr().Is6() {
				carried = proto.ProtocolIPv6
			}
			list = append(list, Flow{Protocol: carried, Dst: at, Quoted: true, Port: AnyPort})
		}
	}
	return list
}

// protocolsOf is the one, or for 0 all that are forwarded.
func protocolsOf(protocol uint8) []uint8 {
	if protocol != 0 {
		return []uint8{protocol}
	}
	return []uint8{proto.ProtocolTCP, proto.ProtocolUDP, proto.ProtocolSCTP}
}

// marked is what a rule gives its mark to, of one family. A mark that nobody serves is an
// exception from the rules below.
func (n *Node) marked(r forward.Rule, six bool) (list []Flow) {
	if r.Family != 0 && (r.Family == 6) != six {
		return nil
	}
	src, okay := ofFamily(r.Src, six)
	dst, ok := ofFamily(r.Dst, six)
	if !ok || !okay {
		return nil
	}
	f := Flow{Pass: !n.servesMark(r.Mark, six), Port: int(r.Port)}
	for _, f.Protocol = range protocolsOf(r.Protocol) {
		for _, f.Src = range src {
			for _, f.Dst = range dst {
				for _, f.SrcPorts = range pairs(r.SrcPorts) {
					for _, f.DstPorts = range pairs(r.DstPorts) {
						list = append(list, f)
					}
				}
			}
		}
	}
	return list
}

// ofFamily is the prefixes of a family, all addresses for no prefix; ok is false if there
// are prefixes, but none of the family.
func ofFamily(list []netip.Prefix, six bool) (of []netip.Prefix, ok bool) {
	for _, p := range list {
		if p.Addr().Is6() == six {
			of = append(of, p)
		}
	}
	switch {
	case len(list) > 0:
		return of, len(of) > 0
	case six:
		return []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}, true
	}
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, true
}

// pairs is the ranges as flows have them, every port for none.
func pairs(list []forward.PortRange) [][2]uint16 {
	if len(list) == 0 {
		return [][2]uint16{{}}
	}
	var out [][2]uint16
	for _, r := range list {
		out = append(out, [2]uint16{r.From, r.To})
	}
	return out
}

func (n *Node) servesMark(mark uint32, six bool) bool {
	return mark != 0 && slices.ContainsFunc(n.services, func(s service) bool {
		return !s.cfg.InKernel() && slices.ContainsFunc(s.keys, func(k forward.ServiceKey) bool { return k.Mark == mark && k.Addr.Addr().Is6() == six })
	})
}

// answerer is a server whose packets to others the kernel does not see, and its port, 0 for
// all of them.
type answerer struct {
	addr     netip.Addr
	port     int32
	protocol uint8
}

// laterFragments stands for the port that they do not have.
const laterFragments = -1

// answerers finds the NAT servers.
func (n *Node) answerers() map[answerer]bool {
	found := map[answerer]bool{}
	for _, f := range n.Flows() {
		if f.Answer {
			found[answerer{f.Src.Addr(), int32(f.SrcPorts[0]), f.Protocol}] = true
			found[answerer{f.Src.Addr(), laterFragments, f.Protocol}] = true
		}
	}
	return found
}

// GivesBack tells whether packets may have to be given to the local stack that the kernel was
// kept from: those of a server on this host, which may become one at any time, those to an
// address that another node has, and what is not for the data plane at all.
func (n *Node) GivesBack() bool { return n.forwards() }

// forwards tells whether the ring has a service at all.
func (n *Node) forwards() bool {
	return slices.ContainsFunc(n.services, func(s service) bool { return !s.cfg.InKernel() })
}

// back tells whether a packet that is none of the data plane's was kept from the kernel: a
// NAT server also speaks to others than its clients, who reach it through us as through
// any router. The kernel forwards these (as IPVS lets pass what it finds no connection of).
func (n *Node) back(b []byte) bool {
	ip, err := proto.ParseIP(b)
	if err != nil || n.local(ip.Dst()) {
		return false
	}
	protocol, payload, later := ip.Protocol(), ip.Payload(), false
	if ip.Is6() {
		if protocol, payload, later, err = proto.IPv6(ip).Transport(); err != nil {
			return false
		}
	} else {
		later = proto.IPv4(ip).FragmentOffset() != 0
	}
	from := answerer{ip.Src(), laterFragments, protocol}
	if !later {
		port, _, ok := proto.Ports(payload)
		if from.port = int32(port); !ok {
			return false
		}
	}
	return n.natted[from] || n.natted[answerer{from.addr, 0, protocol}]
}

// answers build what refuses a packet, in both families.
type answers struct {
	four func(b []byte, ip proto.IPv4) []byte
	six  func(b []byte, ip proto.IPv6) []byte
}

var (
	reset       = answers{proto.AppendReset, proto.AppendReset6}
	unreachable = answers{proto.AppendPortUnreachable, proto.AppendPortUnreachable6}
	exceeded    = answers{proto.AppendTimeExceeded, proto.AppendTimeExceeded6}
)

// to appends the answer to a packet, or nothing.
func (a answers) to(b, packet []byte) []byte {
	if ip, err := proto.ParseIP(packet); err != nil {
		return b
	} else if ip.Is6() {
		return a.six(b, proto.IPv6(ip))
	} else {
		return a.four(b, proto.IPv4(ip))
	}
}
