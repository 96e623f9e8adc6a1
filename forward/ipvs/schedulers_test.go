package ipvs

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/netlab/vm"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
	"golang.org/x/sys/unix"
)

// newFlows is how many connections each scheduler is asked about.
const newFlows = 800

// contest is one service, given to the kernel and to our data plane.
type contest struct {
	name    string
	service Service
	client  func(flow int) netip.AddrPort
	to      func(flow int) netip.AddrPort
	expire  bool // half way through, closed connections end
}

// contests are all schedulers, plain and with persistence; those that look at destinations
// also with many, by a mark; and those with flags with each.
func contests() (list []contest) {
	for _, name := range []string{
		"rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "sh", "mh", "dh", "lblc", "lblcr",
		"dh mark", "lblc mark", "lblcr mark", "wlc mark",
	} {
		list = append(list, newContest(name), newContest(name+" persistent"))
	}
	for _, name := range []string{"sh port", "mh port", "sh fallback", "mh fallback", "sh fallback port", "mh fallback port"} {
		list = append(list, newContest(name))
	}
	return list
}

// mark is that of the services of a mark.
const mark = 7

// newContest makes a contest from the scheduler and the words behind it.
func newContest(name string) contest {
	words := strings.Fields(name)
	addr := netip.AddrPortFrom(vip, 80)
	c := contest{name: name, client: everyone, to: func(int) netip.AddrPort { return addr }}
	c.expire = words[0] == "lc" || words[0] == "wlc" // those that look at closed connections
	c.service = Service{Key: forward.ServiceKey{Protocol: proto.ProtocolTCP, Addr: addr}, Scheduler: words[0]}
	for _, w := range words[1:] {
		switch w {
		case "fallback":
			c.service.Flags |= Sched1
		case "port":
			c.service.Flags |= Sched2
		case "mark":
			c.service.Key = forward.ServiceKey{Mark: mark, Addr: unspecified(unix.AF_INET)}
			c.to = func(flow int) netip.AddrPort { return netip.AddrPortFrom(anywhere(flow), addr.Port()) }
		case "persistent":
			c.service.Flags |= Persistent
			c.service.Timeout, c.service.Mask, c.client = 1000*time.Second, 24, few
		}
	}
	return c
}

// scatter is a number of a flow, so that flows do not come in order.
func scatter(flow int) uint32 { return uint32(flow) * 2654435761 }

// everyone is a client of its own for each flow.
func everyone(flow int) netip.AddrPort {
	n := scatter(flow)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(n >> 24), byte(n >> 16), byte(n >> 8)}), uint16(1024+flow%50000))
}

// few are 500 clients in 61 networks.
func few(flow int) netip.AddrPort {
	n := scatter(flow) % 500
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(n % 61), byte(n)}), uint16(1024+flow%50000))
}

// anywhere is one of 300 destinations.
func anywhere(flow int) netip.Addr {
	n := scatter(flow) >> 4 % 300
	return netip.AddrFrom4([4]byte{198, 18, byte(n >> 4), byte(n)})
}

