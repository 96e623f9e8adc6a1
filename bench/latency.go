package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// quantile is the value below which a share of the sorted list is.
func quantile(sorted []int64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(share*float64(len(sorted)-1))])
}

// patience is how long an answer may take.
const patience = 200 * time.Millisecond

// pingPong asks and waits for the answer, one datagram at a time.
func (r *run) pingPong(c Case) (int, Values, error) {
	s, p, end, err := r.listening(c)
	if err != nil {
		return 0, nil, err
	}
	defer end()
	silence, err := s.echo()
	if err != nil {
		return 0, nil, err
	}
	defer silence()
	var times []int64
	var before spent
	lost := 0
	err = s.gen.Do(func() error {
		fd, err := client()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err = r.greet(fd, p); err == nil && p != nil {
			before, err = p.spent()
		}
		if err == nil {
			times, lost = ask(fd, r.time, nil)
		}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	slices.Sort(times)
	v := Values{P50: quantile(times, .5), P99: quantile(times, .99), Lost: float64(lost)}
	if p != nil && len(times) > 0 {
		after, err := p.spent()
		if err != nil {
			return 0, nil, err
		}
		all, _, _ := after.since(before)
		v[CPU] = float64(all) / float64(len(times))
	}
	return len(times), v, nil
}

// listening is a stage with a server, and the forwarder of the case.
func (r *run) listening(c Case) (s *stage, p *process, end func(), err error) {
	return r.stand(c, setting{gate: gate(c.Forwarder), listen: true, through: c.Through})
}

// greet asks until answers come, and a little longer, and gives the forwarder's thread its
// processor.
func (r *run) greet(fd int, p *process) error {
	var before spent
	if p != nil {
		var err error
		if before, err = p.spent(); err != nil {
			return err
		}
	}
	answered := 0
	ask(fd, 3*time.Second, func(ok bool) bool {
		if ok {
			answered++
		}
		return answered < 200
	})
	if answered == 0 {
		return errors.New("the server's answers do not arrive")
	}
	if p == nil {
		return nil
	}
	return p.settle(before)
}

// ask counts how long answers take, in ns, for a time or as long as going tells.
func ask(fd int, d time.Duration, going func(ok bool) bool) (times []int64, lost int) {
	times = make([]int64, 0, 1<<16)
	b := make([]byte, 64)
	for start := time.Now(); time.Since(start) < d; {
		at := time.Now()
		_, err := unix.Write(fd, b[:18])
		if err == nil {
			_, err = unix.Read(fd, b)
		}
		if err == nil {
			times = append(times, int64(time.Since(at)))
		} else {
			lost++
		}
		if going != nil && !going(err == nil) {
			break
		}
	}
	return times, lost
}

// datagrams is a UDP socket that sends no checksums, which a bare forwarder would send on
// half done, and waits patiently.
func datagrams() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: patience.Microseconds()}))
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

func client() (int, error) {
	fd, err := datagrams()
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: servicePort, Addr: vip.As4()}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// echo answers on every address of the sink from the one that was asked, until end.
func (s *stage) echo() (end func(), err error) {
	var wg sync.WaitGroup
	over := make(chan struct{})
	end = func() { close(over); wg.Wait() }
	for _, a := range []netip.Addr{vip, serverIP(0), serverIP(1), serverIP(2), serverIP(3)} {
		fd := -1
		err := s.sink.Do(func() (err error) {
			if fd, err = datagrams(); err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrInet4{Port: servicePort, Addr: a.As4()})
		})
		if err != nil {
			end()
			return nil, fmt.Errorf("server at %v: %w", a, err)
		}
		wg.Add(1)
		s.sink.Spawn(func() { // a thread of its own, as a blocking server has
			defer wg.Done()
			defer unix.Close(fd)
			serve(fd, over)
		})
	}
	return end, nil
}

func serve(fd int, over chan struct{}) {
	for b := make([]byte, 64); ; {
		select {
		case <-over:
			return
		default:
		}
		if n, from, err := unix.Recvfrom(fd, b, 0); err == nil {
			_ = unix.Sendto(fd, b[:n], 0, from) // the client counts what is lost
		}
	}
}

// fullTime is how much longer than other measurements the one with a full table is.
const fullTime = 4

