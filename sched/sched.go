// Package sched chooses the real server of a new connection as the schedulers of the
// kernel's IPVS do: rr wrr lc wlc sed nq fo ovf twos dh sh mh lblc lblcr. Servers and a flow go in, an index comes out; who is in
// the list, and in which order, is the caller's business (IPVS puts a new server at
// the head, so that with equal load the latest one wins ties).
package sched

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Server is one member of a service as a scheduler sees it.
type Server struct {
	ID       int32  // stable while the list changes, and when the server comes back
	Weight   int32  // 0: takes no new connections
	Active   uint32 // connections in an active state
	Inactive uint32
	Overload bool   // above its upper threshold
	Sum      uint32 // Fold of its address plus its port: what mh hashes
}

// Flow is what a new connection looks like. At is the time on the caller's clock, by
// which lblc and lblcr forget.
type Flow struct {
	Src, Dst netip.AddrPort
	At       time.Duration
}

// Options are the flags of a service that concern its scheduler.
type Options struct {
	Fallback bool   // sh-fallback, mh-fallback: look further where the server of a client can take nothing
	Port     bool   // sh-port, mh-port: hash the client's port, too
	Seed     uint64 // of twos
}

// Scheduler chooses among servers. Its list must be the same in every call but for
// what the hooks announce. It is not safe for concurrent use.
type Scheduler interface {
	// Pick returns the place of the chosen server, -1 if none can take the flow.
	// It allocates nothing.
	Pick(servers []Server, f Flow) int
	// Removed is called before the server at place i leaves the list.
	Removed(servers []Server, i int)
	// Changed is called after a server was added, removed or edited.
	Changed(servers []Server)
}

// Names lists the schedulers that New knows.
var Names = []string{"rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "twos", "dh", "sh", "mh", "lblc", "lblcr"}

// New makes a scheduler by its name in ipvsadm and keepalived.conf.
func New(name string, o Options) (Scheduler, error) {
	switch name {
	case "rr":
		return &rr{last: -1}, nil
	case "wrr":
		return &wrr{}, nil
	case "lc":
		return lc{}, nil
	case "wlc":
		return wlc{}, nil
	case "sed":
		return sed{}, nil
	case "nq":
		return nq{}, nil
	case "fo":
		return fo{}, nil
	case "ovf":
		return ovf{}, nil
	case "twos":
		return &twos{o.Seed}, nil
	case "dh":
		return &dh{}, nil
	case "sh":
		return &sh{Options: o}, nil
	case "mh":
		return &mh{Options: o, last: map[int32]int32{}}, nil
	case "lblc":
		return &lblc{newLocality()}, nil
	case "lblcr":
		return &lblcr{locality: newLocality()}, nil
	}
	return nil, fmt.Errorf("unknown scheduler %q: this version has %s", name, strings.Join(Names, ", "))
}

func (s *Server) eligible() bool { return s.Weight > 0 && !s.Overload }

// Fold is an address as the hashing schedulers take it: an IPv4 address as an integer,
// of IPv6 the XOR of its four words.
func Fold(a netip.Addr) uint32 {
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	return binary.BigEndian.Uint32(b[:]) ^ binary.BigEndian.Uint32(b[4:]) ^ binary.BigEndian.Uint32(b[8:]) ^ binary.BigEndian.Uint32(b[12:])
}

// client is the number of a client that sh and mh hash.
func (o Options) client(f Flow) uint32 {
	n := Fold(f.Src.Addr())
	if o.Port {
		n += uint32(f.Src.Port())
	}
	return n
}

// rr is round robin: it remembers the server that was used last.
type rr struct{ last int32 }

func place(servers []Server, id int32) int {
	for i := range servers {
		if servers[i].ID == id {
			return i
		}
	}
	return -1
}

func (r *rr) Pick(servers []Server, _ Flow) int {
	at := place(servers, r.last)
	for range servers {
		if at++; at == len(servers) {
			at = 0
		}
		if servers[at].eligible() {
			r.last = servers[at].ID
			return at
		}
	}
	return -1
}

// Removed moves the pointer to the predecessor of the server that it is on.
func (r *rr) Removed(servers []Server, i int) {
	if servers[i].ID != r.last {
		return
	}
	if r.last = -1; i > 0 {
		r.last = servers[i-1].ID
	}
}

func (r *rr) Changed([]Server) {}

// wrr is weighted round robin in passes of falling weight: a server takes part in
// a pass while its weight is at least that of the pass.
type wrr struct {
	at    int   // place of the last server, -1 before the first
	level int32 // weight of this pass
	top   int32 // weight of the first pass
	step  int32 // greatest common divisor of the weights
}

// Changed restarts the walk at the head, as the kernel does at every edit.
func (w *wrr) Changed(servers []Server) {
	var most, step int32
	for i := range servers {
		if weight := servers[i].Weight; weight > 0 {
			most, step = max(most, weight), gcd(weight, step)
		}
	}
	w.at, w.step, w.top = -1, max(1, step), 0
	if most > 0 {
		w.top = most - (w.step - 1) // the last pass is at weight 1
	}
	switch {
	case w.level > w.top || w.level == 0:
		w.level = w.top
	case w.step > 1:
		w.level = w.level/w.step*w.step + 1
	}
}

func gcd(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (w *wrr) Removed([]Server, int) {}

func (w *wrr) Pick(servers []Server, _ Flow) int {
	if w.top == 0 {
		return -1
	}
	// A server that no pass of the lowest weight takes is taken by none.
	for lowest := 0; lowest < len(servers); {
		if w.at++; w.at >= len(servers) {
			w.at = 0
			if w.level -= w.step; w.level <= 0 {
				w.level = w.top
			}
		}
		if s := &servers[w.at]; !s.Overload && s.Weight >= w.level {
			return w.at
		}
		if w.level <= w.step {
			lowest++
		}
	}
	return -1
}
