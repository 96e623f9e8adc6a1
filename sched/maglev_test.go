package sched

import (
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMaglevPaper fills the table of the paper's example (7 slots, three backends), and
// again without the second one.
func TestMaglevPaper(t *testing.T) {
	example := func() []mhFilling { return []mhFilling{{3, 4, 1}, {0, 2, 1}, {3, 1, 1}} }
	table := make([]int32, 7)
	fill(table, example())
	if want := []int32{1, 0, 1, 0, 2, 2, 0}; !slices.Equal(table, want) {
		t.Errorf("%v, want %v", table, want)
	}
	two := slices.Delete(example(), 1, 2)
	fill(table, two)
	if want := []int32{0, 0, 0, 0, 1, 1, 1}; !slices.Equal(table, want) {
		t.Errorf("without B1: %v, want %v", table, want)
	}
}

// equal is a list of n servers of weight 1 in IPVS' order, the latest first.
func equal(n int) []Server {
	var list []Server
	for i := n; i > 0; i-- {
		list = append(list, Server{ID: int32(i), Weight: 1, Sum: sum(i)})
	}
	return list
}

func maglev(o Options, list []Server) *mh {
	m := &mh{Options: o, last: map[int32]int32{}}
	m.Changed(list)
	return m
}

// TestMaglevVectors: preferences, slots and clients of three servers.
func TestMaglevVectors(t *testing.T) {
	for n, want := range map[int][2]uint32{1: {3167, 700}, 2: {1231, 3544}, 3: {1631, 3453}} {
		if got := [2]uint32{mhHash(sum(n), mhKey1) % mhSize, mhHash(sum(n), mhKey2)%(mhSize-1) + 1}; got != want {
			t.Errorf("offset and skip of 10.0.0.%d:80: %v, want %v", n, got, want)
		}
	}
	list := equal(3)
	m := maglev(Options{}, list)
	var slots []int32
	share := map[int32]int{}
	for i, at := range m.table {
		share[list[at].ID]++
		if i < 16 {
			slots = append(slots, list[at].ID)
		}
	}
	if want := []int32{1, 2, 2, 3, 3, 1, 2, 3, 3, 1, 1, 2, 2, 1, 1, 3}; !slices.Equal(slots, want) {
		t.Errorf("first slots %v, want %v", slots, want)
	}
	if share[3] != 1365 || share[2] != 1364 || share[1] != 1364 {
		t.Errorf("shares %v", share)
	}
	for client, want := range map[string][2]uint32{"192.0.2.1": {2891, 3153}, "192.0.2.2": {746, 1087}, "203.0.113.9": {1189, 1103}} {
		f := Flow{Src: netip.AddrPortFrom(netip.MustParseAddr(client), 51822)}
		for i, o := range []Options{{}, {Port: true}} {
			if slot := mhHash(o.client(f), mhKey1) % mhSize; slot != want[i] {
				t.Errorf("slot of %s, %+v: %d, want %d", client, o, slot, want[i])
			}
		}
	}
}

// TestMaglevDisruption: how many slots of the servers that stay change hands when one
// leaves, on average over all that may leave; and servers of equal weight differ by one slot.
func TestMaglevDisruption(t *testing.T) {
	for n, want := range map[int]float64{10: 0.0103, 100: 0.0311} {
		list := equal(n)
		before := maglev(Options{}, list)
		moved, kept := 0, 0
		counts := make([]int, n)
		for _, at := range before.table {
			counts[at]++
		}
		if slices.Max(counts)-slices.Min(counts) > 1 {
			t.Errorf("%d servers: %d to %d slots each", n, slices.Min(counts), slices.Max(counts))
		}
		for gone := range list {
			rest := slices.Delete(slices.Clone(list), gone, gone+1)
			after := maglev(Options{}, rest)
			for slot, at := range before.table {
				if list[at].ID == list[gone].ID {
					continue
				}
				kept++
				if rest[after.table[slot]].ID != list[at].ID {
					moved++
				}
			}
		}
		if share := float64(moved) / float64(kept); math.Abs(share-want) > want/5 {
			t.Errorf("%d servers: %.4f of the others' slots move, want about %.4f", n, share, want)
		}
	}
}

// TestMaglevWeights: slots follow the weights, weight 0 keeps the slots, and its return
// restores the mapping.
func TestMaglevWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := equal(rapid.IntRange(2, 8).Draw(t, "servers"))
		total := 0
		for i := range list {
			list[i].Weight = rapid.Int32Range(1, 9).Draw(t, "weight")
			total += int(list[i].Weight)
		}
		m := maglev(Options{}, list)
		counts := make([]int, len(list))
		for _, at := range m.table {
			counts[at]++
		}
		for i := range list {
			if want := float64(mhSize) * float64(list[i].Weight) / float64(total); math.Abs(float64(counts[i])-want) > 10 {
				t.Fatalf("server %d of weight %d has %d slots, want about %.0f: %+v", i, list[i].Weight, counts[i], want, list)
			}
		}
		before := m.table
		list[0].Weight = 0
		m.Changed(list)
		if m.table != before {
			t.Fatal("weight 0 moved slots")
		}
	})
}

// TestTwosFollowsWeights: with equal loads twos takes the second draw never, so the
// shares are those of one draw, within five standard deviations.
func TestTwosFollowsWeights(t *testing.T) {
	s, err := New("twos", Options{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	list := []Server{{ID: 0, Weight: 1}, {ID: 1, Weight: 3}}
	const n = 40000
	second := 0
	for range n {
		second += s.Pick(list, Flow{})
	}
	want := 3.0 / 5 // of 0 to 4 it is 2, 3 and 4
	if dev := math.Abs(float64(second)/n - want); dev > 5*math.Sqrt(want*(1-want)/n) {
		t.Errorf("%d of %d went to the server of weight 3, want %.2f", second, n, want)
	}
	list[1].Active = 100 // now the idle one is taken whenever it is drawn
	second = 0
	for range n {
		second += s.Pick(list, Flow{})
	}
	want = want * want
	if dev := math.Abs(float64(second)/n - want); dev > 5*math.Sqrt(want*(1-want)/n) {
		t.Errorf("%d of %d went to the loaded server, want %.2f", second, n, want)
	}
}
