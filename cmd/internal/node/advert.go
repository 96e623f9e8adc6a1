package node

import (
	"net/netip"
	"time"

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
		n.emit(Send{Port: in.port, Frame: n.advert(in, a, groupMAC(in.mcast), in.mcast)})
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

// lateness is what was measured of late advertisements since the last report.
type lateness struct {
	count int
	worst time.Duration
	mute  time.Duration // no report before
}

// lateEvery is the time between two reports of one instance.
const lateEvery = time.Minute

// tellLate reports that an advertisement was late, not too often.
func (n *Node) tellLate(in *instance, by time.Duration) {
	l := &in.late
	l.count, l.worst = l.count+1, max(l.worst, by)
	if n.now < l.mute {
		return
	}
	n.emit(Late{Instance: in.cfg.Name, VRID: in.cfg.VRID, By: l.worst, More: l.count - 1})
	*l = lateness{mute: n.now + lateEvery}
}

// ttl is that of the advertisements; only to peers it may be another (unicast_ttl).
func (in *instance) ttl() uint8 {
	if in.unicast() && in.cfg.UnicastTTL > 0 {
		return in.cfg.UnicastTTL
	}
	return vrrpTTL
}

// advert builds one frame.
func (n *Node) advert(in *instance, a fsm.SendAdvert, mac proto.MAC, dst netip.Addr) []byte {
	msg := n.message(in, a, dst)
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

// message is the VRRP of it. Version 3 sums the pseudo-header as keepalived and FRR do
// (reference: interoperation; RFC 9568 §5.2.8 would leave it out over IPv4), unless
// v3_checksum_as_v2 is set. keepalived up to 1.3.6 summed the group's address for unicast.
func (n *Node) message(in *instance, a fsm.SendAdvert, dst netip.Addr) []byte {
	msg := in.fsm.Advert(a.Priority).Append(make([]byte, 0, 8+16*len(in.cfg.Addresses)+8+proto.VRRPTrailerLen))
	form := proto.ChecksumMessage
	if in.six() || in.cfg.Version == 3 && !in.cfg.V3ChecksumAsV2 {
		form = proto.ChecksumPseudo
	}
	if in.cfg.OldUnicastSum() {
		dst = vrrpGroup
	}
	if id, key, number, ok := in.hmac.Sign(n.wall, in.stamp); ok {
		in.stamp = number
		msg = proto.AppendTrailer(msg, msg, a.Src, id, number, key)
		proto.SealTrailer(msg, a.Src, dst, form)
		return msg
	}
	proto.SealVRRP(msg, a.Src, dst, form)
	return msg
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
