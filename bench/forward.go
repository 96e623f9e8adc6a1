package bench

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// The metrics of the lines, in units as benchstat shows them.
const (
	CPU      = "cpu-ns/packet"  // of all threads of the forwarder
	LoopCPU  = "loop-ns/packet" // of the busiest
	Packets  = "packets/s"
	ConnCPU  = "cpu-ns/conn"
	Conns    = "conns/s"
	Bytes    = "B/s"
	P50      = "p50-ns"
	P99      = "p99-ns"
	Worst    = "max-ns"
	Lost     = "lost"
	GCs      = "gcs" // collections while it was measured
	FillP99  = "fill-p99-ns"
	FillMax  = "fill-max-ns"
	FillGCs  = "fill-gcs"
	ConnSize = "B/conn"
	RestCPU  = "cpu-ns/s"
	Resident = "B" // memory in use
)

// Values are what one round of a case gave, by metric.
type Values map[string]float64

// warmUp is the least number of frames before it is measured.
const warmUp = 8192

// forward measures established flows.
func (r *run) forward(c Case) (int, Values, error) {
	s, p, end, err := r.stand(c, setting{gate: gate(c.Forwarder)})
	if err != nil {
		return 0, nil, err
	}
	defer end()
	if p == nil {
		return r.kernel(s, c)
	}
	if c.Forwarder == IPVS {
		return r.ipvs(s, p, c)
	}
	if err := s.establish(p, c, 0); err != nil {
		return 0, nil, err
	}
	gcs := p.collections()
	measure := func() (int, Values, error) { return r.poured(s, p, c, proto.TCPAck, true) }
	if c.Frame == Super {
		measure = func() (int, Values, error) { return r.flooded(s, p, c) }
	}
	n, v, err := measure()
	if err == nil && c.Forwarder != CBare && c.Forwarder != CVNet {
		v[GCs] = float64(p.collections() - gcs)
	}
	return n, v, err
}

// stand makes the namespaces of a case and starts its forwarder, none for the kernel, until end.
func (r *run) stand(c Case, o setting) (s *stage, p *process, end func(), err error) {
	if s, err = newStage(o); err != nil {
		return nil, nil, nil, err
	}
	if p, err = r.tools.start(s, c); err != nil {
		s.close()
		return nil, nil, nil, err
	}
	return s, p, func() {
		if p != nil {
			p.stop()
		}
		s.close()
	}, nil
}

// warm is stand for a forwarder that has had frames of other flows than those of the case.
func (r *run) warm(c Case, gate proto.MAC) (s *stage, p *process, end func(), err error) {
	if s, p, end, err = r.stand(c, setting{gate: gate}); err != nil {
		return nil, nil, nil, err
	}
	others := c
	others.Flows = warmUp
	if err = s.establish(p, others, c.Flows); err != nil {
		end()
	}
	return s, p, end, err
}

// establish makes the flows, from a number on, known to the forwarder, and gives its thread a
// processor.
func (s *stage) establish(p *process, c Case, from int) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w; it says: %s", err, p.text())
		}
	}()
	before, err := p.spent()
	if err != nil {
		return err
	}
	t := c.traffic()
	kinds := []uint8{0}
	if t.Protocol == proto.ProtocolTCP {
		kinds = []uint8{proto.TCPSyn, proto.TCPAck}
	}
	if c.Forwarder != Ringkeep {
		t.Flows = 1 // which it does not look at
	}
	short := t
	short.Frame = 64
	for _, flags := range kinds {
		g, err := s.generator(short, gate(c.Forwarder), flags)
		if err != nil {
			return err
		}
		defer g.sock.Close()
		g.base = from
		if c.Forwarder == CVNet {
			g.window = fewUnderWay
		}
		if err := s.waitForwarding(g); err != nil {
			return err
		}
		g.next = 0
		if err := s.sweep(g, max(t.Flows, warmUp)); err != nil {
			return err
		}
	}
	return p.settle(before)
}

// poured lets more frames in than can be forwarded. Flags are those of TCP segments; drawn
// has the flows come in no order.
func (r *run) poured(s *stage, p *process, c Case, flags uint8, drawn bool) (int, Values, error) {
	before, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	start, err := s.settled()
	if err != nil {
		return 0, nil, err
	}
	cfg := ring.SourceConfig{Interface: "d0", Frame: c.traffic().frame(gate(c.Forwarder), flags)[ring.VNetLen:], Flows: c.Flows, Random: drawn}
	n, err := r.frames(s, c, cfg)
	if err != nil {
		return 0, nil, err
	}
	if !drawn {
		n = min(n, c.Flows) // each once
	}
	rate, err := s.rateWhile(func() error { _, err := s.pour(cfg, n); return err })
	if err != nil {
		return 0, nil, err
	}
	return s.account(p, before, start, rate)
}

