package node

import (
	"net/netip"

	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// advertise sends an advertisement to the group or to every unicast peer. All
// copies of one advertisement carry the same IP identification.
func (n *Node) advertise(in *instance, a fsm.SendAdvert) {
	if in.id++; in.id == 0 {
		in.id = 1
	}
	if !in.unicast() {
		mac, group := vrrpGroupMAC, vrrpGroup
		if in.six() {
			mac, group = vrrpGroupMAC6, vrrpGroup6
		}
		n.emit(Send{Port: in.port, Frame: n.advert(in, a, mac, group)})
		return
	}
	for _, peer := range in.cfg.UnicastPeers.Addrs() {
		nb := n.neighbourFor(in.port, n.nextHop(Peer{in.port, peer}))
		if nb < 0 || !n.neighbours[nb].resolved {
			continue // asked for since the start; the next advertisement will find it
		}
		n.emit(Send{Port: in.port, Frame: n.advert(in, a, n.neighbours[nb].mac, peer)})
	}
}

// ttl is that of the advertisements; only to peers it may be another (unicast_ttl).
func (in *instance) ttl() uint8 {
	if in.unicast() && in.cfg.UnicastTTL > 0 {
		return in.cfg.UnicastTTL
	}
	return vrrpTTL
}

// advert builds one frame. Version 3 sums the pseudo-header as keepalived and FRR
// do (reference: interoperation; RFC 9568 §5.2.8 would leave it out over IPv4).
func (n *Node) advert(in *instance, a fsm.SendAdvert, mac proto.MAC, dst netip.Addr) []byte {
	msg := in.fsm.Advert(a.Priority).Append(make([]byte, 0, 8+16*len(in.cfg.Addresses)+8))
	form := proto.ChecksumMessage
	if in.cfg.Version == 3 {
		form = proto.ChecksumPseudo
	}
	proto.SealVRRP(msg, a.Src, dst, form)
	if in.six() {
		f := proto.AppendEthernet(make([]byte, 0, 14+40+len(msg)), mac, n.advertMAC(in), proto.EtherTypeIPv6)
		h := proto.IPv6Header{TrafficClass: vrrpTOS, HopLimit: in.ttl(), NextHeader: proto.ProtocolVRRP, Src: a.Src, Dst: dst}
		return append(h.Append(f, len(msg)), msg...)
	}
	f := proto.AppendEthernet(make([]byte, 0, 14+20+proto.AHLen+len(msg)), mac, n.advertMAC(in), proto.EtherTypeIPv4)
	h := proto.IPv4Header{TOS: vrrpTOS, ID: in.id, TTL: in.ttl(), Protocol: proto.ProtocolVRRP, Src: a.Src, Dst: dst}
	if in.cfg.AuthType == "AH" {
		return in.authenticated(f, h, a.Sequence, msg)
	}
	return append(h.Append(f, len(msg)), msg...)
}

// advertMAC is the source of an instance's advertisements: the virtual MAC, so that switches
// learn where it is (RFC 9568 §7.2), or that of the interface.
func (n *Node) advertMAC(in *instance) proto.MAC {
	if in.virtual.IsZero() || in.cfg.VMACXmitBase {
		return n.ports[in.port].link.MAC
	}
	return in.virtual
}

// authenticated finishes a frame with the authentication header.
func (in *instance) authenticated(f []byte, h proto.IPv4Header, sequence uint32, msg []byte) []byte {
	h.Protocol = proto.ProtocolAH
	f = h.Append(f, proto.AHLen+len(msg))
	f = append(proto.AppendAH(f, h.Src, sequence), msg...)
	var key [8]byte
	copy(key[:], in.cfg.AuthPass)
	proto.SealAH(proto.IPv4(proto.Ethernet(f).Payload()), key, in.unicast())
	return f
}

// announce sends one gratuitous ARP or unsolicited neighbour advertisement on the interface that carries the address: for a
// virtual one the device of its line, for the own source that of the instance.
func (n *Node) announce(in *instance, addr netip.Addr) {
	p := in.port
	if vip, ok := in.vips[addr]; ok {
		p, _ = n.portNamed(vip.Pos, vip.Device) // looked up before, when the node was made
	}
	p, mac := n.outlet(p)
	if addr.Is6() {
		n.emit(Send{Port: p, Frame: proto.AppendUnsolicitedNA(make([]byte, 0, 86), mac, addr, n.ports[p].link.Router)})
		return
	}
	n.emit(Send{Port: p, Frame: proto.AppendGratuitousARP(make([]byte, 0, 42), mac, addr)})
}
