package ring

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// More offsets, of a packet whose IP header and extension headers are X bytes long: a load
// with offIP counts from their end.
const (
	offQuote  = offIP + 8 // the packet that an ICMP error is about
	offNextIP = offIP     // in an extension header
	offExtLen = offIP + 1
	offFrag6  = offIP + 2

	fragment6Mask = 0xfff8

	ip6HopByHop    = 0
	ip6Routing     = 43
	ip6Fragment    = 44
	ip6Destination = 60
	ip6Headers     = 6 // extension headers that are looked behind

	icmp6Informational = 128 // the first type that is no error (RFC 4443 §2.1)
)

// What a packet is, beside the numbers of protocols: held in the first word of memory.
const (
	laterFragment = 256 // without ports
	icmpError     = 257

	kindWord = 0
	nextWord = 1
)

// ipFamily is where a family has its addresses, in the packet and in one that is quoted.
type ipFamily struct {
	etherType            uint32
	four                 bool
	src, dst             uint32
	quotedProto          uint32
	quotedDst, quotedEnd uint32
}

var (
	family4 = ipFamily{etherTypeIPv4, true, offIPSrc, offIPDst, offQuote + 9, offQuote + 16, offQuote + 20}
	family6 = ipFamily{etherTypeIPv6, false, offIP + 8, offIP + 24, offQuote + 6, offQuote + 24, offQuote + 40}
)

// precision is how closely a service filter looks.
type precision int

const (
	byPort precision = iota
	byProtocol
	byFamily
)

// ServiceFilter passes the packets that match: to services with their protocol, addresses
// and ports, behind extension headers too; later fragments between such addresses, which
// carry no port; ICMP errors to such a destination (RFC 792: types 3, 4, 11, 12; RFC 4443:
// all below 128). Of an Answer also the ICMP errors of the server, and those of anybody who
// quotes a packet to it. Packets with more than six extension headers pass by address.
// Frames of a VLAN do not pass. With no matches nothing does.
//
// Matches too many for the kernel's 4096 instructions are looked at more coarsely: without
// ports, with what lies between neighbouring addresses, or all of a family at last. The reader
// must look again anyway. The error is for a match that contradicts itself.
func ServiceFilter(matches []Match) ([]bpf.RawInstruction, error) {
	matches, err := sorted(matches)
	if err != nil {
		return nil, err
	}
	var p *program
	for _, try := range []struct {
		how precision
		gap uint32
	}{{byPort, 0}, {byProtocol, 0}, {byProtocol, 15}, {byProtocol, 255}, {byProtocol, 65535}, {byFamily, 0}} {
		if p = serviceProgram(matches, try.how, try.gap); !p.tooLong() {
			break
		}
	}
	return p.assemble()
}

