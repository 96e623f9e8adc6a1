package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Flow is what the ring forwards and the kernel must not see: packets of one protocol that
// has ports (TCP, UDP, SCTP). A zero Prefix is every address, two zero ports are every
// port; without addresses packets of both families match.
type Flow struct {
	Protocol           uint8
	Src, Dst           netip.Prefix // of one family
	SrcPorts, DstPorts [2]uint16    // from the first to the last
	// Answer is for what a server, Src, sends through us to clients, and for the ICMP errors about
	// what clients sent to it. What it sends to this host itself, to a group or to all passes:
	// health checks live on it.
	Answer bool
	// Pass lets packets be seen that a flow behind it in the list would drop.
	Pass bool
	// Interface is where alone it holds, "" for everywhere. Not with Answer.
	Interface string
}

// setKind is a set of flows and the rule that goes with it. Addresses and protocols are in
// all of them.
type setKind struct {
	six, source, port, fragments bool
}

// setKinds are the sets that there may be, in the order of their rules.
func setKinds() (kinds []setKind) {
	for _, source := range []bool{false, true} {
		for _, six := range []bool{false, true} {
			kinds = append(kinds, setKind{six: six, source: source, port: true}, setKind{six: six, source: source})
			if source {
				kinds = append(kinds, setKind{six: six, source: true, fragments: true})
			}
		}
	}
	return kinds
}

func (s setKind) name() string {
	name := "flows"
	switch {
	case s.fragments:
		name = "answer_fragments"
	case s.source:
		name = "answers"
	}
	if !s.port && !s.fragments {
		name += "_any_port"
	}
	if s.six {
		name += "6"
	}
	return name
}

// key is the type of what is in the set.
func (s setKind) key() nftables.SetDatatype {
	parts := []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService}
	if s.six {
		parts[0] = nftables.TypeIP6Addr
	}
	if !s.port {
		parts = parts[:2]
	}
	return nftables.MustConcatSetType(parts...)
}

// element is a flow in the set, a concatenation of parts padded to four bytes:
//
//	0               4 or 16         +4              +4
//	+---------------+---------------+---------------+
//	| address       | protocol 0 0 0| port      0 0 |
//	+---------------+---------------+---------------+
func (s setKind) element(a netip.Addr, protocol uint8, port uint16) nftables.SetElement {
	b := append(a.AsSlice(), protocol, 0, 0, 0)
	if s.port {
		b = append(binary.BigEndian.AppendUint16(b, port), 0, 0)
	}
	return nftables.SetElement{Key: b}
}

// dropRules are flows as sets, and one by one where sets do not hold them.
type dropRules struct {
	elements map[setKind][]nftables.SetElement
	single   []Flow
	seen     map[string]bool // in a set
}

func newDropRules(flows []Flow) (*dropRules, error) {
	r := &dropRules{elements: map[setKind][]nftables.SetElement{}, seen: map[string]bool{}}
	ordered := false // since there is something to pass
	for _, f := range flows {
		if err := f.check(); err != nil {
			return nil, err
		}
		ordered = ordered || f.Pass
		f.Src, f.Dst = f.Src.Masked(), f.Dst.Masked()
		switch {
		case f.Answer:
			r.add(true, f.Src.Addr(), f.Protocol, f.SrcPorts[0])
		case ordered || f.single():
			r.single = append(r.single, f)
		default:
			r.add(false, f.Dst.Addr(), f.Protocol, f.DstPorts[0])
		}
	}
	return r, nil
}

// single tells whether a flow needs a rule of its own.
func (f Flow) single() bool {
	return !f.Dst.IsSingleIP() || f.Src.IsValid() || f.SrcPorts != [2]uint16{} || f.DstPorts[0] != f.DstPorts[1] || f.Pass || f.Interface != ""
}

