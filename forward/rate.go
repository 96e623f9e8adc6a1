package forward

import "time"

// Rates are averages a second over some eight seconds, of everything that [Stats] count.
type Rates struct{ Conns, Packets, Bytes, OutPackets, OutBytes uint64 }

// estimateTime is how often rates are estimated. Each time a quarter of the average is
// replaced, as IPVS does.
const estimateTime = 2 * time.Second

// Averages are integers, scaled so that small ones do not get lost.
const (
	countScale = 10
	byteScale  = 5
)

// estimator follows the counters of a server or service.
type estimator struct {
	last                                        Stats
	conns, packets, bytes, outPackets, outBytes int64
}

// take counts the time since the last call as so many periods. It tells whether anything moved.
func (e *estimator) take(now Stats, periods int64) (moved bool) {
	was := *e
	for _, a := range [...]struct {
		average *int64
		delta   uint64
		scale   uint
	}{
		{&e.conns, now.Conns - e.last.Conns, countScale}, {&e.packets, now.Packets - e.last.Packets, countScale},
		{&e.bytes, now.Bytes - e.last.Bytes, byteScale}, {&e.outPackets, now.OutPackets - e.last.OutPackets, countScale},
		{&e.outBytes, now.OutBytes - e.last.OutBytes, byteScale},
	} {
		rate := int64(a.delta) << a.scale / int64(estimateTime/time.Second) / periods
		for range min(periods, 1000) {
			*a.average += (rate - *a.average) >> 2
		}
	}
	e.last = now
	return *e != was
}

func (e *estimator) rates() Rates {
	up := func(average int64, scale uint) uint64 { return uint64(average+1<<scale/2-1) >> scale }
	return Rates{
		Conns: up(e.conns, countScale), Packets: up(e.packets, countScale), Bytes: up(e.bytes, byteScale),
		OutPackets: up(e.outPackets, countScale), OutBytes: up(e.outBytes, byteScale),
	}
}

// Estimate brings the rates up to date. It is to be called when packets begin to come, and
// then whenever next has come; ok is false when nothing moves any more.
func (f *Forwarder) Estimate(now time.Duration) (next time.Duration, ok bool) {
	if f.estimate == 0 {
		f.estimate = now + estimateTime
		return f.estimate, true
	}
	if now < f.estimate {
		return f.estimate, true
	}
	periods := int64((now-f.estimate)/estimateTime) + 1
	for i := range f.services {
		ok = f.services[i].rate.take(f.services[i].stats, periods) || ok
	}
	for i := range f.servers {
		ok = f.servers[i].rate.take(f.servers[i].stats, periods) || ok
	}
	if f.estimate += time.Duration(periods) * estimateTime; !ok {
		f.estimate = 0
	}
	return f.estimate, ok
}