// halfLoad measures how long datagrams are on their way from the sender to the sink, first
// while every one makes a connection, then with all of those in the table. The rate is
// half of what the daemon forwards at most.
func (r *run) halfLoad(c Case) (int, Values, error) {
	s, p, end, err := r.warm(c, gate(c.Forwarder))
	if err != nil {
		return 0, nil, err
	}
	defer end()
	g, err := s.generator(c.traffic(), gate(c.Forwarder), 0)
	if err != nil {
		return 0, nil, err
	}
	defer g.sock.Close()
	g.stamp = true
	w, err := s.watch()
	if err != nil {
		return 0, nil, err
	}
	defer w.sock.Close()
	v := Values{}
	if c.Forwarder == Ringkeep {
		if err := r.fill(s, p, g, w, c, v); err != nil {
			return 0, nil, err
		}
	}
	gcs := p.collections()
	before, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	times, lost, err := s.under(g, w, fullTime*r.time, r.halfRate())
	if err != nil {
		return 0, nil, err
	}
	after, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	all, _, _ := after.since(before)
	v[CPU] = float64(all) / float64(max(1, len(times)))
	v[P50], v[P99], v[Worst] = quantile(times, .5), quantile(times, .99), quantile(times, 1)
	v[Lost], v[GCs] = float64(lost), float64(p.collections()-gcs)
	return len(times), v, nil
}

// fill makes the connections.
func (r *run) fill(s *stage, p *process, g *generator, w *watcher, c Case, v Values) error {
	empty, err := p.resident()
	if err != nil {
		return err
	}
	gcs := p.collections()
	need := time.Duration(float64(c.Flows) / r.halfRate() * float64(time.Second))
	times, _, err := s.under(g, w, need, r.halfRate())
	if err != nil {
		return err
	}
	full, err := p.resident()
	if err != nil {
		return err
	}
	v[FillP99], v[FillMax], v[FillGCs] = quantile(times, .99), quantile(times, 1), float64(p.collections()-gcs)
	v[ConnSize] = float64(full-empty) / float64(max(1, min(len(times), c.Flows)))
	// What the pace left out, so that the table is full.
	g.next = 0
	if len(times) < c.Flows {
		return s.sweep(g, c.Flows)
	}
	return nil
}

// halfRate is frames a second.
func (r *run) halfRate() float64 {
	if r.best == 0 {
		return 50_000 // nothing was forwarded before in this run
	}
	return r.best / 2
}

// watcher sees when frames arrive at the sink, by the kernel's stamps.
type watcher struct {
	sock  *ring.Socket
	batch [64]ring.Frame
}

func (s *stage) watch() (*watcher, error) {
	filter, err := ring.ServiceFilter([]ring.Match{{Protocol: proto.ProtocolUDP, Dst: netip.PrefixFrom(vip, 32), DstPorts: [2]uint16{servicePort, servicePort}}})
	if err != nil {
		return nil, err
	}
	w := &watcher{}
	err = s.sink.Do(func() (err error) {
		w.sock, err = ring.Open(ring.Config{Interface: "s0", Slots: 1 << 15, SlotSize: 256, Filter: filter})
		return err
	})
	return w, err
}

// under sends at a rate for a time and returns how long the frames took, sorted, in ns, and
// how many did not arrive.
func (s *stage) under(g *generator, w *watcher, d time.Duration, rate float64) (times []int64, lost int, err error) {
	w.take(nil) // what is left from before
	sent, over := 0, make(chan error, 1)
	times = make([]int64, 0, int(d.Seconds()*rate)+1024)
	go func() {
		over <- s.gen.Do(func() error { return alone(func() (err error) { sent, err = g.paced(d, rate); return err }) })
	}()
	var last time.Time
	for last.IsZero() || time.Since(last) < 20*time.Millisecond {
		select {
		case err = <-over:
			last, over = time.Now(), nil // late frames still count
		default:
		}
		if times = w.take(times); len(times) == cap(times) {
			return nil, 0, errors.New("more frames arrived than were sent")
		}
		time.Sleep(time.Millisecond) // the frames wait in the ring with their stamps
	}
	slices.Sort(times)
	return times, sent - len(times), err
}

// take appends what is in the ring.
func (w *watcher) take(times []int64) []int64 {
	for {
		n, err := w.sock.Receive(w.batch[:])
		if n == 0 || err != nil {
			return times
		}
		for _, f := range w.batch[:n] {
			if data := f.Data(); len(data) >= stampAt+8 {
				times = append(times, f.Time-int64(binary.BigEndian.Uint64(data[stampAt:])))
			}
		}
		w.sock.Release()
	}
}
