package kernel

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Offsets in struct rtmsg of linux/rtnetlink.h.
const (
	rtmDstLen   = 1
	rtmTOS      = 3
	rtmTable    = 4
	rtmProtocol = 5
)

// routeKey is what routes to one place have in common: the kernel keeps one list for
// each.
type routeKey struct {
	to     netip.Prefix
	tos    uint8
	table  uint32
	metric uint32
}

// owned are the routes that are ours and should be there. The kernel tells of every
// route that comes and goes, of a full table of BGP too; nearly all of them are told
// apart by family and prefix length, in the header of the message.
type owned struct {
	mu      sync.Mutex
	numbers map[routeKey][]int
	lengths [2][129]int // how many of IPv4 and IPv6
}

func (r *Route) key() routeKey {
	k := routeKey{to: r.To.Masked(), tos: r.TOS, table: r.Table, metric: r.Metric}
	if r.To.Addr().Is6() && k.metric == 0 {
		k.metric = ip6DefaultMetric
	}
	return k
}

// ip6DefaultMetric is what the kernel makes of metric 0 (IP6_RT_PRIO_USER).
const ip6DefaultMetric = 1024

func (o *owned) put(r Route) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := r.key()
	if slices.Contains(o.numbers[k], r.Number) {
		return
	}
	if o.numbers == nil {
		o.numbers = map[routeKey][]int{}
	}
	o.numbers[k] = append(o.numbers[k], r.Number)
	o.lengths[side(r.To.Addr().Is6())][r.To.Bits()]++
}

func (o *owned) drop(r Route) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := r.key()
	i := slices.Index(o.numbers[k], r.Number)
	if i < 0 {
		return
	}
	o.numbers[k] = slices.Delete(o.numbers[k], i, i+1)
	o.lengths[side(r.To.Addr().Is6())][r.To.Bits()]--
	if len(o.numbers[k]) == 0 {
		delete(o.numbers, k)
	}
}

func side(six bool) int {
	if six {
		return 1
	}
	return 0
}

// hurt returns the numbers of the routes that a change may have removed: those with the
// same key. It allocates only when there are some.
func (o *owned) hurt(m []byte) []int {
	if len(m) < unix.SizeofRtMsg || m[rtmDstLen] > 128 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lengths[side(m[0] == unix.AF_INET6)][m[rtmDstLen]] == 0 {
		return nil
	}
	k, ok := keyOf(m)
	if !ok {
		return nil
	}
	return slices.Clone(o.numbers[k])
}

// all returns the numbers of all routes.
func (o *owned) all() []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []int
	for _, n := range o.numbers {
		list = append(list, n...)
	}
	slices.Sort(list)
	return list
}

// keyOf reads the key of a route message.
func keyOf(m []byte) (k routeKey, ok bool) {
	if len(m) < unix.SizeofRtMsg {
		return k, false
	}
	k.tos, k.table = m[rtmTOS], uint32(m[rtmTable])
	to := netip.IPv4Unspecified()
	if m[0] == unix.AF_INET6 {
		to = netip.IPv6Unspecified()
	}
	ok = true
	eachAttr(m[unix.SizeofRtMsg:], func(kind uint16, value, _ []byte) {
		switch {
		case kind == unix.RTA_DST:
			to, ok = netip.AddrFromSlice(value)
		case kind == unix.RTA_TABLE && len(value) == 4:
			k.table = binary.NativeEndian.Uint32(value)
		case kind == unix.RTA_PRIORITY && len(value) == 4:
			k.metric = binary.NativeEndian.Uint32(value)
		}
	})
	k.to = netip.PrefixFrom(to, int(m[rtmDstLen])).Masked()
	return k, ok && k.to.IsValid()
}

// eachAttr visits the attributes of a message; whole is one with its header, padded. It
// ends at the first that is cut off.
func eachAttr(b []byte, visit func(kind uint16, value, whole []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		padded := min(len(b), (n+3)&^3)
		visit(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n], b[:padded])
		b = b[padded:]
	}
}
