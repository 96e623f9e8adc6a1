package netlab

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/ringkeep/ringkeep/proto"
)

// IsControl tells whether a frame is VRRP, ARP or the question or answer of a neighbour of
// IPv6: what records and comments are about.
func IsControl(eth proto.Ethernet) bool {
	b := eth.Payload()
	switch eth.Type() {
	case proto.EtherTypeARP:
		return true
	case proto.EtherTypeIPv4:
		return len(b) > 20 && (b[9] == proto.ProtocolVRRP || b[9] == proto.ProtocolAH)
	case proto.EtherTypeIPv6:
		_, ok := ndp(eth)
		return ok || len(b) > 40 && b[6] == proto.ProtocolVRRP
	}
	return false
}

// RouterID is a VRID in its family: over IPv4 and IPv6 one number means two virtual
// routers (RFC 9568 §5.2.3).
type RouterID uint16

const overIPv6 RouterID = 1 << 8

// IDOf is the id of the virtual router that an advertisement is of.
func IDOf(ip proto.IP, v proto.VRRP) RouterID { return routerID(v.VRID(), ip.Is6()) }

func routerID(vrid uint8, six bool) RouterID {
	if six {
		return RouterID(vrid) | overIPv6
	}
	return RouterID(vrid)
}

// VRID is the number alone.
func (id RouterID) VRID() uint8 { return uint8(id) }

// ForVRID picks the entry of a VRID: that of IPv4, or where there is none that of IPv6.
func ForVRID[T any](vrid uint8, entries map[RouterID]*T) *T {
	if e := entries[RouterID(vrid)]; e != nil {
		return e
	}
	return entries[RouterID(vrid)|overIPv6]
}

// String is the number, with the family where that is IPv6.
func (id RouterID) String() string {
	if id&overIPv6 != 0 {
		return strconv.Itoa(int(id.VRID())) + " (IPv6)"
	}
	return strconv.Itoa(int(id))
}

var errNotVRRP = errors.New("not VRRP")

// ParseVRRP reads the advertisement of a frame of either family.
func ParseVRRP(eth proto.Ethernet) (ip proto.IP, v proto.VRRP, err error) {
	if eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 {
		return nil, nil, errNotVRRP
	}
	if ip, err = proto.ParseIP(eth.Payload()); err != nil {
		return ip, nil, err
	}
	msg, ok := proto.VRRPIn(ip)
	switch {
	case !ok:
		err = errNotVRRP
	case ip.Is6():
		v, err = proto.ParseVRRP6(msg)
	default:
		v, err = proto.ParseVRRP(msg)
	}
	return ip, v, err
}

// Resolution is what ARP and neighbour discovery alike say of an address.
type Resolution struct {
	Addr       netip.Addr // that is asked for, or told of
	MAC        proto.MAC  // where it is; in a question that of the asker
	Asker      netip.Addr // of a question
	Question   bool
	Gratuitous bool // an answer that nobody asked for
}

// ParseResolution reads a frame of ARP or neighbour discovery; ok is false for any other.
func ParseResolution(eth proto.Ethernet) (r Resolution, ok bool) {
	if m, ok := ndp(eth); ok {
		mac, _ := m.LinkAddress()
		if m.Type() == proto.NeighbourSolicitation {
			return Resolution{Addr: m.Target(), MAC: eth.Src(), Asker: proto.IPv6(eth.Payload()).Src(), Question: true}, true
		}
		return Resolution{Addr: m.Target(), MAC: mac, Gratuitous: !m.Solicited()}, true
	}
	a, err := proto.ParseARP(eth.Payload())
	if err != nil || eth.Type() != proto.EtherTypeARP {
		return Resolution{}, false
	}
	if !a.IsGratuitous() && a.Op() != proto.ARPReply {
		return Resolution{Addr: a.Target(), MAC: a.SenderMAC(), Asker: a.Sender(), Question: true}, true
	}
	return Resolution{Addr: a.Sender(), MAC: a.SenderMAC(), Gratuitous: a.IsGratuitous()}, true
}

func ndp(eth proto.Ethernet) (proto.NDP, bool) {
	ip, err := proto.ParseIPv6(eth.Payload())
	if eth.Type() != proto.EtherTypeIPv6 || err != nil || ip.NextHeader() != proto.ProtocolICMPv6 {
		return nil, false
	}
	m, err := proto.ParseNDP(ip.Payload())
	return m, err == nil
}