func serviceProgram(matches []Match, how precision, gap uint32) *program {
	p := newProgram()
	p.gap = gap
	accept, reject := p.label(), p.label()
	if len(matches) > 0 {
		p.native(reject)
		p.emit(bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	}
	for _, f := range []ipFamily{family4, family6} {
		of := slices.DeleteFunc(slices.Clone(matches), func(m Match) bool { return !m.of(f.four) })
		if len(of) == 0 {
			continue
		}
		other := p.label()
		p.jumpIf(bpf.JumpNotEqual, f.etherType, other)
		if how == byFamily {
			p.jump(accept)
		} else {
			p.head(f, reject)
			p.family(f, of, how, accept, accept, reject)
		}
		p.set(other)
	}
	p.jump(reject)
	p.finish(accept, reject)
	return p
}

// head finds out what a packet is and has X lead to its ports.
func (p *program) head(f ipFamily, reject label) {
	if f.four {
		p.head4(reject)
	} else {
		p.head6(reject)
	}
}

// family decides on the packets of one, behind its head: those of servers to their clients
// are accepted at back.
func (p *program) family(f ipFamily, ms []Match, how precision, accept, back, reject label) {
	to, from, about := map[netip.Addr][]Match{}, map[netip.Addr][]Match{}, map[netip.Addr][]Match{}
	var rules []Match
	for _, m := range ms {
		switch {
		case m.Answer:
			from[m.Src.Addr()] = append(from[m.Src.Addr()], m)
			about[m.Src.Addr()] = append(about[m.Src.Addr()], m)
		case m.Quoted:
			about[m.Dst.Addr()] = append(about[m.Dst.Addr()], m)
		case m.toOne():
			to[m.Dst.Addr()] = append(to[m.Dst.Addr()], m)
		default:
			rules = append(rules, m)
		}
	}
	at := func(off uint32) func(int) {
		return func(word int) { p.emit(bpf.LoadAbsolute{Off: off + uint32(4*word), Size: 4}) }
	}
	leaf := func(accept label) func([]Match, label) {
		return func(l []Match, miss label) { p.leaf(l, how, accept, miss) }
	}
	p.section(to, how, at(f.dst), leaf(accept))
	p.section(from, how, at(f.src), leaf(back))
	for _, m := range rules {
		p.rule(f, m, how, accept)
	}
	if len(about) > 0 {
		p.emit(bpf.LoadScratch{Dst: bpf.RegA, N: kindWord})
		p.jumpIf(bpf.JumpNotEqual, icmpError, reject)
	}
	quote := func(word int) { p.emit(bpf.LoadIndirect{Off: f.quotedDst + uint32(4*word), Size: 4}) }
	p.section(about, how, quote, func(l []Match, miss label) { p.about(f, l, how, accept, miss) })
	p.jump(reject)
}

// is keeps what kind of packet it is.
func (p *program) is(kind uint32) {
	p.emit(bpf.LoadConstant{Dst: bpf.RegA, Val: kind}, bpf.StoreScratch{Src: bpf.RegA, N: kindWord})
}

// head4 is head for IPv4.
func (p *program) head4(reject label) {
	later, icmp, wrong, done := p.label(), p.label(), p.label(), p.label()
	p.emit(bpf.LoadAbsolute{Off: offFragment, Size: 2})
	p.jumpIf(bpf.JumpBitsSet, fragmentMask, later)
	p.emit(bpf.LoadMemShift{Off: offIP}, bpf.LoadAbsolute{Off: offProtocol, Size: 1})
	p.jumpIf(bpf.JumpEqual, protoICMP, icmp)
	p.emit(bpf.StoreScratch{Src: bpf.RegA, N: kindWord})
	p.jump(done)
	p.set(icmp)
	p.emit(bpf.LoadIndirect{Off: offICMPType, Size: 1})
	for _, typ := range []uint32{3, 4, 11, 12} {
		p.jumpIf(bpf.JumpEqual, typ, wrong)
	}
	p.jump(reject)
	p.set(wrong)
	p.is(icmpError)
	p.jump(done)
	p.set(later)
	p.is(laterFragment)
	p.set(done)
}

// head6 does the same for IPv6, behind the extension headers (RFC 8200 §4).
func (p *program) head6(reject label) {
	later, transport, icmp, done := p.label(), p.label(), p.label(), p.label()
	options := []uint32{ip6HopByHop, ip6Routing, ip6Destination}
	p.emit(bpf.LoadConstant{Dst: bpf.RegX, Val: 40}, bpf.LoadAbsolute{Off: offNext6, Size: 1})
	for range ip6Headers {
		fragment, option, next := p.label(), p.label(), p.label()
		p.jumpIf(bpf.JumpEqual, ip6Fragment, fragment)
		for _, header := range options {
			p.jumpIf(bpf.JumpEqual, header, option)
		}
		p.jump(transport)
		p.set(fragment)
		p.emit(bpf.LoadIndirect{Off: offFrag6, Size: 2})
		p.jumpIf(bpf.JumpBitsSet, fragment6Mask, later)
		p.skipHeader(bpf.LoadConstant{Dst: bpf.RegA, Val: 0})
		p.jump(next)
		p.set(option)
		p.skipHeader(bpf.LoadIndirect{Off: offExtLen, Size: 1})
		p.set(next)
		p.emit(bpf.LoadScratch{Dst: bpf.RegA, N: nextWord})
	}
	for _, header := range append(options, ip6Fragment) {
		p.jumpIf(bpf.JumpEqual, header, later)
	}
	p.set(transport)
	p.emit(bpf.StoreScratch{Src: bpf.RegA, N: kindWord})
	p.jumpIf(bpf.JumpEqual, protoICMP6, icmp)
	p.jump(done)
	p.set(icmp)
	p.emit(bpf.LoadIndirect{Off: offICMPType, Size: 1})
	p.jumpIf(bpf.JumpGreaterOrEqual, icmp6Informational, reject)
	p.is(icmpError)
	p.jump(done)
	p.set(later)
	p.is(laterFragment)
	p.set(done)
}

// skipHeader leads X behind an extension header, whose length in units of 8 bytes, less the
// first, comes from length, and keeps which header is next.
func (p *program) skipHeader(length bpf.Instruction) {
	p.emit(
		bpf.LoadIndirect{Off: offNextIP, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: nextWord},
		length, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 8},
		bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{},
	)
}

