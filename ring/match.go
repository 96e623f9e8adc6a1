package ring

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Match says which packets a service filter passes. A zero Prefix is every address; two
// zero ports are every port. Without addresses packets of both families match.
type Match struct {
	Protocol           uint8        // TCP, UDP or another with ports at its beginning; of a Quoted any
	Src, Dst           netip.Prefix // of one family
	SrcPorts, DstPorts [2]uint16    // from the first to the last
	// Answer is for what a server sends back to clients through us: Src is its address and
	// SrcPorts its port, nothing else is given.
	Answer bool
	// Quoted is for ICMP errors about such packets, not for the packets: Dst is one address,
	// to which somebody here sends them without options, DstPorts their port.
	Quoted bool
}

// A service that is matched by one address takes part in a search; the others are looked
// at one by one.
func (m Match) toOne() bool {
	return m.Dst.IsSingleIP() && !m.Src.IsValid() && m.SrcPorts == [2]uint16{} && !m.Answer && !m.Quoted
}

// check tells what no filter can be made of.
func (m Match) check() error {
	for _, ports := range [][2]uint16{m.SrcPorts, m.DstPorts} {
		if ports[0] > ports[1] {
			return fmt.Errorf("filter for %+v: the last port is below the first", m)
		}
	}
	switch {
	case m.Protocol == 0:
		return fmt.Errorf("filter for %+v: no protocol", m)
	case m.Src.IsValid() && m.Dst.IsValid() && m.Src.Addr().Is4() != m.Dst.Addr().Is4():
		return fmt.Errorf("filter for %+v: addresses of two families", m)
	case m.Answer && (!m.Src.IsSingleIP() || m.Dst.IsValid() || m.DstPorts != [2]uint16{}):
		return fmt.Errorf("filter for %+v: answers come from one address, to anybody", m)
	case m.Quoted && !m.Dst.IsSingleIP():
		return fmt.Errorf("filter for %+v: errors are about packets to one address", m)
	}
	return nil
}

// of tells whether packets of a family can match.
func (m Match) of(four bool) bool {
	for _, p := range []netip.Prefix{m.Src, m.Dst} {
		if p.IsValid() {
			return p.Addr().Is4() == four
		}
	}
	return true
}

func compareMatch(a, b Match) int {
	prefix := func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	}
	flag := func(m Match) (n int) {
		if m.Answer {
			n = 1
		}
		if m.Quoted {
			n += 2
		}
		return n
	}
	return cmp.Or(prefix(a.Dst, b.Dst), prefix(a.Src, b.Src), cmp.Compare(flag(a), flag(b)), cmp.Compare(a.Protocol, b.Protocol),
		slices.Compare(a.DstPorts[:], b.DstPorts[:]), slices.Compare(a.SrcPorts[:], b.SrcPorts[:]))
}

// words is an address in the words that a filter compares, one or four.
func words(a netip.Addr) []uint32 {
	b := a.AsSlice()
	w := make([]uint32, len(b)/4)
	for i := range w {
		w[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return w
}

// sorted is the matches in order, none twice, or the error of one that contradicts itself.
func sorted(matches []Match) ([]Match, error) {
	matches = slices.Clone(matches)
	for i := range matches {
		m := &matches[i]
		m.Src, m.Dst = m.Src.Masked(), m.Dst.Masked()
		if err := m.check(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(matches, compareMatch)
	return slices.Compact(matches), nil
}