// account divides what was spent by the frames that arrived.
func (s *stage) account(p *process, before spent, start uint64, rate float64) (int, Values, error) {
	end, err := s.settled()
	if err != nil {
		return 0, nil, err
	}
	after, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	n := int(end - start)
	if n == 0 {
		return 0, nil, errSilent
	}
	all, most, _ := after.since(before)
	return n, Values{CPU: float64(all) / float64(n), LoopCPU: float64(most) / float64(n), Packets: rate}, nil
}

// flooded does the same with super-frames, which a socket sends: copying one costs the
// forwarder twice what it costs the source.
func (r *run) flooded(s *stage, p *process, c Case) (int, Values, error) {
	before, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	start, err := s.settled()
	if err != nil {
		return 0, nil, err
	}
	g, err := s.generator(c.traffic(), gate(c.Forwarder), proto.TCPAck)
	if err != nil {
		return 0, nil, err
	}
	defer g.sock.Close()
	rate, err := s.rateWhile(func() error {
		return s.gen.Do(func() error { return alone(func() error { _, err := g.flood(r.time); return err }) })
	})
	if err != nil {
		return 0, nil, err
	}
	n, v, err := s.account(p, before, start, rate)
	if err == nil {
		v[Bytes] = rate * float64(len(g.frames[0])-ring.VNetLen)
	}
	return n, v, err
}

// rateWhile is the frames a second that arrive while f runs, from the first that do to the
// last.
func (s *stage) rateWhile(f func() error) (rate float64, err error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	running := true
	err = s.sink.Do(func() error {
		return urgently(func() error {
			var m meter
			for running {
				select {
				case err := <-done:
					running = false
					if err != nil {
						return err
					}
				case <-time.After(10 * time.Millisecond):
				}
				n, err := s.arrived()
				if err != nil {
					return err
				}
				m.read(n, time.Now())
			}
			rate = m.rate()
			return nil
		})
	})
	if running {
		err = errors.Join(err, <-done)
	}
	return rate, err
}

// meter is readings of a counter while it grows.
type meter struct {
	seen, growing bool
	last          uint64
	from, to      uint64
	start, end    time.Time
}

// read takes a reading.
func (m *meter) read(n uint64, at time.Time) {
	switch {
	case m.seen && n > m.last && !m.growing: // it began in between
		m.growing, m.from, m.start = true, n, at
	case m.seen && n > m.last:
		m.to, m.end = n, at
	}
	m.seen, m.last = true, n
}

// rate is 0 if it grew too shortly to tell.
func (m *meter) rate() float64 {
	if m.to <= m.from {
		return 0
	}
	return float64(m.to-m.from) / m.end.Sub(m.start).Seconds()
}

// alone runs f on the source's processor, with the highest priority.
func alone(f func() error) error {
	pin(0, sourceCPU)
	defer pin(0, -1)
	return urgently(f)
}

// pour lets n frames into the director and says what they cost the thread, in ns.
func (s *stage) pour(cfg ring.SourceConfig, n int) (cpu int64, err error) {
	err = s.dir.Do(func() error {
		return alone(func() error {
			source, err := ring.OpenSource(cfg)
			if err != nil {
				return err
			}
			defer source.Close()
			start := threadCPU()
			err = source.Run(n)
			cpu = threadCPU() - start
			return err
		})
	})
	return cpu, err
}

// compared pours n frames twice: what the gate drops, then what is forwarded. It returns how many arrived,
// what forwarding one costs more than dropping it (ns), and how many are forwarded a second.
func (s *stage) compared(cfg, dropped ring.SourceConfig, n int) (got int, cpu, rate float64, err error) {
	start, err := s.settled()
	if err != nil {
		return 0, 0, 0, err
	}
	less, err := s.pour(dropped, n)
	if err != nil {
		return 0, 0, 0, err
	}
	var more int64
	rate, err = s.rateWhile(func() (err error) { more, err = s.pour(cfg, n); return err })
	if err != nil {
		return 0, 0, 0, err
	}
	end, err := s.settled()
	if err == nil && end == start {
		err = errSilent
	}
	return int(end - start), float64(more-less) / float64(n), rate, err
}

func threadCPU() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // cannot fail with a clock that exists
	return t.Nano()
}

// setupTime is what the kernel adds to each run of a source.
const setupTime = 25 * time.Millisecond

// leastFrames is for a machine that was busy when the rate was found out.
const leastFrames = 1 << 18

