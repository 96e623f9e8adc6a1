package forward

import (
	"math/bits"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// conn is what a packet needs of a connection or template: one line of the processor's
// cache. It holds no pointer: the collector never looks at the table.
type conn struct {
	client, virtual     addr
	cport, vport, rport uint16 // of the client, the service and the server
	protocol            uint8
	kind                kind
	state               state
	flags               flags
	port                uint16 // from which the client's packets come (NAT)
	server              int32
	chain               int32 // next of the bucket
	packets             uint32
	expires             time.Duration
}

// more is the rest of a connection.
type more struct {
	control    int32     // template that chose the server, 0 for none
	controlled int32     // connections that point here
	next, prev int32     // of the wheel's slot
	slot       int32     // -1: in none
	born       uint32    // how many were made before
	began      uint32    // seconds
	by         uint8     // number in sched.Names of what placed it
	mac        proto.MAC // from which the client's packets come (NAT)
}

// kind tells entries apart that may have the same key.
type kind uint8

const (
	ordinary kind = iota
	template      // the client's port is 0
	single        // for the answers to datagrams that are scheduled one by one; one for each server
)

type flags uint8

const (
	hashed    flags = 1 << iota
	assured         // of a template: one of its connections was established
	inputOnly       // the answers do not come by here
	controls        // more.control is not 0
	bulk            // somebody else may move its packets
)

// key is what a packet is looked up by.
type key struct {
	client, virtual addr
	cport, vport    uint16
	protocol        uint8
	kind            kind
}

// The wheel has slots of one second. An entry whose time moved on is put into its
// new slot when the old one comes up, so that a packet writes one word only.
const (
	slotTime  = time.Second
	slotCount = 1024
)

// chunkSize is how many entries are made at a time: the table grows without a copy.
const chunkSize = 1 << 12

// table is a hash table with chains of entry numbers; number 0 is nobody. It has as many
// buckets as connections, so that few connections touch little memory: it grows by one bucket
// at a time, which takes its entries from one other (linear hashing, Litwin 1980), and
// never makes anybody wait.
type table struct {
	seed    uint64
	max     int
	used    int
	made    int32 // entries ever made, 0 included
	free    int32 // chain of freed entries
	born    uint32
	buckets []int32 // those in use; the capacity is there from the start
	mask    uint64  // of the hash, which may lead beyond the buckets: half of it does not
	chunks  []*chunk
	slots   [slotCount]int32
	turn    int64 // the slot number that comes up next, counted from time 0
}

type chunk struct {
	conns [chunkSize]conn
	more  [chunkSize]more
}

func newTable(c Config) table {
	return table{
		seed: c.Seed | 1, max: c.MaxConns, made: 1,
		buckets: make([]int32, firstBuckets, max(firstBuckets, c.MaxConns)), mask: firstBuckets - 1,
	}
}

// firstBuckets is how many there are at first, a power of two.
const firstBuckets = 1 << 10

func (t *table) at(i int32) *conn { return &t.chunks[uint32(i)/chunkSize].conns[uint32(i)%chunkSize] }

func (t *table) more(i int32) *more { return &t.chunks[uint32(i)/chunkSize].more[uint32(i)%chunkSize] }

// bucket is where the entries of the client's side are: a reply finds the same ones.
func (t *table) bucket(k key) *int32 {
	i := t.hash(k.client, k.cport, k.protocol) & t.mask
	if i >= uint64(len(t.buckets)) {
		i &= t.mask >> 1
	}
	return &t.buckets[i]
}

// hash is keyed by the seed; so are both factors, or a client would choose one of them to be 0.
func (t *table) hash(client addr, cport uint16, protocol uint8) uint64 {
	hi, lo := bits.Mul64(client.hi^t.seed, client.lo^bits.RotateLeft64(t.seed, 32)^0x9e3779b97f4a7c15)
	x := hi ^ lo ^ uint64(cport)<<16 ^ uint64(protocol)
	hi, lo = bits.Mul64(x^t.seed, 0xd6e8feb86659fd93)
	return hi ^ lo
}

// grow adds a bucket, and moves to it what is its own of the bucket that stood for it.
func (t *table) grow() {
	at := uint64(len(t.buckets))
	if at > t.mask {
		t.mask = t.mask<<1 | 1
	}
	t.buckets = t.buckets[:at+1]
	from, to := &t.buckets[at&(t.mask>>1)], &t.buckets[at]
	stays, moves := int32(0), int32(0)
	for i := *from; i != 0; {
		c := t.at(i)
		next := c.chain
		if t.hash(c.client, c.cport, c.protocol)&t.mask == at {
			c.chain, moves = moves, i
		} else {
			c.chain, stays = stays, i
		}
		i = next
	}
	*from, *to = stays, moves
}

func (c *conn) key() key {
	return key{c.client, c.virtual, c.cport, c.vport, c.protocol, c.kind}
}

// find returns the number of the entry with that key, 0 if there is none.
func (t *table) find(k key) int32 {
	for i := *t.bucket(k); i != 0; {
		c := t.at(i)
		if c.client == k.client && c.cport == k.cport && c.virtual == k.virtual && c.vport == k.vport &&
			c.protocol == k.protocol && c.kind == k.kind {
			return i
		}
		i = c.chain
	}
	return 0
}

// findSingle returns the number of the entry for the answers of a server to datagrams like k,
// 0 if there is none.
func (t *table) findSingle(k key, server int32) int32 {
	for i := *t.bucket(k); i != 0; {
		c := t.at(i)
		if c.server == server && c.key() == k {
			return i
		}
		i = c.chain
	}
	return 0
}

// findAnswer returns the number of the connection of a packet from a NAT server at src:sport
// to a client, 0 if there is none.
func (f *Forwarder) findAnswer(client, src addr, cport, sport uint16, protocol uint8) int32 {
	t := &f.table
	for i := *t.bucket(key{client: client, cport: cport, protocol: protocol}); i != 0; {
		c := t.at(i)
		if c.client == client && c.cport == cport && c.rport == sport && c.protocol == protocol && c.kind != template && c.flags&inputOnly == 0 {
			if rs := &f.servers[c.server]; rs.Method == NAT && rs.addr == src {
				return i
			}
		}
		i = c.chain
	}
	return 0
}

// insert makes an entry for k; ok is false when the table is full.
func (t *table) insert(k key) (i int32, ok bool) {
	if t.used >= t.max {
		return 0, false
	}
	if i = t.free; i != 0 {
		t.free = t.at(i).chain
	} else {
		i = t.made
		t.made++
		if int(i/chunkSize) == len(t.chunks) {
			t.chunks = append(t.chunks, new(chunk))
		}
	}
	if t.used >= len(t.buckets) && len(t.buckets) < cap(t.buckets) {
		t.grow()
	}
	b := t.bucket(k)
	*t.at(i) = conn{
		client: k.client, virtual: k.virtual, cport: k.cport, vport: k.vport, protocol: k.protocol,
		kind: k.kind, flags: hashed, chain: *b,
	}
	*t.more(i) = more{slot: -1, born: t.born}
	t.born++
	*b = i
	t.used++
	return i, true
}

// unhash hides entry i from find. It lives on while others point to it.
func (t *table) unhash(i int32) {
	c := t.at(i)
	if c.flags&hashed == 0 {
		return
	}
	c.flags &^= hashed
	for at := t.bucket(c.key()); *at != 0; at = &t.at(*at).chain {
		if *at == i {
			*at = c.chain
			return
		}
	}
}

// remove frees entry i, which nobody may point to any more.
func (t *table) remove(i int32) {
	t.unhash(i)
	t.unlink(i)
	t.at(i).chain = t.free
	t.free = i
	t.used--
}

// arm sets when entry i expires. Only a shorter time moves it to another slot now.
func (t *table) arm(i int32, at time.Duration) {
	c := t.at(i)
	if was := c.expires; was != 0 && was <= at {
		c.expires = at // its slot comes up no later
		return
	}
	c.expires = at
	t.place(i, at)
}

// place puts entry i into the slot of at, unless it is in an earlier one.
func (t *table) place(i int32, at time.Duration) {
	c := t.more(i)
	turn := max(int64(at/slotTime)+1, t.turn)
	turn = min(turn, t.turn+slotCount-1)
	if c.slot >= 0 {
		if t.turnOf(c.slot) <= turn {
			return
		}
		t.unlink(i)
	}
	c.slot = int32(turn % slotCount)
	head := &t.slots[c.slot]
	c.next, c.prev = *head, 0
	if *head != 0 {
		t.more(*head).prev = i
	}
	*head = i
}

// turnOf is when a slot comes up, counted as turn is.
func (t *table) turnOf(slot int32) int64 {
	ahead := (int64(slot) - t.turn%slotCount + slotCount) % slotCount
	return t.turn + ahead
}

func (t *table) unlink(i int32) {
	c := t.more(i)
	if c.slot < 0 {
		return
	}
	if c.prev != 0 {
		t.more(c.prev).next = c.next
	} else {
		t.slots[c.slot] = c.next
	}
	if c.next != 0 {
		t.more(c.next).prev = c.prev
	}
	c.slot, c.next, c.prev = -1, 0, 0
}

// expireBatch bounds what one call of Expire does, so that nothing waits for it.
const expireBatch = 4096

// Expire ends the connections whose time has come, a bounded number a call: ask
// Deadline for when to call again.
func (f *Forwarder) Expire(now time.Duration) {
	f.forgetPaths(now)
	t := &f.table
	for work := 0; t.turn <= int64(now/slotTime) && work < expireBatch; {
		i := t.slots[t.turn%slotCount]
		if i == 0 {
			t.turn++
			work++
			continue
		}
		work++
		t.unlink(i)
		c := t.at(i)
		switch {
		case c.expires > now:
			// Its slot of this turn is being emptied: it belongs to a later one.
			t.place(i, max(c.expires, time.Duration(t.turn)*slotTime))
		case c.kind == template && t.more(i).controlled > 0:
			c.expires = now + templateGrace
			t.place(i, c.expires)
		default:
			f.end(i)
		}
	}
}

// Deadline is when Expire has something to look at; ok is false for an empty table.
func (f *Forwarder) Deadline() (at time.Duration, ok bool) {
	return time.Duration(f.table.turn) * slotTime, f.table.used > 0
}

// Len is how many connections and templates there are.
func (f *Forwarder) Len() int { return f.table.used }
