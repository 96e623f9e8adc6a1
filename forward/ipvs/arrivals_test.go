package ipvs

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/ringkeep/ringkeep/proto"
)

// step is one thing that happens to a director: segments of one flow, or something is done to
// a server.
type step struct {
	flow  int
	flags []uint8 // of its segments, one after the other

	server int // from 1; 0 for a step of a flow
	what   change
	value  [2]int
}

// change is what is done to a server.
type change int

const (
	weigh change = iota // to value[0]
	leave
	join // with the weight value[0]
	limit
	settle // nothing is done but to wait until the kernel's own work is done
)

func (s step) String() string {
	if s.what == settle {
		return "settle"
	}
	if s.server > 0 {
		return fmt.Sprintf("server %d %s %v", s.server, [...]string{"weight", "leaves", "joins", "limits"}[s.what], s.value)
	}
	names := map[uint8]string{proto.TCPSyn: "SYN", proto.TCPAck: "ACK", proto.TCPFin | proto.TCPAck: "FIN", proto.TCPRst: "RST"}
	var flags []string
	for _, f := range s.flags {
		flags = append(flags, names[f])
	}
	return fmt.Sprintf("flow %d %s", s.flow, strings.Join(flags, " "))
}

// serverCount is how many servers a service has at most.
const serverCount = 6

func serverAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)}) }

// recorder draws steps.
type recorder struct {
	*rand.Rand
	steps   []step
	flows   int
	open    []int // flows whose handshake is done
	closed  []int
	present [serverCount + 1]bool
	weight  [serverCount + 1]int
}

// record draws arrivals with so many new flows, the same for the same seed.
func record(seed uint64, flows int) []step {
	r := &recorder{Rand: rand.New(rand.NewPCG(seed, 0))}
	for i := 1; i <= 4; i++ {
		r.add(step{server: i, what: join, value: [2]int{i}})
		r.present[i], r.weight[i] = true, i
	}
	for r.flows < flows {
		switch n := r.IntN(1000); {
		case n < 640:
			r.arrive()
		case n < 860:
			r.finish()
		case n < 900 && len(r.open) > 0:
			r.add(step{flow: r.open[r.IntN(len(r.open))], flags: []uint8{proto.TCPAck}})
		case n < 915 && len(r.closed) > 0: // over one in FIN_WAIT
			r.add(step{flow: r.closed[r.IntN(len(r.closed))], flags: []uint8{proto.TCPSyn}})
		case n < 930 && len(r.open) > 0: // over one in CLOSE
			flow := r.open[r.IntN(len(r.open))]
			r.add(step{flow: flow, flags: []uint8{proto.TCPRst, proto.TCPSyn}})
			r.add(step{what: settle})
			r.add(step{flow: flow, flags: []uint8{proto.TCPAck}})
		case n < 945: // of no connection
			r.add(step{flow: 1<<20 + n, flags: []uint8{proto.TCPAck}})
		default:
			r.change()
		}
	}
	return r.steps
}

func (r *recorder) add(s step) { r.steps = append(r.steps, s) }

// arrive opens a flow, which now and then stays half open.
func (r *recorder) arrive() {
	r.flows++
	if r.IntN(10) == 0 {
		r.add(step{flow: r.flows, flags: []uint8{proto.TCPSyn}})
		return
	}
	r.add(step{flow: r.flows, flags: []uint8{proto.TCPSyn, proto.TCPAck}})
	r.open = append(r.open, r.flows)
}

func (r *recorder) finish() {
	if len(r.open) == 0 {
		return
	}
	i := r.IntN(len(r.open))
	r.add(step{flow: r.open[i], flags: []uint8{proto.TCPFin | proto.TCPAck}})
	r.closed = append(r.closed, r.open[i])
	r.open[i] = r.open[len(r.open)-1]
	r.open = r.open[:len(r.open)-1]
}

// change edits a server, or lets one leave or come back.
func (r *recorder) change() {
	i := 1 + r.IntN(serverCount)
	s := step{server: i, value: [2]int{[...]int{0, 1, 1, 2, 3, 5, 8}[r.IntN(7)]}}
	switch {
	case !r.present[i]:
		s.what, r.present[i] = join, true
	case r.IntN(4) == 0:
		s.what, r.present[i] = leave, false
	case r.IntN(5) == 0:
		upper := r.IntN(3) * (50 + r.IntN(400))
		s.what, s.value = limit, [2]int{upper, upper / 2 * r.IntN(2)}
	default:
		s.what = weigh
	}
	r.add(s)
}