// frames is how many the source makes in the time of a measurement, found out once for
// every forwarder and length.
func (r *run) frames(s *stage, c Case, cfg ring.SourceConfig) (int, error) {
	key := fmt.Sprint(c.Forwarder, c.Frame)
	if r.rates[key] == 0 {
		const few = 1 << 16
		cfg.Flows, cfg.Random = 1, true // so that it leaves no flow behind that is new later
		start := time.Now()
		if _, err := s.pour(cfg, few); err != nil {
			return 0, err
		}
		r.rates[key] = few / max(time.Since(start)-setupTime, time.Millisecond).Seconds()
	}
	return max(leastFrames, int(r.rates[key]*r.time.Seconds())), nil
}

// ipvs measures established flows of the kernel's IPVS as those of its IP forwarding are, with
// what the daemon spends meanwhile.
func (r *run) ipvs(s *stage, p *process, c Case) (int, Values, error) {
	before, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	once := ring.SourceConfig{Interface: "d0", Frame: c.traffic().frame(inMAC, 0)[ring.VNetLen:], Flows: c.Flows}
	if _, err := s.pour(once, max(c.Flows, warmUp)); err != nil {
		return 0, nil, err
	}
	n, v, err := r.kernel(s, c)
	if err != nil {
		return 0, nil, err
	}
	return n, v, s.addDaemon(p, before, n, CPU, v)
}

// addDaemon adds what a daemon has spent for each of n packets to a metric.
func (s *stage) addDaemon(p *process, before spent, n int, metric string, v Values) error {
	after, err := p.spent()
	if err != nil {
		return err
	}
	all, _, _ := after.since(before)
	v[metric] += float64(all) / float64(n)
	return nil
}

// kernel measures IP forwarding, which happens on the thread of the source: what its frames
// cost more than those that the stack drops first thing.
func (r *run) kernel(s *stage, c Case) (int, Values, error) {
	cfg := ring.SourceConfig{Interface: "d0", Frame: c.traffic().frame(inMAC, 0)[ring.VNetLen:], Flows: c.Flows, Random: true}
	dropped := cfg
	dropped.Frame = c.traffic().frame(gateMAC, 0)[ring.VNetLen:]
	if _, err := s.pour(cfg, warmUp); err != nil {
		return 0, nil, err
	}
	n, err := r.frames(s, c, cfg)
	if err != nil {
		return 0, nil, err
	}
	got, cpu, rate, err := s.compared(cfg, dropped, n)
	return got, Values{CPU: cpu, LoopCPU: cpu, Packets: rate}, err
}

// connections measures new ones.
func (r *run) connections(c Case) (int, Values, error) {
	s, p, end, err := r.warm(c, inMAC)
	if err != nil {
		return 0, nil, err
	}
	defer end()
	if c.Forwarder == IPVS {
		return r.kernelConnections(s, p, c)
	}
	n, v, err := r.poured(s, p, c, proto.TCPSyn, false)
	if err != nil {
		return 0, nil, err
	}
	return n, Values{Conns: v[Packets], ConnCPU: v[CPU]}, nil
}

// kernelConnections measures new ones of the kernel's IPVS: what their SYNs cost the source's
// thread more than frames that are dropped first thing, and the daemon.
func (r *run) kernelConnections(s *stage, p *process, c Case) (int, Values, error) {
	before, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	cfg := ring.SourceConfig{Interface: "d0", Frame: c.traffic().frame(inMAC, proto.TCPSyn)[ring.VNetLen:], Flows: c.Flows}
	dropped := cfg
	dropped.Frame = c.traffic().frame(gateMAC, proto.TCPSyn)[ring.VNetLen:]
	got, cpu, rate, err := s.compared(cfg, dropped, c.Flows)
	if err != nil {
		return 0, nil, err
	}
	v := Values{Conns: rate, ConnCPU: cpu}
	return got, v, s.addDaemon(p, before, c.Flows, ConnCPU, v)
}

// rest measures a daemon that has nothing to do.
func (r *run) rest(c Case) (int, Values, error) {
	_, p, end, err := r.stand(c, setting{gate: inMAC, listen: true})
	if err != nil {
		return 0, nil, err
	}
	defer end()
	time.Sleep(time.Second) // what it does at its start is over
	before, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	start := time.Now()
	time.Sleep(4 * r.time)
	after, err := p.spent()
	if err != nil {
		return 0, nil, err
	}
	all, _, _ := after.since(before)
	memory, err := p.resident()
	return 1, Values{RestCPU: float64(all) / time.Since(start).Seconds(), Resident: float64(memory)}, err
}
