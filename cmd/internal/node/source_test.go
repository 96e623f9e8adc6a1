package node

import (
	"net/netip"
	"testing"

	"github.com/ringkeep/ringkeep/fsm"
)

// A virtual address is no source of advertisements (RFC 9568 §5.1.1.1, RFC 3768 §5.2.1):
// with no other the instance is in FAULT. The owner has no other.
func TestVirtualAddressIsNoSource(t *testing.T) {
	for _, c := range []struct {
		priority uint8
		source   netip.Addr
		state    fsm.State
	}{{100, netip.Addr{}, fsm.Fault}, {255, netip.MustParseAddr("10.0.0.100"), fsm.Master}} {
		n := newWorld(t, with(instanceConf(c.priority))).nodes[0]
		n.Step(0, Start{}, nil)
		n.Step(0, AddressChanged{Port: 1, Prefix: netip.MustParsePrefix("10.0.0.100/32"), Present: true}, nil)
		n.Step(0, AddressChanged{Port: 1, Prefix: netip.PrefixFrom(addrOf(0), 24)}, nil)
		in := n.instances[0].fsm
		if in.Source() != c.source || in.State() != c.state {
			t.Errorf("priority %d: %v from %v", c.priority, in.State(), in.Source())
		}
	}
}
