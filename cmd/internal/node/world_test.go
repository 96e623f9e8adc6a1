package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// world drives nodes in virtual time over one link, the way the daemon's loop does:
// every frame that one sends reaches the others 100 µs later.
type world struct {
	t      *testing.T
	now    time.Duration
	nodes  []*Node
	alive  []bool
	wire   []flight
	log    []string
	checks map[string]bool // address of a real server: answers its check
	cut    bool            // packets of BFD are lost
	ttl    uint8           // with which they arrive; 0: as they were sent
}

type flight struct {
	at    time.Duration
	from  int
	frame []byte
	bfd   *BFDHeard // instead of a frame
}

const wireDelay = 100 * time.Microsecond

func newWorld(t *testing.T, cfgs ...*config.Config) *world {
	w := &world{t: t, checks: map[string]bool{}}
	for i, c := range cfgs {
		links := []Link{
			{Name: "lo", Loopback: true, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
			{Name: "eth0", MAC: macOf(i), Up: true, Prefixes: []netip.Prefix{netip.PrefixFrom(addrOf(i), 24)}},
		}
		n, err := New(c, links, 1)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, n)
		w.alive = append(w.alive, false)
	}
	return w
}

func macOf(i int) proto.MAC   { return proto.MAC{2, 0, 0, 0, 0, byte(i + 1)} }
func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}) }

func (w *world) start(i int) { w.alive[i] = true; w.step(i, Start{}) }
func (w *world) kill(i int)  { w.alive[i] = false }

func (w *world) step(i int, ev Event) { w.carry(i, w.nodes[i].Step(w.now, ev, nil)) }

// carry does what a driver does with the actions of node i.
func (w *world) carry(i int, actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			w.wire = append(w.wire, flight{w.now + wireDelay, i, a.Frame, nil})
		case SendBFD:
			heard := BFDHeard{From: addrOf(i), To: a.To, TTL: a.TTL, Multihop: a.Multihop, Payload: a.Payload}
			if w.ttl != 0 {
				heard.TTL = w.ttl
			}
			if !w.cut {
				w.wire = append(w.wire, flight{w.now + wireDelay, i, nil, &heard})
			}
		case BFDChanged:
			w.note(i, "bfd %s %v (%v)", a.Session, a.Changed, a.Cause)
		case BFDRefused:
			w.note(i, "bfd %s refused %v: %s", a.Session, a.From, a.Why)
		case AddAddress:
			w.note(i, "add %v %s", a.Prefix, a.Device)
			defer w.step(i, AddressChanged{Port: 1, Prefix: a.Prefix, Present: true})
		case RemoveAddress:
			w.note(i, "remove %v %s", a.Prefix, a.Device)
			defer w.step(i, AddressChanged{Port: 1, Prefix: a.Prefix})
		case RunCheck:
			to := w.nodes[i].Check(a.Check).Connect.String()
			defer w.step(i, CheckDone{Check: a.Check, OK: w.checks[to], Reason: "test"})
		case Changed:
			w.note(i, "%s %v (%v)", a.Instance, a.Changed, a.Cause)
		case Notify:
			w.note(i, "notify %s", strings.Join(append(slices.Clone(a.Command.Args), a.Extra...), " "))
		case Mail:
			w.note(i, "mail %s", a.Subject)
		case ServerChanged:
			w.note(i, "server %v up=%v", a.Server, a.Up)
		case QuorumChanged:
			w.note(i, "quorum up=%v", a.Up)
		case Refused:
			w.note(i, "refused %v: %v", a.Src, a.Verdict)
		}
	}
}

func (w *world) note(i int, format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%v %d %s", w.now, i, fmt.Sprintf(format, args...)))
}

// run lets time pass until the given moment.
func (w *world) run(until time.Duration) {
	for {
		next, what := until, -1
		for i, n := range w.nodes {
			if at, ok := n.Deadline(); ok && w.alive[i] && at <= next {
				next, what = at, i
			}
		}
		if len(w.wire) > 0 && w.wire[0].at <= next {
			f := w.wire[0]
			w.wire = w.wire[1:]
			w.now = max(w.now, f.at)
			w.deliver(f)
			continue
		}
		w.now = max(w.now, next)
		if what < 0 {
			return
		}
		w.step(what, Tick{})
	}
}

func (w *world) deliver(f flight) {
	for i := range w.nodes {
		if f.bfd != nil {
			if w.alive[i] && addrOf(i) == f.bfd.To {
				w.step(i, *f.bfd)
			}
			continue
		}
		if i != f.from && w.alive[i] {
			w.step(i, Received{Port: 1, Frame: f.frame, At: w.now})
		}
	}
}

// expect fails unless the log holds the lines in this order, others between them.
func (w *world) expect(lines ...string) {
	w.t.Helper()
	rest := w.log
	for _, want := range lines {
		at := slices.IndexFunc(rest, func(l string) bool { return strings.Contains(l, want) })
		if at < 0 {
			w.t.Fatalf("no %q in\n%s", want, strings.Join(rest, "\n"))
		}
		rest = rest[at+1:]
	}
}

// instanceConf is an instance with keepalived's defaults.
func instanceConf(priority uint8) *config.Instance {
	return &config.Instance{
		Name: "VI_1", Interface: "eth0", VRID: 51, Priority: priority, Version: 2, AdvertInterval: time.Second,
		DownTimerAdverts: 3, GARPMasterRepeat: 5, GARPMasterDelay: 5 * time.Second, GARPMasterRefreshRepeat: 1, GARPLowerPrioRepeat: 5,
		Addresses: []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.100/32")}},
	}
}

func with(list ...*config.Instance) *config.Config { return &config.Config{Instances: list} }
