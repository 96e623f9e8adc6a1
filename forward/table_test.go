package forward

import (
	"testing"

	"github.com/ringkeep/ringkeep/proto"
)

// TestTableGrows finds every entry while buckets come one by one, none of them twice, and in
// chains that stay short.
func TestTableGrows(t *testing.T) {
	const most = 50_000
	tb := newTable(Config{MaxConns: most, Seed: 3})
	keyOf := func(i int) key {
		return key{client: addr{lo: mapped | uint64(i)<<7}, virtual: addr{lo: mapped}, cport: uint16(i), vport: 80, protocol: proto.ProtocolTCP}
	}
	number := map[int32]bool{}
	for i := range most {
		n, ok := tb.insert(keyOf(i))
		if !ok || number[n] {
			t.Fatalf("entry %d: number %d, %v", i, n, ok)
		}
		number[n] = true
		if back := i * 7919 % (i + 1); tb.find(keyOf(back)) == 0 {
			t.Fatalf("after %d entries number %d is not found", i+1, back)
		}
	}
	if _, ok := tb.insert(keyOf(most)); ok {
		t.Error("more than the most")
	}
	longest := 0
	for _, head := range tb.buckets {
		length := 0
		for i := head; i != 0; i = tb.at(i).chain {
			length++
		}
		longest = max(longest, length)
	}
	if len(tb.buckets) < most*9/10 || longest > 12 {
		t.Errorf("%d buckets, %d entries in one", len(tb.buckets), longest)
	}
	for i := range most {
		tb.remove(tb.find(keyOf(i)))
	}
	if tb.used != 0 || tb.find(keyOf(1)) != 0 {
		t.Errorf("%d left", tb.used)
	}
}
