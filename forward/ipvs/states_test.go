package ipvs

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/netlab/vm"
	"github.com/ringkeep/ringkeep/proto"
)

// event is a segment of either side.
type event struct {
	name   string
	server bool
	flags  uint8
}

// The segments of clients, and of servers where their answers come by.
var (
	clients = []event{
		{"SYN", false, proto.TCPSyn}, {"SYN+ACK", false, proto.TCPSyn | proto.TCPAck}, {"ACK", false, proto.TCPAck},
		{"FIN", false, proto.TCPFin | proto.TCPAck}, {"RST", false, proto.TCPRst},
	}
	servers = []event{
		{"its SYN+ACK", true, proto.TCPSyn | proto.TCPAck}, {"its ACK", true, proto.TCPAck},
		{"its FIN", true, proto.TCPFin | proto.TCPAck}, {"its RST", true, proto.TCPRst},
	}
)

// lives are all sequences of a SYN and so many events.
func lives(events []event, length int) [][]event {
	list := [][]event{clients[:1]}
	for range length {
		var longer [][]event
		for _, l := range list {
			for _, e := range events {
				longer = append(longer, append(slices.Clip(l), e))
			}
		}
		list = longer
	}
	return list
}

// atOnce is how many connections are led through their lives together: few enough that
// none of them expires in between.
const atOnce = 90

// TestMachineStates leads connections through every life of a SYN and three more segments: after
// each the kernel's list has the state that ours has, and the time that it has left.
func TestMachineStates(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if !vm.Inside(t, machine) {
		return
	}
	for i, c := range []struct {
		method forward.Method
		port   uint16
		lives  [][]event
	}{
		{forward.DR, 80, lives(clients, 3)},
		{forward.TUN, 80, lives(clients, 3)},
		{forward.NAT, 8080, lives(slices.Concat(clients, servers), 3)},
	} {
		t.Run([]string{"DR", "TUN", "NAT"}[i], func(t *testing.T) {
			n := newNetwork(t)
			n.neighbour("r0", serverAddr(1), serverMAC(serverAddr(1)))
			service := Service{Key: forward.ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.AddrPortFrom(vip, 80)}, Scheduler: "rr"}
			rs := forward.Server{Addr: netip.AddrPortFrom(serverAddr(1), c.port), Method: c.method, Weight: 1}
			n.must(n.k.AddService(service))
			n.must(n.k.AddServer(service.Key, Server{Server: rs}))
			f := forward.New(forward.Config{MaxConns: 1 << 16})
			n.must(f.AddService(forward.Service{Key: service.Key, Scheduler: "rr"}))
			_, err := f.AddServer(service.Key, rs)
			n.must(err)
			f.SetLocal(vip, true)
			first := 0
			for list := range slices.Chunk(c.lives, atOnce) {
				n.live(f, service.Key.Addr, rs, first, list)
				first += len(list)
			}
			t.Logf("%d lives", first)
		})
	}
}

// live leads connections through their lives, one step of all after the other.
func (n *network) live(f *forward.Forwarder, to netip.AddrPort, rs forward.Server, first int, list [][]event) {
	for step := range list[0] {
		for i, life := range list {
			client := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(2000+first+i))
			n.sent++
			e, on, b := life[step], n.client, segment(client, to, life[step].flags, n.sent)
			if e.server {
				on, b = n.servers, segment(rs.Addr, client, e.flags, n.sent)
			}
			n.send(on, b)
			f.Packet(time.Second, forward.Ingress{}, b)
		}
		n.collect()
		n.agree(f, first, list, step)
	}
}

// agree compares the states. Of a connection that a SYN ended the kernel takes leave with its next
// timer.
func (n *network) agree(f *forward.Forwarder, first int, list [][]event, step int) {
	n.t.Helper()
	here := map[uint16]forward.Conn{}
	conns, _ := f.ConnsFrom(0, math.MaxInt, nil)
	for _, c := range conns {
		here[c.Client.Port()] = c
	}
	for until := time.Now().Add(20 * time.Second); ; {
		difference := n.differ(here, first, list, step)
		if difference == "" {
			return
		}
		if time.Now().After(until) {
			n.t.Fatal(difference)
		}
	}
}

// differ tells of the first connection whose state or time is another one.
func (n *network) differ(here map[uint16]forward.Conn, first int, list [][]event, step int) string {
	text, err := os.Open(ConnsFile)
	n.must(err)
	defer text.Close()
	there := map[uint16]forward.Conn{}
	twice := map[uint16]bool{}
	for c, err := range Conns(text) {
		n.must(err)
		_, again := there[c.Client.Port()]
		twice[c.Client.Port()] = again
		there[c.Client.Port()] = c
	}
	for i, life := range list {
		port := uint16(2000 + first + i)
		k, ours := there[port], here[port]
		var names []string
		for _, e := range life[:step+1] {
			names = append(names, e.name)
		}
		if k.State != ours.State || k.Server != ours.Server || k.Virtual != ours.Virtual || twice[port] {
			return fmt.Sprintf("after %q: kernel %q %v, here %q %v", names, k.State, k.Server, ours.State, ours.Server)
		}
		if left := ours.Expires - time.Second; k.Expires > left || k.Expires < left/2 && left >= 10*time.Second {
			return fmt.Sprintf("after %q in %s: kernel %v left, here %v", names, k.State, k.Expires, left)
		}
	}
	return ""
}
