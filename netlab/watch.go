package netlab

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// advert is an advertisement that was seen on the wire.
type advert struct {
	at       time.Duration // since the start of the lab
	from     *host
	id       RouterID
	priority uint8
	down     time.Duration // how long its sender would wait for another MASTER
}

// masterDown is the Master_Down_Interval of the sender of an advertisement (RFC 9568 §6.1,
// RFC 3768 §6.1).
func masterDown(v proto.VRRP) time.Duration {
	interval, skewed := v.Interval(), v.Interval()
	if v.Version() == 2 {
		skewed = time.Second
	}
	return 3*interval + time.Duration(256-int(v.Priority()))*skewed/256
}

// election is what the wire knows of one VRID.
type election struct {
	last     advert        // of priority above 0
	resigned time.Duration // when the last one said priority 0, -1 if it did not
	silence  time.Duration // at the last change of sender, since mark; -1 without one
	earlier  time.Duration // and at the one before
	held     time.Duration // at most so long the wire held what the next silence begins with
	late     time.Duration // and what this one began with
	awaited  bool          // who took over had heard nothing for so long that it need not have heard the priority 0
}

// observer follows the advertisements on the wire. It runs under the wire's lock.
type observer struct {
	l         *lab
	elections map[RouterID]*election
	adverts   []advert // since the last wait for one began
}

func (o *observer) frame(p *nic, f ring.Frame) {
	eth := proto.Ethernet(f.Data())
	if a, ok := ParseResolution(eth); ok {
		o.resolution(p, a)
		return
	}
	ip, v, err := ParseVRRP(eth)
	if err != nil {
		return
	}
	if o.l.wire.madeUp || p.host.router {
		return // nobody sent it, or it was counted where it came from
	}
	at := time.Unix(0, f.Time).Sub(o.l.wire.started.Round(0))
	o.advert(advert{at, p.host, IDOf(ip, v), v.Priority(), masterDown(v)})
	o.elections[IDOf(ip, v)].held = o.l.live.now() - at
}

func (o *observer) advert(a advert) {
	o.adverts = append(o.adverts, a)
	e := o.elections[a.id]
	if e == nil {
		e = &election{resigned: -1, silence: -1, earlier: -1}
		o.elections[a.id] = e
	}
	if a.priority == 0 {
		o.l.sayAt(a.at, a.from.name, "advertises priority 0 (VRID %v)", a.id)
		if e.resigned < 0 { // what is said twice has been heard once
			e.resigned = a.at
		}
		return
	}
	if e.last.from != a.from {
		o.change(e, a)
	}
	e.last, e.resigned = a, -1
}

// change is the first advertisement of another node than before.
func (o *observer) change(e *election, a advert) {
	if e.last.from == nil {
		o.l.sayAt(a.at, a.from.name, "first advertisement of VRID %v, priority %d", a.id, a.priority)
		return
	}
	since, why := e.last.at, "after the last one of "+e.last.from.name
	e.awaited = e.resigned >= 0 && a.at-e.last.at >= a.down
	if e.resigned >= 0 {
		since, why = e.resigned, "after priority 0 of "+e.last.from.name
	}
	e.silence, e.earlier, e.late = a.at-since, e.silence, e.held
	o.l.sayAt(a.at, a.from.name, "first advertisement of VRID %v, priority %d, %v %s", a.id, a.priority, e.silence.Round(10*time.Microsecond), why)
}

// resolution tells of gratuitous ARP and unsolicited neighbour advertisements, the first
// of a burst.
func (o *observer) resolution(p *nic, a Resolution) {
	if !a.Gratuitous || p.host.node == nil {
		return
	}
	what := "gratuitous ARP"
	if a.Addr.Is6() {
		what = "neighbour advertisement"
	}
	key := p.host.name + a.Addr.String()
	if last, ok := o.l.garps[key]; !ok || time.Since(last) > time.Second {
		o.l.say(p.host.name, "%s: %v is at %v", what, a.Addr, a.MAC)
	}
	o.l.garps[key] = time.Now()
}
