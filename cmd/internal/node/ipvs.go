package node

import (
	"net/netip"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/fsm"
)

// The services that the kernel's IPVS forwards. The checks, the quorum and the sorry server
// are those of every service; what they come to is asked of the driver as a whole, which
// finds out by itself what has to be changed for it.

type (
	// Program asks that the kernel's IPVS have these services of ours and no others, until
	// the next Program. [Programmed] tells how that went, also when it is looked after later.
	Program struct {
		Services []KernelService
		Timeouts config.Timeouts // 0 is what the kernel had before
		Sync     bool            // the synchronization daemons are ours: these run, and no others
		Daemons  []SyncDaemon
		Flush    bool // whatever was there goes first, once
	}
	// KernelService is a service without what IPVS has no settings for (Midstream,
	// CacheBypass and the like), with its servers in the order of the configuration.
	KernelService struct {
		forward.Service
		Flag3   bool   // of the scheduler
		Engine  string // of persistence, "" for none
		Servers []forward.Server
	}
	// SyncDaemon is one of the kernel's daemons that keep directors' connections alike. What is
	// 0 or not valid is the kernel's choice.
	SyncDaemon struct {
		Master            bool // it tells; else it listens
		ID                uint8
		Interface         string
		MaxLen, Port, TTL int
		Group             netip.Addr
	}
	// EndProgram ends what Program asked for: our services go, with Flush all that there are.
	EndProgram struct{ Flush bool }
	// IPVSFailed reports why the kernel is not as it is to be, once for each reason; an
	// empty one that it is again.
	IPVSFailed struct{ Reason string }
	// IPVSRestored reports what another program had changed, by the command of ipvsadm that
	// put it back.
	IPVSRestored struct{ Command string }

	// Programmed tells how the kernel was brought to what the last Program asks for: what
	// was put back because somebody else had changed it, and what is wrong, "" for nothing.
	Programmed struct {
		Restored []string
		Reason   string
	}
)

func (Program) action()      {}
func (EndProgram) action()   {}
func (IPVSFailed) action()   {}
func (IPVSRestored) action() {}
func (Programmed) event()    {}

// add gives a service the servers that another virtual server of its address has beside its own.
func (s *KernelService) add(servers []forward.Server) {
	s.Servers = slices.Clone(s.Servers)
	for _, one := range servers {
		if !slices.ContainsFunc(s.Servers, func(o forward.Server) bool { return o.Addr == one.Addr }) {
			s.Servers = append(s.Servers, one)
		}
	}
}

// same tells whether two Programs ask for the same.
func (a Program) same(b Program) bool {
	return a.Timeouts == b.Timeouts && a.Sync == b.Sync && slices.Equal(a.Daemons, b.Daemons) &&
		slices.EqualFunc(a.Services, b.Services, func(x, y KernelService) bool {
			return x.Service == y.Service && x.Flag3 == y.Flag3 && x.Engine == y.Engine && slices.Equal(x.Servers, y.Servers)
		})
}

// programming is what the driver was asked for.
type programming struct {
	due    bool // it may have changed
	asked  bool // ever
	last   Program
	reason string                      // that was reported
	wishes map[wished]forward.Steering // of an operator
}

// wished is what an operator's wish is for: a server, or with the zero one all of a service.
type wished struct {
	service forward.ServiceKey
	server  netip.AddrPort
}

// program asks for what is wanted now if that has changed.
func (n *Node) program() {
	p := &n.programming
	if !p.due || !p.asked && !n.cfg.UsesIPVS() {
		return
	}
	p.due = false
	var ask Program
	if n.cfg.UsesIPVS() {
		ask.Timeouts = n.cfg.Global.LVSTimeouts
	}
	at := map[forward.ServiceKey]int{}
	for i := range n.services {
		if s := &n.services[i]; s.cfg.InKernel() {
			for k, key := range s.keys {
				if first, shared := at[key]; shared {
					ask.Services[first].add(s.pools[k])
					continue
				}
				at[key] = len(ask.Services)
				ask.Services = append(ask.Services, KernelService{n.forwarded(s.cfg, key), s.cfg.Flag3, s.cfg.PersistenceEngine, s.pools[k]})
			}
		}
	}
	ask.Sync, ask.Daemons = n.syncDaemons()
	if p.asked && ask.same(p.last) {
		return
	}
	p.last = ask
	ask.Flush = n.cfg.Global.LVSFlush && !p.asked && n.now == n.began
	p.asked = true
	n.emit(ask)
}

// syncDaemons are those of lvs_sync_daemon: with an instance the one of its state, else both.
func (n *Node) syncDaemons() (on bool, list []SyncDaemon) {
	c := n.cfg.Global.LVSSyncDaemon
	if c == nil || !n.cfg.UsesIPVS() {
		return false, nil
	}
	one := SyncDaemon{ID: uint8(max(0, c.ID)), Interface: c.Interface, MaxLen: c.MaxLen, Port: c.Port, TTL: c.TTL, Group: c.Group}
	i := slices.IndexFunc(n.instances, func(in instance) bool { return in.cfg.Name == c.Instance })
	switch {
	case i < 0 && c.Instance != "":
		return false, nil // it is not run
	case i < 0:
		both := one
		both.Master = true
		return true, []SyncDaemon{both, one}
	}
	in := &n.instances[i]
	if c.ID < 0 {
		one.ID = in.cfg.VRID
	}
	one.Master = in.fsm.State() == fsm.Master
	return true, []SyncDaemon{one}
}

// syncs tells whether the synchronization daemon follows an instance.
func (n *Node) syncs(in *instance) bool {
	c := n.cfg.Global.LVSSyncDaemon
	return c != nil && c.Instance == in.cfg.Name
}

// programmed reports what somebody has to know, once.
func (n *Node) programmed(ev Programmed) {
	for _, c := range ev.Restored {
		n.emit(IPVSRestored{c})
	}
	if ev.Reason != n.programming.reason {
		n.programming.reason = ev.Reason
		n.emit(IPVSFailed{ev.Reason})
	}
}

// endProgram gives everything back.
func (n *Node) endProgram() {
	if n.programming.asked {
		flush := n.cfg.Global.LVSFlushOnStop
		n.emit(EndProgram{Flush: flush.On && flush.Value == ""})
	}
	n.programming.due = false
}

// wish notes what an operator wants of a service of the kernel.
func (n *Node) wish(ev Steer) {
	if n.programming.wishes == nil {
		n.programming.wishes = map[wished]forward.Steering{}
	}
	n.programming.wishes[wished{ev.Service, ev.Server}] = ev.To
}

// wishFor is the stricter of what an operator wants of a server and of its service.
func (n *Node) wishFor(k forward.ServiceKey, server netip.AddrPort) forward.Steering {
	return max(n.programming.wishes[wished{k, netip.AddrPort{}}], n.programming.wishes[wished{k, server}])
}

// obey leaves of a pool of the kernel's what an operator does: no weight of what is drained,
// and nothing of what fails.
func (n *Node) obey(k forward.ServiceKey, list []forward.Server) []forward.Server {
	for i := range list {
		if n.wishFor(k, list[i].Addr) == forward.Drain {
			list[i].Weight = 0
		}
	}
	return slices.DeleteFunc(list, func(s forward.Server) bool { return n.wishFor(k, s.Addr) == forward.Fail })
}