// branch is an address of a search and where it leads. Those behind it up to another last word
// lead there too.
type branch struct {
	addr []uint32
	last uint32
	leaf label
}

// follows tells whether an address may be a branch together with those of b, with the gap between.
func (b branch) follows(addr []uint32, leaf label, gap uint32) bool {
	n := len(addr) - 1
	return b.leaf == leaf && slices.Equal(b.addr[:n], addr[:n]) && addr[n]-b.last <= gap+1
}

// section searches for an address that load brings word by word, and goes on behind itself
// if it is none of the list or if its leaf, made by end, says so. Addresses with the same
// matches share one; neighbours among them cost what one address does.
func (p *program) section(list map[netip.Addr][]Match, how precision, load func(word int), end func(ms []Match, miss label)) {
	if len(list) == 0 {
		return
	}
	miss := p.label()
	var branches []branch
	leaves := map[string]label{}
	var order [][]Match
	for _, addr := range slices.SortedFunc(maps.Keys(list), netip.Addr.Compare) {
		key := leafKey(list[addr], how)
		if _, ok := leaves[key]; !ok {
			leaves[key] = p.label()
			order = append(order, list[addr])
		}
		w := words(addr)
		last := w[len(w)-1]
		if n := len(branches) - 1; n >= 0 && branches[n].follows(w, leaves[key], p.gap) {
			branches[n].last = last
		} else {
			branches = append(branches, branch{w, last, leaves[key]})
		}
	}
	p.search(branches, load, 0, miss)
	for _, ms := range order {
		p.set(leaves[leafKey(ms, how)])
		end(ms, miss)
	}
	p.set(miss)
}

// leafKey is what two leaves must have in common to be one.
func leafKey(ms []Match, how precision) string {
	key := ""
	for run := range runs(ms) {
		key += fmt.Sprint(run[0].Protocol, run[0].Quoted, run[0].Answer)
		for _, m := range run {
			if how == byPort {
				key += fmt.Sprint(m.SrcPorts, m.DstPorts)
			}
		}
	}
	return key
}

// search finds a word of the address among the branches, of which all words before are
// alike, and then the next one.
func (p *program) search(list []branch, load func(word int), word int, miss label) {
	load(word)
	p.bisect(list, load, word, miss)
}

func (p *program) bisect(list []branch, load func(word int), word int, miss label) {
	first, last := list[0].addr[word], list[len(list)-1].addr[word]
	switch {
	case first != last:
		middle := list[len(list)/2].addr[word]
		if middle == first { // the upper half begins with the next value
			middle = list[slices.IndexFunc(list, func(b branch) bool { return b.addr[word] != first })].addr[word]
		}
		half := slices.IndexFunc(list, func(b branch) bool { return b.addr[word] == middle })
		upper := p.label()
		p.jumpIf(bpf.JumpGreaterOrEqual, middle, upper)
		p.bisect(list[:half], load, word, miss)
		p.set(upper)
		p.bisect(list[half:], load, word, miss)
	case word+1 == len(list[0].addr):
		p.between(first, list[0].last, list[0].leaf)
		p.jump(miss)
	default:
		p.jumpIf(bpf.JumpNotEqual, first, miss)
		p.search(list, load, word+1, miss)
	}
}

// leaf decides on a packet to or from one address.
func (p *program) leaf(ms []Match, how precision, accept, miss label) {
	p.emit(bpf.LoadScratch{Dst: bpf.RegA, N: kindWord})
	p.jumpIf(bpf.JumpGreaterOrEqual, laterFragment, accept)
	for run := range runs(ms) {
		next := p.label()
		p.jumpIf(bpf.JumpNotEqual, uint32(run[0].Protocol), next)
		p.ports(run, how, accept, miss)
		p.set(next)
	}
	p.jump(miss)
}

