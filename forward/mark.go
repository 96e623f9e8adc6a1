package forward

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/proto"
)

// AnyPort as the Port of a [Rule] stands for every port.
const AnyPort int32 = -1

// PortRange is the ports of TCP, UDP or SCTP from the first to the last.
type PortRange struct{ From, To uint16 }

// Rule gives the packets that match all its parts a mark, as a line of nftables with
// `meta mark set` does for the kernel's IPVS. A part that is not set matches every packet.
type Rule struct {
	Mark               uint32         // 0 leaves the packet without a mark
	Port               int32          // by which it came in, AnyPort for every one
	Family             uint8          // 4 or 6, 0 for both
	Src, Dst           []netip.Prefix // one of them holds the address
	Protocol           uint8          // 0 for every one
	SrcPorts, DstPorts []PortRange    // one of them holds the port; of packets that have ports
}

// markRule is a rule as packets are compared with it.
type markRule struct {
	mark               uint32
	port               int32
	family, protocol   uint8
	src, dst           []network
	srcPorts, dstPorts []PortRange
}

// network is that of a prefix.
type network struct {
	addr addr
	bits int
}

func networks(list []netip.Prefix) []network {
	var out []network
	for _, p := range list {
		out = append(out, network{toAddr(p.Addr()).masked(p.Bits()), p.Bits()})
	}
	return out
}

// SetMarks says which packets carry a mark: the first rule that matches decides. Packets of
// connections that are in the table keep what they had.
func (f *Forwarder) SetMarks(rules []Rule) {
	f.marks = nil
	for _, r := range rules {
		f.marks = append(f.marks, markRule{
			mark: r.Mark, port: r.Port, family: r.Family, protocol: r.Protocol, src: networks(r.Src), dst: networks(r.Dst),
			srcPorts: slices.Clone(r.SrcPorts), dstPorts: slices.Clone(r.DstPorts),
		})
	}
}

// MarkOf tells which mark a packet of IPv4 or IPv6 gets that comes in by port, 0 for none or
// for one that cannot be read. Of a fragment but the first no port is known.
func (f *Forwarder) MarkOf(port int32, b []byte) uint32 {
	p, err := parse(b)
	if err != nil {
		return 0
	}
	var sport, dport uint16
	if !p.later {
		sport, dport, _ = proto.Ports(p.payload)
	}
	return f.mark(port, p, sport, dport)
}

// mark is the mark of a packet that came in by port, 0 for none. Nothing is allocated.
func (f *Forwarder) mark(port int32, p packet, sport, dport uint16) uint32 {
	if len(f.marks) == 0 {
		return 0 // inlined: the usual case costs a comparison
	}
	return f.classify(port, &p, sport, dport)
}

func (f *Forwarder) classify(port int32, p *packet, sport, dport uint16) uint32 {
	for i := range f.marks {
		if r := &f.marks[i]; r.holds(port, p, sport, dport) {
			return r.mark
		}
	}
	return 0
}

func (r *markRule) holds(port int32, p *packet, sport, dport uint16) bool {
	switch {
	case r.port != AnyPort && r.port != port, r.protocol != 0 && r.protocol != p.protocol:
		return false
	case r.family != 0 && (r.family == 6) != p.ip.Is6():
		return false
	}
	return among(r.dst, p.dst) && among(r.src, p.src) && within(r.dstPorts, dport) && within(r.srcPorts, sport)
}

// among tells whether one of the networks holds a; no networks hold everything.
func among(list []network, a addr) bool {
	for i := range list {
		if n := &list[i]; n.addr.is4() == a.is4() && a.masked(n.bits) == n.addr {
			return true
		}
	}
	return len(list) == 0
}

func within(list []PortRange, port uint16) bool {
	for _, r := range list {
		if r.From <= port && port <= r.To {
			return true
		}
	}
	return len(list) == 0
}
