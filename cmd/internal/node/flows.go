package node

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
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
}

// Flows lists them, as the configuration has services and servers, none twice.
func (n *Node) Flows() []Flow {
	var list []Flow
	seen := map[Flow]bool{}
	add := func(f Flow) {
		if !seen[f] {
			seen[f] = true
			list = append(list, f)
		}
	}
	for _, s := range n.fwd.Services() {
		if k := s.Key; k.Mark == 0 {
			add(Flow{Protocol: k.Protocol, Dst: only(k.Addr.Addr()), DstPorts: [2]uint16{k.Addr.Port(), k.Addr.Port()}})
		}
	}
	for s := range n.served {
		for _, f := range s.flows() {
			add(f)
		}
	}
	return list
}

func only(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// member is a real server of a virtual server, with the method by which it is reached.
type member struct {
	of     *config.VirtualServer
	addr   netip.AddrPort
	method config.Method
}

// served yields the real servers of all services, sorry servers too, but none on this host.
func (n *Node) served(yield func(member) bool) {
	for _, vs := range n.cfg.VirtualServers {
		if vs.Disabled != "" {
			continue
		}
		servers := slices.Clone(vs.RealServers)
		if vs.SorryServer != nil {
			servers = append(servers, vs.SorryServer)
		}
		for _, r := range servers {
			m := member{vs, r.Addr, r.Method}
			if m.method.Forwarding == "" && r == vs.SorryServer {
				m.method = vs.SorryServerMethod
			}
			if m.method.Forwarding == "" {
				m.method = vs.Method
			}
			if !r.Addr.Addr().IsLoopback() && !n.local(r.Addr.Addr()) && !yield(m) {
				return
			}
		}
	}
}

// flows is what comes back about a server: by NAT its answers, from a tunnel the errors
// about the packets that carry others.
func (m member) flows() (list []Flow) {
	to := only(m.addr.Addr())
	switch m.method.Forwarding {
	case "NAT":
		for _, protocol := range m.protocols() {
			list = append(list, Flow{Protocol: protocol, Src: to, SrcPorts: [2]uint16{m.addr.Port(), m.addr.Port()}, Answer: true})
		}
	case "TUN":
		switch m.method.Tunnel {
		case "gue":
			list = append(list, Flow{Protocol: proto.ProtocolUDP, Dst: to, DstPorts: [2]uint16{m.method.Port, m.method.Port}, Quoted: true})
		case "gre":
			list = append(list, Flow{Protocol: protocolGRE, Dst: to, Quoted: true})
		default:
			list = append(list, Flow{Protocol: protocolIPv4, Dst: to, Quoted: true}, Flow{Protocol: protocolIPv6, Dst: to, Quoted: true})
		}
	}
	return list
}

// Protocols that packets of tunnels have.
const (
	protocolIPv4 = 4
	protocolIPv6 = 41
	protocolGRE  = 47
)

// protocols are those of the service; a mark has any that is forwarded.
func (m member) protocols() []uint8 {
	if m.of.ByMark {
		return []uint8{proto.ProtocolTCP, proto.ProtocolUDP}
	}
	return []uint8{uint8(m.of.Protocol)}
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
	for m := range n.served {
		for _, f := range m.flows() {
			if f.Answer {
				found[answerer{f.Src.Addr(), int32(f.SrcPorts[0]), f.Protocol}] = true
				found[answerer{f.Src.Addr(), laterFragments, f.Protocol}] = true
			}
		}
	}
	return found
}

// GivesBack tells whether packets may have to be given back to the local stack that the
// kernel was kept from.
func (n *Node) GivesBack() bool { return len(n.natted) > 0 }

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
