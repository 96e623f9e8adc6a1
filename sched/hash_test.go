package sched

import (
	"net/netip"
	"testing"
)

// TestSourceHashVectors: the buckets of three clients, without and with the port.
func TestSourceHashVectors(t *testing.T) {
	for client, want := range map[string][2]uint32{"192.0.2.1": {50, 112}, "192.0.2.2": {148, 210}, "203.0.113.9": {64, 126}} {
		f := Flow{Src: netip.AddrPortFrom(netip.MustParseAddr(client), 51822)}
		for i, o := range []Options{{}, {Port: true}} {
			if got := hash32(o.client(f), bucketBits); got != want[i] {
				t.Errorf("%s, %+v: bucket %d, want %d", client, o, got, want[i])
			}
		}
	}
}

// TestTiling: as many buckets in a row as the weight, one at weight 0, round again.
func TestTiling(t *testing.T) {
	s := &sh{}
	s.Changed([]Server{{ID: 1, Weight: 3}, {ID: 2, Weight: 0}, {ID: 3, Weight: 2}})
	for i, want := range []int32{0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 2, 2, 0} {
		if s.table[i] != want {
			t.Fatalf("bucket %d belongs to %d, want %d", i, s.table[i], want)
		}
	}
	s.Changed([]Server{{ID: 1, Weight: 300}, {ID: 2, Weight: 1}})
	for i, at := range s.table {
		if at != 0 {
			t.Fatalf("bucket %d belongs to %d: 256 buckets are full before", i, at)
		}
	}
}

func TestFoldOfIPv6(t *testing.T) {
	if got := Fold(netip.MustParseAddr("2001:db8:1:2:3:4:5:6")); got != 0x20010db8^0x00010002^0x00030004^0x00050006 {
		t.Errorf("%#x", got)
	}
}

// TestLocalityIsBounded: of more destinations than fit, the rest is not kept; what was
// not used for long is forgotten, and its room used again.
func TestLocalityIsBounded(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		s, err := New(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var l *locality
		switch s := s.(type) {
		case *lblc:
			l = s.locality
		case *lblcr:
			l = s.locality
		}
		list := []Server{{ID: 1, Weight: 1}}
		to := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
		}
		for i := range localityFull + 1000 {
			s.Pick(list, Flow{Dst: to(i)})
		}
		if l.used != localityFull {
			t.Errorf("%s: %d destinations, want %d", name, l.used, localityFull)
		}
		s.Pick(list, Flow{Dst: to(0), At: 10 * localityTick})
		if goal := localityFull - min((localityFull-localityMost)*4/3, localityMost/2); l.used > goal || l.used < goal-100 {
			t.Errorf("%s: %d destinations after a tick, want about %d", name, l.used, goal)
		}
		s.Pick(list, Flow{Dst: to(0), At: 2 * localityAge})
		if l.used != 1 {
			t.Errorf("%s: %d destinations after two days", name, l.used)
		}
		for i := range localityFull {
			s.Pick(list, Flow{Dst: to(i), At: 2 * localityAge})
		}
		if l.used != localityFull || len(l.list) != localityFull+1 || len(l.members) > localityFull+1 {
			t.Errorf("%s: %d destinations in %d entries, %d members", name, l.used, len(l.list)-1, len(l.members)-1)
		}
	}
}