// TestMachineSchedulers gives the same arrivals to the kernel's schedulers and to ours: every
// segment has the same outcome, and the servers the same counters.
func TestMachineSchedulers(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if !vm.Inside(t, machine) {
		return
	}
	for i, c := range contests() {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			for i := 1; i <= serverCount; i++ {
				n.neighbour("r0", serverAddr(i), serverMAC(serverAddr(i)))
			}
			began := time.Now()
			c.play(n, record(uint64(i), newFlows))
			t.Logf("%v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// play gives the steps to both. It ends with the first difference.
func (c contest) play(n *network, steps []step) {
	n.must(n.k.AddService(c.service))
	n.must(unix.SetsockoptInt(n.client.fd, unix.SOL_SOCKET, unix.SO_MARK, int(c.service.Key.Mark)))
	j := &judge{contest: c, now: time.Second, f: forward.New(forward.Config{MaxConns: 1 << 16}), limits: map[int][2]int{}, weights: map[int]int{}}
	n.must(j.f.AddService(forward.Service{
		Key: c.service.Key, Scheduler: c.service.Scheduler, Persistence: c.service.Timeout, PersistenceMask: c.service.Mask,
		Options: sched.Options{Fallback: c.service.Flags&Sched1 != 0, Port: c.service.Flags&Sched2 != 0},
	}))
	j.f.SetLocal(vip, true)
	if c.service.Key.Mark != 0 {
		j.f.SetMarks([]forward.Rule{{Mark: c.service.Key.Mark, Port: forward.AnyPort}})
	}
	for i, s := range steps {
		if c.expire && i == len(steps)/2 {
			j.compare(n, steps)
			j.end(n, steps[:i])
		}
		if s.server == 0 && s.what != settle {
			j.arrive(n, i, s)
			continue
		}
		j.compare(n, steps)
		if s.what == settle || i%8 == 0 {
			j.count(n)
		}
		j.change(n, s)
	}
	j.compare(n, steps)
	j.count(n)
	j.list(n)
	n.t.Logf("%d steps, %d segments, %d by a server", len(steps), j.segments, j.placed)
}

// judge is our data plane, and what it decided on the segments that the kernel has, too.
type judge struct {
	contest
	f        *forward.Forwarder
	now      time.Duration
	pending  []decided
	segments int
	placed   int
	limits   map[int][2]int
	weights  map[int]int
}

type decided struct {
	number uint32
	step   int
	flags  uint8
	what   string
}

// arrive sends the segments of a step both ways.
func (j *judge) arrive(n *network, i int, s step) {
	src := j.client(s.flow)
	for _, flags := range s.flags {
		n.sent++
		b := segment(src, j.to(s.flow), flags, n.sent)
		n.send(n.client, b)
		what := j.outcome(b, flags)
		j.pending = append(j.pending, decided{n.sent, i, flags, what})
		j.segments++
		if what != dropped && what != unreachable && what != reset {
			j.placed++
		}
	}
}

// outcome is what our data plane does with a segment.
func (j *judge) outcome(b []byte, flags uint8) string {
	d := j.f.Packet(j.now, forward.Ingress{}, b)
	switch d.Verdict {
	case forward.Forward:
		s, _ := j.f.Server(d.Server)
		return s.Addr.Addr().String()
	case forward.NoDestination:
		return unreachable
	case forward.NoConn, forward.Stray: // the local stack resets it
		if flags&proto.TCPRst != 0 {
			return dropped // a reset is not answered with one
		}
		return reset
	case forward.ServerGone:
		return dropped
	}
	return d.Verdict.String()
}

// compare looks at what the kernel made of the segments.
func (j *judge) compare(n *network, steps []step) {
	n.t.Helper()
	kernels := map[uint32]string{}
	for _, s := range n.collect() {
		if number, what, ok := s.outcome(); ok {
			kernels[number] = what
		}
	}
	for _, d := range j.pending {
		k, ok := kernels[d.number]
		if !ok {
			k = dropped
		}
		if k != d.what {
			n.t.Fatalf("step %d, %v (flags %#x): kernel %s, here %s\nservers there %v\nservers here  %v",
				d.step, steps[d.step], d.flags, k, d.what, n.counters(), j.counters())
		}
	}
	j.pending = j.pending[:0]
}

// count looks at the servers' counters.
func (j *judge) count(n *network) {
	n.t.Helper()
	// Of connections that a SYN ended the kernel takes leave with its next timer.
	for until := time.Now().Add(10 * time.Second); ; {
		there, here := fmt.Sprint(n.counters()), fmt.Sprint(j.counters())
		if there == here {
			return
		}
		if time.Now().After(until) {
			n.t.Fatalf("servers there %s\nservers here  %s", there, here)
		}
	}
}

// list looks at the connections and templates. The kernel's list leaves some out when others,
// of the namespaces of before, end while it is read.
func (j *judge) list(n *network) {
	n.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; {
		count := n.conns()
		conns, _ := j.f.ConnsFrom(0, math.MaxInt, nil)
		for _, c := range conns {
			count[line(c)]--
		}
		delete(count, "")
		maps.DeleteFunc(count, func(_ string, more int) bool { return more == 0 })
		if len(count) == 0 {
			return
		}
		if time.Now().After(until) {
			n.t.Fatalf("more or less in the kernel's table: %v", count)
		}
	}
}

// conns counts the lines of the kernel's list, but for those that are empty.
func (n *network) conns() map[string]int {
	text, err := os.Open(ConnsFile)
	n.must(err)
	defer text.Close()
	count := map[string]int{}
	for c, err := range Conns(text) {
		n.must(err)
		count[line(c)]++
	}
	delete(count, "")
	return count
}

// line is what a connection or template says but for its time. A template that lost its server
// has no ports, and is hidden here.
func line(c forward.Conn) string {
	if c.Virtual.Port() == 0xffff {
		return ""
	}
	return fmt.Sprintln(c.Protocol, c.Client, c.Virtual, c.Server, c.State, c.Template)
}

// counters are the active and inactive connections by server.
func (n *network) counters() map[string][2]uint32 {
	list, err := n.k.Services()
	n.must(err)
	m := map[string][2]uint32{}
	for _, s := range list[0].Servers {
		m[s.Addr.Addr().String()] = [2]uint32{s.Active, s.Inactive}
	}
	return m
}

func (j *judge) counters() map[string][2]uint32 {
	m := map[string][2]uint32{}
	for _, s := range j.f.Services()[0].Servers {
		if s.Present {
			m[s.Addr.Addr().String()] = [2]uint32{s.Active, s.Inactive}
		}
	}
	return m
}

// end lets the connections that were closed end: their time in FIN_WAIT becomes a second, with
// another FIN it is theirs, and passes.
func (j *judge) end(n *network, steps []step) {
	n.t.Helper()
	j.wait(n, time.Second)
	for i, s := range steps {
		if s.server == 0 && slices.Contains(s.flags, proto.TCPFin|proto.TCPAck) {
			j.arrive(n, i, s)
		}
	}
	j.compare(n, steps)
	j.wait(n, 2*time.Minute)
	before := j.f.Len()
	j.now += 3 * time.Second
	for at, ok := j.f.Deadline(); ok && at <= j.now; at, ok = j.f.Deadline() {
		j.f.Expire(j.now)
	}
	if j.f.Len() >= before {
		n.t.Error("no connection ended")
	}
	j.count(n)
}

// wait sets the time of FIN_WAIT.
func (j *judge) wait(n *network, fin time.Duration) {
	n.must(n.k.SetTimeouts(0, fin, 0))
	j.f.SetTimeouts(0, fin, 0)
}

// change does what a step says to a server, both ways.
func (j *judge) change(n *network, s step) {
	key := j.service.Key
	addr := netip.AddrPortFrom(serverAddr(max(1, s.server)), key.Addr.Port())
	switch s.what {
	case settle:
		return
	case leave:
		n.must(n.k.DeleteServer(key, Server{Server: forward.Server{Addr: addr}}))
		j.f.RemoveServer(key, addr)
		return
	case join:
		j.weights[s.server], j.limits[s.server] = s.value[0], [2]int{}
	case weigh:
		j.weights[s.server] = s.value[0]
	case limit:
		j.limits[s.server] = s.value
	}
	limits := j.limits[s.server]
	rs := forward.Server{Addr: addr, Weight: int32(j.weights[s.server]), Upper: uint32(limits[0]), Lower: uint32(limits[1])}
	switch s.what {
	case join:
		n.must(n.k.AddServer(key, Server{Server: rs}))
		_, err := j.f.AddServer(key, rs)
		n.must(err)
	case weigh, limit:
		n.must(n.k.SetServer(key, Server{Server: rs}))
		_, err := j.f.EditServer(key, rs)
		n.must(err)
	}
}