// runs cuts sorted matches into those of one protocol each.
func runs(ms []Match) func(yield func([]Match) bool) {
	return func(yield func([]Match) bool) {
		for len(ms) > 0 {
			n := 1
			for n < len(ms) && ms[n].Protocol == ms[0].Protocol {
				n++
			}
			if !yield(ms[:n]) {
				return
			}
			ms = ms[n:]
		}
	}
}

// ports decides on a packet of one address and protocol. Every port sorts first.
func (p *program) ports(ms []Match, how precision, accept, miss label) {
	off, port := uint32(offPort), func(m Match) [2]uint16 { return m.DstPorts }
	if ms[0].Answer {
		off, port = offSrcPort, func(m Match) [2]uint16 { return m.SrcPorts }
	}
	if how == byProtocol || port(ms[0]) == [2]uint16{} {
		p.jump(accept)
		return
	}
	p.emit(bpf.LoadIndirect{Off: off, Size: 2})
	for _, m := range ms {
		p.within(port(m), accept)
	}
	p.jump(miss)
}

// within jumps if the accumulator is a port of the range.
func (p *program) within(ports [2]uint16, to label) {
	p.between(uint32(ports[0]), uint32(ports[1]), to)
}

// between jumps if the accumulator is from first to last.
func (p *program) between(first, last uint32, to label) {
	if first == last {
		p.jumpIf(bpf.JumpEqual, first, to)
		return
	}
	above := p.label()
	p.jumpIf(bpf.JumpGreaterThan, last, above)
	p.jumpIf(bpf.JumpGreaterOrEqual, first, to)
	p.set(above)
}

// about decides on an ICMP error that quotes a packet to one address.
func (p *program) about(f ipFamily, ms []Match, how precision, accept, miss label) {
	if slices.ContainsFunc(ms, func(m Match) bool { return m.Answer }) {
		p.jump(accept)
		return
	}
	p.emit(bpf.LoadIndirect{Off: f.quotedProto, Size: 1})
	for run := range runs(ms) {
		next := p.label()
		p.jumpIf(bpf.JumpNotEqual, uint32(run[0].Protocol), next)
		if how == byProtocol || run[0].DstPorts == [2]uint16{} {
			p.jump(accept)
		} else {
			p.emit(bpf.LoadIndirect{Off: f.quotedEnd + 2, Size: 2})
			for _, m := range run {
				p.within(m.DstPorts, accept)
			}
			p.jump(miss)
		}
		p.set(next)
	}
	p.jump(miss)
}

// rule decides on a packet by one match with all that it may have, and goes on behind.
func (p *program) rule(f ipFamily, m Match, how precision, accept label) {
	miss, unsourced := p.label(), p.label()
	p.prefix(m.Dst, f.dst, miss)
	if m.Src.IsValid() { // which an error does not come from
		p.emit(bpf.LoadScratch{Dst: bpf.RegA, N: kindWord})
		p.jumpIf(bpf.JumpEqual, icmpError, unsourced)
		p.prefix(m.Src, f.src, miss)
	}
	p.set(unsourced)
	p.emit(bpf.LoadScratch{Dst: bpf.RegA, N: kindWord})
	p.jumpIf(bpf.JumpGreaterOrEqual, laterFragment, accept)
	p.jumpIf(bpf.JumpNotEqual, uint32(m.Protocol), miss)
	if how == byPort {
		for _, side := range []struct {
			off   uint32
			ports [2]uint16
		}{{offSrcPort, m.SrcPorts}, {offPort, m.DstPorts}} {
			if side.ports == [2]uint16{} {
				continue
			}
			hit := p.label()
			p.emit(bpf.LoadIndirect{Off: side.off, Size: 2})
			p.within(side.ports, hit)
			p.jump(miss)
			p.set(hit)
		}
	}
	p.jump(accept)
	p.set(miss)
}

// prefix goes on only if the address at off is in the prefix.
func (p *program) prefix(q netip.Prefix, off uint32, miss label) {
	if !q.IsValid() {
		return
	}
	bits := q.Bits()
	for i, word := range words(q.Addr()) {
		n := min(32, bits-32*i)
		if n <= 0 {
			return
		}
		p.emit(bpf.LoadAbsolute{Off: off + uint32(4*i), Size: 4})
		if n < 32 {
			p.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - n)})
		}
		p.jumpIf(bpf.JumpNotEqual, word, miss)
	}
}
