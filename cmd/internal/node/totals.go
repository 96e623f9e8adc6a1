package node

import (
	"time"

	"github.com/ringkeep/ringkeep/forward"
)

// Totals are sums over the workers.
type Totals struct {
	Conns    int // connections and templates
	Size     int // chains of the hash tables
	Verdicts [forward.Verdicts]uint64
}

// Totals counts.
func (n *Node) Totals() (t Totals) {
	n.halt()
	for _, p := range n.planes {
		t.Conns += p.fwd.Len()
		t.Size += p.fwd.Size()
		for v := range forward.Verdicts {
			t.Verdicts[v] += p.fwd.Counter(v)
		}
	}
	n.readmit()
	return t
}

// StatusFrom is [forward.Forwarder.ServicesFrom] with the connections of all workers.
func (n *Node) StatusFrom(at, servers int, list []forward.ServiceStatus) (_ []forward.ServiceStatus, next int) {
	from := len(list)
	list, next = n.fwd.ServicesFrom(at, servers, list)
	if len(n.planes) > 1 {
		n.halt()
		for i := range list[from:] {
			n.add(&list[from+i])
		}
		n.readmit()
	}
	return list, next
}

// Status is how a service stands, if the forwarders have it, with the connections of all
// workers.
func (n *Node) Status(k forward.ServiceKey) (s forward.ServiceStatus, ok bool) {
	if s, ok = n.fwd.Service(k); ok {
		n.halt()
		n.add(&s)
		n.readmit()
	}
	return s, ok
}

func (n *Node) add(s *forward.ServiceStatus) {
	for _, p := range n.planes[1:] {
		if o, ok := p.fwd.Service(s.Key); ok {
			s.Add(o)
		}
	}
}

// ConnsFrom is [forward.Forwarder.ConnsFrom] over the tables of all workers, one after the other.
func (n *Node) ConnsFrom(at int64, entries int, list []forward.Conn) (_ []forward.Conn, next int64) {
	n.halt()
	defer n.readmit()
	plane := at >> 32
	list, entry := n.planes[plane].fwd.ConnsFrom(int32(at), entries, list)
	if entry >= 0 {
		return list, plane<<32 | int64(entry)
	}
	if plane++; int(plane) < len(n.planes) {
		return list, plane << 32
	}
	return list, -1
}

// Explain is [forward.Forwarder.Explain] by the worker that gets the packets of the client.
func (n *Node) Explain(now time.Duration, flow forward.Flow, worker int) forward.Explanation {
	n.halt()
	defer n.readmit()
	return n.planes[worker].fwd.Explain(now, flow)
}

// ClientBits tells by how many bits of their IPv4 and IPv6 addresses the services tell
// clients apart, those with the fewest: the granularity of persistence.
func (n *Node) ClientBits() (four, six int) {
	four, six = 32, 128
	for i := range n.services {
		for _, k := range n.services[i].keys {
			s := n.forwarded(n.services[i].cfg, k)
			switch {
			case s.Persistence == 0 || s.PersistenceMask == 0:
			case k.Addr.Addr().Is4():
				four = min(four, s.PersistenceMask)
			default:
				six = min(six, s.PersistenceMask)
			}
		}
	}
	return four, six
}
