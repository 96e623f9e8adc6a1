package loop

import (
	"strings"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward/ipvs"
)

// IPVS is what the loop needs of the kernel's: an *ipvs.Keeper.
type IPVS interface {
	Keep(ipvs.Wanted) (done, restored []string, err error)
	Release(flush bool) error
	Close()
}

const (
	lookInterval = 5 * time.Second // between looks at what others may have changed
	endPatience  = 5 * time.Second // for the last commands
)

// plane has the kernel's IPVS as the node asks, in a goroutine of its own: netlink may take
// its time. Its answers come back as events.
type plane struct {
	loop *Loop
	wake chan struct{}
	end  chan node.EndProgram
	done chan struct{}

	mu     sync.Mutex
	wanted ipvs.Wanted // the latest

	reason string // that was told
}

// program asks for what the node wants now.
func (l *Loop) program(a node.Program) {
	first := l.plane == nil
	if first {
		l.plane = &plane{loop: l, wake: make(chan struct{}, 1), end: make(chan node.EndProgram, 1), done: make(chan struct{})}
	}
	l.plane.ask(wantedBy(a))
	if first {
		go l.plane.run()
	}
}

// endProgram has the plane give everything back.
func (l *Loop) endProgram(a node.EndProgram) { l.plane.end <- a }

// awaitPlane waits until it has.
func (l *Loop) awaitPlane() {
	if l.plane == nil {
		return
	}
	select {
	case <-l.plane.done:
	case <-time.After(endPatience):
		l.Log.Error("the kernel's IPVS was not given back in time")
	}
}

func (p *plane) ask(w ipvs.Wanted) {
	p.mu.Lock()
	w.Flush = w.Flush || p.wanted.Flush
	p.wanted = w
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (p *plane) run() {
	defer close(p.done)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case a := <-p.end:
			p.release(a)
			return
		case <-p.wake:
		case <-tick.C:
		}
		p.keep()
	}
}

// keep makes the kernel as it is to be, and tells what is worth it.
func (p *plane) keep() {
	p.mu.Lock()
	w := p.wanted
	p.mu.Unlock()
	done, restored, err := p.loop.IPVS.Keep(w)
	for _, c := range done {
		p.loop.Log.Debug("ipvs", "command", c)
	}
	p.loop.Log.Debug("ipvs looked at", "commands", len(done))
	reason := ""
	if err != nil {
		reason = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if len(restored) > 0 || reason != p.reason {
		p.reason = reason
		p.loop.Post(node.Programmed{Restored: restored, Reason: reason})
	}
}

func (p *plane) release(a node.EndProgram) {
	if p.loop.LeaveIPVS {
		p.loop.IPVS.Close()
		return
	}
	if err := p.loop.IPVS.Release(a.Flush); err != nil {
		p.loop.Log.Error("the kernel's IPVS was not given back", "err", err)
	}
}

// wantedBy puts what the node asks for into the kernel's terms.
func wantedBy(a node.Program) ipvs.Wanted {
	w := ipvs.Wanted{Timeouts: ipvs.Timeouts{TCP: a.Timeouts.TCP, Fin: a.Timeouts.TCPFin, UDP: a.Timeouts.UDP}, Sync: a.Sync, Flush: a.Flush}
	for _, s := range a.Services {
		one := ipvs.Of(s.Service, s.Servers)
		if one.Engine = s.Engine; s.Flag3 {
			one.Flags |= ipvs.Sched3
		}
		w.Services = append(w.Services, one)
	}
	for _, d := range a.Daemons {
		one := ipvs.Daemon{Role: ipvs.Backup, Interface: d.Interface, ID: d.ID, MaxLen: uint16(d.MaxLen), Group: d.Group, Port: uint16(d.Port), TTL: uint8(d.TTL)}
		if d.Master {
			one.Role = ipvs.Master
		}
		w.Daemons = append(w.Daemons, one)
	}
	return w
}