func (f Flow) check() error {
	switch {
	case f.Protocol == 0:
		return fmt.Errorf("drop rule for %+v: needs a protocol", f)
	case f.SrcPorts[0] > f.SrcPorts[1] || f.DstPorts[0] > f.DstPorts[1]:
		return fmt.Errorf("drop rule for %+v: the last port is below the first", f)
	case f.Src.IsValid() && f.Dst.IsValid() && f.Src.Addr().Is4() != f.Dst.Addr().Is4():
		return fmt.Errorf("drop rule for %+v: addresses of two families", f)
	case f.Answer && (!f.Src.IsSingleIP() || f.Dst.IsValid() || f.DstPorts != [2]uint16{} || f.SrcPorts[0] != f.SrcPorts[1] || f.Pass || f.Interface != ""):
		return fmt.Errorf("drop rule for %+v: answers come from one address and one port or all", f)
	}
	return nil
}

func (r *dropRules) add(source bool, a netip.Addr, protocol uint8, port uint16) {
	kind := setKind{six: a.Is6(), source: source, port: port != 0}
	r.put(kind, a, protocol, port)
	if source && kind.port {
		r.put(setKind{six: kind.six, source: true, fragments: true}, a, protocol, 0)
	}
}

func (r *dropRules) put(kind setKind, a netip.Addr, protocol uint8, port uint16) {
	e := kind.element(a, protocol, port)
	if key := kind.name() + string(e.Key); !r.seen[key] {
		r.seen[key] = true
		r.elements[kind] = append(r.elements[kind], e)
	}
}

// chain is the rules of an interface.
func (r *dropRules) chain(iface string, sets map[setKind]*nftables.Set) [][]expr.Any {
	rules := [][]expr.Any{passVLAN(unix.ETH_P_8021Q), passVLAN(unix.ETH_P_8021AD)}
	for _, kind := range setKinds() {
		if set := sets[kind]; set != nil {
			rules = append(rules, kind.rule(set))
			if kind.source && !kind.fragments {
				rules = append(rules, kind.errorRules(set)...)
			}
		}
	}
	for _, f := range r.single {
		for _, six := range []bool{false, true} {
			if (f.Interface == "" || f.Interface == iface) && f.of(six) {
				rules = append(rules, f.rule(six))
			}
		}
	}
	return rules
}

// of tells whether packets of a family can be of the flow.
func (f Flow) of(six bool) bool {
	for _, p := range []netip.Prefix{f.Src, f.Dst} {
		if p.IsValid() {
			return p.Addr().Is6() == six
		}
	}
	return true
}

// passVLAN is the rule: ether type TPID vlan id != 0 accept. VID 0 is only a priority.
func passVLAN(tpid uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, tpid)},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 14, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0x0f, 0xff}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0}},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// Where the addresses are in the header.
func sourceAt(six bool) (offset, length uint32) {
	if six {
		return 8, 16
	}
	return 12, 4
}

func destinationAt(six bool) (offset, length uint32) {
	if six {
		return 24, 16
	}
	return 16, 4
}

// ofFamily is: meta protocol ip, or ip6.
func ofFamily(six bool) []expr.Any {
	kind := uint16(unix.ETH_P_IP)
	if six {
		kind = unix.ETH_P_IPV6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, kind)},
	}
}

// rule is, of all its parts those that the kind has,
//
//	meta protocol ip ip frag-off & 0x1fff != 0 ip daddr . meta l4proto . th dport @set fib daddr type != { local, … } drop
func (s setKind) rule(set *nftables.Set) []expr.Any {
	rule := ofFamily(s.six)
	if s.fragments {
		rule = append(rule, laterFragment(s.six)...)
	}
	offset, length := destinationAt(s.six)
	port := uint32(2)
	if s.source {
		offset, length = sourceAt(s.six)
		port = 0
	}
	const first = 8 // register of four bytes
	protocol := first + length/4
	rule = append(rule,
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: protocol})
	if s.port {
		rule = append(rule, &expr.Payload{DestRegister: protocol + 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2})
	}
	rule = append(rule, &expr.Lookup{SourceRegister: first, SetName: set.Name, SetID: set.ID})
	if s.source {
		rule = append(rule, elsewhere()...)
	}
	return append(rule, &expr.Verdict{Kind: expr.VerdictDrop})
}

