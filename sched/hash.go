package sched

// buckets is the size of the tables of dh and sh, as the kernel is built.
const (
	bucketBits = 8
	buckets    = 1 << bucketBits
)

// hash32 is the kernel's multiplicative hash.
func hash32(v uint32, bits int) uint32 { return v * 0x61C88647 >> (32 - bits) }

// tiling gives the servers, in their order and again from the head, so many
// buckets in a row as count says. A table of -1 has no server.
func tiling(table *[buckets]int32, servers []Server, count func(*Server) int) {
	at, left := 0, 0
	for b := range table {
		if len(servers) == 0 {
			table[b] = -1
			continue
		}
		if left == 0 {
			left = count(&servers[at%len(servers)])
			at++
		}
		table[b] = int32((at - 1) % len(servers))
		left--
	}
}

// dh is destination hashing, for caches: one bucket each in turn.
type dh struct{ table [buckets]int32 }

func (*dh) Removed([]Server, int) {}

func (d *dh) Changed(servers []Server) {
	tiling(&d.table, servers, func(*Server) int { return 1 })
}

func (d *dh) Pick(servers []Server, f Flow) int {
	if len(servers) == 0 {
		return -1
	}
	return orNone(servers, d.table[hash32(Fold(f.Dst.Addr()), bucketBits)])
}

func orNone(servers []Server, at int32) int {
	if at < 0 || !servers[at].eligible() {
		return -1
	}
	return int(at)
}

// sh is source hashing: as many buckets in a row as the weight says, but one for a
// server of weight 0, whose clients are refused without fallback.
type sh struct {
	Options
	table [buckets]int32
}

func (*sh) Removed([]Server, int) {}

func (s *sh) Changed(servers []Server) {
	tiling(&s.table, servers, func(v *Server) int { return max(1, int(v.Weight)) })
}

func (s *sh) Pick(servers []Server, f Flow) int {
	if len(servers) == 0 {
		return -1
	}
	first := hash32(s.client(f), bucketBits)
	at := orNone(servers, s.table[first])
	if at >= 0 || !s.Fallback {
		return at
	}
	for offset := range uint32(buckets) { // the kernel probes from twice the first bucket
		if at := orNone(servers, s.table[((offset+first)%buckets+first)%buckets]); at >= 0 {
			return at
		}
	}
	return -1
}
