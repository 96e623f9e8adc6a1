package sched

import "math/bits"

// mhSize is the number of slots, as the kernel is built (index 12 of its primes), and
// mhBits by how many bits of the greatest weight a server takes slots on its turn.
const (
	mhSize = 4093
	mhBits = 6
)

// The keys of the two hashes, the same in every kernel, so that directors with the same
// servers agree.
const (
	mhKey1 = 2654435761
	mhKey2 = 2654446892
)

// mh is Maglev hashing: when a server leaves, nearly all clients of the others stay
// where they are (Eisenbud et al., NSDI 2016).
type mh struct {
	Options
	table   [mhSize]int32
	last    map[int32]int32 // last weight but 0, by server: at weight 0 it keeps its slots
	filling []mhFilling
}

// mhFilling is how far a server has come in its preferences.
type mhFilling struct{ at, skip, turns int32 }

// Removed forgets the weight: a server that comes back is a new one.
func (m *mh) Removed(servers []Server, i int) { delete(m.last, servers[i].ID) }

func (m *mh) Changed(servers []Server) {
	var most, step int32
	for i := range servers {
		s := &servers[i]
		if s.Weight > 0 {
			m.last[s.ID] = s.Weight
		}
		if last := m.last[s.ID]; last > 0 {
			most, step = max(most, last), gcd(last, step)
		}
	}
	m.filling = m.filling[:0]
	for i := range servers {
		s := &servers[i]
		f := mhFilling{at: int32(mhHash(s.Sum, mhKey1) % mhSize), skip: int32(mhHash(s.Sum, mhKey2)%(mhSize-1) + 1)}
		if last := m.last[s.ID]; last > 0 {
			f.turns = max(1, last/step>>max(0, bits.Len32(uint32(most/step))-mhBits))
		}
		m.filling = append(m.filling, f)
	}
	fill(m.table[:], m.filling)
}

// fill gives the slots to the servers in turn, each its next preference that is free.
func fill(table []int32, servers []mhFilling) {
	some := false
	for i := range table {
		table[i] = -1
	}
	for i := range servers {
		some = some || servers[i].turns > 0
	}
	for left := len(table); some; {
		for i := range servers {
			f := &servers[i]
			for range f.turns {
				if left == 0 {
					return
				}
				for table[f.at] >= 0 {
					f.at = (f.at + f.skip) % int32(len(table))
				}
				table[f.at] = int32(i)
				left--
			}
		}
	}
}

func (m *mh) Pick(servers []Server, f Flow) int {
	if len(servers) == 0 {
		return -1
	}
	client := m.client(f)
	slot := mhHash(client, mhKey1) % mhSize
	at := orNone(servers, m.table[slot])
	if at >= 0 || !m.Fallback {
		return at
	}
	for offset := range uint32(mhSize) {
		if at := orNone(servers, m.table[mhHash((offset+slot)%mhSize+client, mhKey1)%mhSize]); at >= 0 {
			return at
		}
	}
	return -1
}

// mhHash is SipHash-1-3 of four bytes with both halves of the key equal, cut to 32 bits.
func mhHash(v uint32, key uint64) uint32 {
	a, b, c, d := key^0x736f6d6570736575, key^0x646f72616e646f6d, key^0x6c7967656e657261, key^0x7465646279746573
	round := func() {
		a += b
		b = bits.RotateLeft64(b, 13) ^ a
		a = bits.RotateLeft64(a, 32)
		c += d
		d = bits.RotateLeft64(d, 16) ^ c
		a += d
		d = bits.RotateLeft64(d, 21) ^ a
		c += b
		b = bits.RotateLeft64(b, 17) ^ c
		c = bits.RotateLeft64(c, 32)
	}
	word := uint64(4)<<56 | uint64(v)
	d ^= word
	round()
	a ^= word
	c ^= 0xff
	round()
	round()
	round()
	return uint32(a ^ b ^ c ^ d)
}
