package forward

import "github.com/ringkeep/ringkeep/proto"

// prefetchMost is how many packets may be announced at a time.
const prefetchMost = 64

// prefetch is what the packets of a batch need of the table.
type prefetch struct {
	heads [prefetchMost]int32 // of the chains
	count int
	sum   uint16 // keeps the reads from being left out
}

// farTable is from how many entries on the table is no longer in the processor's caches: with a
// million a packet of a batch takes a quarter less, with ten thousand it would take a tenth more.
const farTable = 1 << 16

// Prefetch announces a packet that Packet will be asked about, and [Forwarder.Prefetched]
// ends the announcements: the lines of memory that a batch needs, which come from far with many
// connections, are asked for at once instead of one after the other. A packet that is none
// changes nothing.
func (f *Forwarder) Prefetch(b []byte) {
	if f.table.used < farTable || f.ahead.count == prefetchMost {
		return
	}
	p, err := parse(b)
	if err != nil || p.later {
		return
	}
	if sport, _, ok := proto.Ports(p.payload); ok {
		f.ahead.heads[f.ahead.count] = *f.table.bucket(key{client: p.src, cport: sport, protocol: p.protocol})
		f.ahead.count++
	}
}

// Prefetched fetches what the announced packets need.
func (f *Forwarder) Prefetched() {
	for _, i := range f.ahead.heads[:f.ahead.count] {
		if i != 0 {
			f.ahead.sum += f.table.at(i).cport
		}
	}
	f.ahead.count = 0
}
