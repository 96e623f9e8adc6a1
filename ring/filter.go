package ring

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// Offsets in a frame as a filter sees it. The kernel has taken a VLAN tag out
// by then and keeps it beside the frame, so the EtherType is the inner one.
const (
	offDst       = 0
	offEtherType = 12
	offIP        = 14
	offFragment  = offIP + 6
	offProtocol  = offIP + 9
	offIPSrc     = offIP + 12
	offIPDst     = offIP + 16
	offSrcPort   = offIP     // with X = length of the IP header: source port
	offPort      = offIP + 2 // with X = length of the IP header: destination port
	offICMPType  = offIP     // with X likewise
	offNext6     = offIP + 6
	offICMP6Type = offIP + 40 // without extension headers

	fragmentMask = 0x1fff
	vidMask      = 0x0fff

	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoAH    = 51
	protoICMP6 = 58
	protoVRRP  = 112

	icmp6Solicitation  = 135
	icmp6Advertisement = 136

	// accepted is how much of a frame passes: all of the longest.
	accepted = 1 << 20
)

// ControlFilter passes what the control socket reads: ARP, IPv4 with protocol 112
// (VRRP) or 51 (AH), and IPv6 with 112 or a neighbour's solicitation or advertisement.
// Of these only frames to own, to a virtual router's MAC (00:00:5e:00:01:xx, and
// 00:00:5e:00:02:xx for IPv6) or to a group; with a zero own, to any MAC.
// Frames of a VLAN belong to its own interface and do not pass.
func ControlFilter(own [6]byte) ([]bpf.RawInstruction, error) {
	p := newProgram()
	accept, reject := p.label(), p.label()
	p.native(reject)
	if own != ([6]byte{}) {
		p.toUs(own, reject)
	}
	p.emit(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	p.jumpIf(bpf.JumpEqual, etherTypeARP, accept)
	p.control6(accept, reject)
	p.jumpIf(bpf.JumpNotEqual, etherTypeIPv4, reject)
	p.emit(bpf.LoadAbsolute{Off: offProtocol, Size: 1})
	p.jumpIf(bpf.JumpEqual, protoVRRP, accept)
	p.jumpIf(bpf.JumpEqual, protoAH, accept)
	p.finish(accept, reject)
	return p.assemble()
}

// WatchFilter passes what [ControlFilter] does, to any MAC, and with it all of the protocols
// given, and the TCP and UDP of the flows: packets of which one end is the address and port,
// of IPv6 without extension headers. Of fragments only the first, which carries the ports.
// More flows than a filter holds are an error, and so is one without an address.
func WatchFilter(protocols []uint8, flows []netip.AddrPort) ([]bpf.RawInstruction, error) {
	p := newProgram()
	accept, reject := p.label(), p.label()
	p.native(reject)
	p.emit(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	p.jumpIf(bpf.JumpEqual, etherTypeARP, accept)
	var four, six []netip.AddrPort
	for _, f := range flows {
		f = netip.AddrPortFrom(f.Addr().Unmap(), f.Port())
		switch {
		case !f.Addr().IsValid():
			return nil, fmt.Errorf("filter for flow %v: no address", f)
		case f.Addr().Is4():
			four = append(four, f)
		default:
			six = append(six, f)
		}
	}
	p.watch6(protocols, six, accept, reject)
	p.jumpIf(bpf.JumpNotEqual, etherTypeIPv4, reject)
	p.emit(bpf.LoadAbsolute{Off: offProtocol, Size: 1})
	for _, protocol := range append([]uint8{protoVRRP, protoAH}, protocols...) {
		p.jumpIf(bpf.JumpEqual, uint32(protocol), accept)
	}
	if len(four) > 0 {
		p.tcpOrUDP(reject)
		p.emit(bpf.LoadAbsolute{Off: offFragment, Size: 2})
		p.jumpIf(bpf.JumpBitsSet, fragmentMask, reject)
		p.emit(bpf.LoadMemShift{Off: offIP})
	}
	for _, f := range four {
		p.end(f, offIPSrc, offSrcPort, accept)
		p.end(f, offIPDst, offPort, accept)
	}
	p.jump(reject)
	p.finish(accept, reject)
	return p.assemble()
}

// control6 decides on IPv6, whose EtherType may be in the accumulator, and leaves that of
// anything else there: VRRP, and the two messages by which neighbours find each other
// (RFC 4861 §4.3, §4.4). None of them has extension headers.
func (p *program) control6(accept, reject label) { p.watch6(nil, nil, accept, reject) }

// watch6 does so, and passes the protocols and flows.
func (p *program) watch6(protocols []uint8, flows []netip.AddrPort, accept, reject label) {
	other, icmp := p.label(), p.label()
	p.jumpIf(bpf.JumpNotEqual, etherTypeIPv6, other)
	p.emit(bpf.LoadAbsolute{Off: offNext6, Size: 1})
	for _, protocol := range append([]uint8{protoVRRP}, protocols...) {
		p.jumpIf(bpf.JumpEqual, uint32(protocol), accept)
	}
	p.jumpIf(bpf.JumpEqual, protoICMP6, icmp)
	if len(flows) > 0 {
		p.tcpOrUDP(reject)
		p.emit(bpf.LoadConstant{Dst: bpf.RegX, Val: 40})
	}
	for _, f := range flows {
		p.end(f, family6.src, offSrcPort, accept)
		p.end(f, family6.dst, offPort, accept)
	}
	p.jump(reject)
	p.set(icmp)
	p.emit(bpf.LoadAbsolute{Off: offICMP6Type, Size: 1})
	p.jumpIf(bpf.JumpEqual, icmp6Solicitation, accept)
	p.jumpIf(bpf.JumpEqual, icmp6Advertisement, accept)
	p.jump(reject)
	p.set(other)
}

// tcpOrUDP rejects any other protocol than the two, of which the accumulator has one.
func (p *program) tcpOrUDP(reject label) {
	transport := p.label()
	p.jumpIf(bpf.JumpEqual, protoTCP, transport)
	p.jumpIf(bpf.JumpNotEqual, protoUDP, reject)
	p.set(transport)
}

// end accepts a packet with the flow's address and port at these places, the port behind
// a header of X bytes.
func (p *program) end(f netip.AddrPort, addr, port uint32, accept label) {
	other := p.label()
	p.prefix(netip.PrefixFrom(f.Addr(), f.Addr().BitLen()), addr, other)
	p.emit(bpf.LoadIndirect{Off: port, Size: 2})
	p.jumpIf(bpf.JumpEqual, uint32(f.Port()), accept)
	p.set(other)
}

// NothingFilter passes no frame: for a socket that only sends.
func NothingFilter() []bpf.RawInstruction { return always(0) }

// always is a filter that returns so much of every frame.
func always(length uint32) []bpf.RawInstruction {
	const retConstant = 0x06 // BPF_RET|BPF_K
	return []bpf.RawInstruction{{Op: retConstant, K: length}}
}

// native rejects frames with a VLAN tag. VID 0 is only a priority.
func (p *program) native(reject label) {
	untagged := p.label()
	p.emit(bpf.LoadExtension{Num: bpf.ExtVLANTagPresent})
	p.jumpIf(bpf.JumpEqual, 0, untagged)
	p.emit(bpf.LoadExtension{Num: bpf.ExtVLANTag})
	p.jumpIf(bpf.JumpBitsSet, vidMask, reject)
	p.set(untagged)
}

// toUs rejects frames to other hosts' MACs.
func (p *program) toUs(own [6]byte, reject label) {
	ours, notOwn := p.label(), p.label()
	p.emit(bpf.LoadAbsolute{Off: offDst, Size: 1})
	p.jumpIf(bpf.JumpBitsSet, 1, ours) // multicast or broadcast
	p.emit(bpf.LoadAbsolute{Off: offDst, Size: 4})
	p.jumpIf(bpf.JumpNotEqual, binary.BigEndian.Uint32(own[:]), notOwn)
	p.emit(bpf.LoadAbsolute{Off: offDst + 4, Size: 2})
	p.jumpIf(bpf.JumpEqual, uint32(binary.BigEndian.Uint16(own[4:])), ours)
	p.set(notOwn)
	p.emit(bpf.LoadAbsolute{Off: offDst, Size: 4})
	p.jumpIf(bpf.JumpNotEqual, 0x00005e00, reject)
	p.emit(bpf.LoadAbsolute{Off: offDst + 4, Size: 1})
	p.jumpIf(bpf.JumpEqual, 1, ours)
	p.jumpIf(bpf.JumpNotEqual, 2, reject)
	p.set(ours)
}

func (p *program) finish(accept, reject label) {
	p.set(reject)
	p.emit(bpf.RetConstant{Val: 0})
	p.set(accept)
	p.emit(bpf.RetConstant{Val: accepted})
}
