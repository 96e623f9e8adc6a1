package ring

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

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

// WatchFilter passes what [ControlFilter] does, to any MAC, and with it all of the IPv4
// protocols given, and the TCP and UDP of the flows: packets of which one end is the
// address and port. Of fragments only the first, which carries the ports. An address
// other than IPv4 is an error, and so are more flows than a filter holds.
func WatchFilter(protocols []uint8, flows []netip.AddrPort) ([]bpf.RawInstruction, error) {
	p := newProgram()
	accept, reject := p.label(), p.label()
	p.native(reject)
	p.emit(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	p.jumpIf(bpf.JumpEqual, etherTypeARP, accept)
	p.control6(accept, reject)
	p.jumpIf(bpf.JumpNotEqual, etherTypeIPv4, reject)
	p.emit(bpf.LoadAbsolute{Off: offProtocol, Size: 1})
	for _, protocol := range append([]uint8{protoVRRP, protoAH}, protocols...) {
		p.jumpIf(bpf.JumpEqual, uint32(protocol), accept)
	}
	if len(flows) > 0 {
		transport := p.label()
		p.jumpIf(bpf.JumpEqual, protoTCP, transport)
		p.jumpIf(bpf.JumpNotEqual, protoUDP, reject)
		p.set(transport)
		p.emit(bpf.LoadAbsolute{Off: offFragment, Size: 2})
		p.jumpIf(bpf.JumpBitsSet, fragmentMask, reject)
		p.emit(bpf.LoadMemShift{Off: offIP})
	}
	for _, f := range flows {
		if !f.Addr().Unmap().Is4() {
			return nil, fmt.Errorf("filter for flow %v: not an IPv4 address", f)
		}
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
func (p *program) control6(accept, reject label) {
	other := p.label()
	p.jumpIf(bpf.JumpNotEqual, etherTypeIPv6, other)
	p.emit(bpf.LoadAbsolute{Off: offNext6, Size: 1})
	p.jumpIf(bpf.JumpEqual, protoVRRP, accept)
	p.jumpIf(bpf.JumpNotEqual, protoICMP6, reject)
	p.emit(bpf.LoadAbsolute{Off: offICMP6Type, Size: 1})
	p.jumpIf(bpf.JumpEqual, icmp6Solicitation, accept)
	p.jumpIf(bpf.JumpEqual, icmp6Advertisement, accept)
	p.jump(reject)
	p.set(other)
}

// end accepts a packet with the flow's address and port at these places.
func (p *program) end(f netip.AddrPort, addr, port uint32, accept label) {
	other := p.label()
	p.emit(bpf.LoadAbsolute{Off: addr, Size: 4})
	p.jumpIf(bpf.JumpNotEqual, addrValue(f.Addr().Unmap()), other)
	p.emit(bpf.LoadIndirect{Off: port, Size: 2})
	p.jumpIf(bpf.JumpEqual, uint32(f.Port()), accept)
	p.set(other)
}

// NothingFilter passes no frame: for a socket that only sends.
func NothingFilter() []bpf.RawInstruction {
	const retConstant = 0x06 // BPF_RET|BPF_K
	return []bpf.RawInstruction{{Op: retConstant}}
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

// Match is one virtual service as a filter knows it.
type Match struct {
	Protocol uint8
	Addr     netip.Addr // IPv4
	Port     uint16     // 0 for every port
}

// precision is how closely a service filter looks.
type precision int

const (
	byPort precision = iota
	byProtocol
	byAddress
	byFamily
)

// ServiceFilter passes the IPv4 packets that belong to the services: to their
// protocol, address and port; later fragments to such an address, which carry
// no port; and ICMP errors to it (RFC 792: types 3, 4, 11, 12). Frames of a VLAN
// do not pass. With no services nothing does.
//
// Services too many for the kernel's 4096 instructions are matched more
// coarsely: by protocol and address, by address, or all of IPv4 at last. The
// reader must look again anyway. An address other than IPv4 is an error.
func ServiceFilter(services []Match) ([]bpf.RawInstruction, error) {
	services = slices.Clone(services)
	for i, m := range services {
		services[i].Addr = m.Addr.Unmap()
		if !services[i].Addr.Is4() {
			return nil, fmt.Errorf("filter for service %v: not an IPv4 address", m.Addr)
		}
	}
	slices.SortFunc(services, compareMatch)
	services = slices.Compact(services)
	for how := byPort; ; how++ {
		p := servicesProgram(services, how)
		if !p.tooLong() || how == byFamily {
			return p.assemble()
		}
	}
}

func compareMatch(a, b Match) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func servicesProgram(services []Match, how precision) *program {
	p := newProgram()
	accept, reject := p.label(), p.label()
	if len(services) > 0 {
		p.native(reject)
		p.emit(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
		p.jumpIf(bpf.JumpNotEqual, etherTypeIPv4, reject)
		if how == byFamily {
			p.jump(accept)
		} else {
			p.emit(bpf.LoadAbsolute{Off: offIPDst, Size: 4})
			p.search(groups(services), how, accept, reject)
		}
	}
	p.finish(accept, reject)
	return p
}

// groups cuts the sorted services into runs of one address each.
func groups(services []Match) [][]Match {
	var out [][]Match
	for start, i := 0, 1; i <= len(services); i++ {
		if i == len(services) || services[i].Addr != services[start].Addr {
			out = append(out, services[start:i])
			start = i
		}
	}
	return out
}

// search finds the accumulator, a destination address, among the groups by
// bisection and goes on with the group's own checks.
func (p *program) search(g [][]Match, how precision, accept, reject label) {
	if len(g) == 1 {
		p.jumpIf(bpf.JumpNotEqual, addrValue(g[0][0].Addr), reject)
		if how == byAddress {
			p.jump(accept)
		} else {
			p.address(g[0], how, accept, reject)
		}
		return
	}
	half := len(g) / 2
	upper := p.label()
	p.jumpIf(bpf.JumpGreaterOrEqual, addrValue(g[half][0].Addr), upper)
	p.search(g[:half], how, accept, reject)
	p.set(upper)
	p.search(g[half:], how, accept, reject)
}

func addrValue(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// address decides on a packet to one address, whose services are ms.
func (p *program) address(ms []Match, how precision, accept, reject label) {
	p.emit(bpf.LoadAbsolute{Off: offFragment, Size: 2})
	p.jumpIf(bpf.JumpBitsSet, fragmentMask, accept)
	p.emit(bpf.LoadMemShift{Off: offIP}, bpf.LoadAbsolute{Off: offProtocol, Size: 1})
	icmp := p.label()
	p.jumpIf(bpf.JumpEqual, protoICMP, icmp)
	for len(ms) > 0 {
		n := 1
		for n < len(ms) && ms[n].Protocol == ms[0].Protocol {
			n++
		}
		next := p.label()
		p.jumpIf(bpf.JumpNotEqual, uint32(ms[0].Protocol), next)
		p.ports(ms[:n], how, accept, reject)
		p.set(next)
		ms = ms[n:]
	}
	p.jump(reject)
	p.set(icmp)
	p.emit(bpf.LoadIndirect{Off: offICMPType, Size: 1})
	for _, typ := range []uint32{3, 4, 11, 12} {
		p.jumpIf(bpf.JumpEqual, typ, accept)
	}
	p.jump(reject)
}

// ports decides on a packet of one address and protocol. Port 0 sorts first.
func (p *program) ports(ms []Match, how precision, accept, reject label) {
	if how == byProtocol || ms[0].Port == 0 {
		p.jump(accept)
		return
	}
	p.emit(bpf.LoadIndirect{Off: offPort, Size: 2})
	for _, m := range ms {
		p.jumpIf(bpf.JumpEqual, uint32(m.Port), accept)
	}
	p.jump(reject)
}
