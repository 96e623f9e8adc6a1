package dump

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/proto"
)

// Filter says which packets are printed. The zero value lets all pass. Kind and Addrs hold
// for every packet; of VRID with VIPs, and Flows, one is enough.
type Filter struct {
	VRID  uint8            // of advertisements; 0 for any
	VIPs  []netip.Addr     // in an advertisement or ARP
	Addrs []netip.Addr     // of a host: as sender, receiver, or in an advertisement or ARP
	Kind  string           // vrrp, arp (with neighbour discovery), tcp, udp; "" for any
	Flows []netip.AddrPort // one end of TCP or UDP
}

// facts is what a filter asks of a packet.
type facts struct {
	kind  string
	vrid  uint8
	ends  []netip.Addr // sender and receiver
	about []netip.Addr // in an advertisement or ARP
	ports [2]uint16    // of sender and receiver, 0 without
}

func factsOf(frame []byte) facts {
	eth, err := proto.ParseEthernet(frame)
	if err != nil {
		return facts{}
	}
	switch eth.Type() {
	case proto.EtherTypeARP:
		if a, err := proto.ParseARP(eth.Payload()); err == nil {
			return facts{kind: "arp", about: []netip.Addr{a.Sender(), a.Target()}}
		}
	case proto.EtherTypeIPv4, proto.EtherTypeIPv6:
		if ip, err := proto.ParseIP(eth.Payload()); err == nil {
			return ipFacts(ip)
		}
	}
	return facts{}
}

func ipFacts(ip proto.IP) facts {
	f := facts{ends: []netip.Addr{ip.Src(), ip.Dst()}}
	switch ip.Protocol() {
	case proto.ProtocolICMPv6: // neighbour discovery is the ARP of IPv6
		if m, err := proto.ParseNDP(ip.Payload()); err == nil && ip.Is6() {
			f.kind, f.about = "arp", []netip.Addr{ip.Src(), m.Target()}
		}
	case proto.ProtocolTCP, proto.ProtocolUDP:
		f.kind = map[uint8]string{proto.ProtocolTCP: "tcp", proto.ProtocolUDP: "udp"}[ip.Protocol()]
		if src, dst, ok := proto.Ports(ip.Payload()); ok && (ip.Is6() || proto.IPv4(ip).FragmentOffset() == 0) {
			f.ports = [2]uint16{src, dst}
		}
	case proto.ProtocolVRRP, proto.ProtocolAH:
		msg, ok := proto.VRRPIn(ip)
		if !ok {
			break
		}
		f.kind = "vrrp"
		parse, addr := proto.ParseVRRP, proto.VRRP.Addr
		if ip.Is6() {
			parse, addr = proto.ParseVRRP6, proto.VRRP.Addr6
		}
		if v, err := parse(msg); err == nil {
			f.vrid = v.VRID()
			for i := range v.Count() {
				f.about = append(f.about, addr(v, i))
			}
		}
	}
	return f
}

// Passes tells whether a frame is to be printed.
func (f Filter) Passes(frame []byte) bool {
	p := factsOf(frame)
	if f.Kind != "" && f.Kind != p.kind || len(f.Addrs) > 0 && !common(f.Addrs, p.ends) && !common(f.Addrs, p.about) {
		return false
	}
	router := f.VRID != 0 || len(f.VIPs) > 0
	if !router && len(f.Flows) == 0 {
		return true
	}
	return router && (f.VRID == 0 || f.VRID == p.vrid) && (len(f.VIPs) == 0 || common(f.VIPs, p.about)) || f.flow(p)
}

// flow tells whether one end of a packet is one of the flows.
func (f Filter) flow(p facts) bool {
	for i, port := range p.ports {
		if port != 0 && slices.Contains(f.Flows, netip.AddrPortFrom(p.ends[i], port)) {
			return true
		}
	}
	return false
}

func common(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(x netip.Addr) bool { return slices.Contains(b, x) })
}