// errorRules are, for the ICMP errors about packets to who answers (of IPv6 one rule: icmpv6 type & 0x80 == 0),
//
//	meta protocol ip meta l4proto icmp icmp type 3-4 @th,64,8 0x45 @th,192,32 . @th,136,8 . @th,240,16 @set fib … drop
//	likewise of type 11-12
//
// The packet in the error begins behind 8 bytes. One with options, or over IPv6 with
// extension headers, is none of these.
func (s setKind) errorRules(set *nftables.Set) (rules [][]expr.Any) {
	const first, quote = 8, 8
	header, protocol := uint32(20), uint32(9)
	types := [][2]uint8{{3, 4}, {11, 12}}
	icmp, version, mask := uint8(unix.IPPROTO_ICMP), uint8(0x45), uint8(0xff)
	if s.six {
		header, protocol = 40, 6
		types = [][2]uint8{{0, 127}}
		icmp, version, mask = unix.IPPROTO_ICMPV6, 0x60, 0xf0
	}
	load := func(register, offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
	}
	offset, length := destinationAt(s.six)
	for _, t := range types {
		rule := append(ofFamily(s.six),
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals(icmp),
			load(1, 0, 1), &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{t[0]}, ToData: []byte{t[1]}},
			load(1, quote, 1), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}}, equals(version),
			load(first, quote+offset, length), load(first+length/4, quote+protocol, 1))
		if s.port {
			rule = append(rule, load(first+length/4+1, quote+header+2, 2))
		}
		rule = append(rule, &expr.Lookup{SourceRegister: first, SetName: set.Name, SetID: set.ID})
		rule = append(rule, elsewhere()...)
		rules = append(rules, append(rule, &expr.Verdict{Kind: expr.VerdictDrop}))
	}
	return rules
}

// laterFragment is: ip frag-off & 0x1fff != 0, or frag frag-off != 0.
func laterFragment(six bool) []expr.Any {
	const fragmentHeader = 44
	load, mask := expr.Any(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2}), []byte{0x1f, 0xff}
	if six {
		load, mask = &expr.Exthdr{DestRegister: 1, Type: fragmentHeader, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6}, []byte{0xff, 0xf8}
	}
	return []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: mask, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0}},
	}
}

// elsewhere is: fib daddr type != { local, broadcast, anycast, multicast }.
func elsewhere() []expr.Any {
	rule := []expr.Any{&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}}
	for _, kind := range []uint32{unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST} {
		rule = append(rule, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, kind)})
	}
	return rule
}

// rule is, of all its parts those that the flow has,
//
//	meta protocol ip meta l4proto tcp ip saddr NET ip daddr NET th sport FIRST-LAST th dport FIRST-LAST drop
func (f Flow) rule(six bool) []expr.Any {
	rule := append(ofFamily(six), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals(f.Protocol))
	offset, _ := sourceAt(six)
	rule = append(rule, inPrefix(f.Src, offset)...)
	offset, _ = destinationAt(six)
	rule = append(rule, inPrefix(f.Dst, offset)...)
	rule = append(rule, inRange(f.SrcPorts, 0)...)
	rule = append(rule, inRange(f.DstPorts, 2)...)
	verdict := expr.VerdictDrop
	if f.Pass {
		verdict = expr.VerdictAccept
	}
	return append(rule, &expr.Verdict{Kind: verdict})
}

func inPrefix(p netip.Prefix, offset uint32) []expr.Any {
	if !p.IsValid() || p.Bits() == 0 {
		return nil
	}
	addr := p.Addr().AsSlice()
	mask := make([]byte, len(addr))
	for bit := range p.Bits() {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	n := uint32(len(addr))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: n, Mask: mask, Xor: make([]byte, n)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr},
	}
}

func inRange(ports [2]uint16, offset uint32) []expr.Any {
	if ports == [2]uint16{} {
		return nil
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Range{
			Op: expr.CmpOpEq, Register: 1,
			FromData: binary.BigEndian.AppendUint16(nil, ports[0]), ToData: binary.BigEndian.AppendUint16(nil, ports[1]),
		},
	}
}
