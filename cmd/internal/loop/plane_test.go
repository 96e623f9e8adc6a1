package loop

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/forward/ipvs"
	"github.com/ringkeep/ringkeep/ring/ringtest"
)

// fakeIPVS is asked, and answers what the test says.
type fakeIPVS struct {
	asked  chan ipvs.Wanted
	answer chan error
	ended  string
}

func (f *fakeIPVS) Keep(w ipvs.Wanted) (done, restored []string, err error) {
	f.asked <- w
	if err = <-f.answer; err != nil {
		return nil, nil, err
	}
	if len(w.Services) == 0 {
		restored = []string{"-D -t 192.0.2.9:80"}
	}
	return restored, restored, nil
}

func (f *fakeIPVS) Release(flush bool) error { f.ended += fmt.Sprint("release ", flush); return nil }
func (f *fakeIPVS) Close()                   { f.ended += "close" }

func newPlaneLoop(leave bool) (*Loop, *fakeIPVS) {
	f := &fakeIPVS{asked: make(chan ipvs.Wanted), answer: make(chan error)}
	var log bytes.Buffer
	return New(Config{Poller: ringtest.NewWire().NewPoller(), IPVS: f, LeaveIPVS: leave, Log: slog.New(slog.NewTextHandler(&log, nil))}), f
}

// planeEvents waits for so many events of the plane.
func (l *Loop) planeEvents(t *testing.T, n int) (list []node.Event) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		list = list[:0]
		for _, p := range l.inbox {
			list = append(list, p.ev)
		}
		l.mu.Unlock()
		if len(list) >= n {
			return list
		}
		if time.Now().After(end) {
			t.Fatalf("%d events, want %d: %v", len(list), n, list)
		}
	}
}

// TestPlaneAsksForTheLatest: what changes while the kernel is busy is asked in one go, with
// the flush that was asked before; an error is told once, and its end.
func TestPlaneAsksForTheLatest(t *testing.T) {
	l, f := newPlaneLoop(false)
	service := func(port uint16) node.KernelService {
		return node.KernelService{Service: forward.Service{Key: forward.ServiceKey{Protocol: 6, Addr: netip.AddrPortFrom(vip, port)}, Scheduler: "rr"}}
	}
	l.program(node.Program{Services: []node.KernelService{service(80)}, Flush: true})
	if w := <-f.asked; len(w.Services) != 1 || !w.Flush {
		t.Errorf("%+v", w)
	}
	l.program(node.Program{Services: []node.KernelService{service(81)}})
	l.program(node.Program{Services: []node.KernelService{service(82)}})
	f.answer <- errors.New("busy\nin two lines")
	if w := <-f.asked; len(w.Services) != 1 || w.Services[0].Key.Addr.Port() != 82 || !w.Flush {
		t.Errorf("%+v", w)
	}
	f.answer <- errors.New("busy\nin two lines")
	l.program(node.Program{})
	<-f.asked
	f.answer <- nil
	want := []node.Event{node.Programmed{Reason: "busy; in two lines"}, node.Programmed{Restored: []string{"-D -t 192.0.2.9:80"}}}
	if got := l.planeEvents(t, 2); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	l.endProgram(node.EndProgram{Flush: true})
	l.awaitPlane()
	if f.ended != "release true" {
		t.Error(f.ended)
	}
}

// TestPlaneIsLeft as it is at the stop, where that is wished.
func TestPlaneIsLeft(t *testing.T) {
	l, f := newPlaneLoop(true)
	l.awaitPlane() // nothing was asked: there is nothing to wait for
	l.program(node.Program{})
	<-f.asked
	f.answer <- nil
	l.endProgram(node.EndProgram{})
	l.awaitPlane()
	if f.ended != "close" {
		t.Error(f.ended)
	}
}

// TestWantedBy has everything in the kernel's terms.
func TestWantedBy(t *testing.T) {
	w := wantedBy(node.Program{
		Services: []node.KernelService{{
			Service: forward.Service{Key: forward.ServiceKey{Protocol: 17, Addr: netip.AddrPortFrom(vip, 53)}, Scheduler: "rr", Persistence: time.Minute, OnePacket: true},
			Flag3:   true, Engine: "sip",
			Servers: []forward.Server{{Addr: netip.AddrPortFrom(own, 53), Weight: 1}, {Addr: netip.AddrPortFrom(other, 53), Weight: 2}},
		}},
		Timeouts: config.Timeouts{TCP: 1, TCPFin: 2, UDP: 3}, Sync: true,
		Daemons: []node.SyncDaemon{{Master: true, ID: 7, Interface: "eth0", MaxLen: 1000, Port: 9, TTL: 3, Group: vip}, {Interface: "eth1"}},
	})
	s := w.Services[0]
	if s.Flags != ipvs.Persistent|ipvs.OnePacket|ipvs.Sched3 || s.Engine != "sip" || s.Servers[0].Addr.Addr() != own || s.Servers[1].Weight != 2 {
		t.Errorf("%+v", s)
	}
	daemons := []ipvs.Daemon{{Role: ipvs.Master, ID: 7, Interface: "eth0", MaxLen: 1000, Port: 9, TTL: 3, Group: vip}, {Role: ipvs.Backup, Interface: "eth1"}}
	if w.Timeouts != (ipvs.Timeouts{TCP: 1, Fin: 2, UDP: 3}) || !w.Sync || !slices.Equal(w.Daemons, daemons) {
		t.Errorf("%+v", w)
	}
}
