package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/netlab/report"
	"github.com/ringkeep/ringkeep/proto"
)

// TCP flags.
const (
	fin = 0x01
	syn = 0x02
	rst = 0x04
	psh = 0x08
	ack = 0x10
)

type connKey struct {
	local, remote netip.AddrPort
}

// serverConn is a connection at a server: it tells its name once, and closes.
type serverConn struct {
	seq, ack uint32
}

// segment is the host's TCP: the server's side, and the flows that run here.
func (h *host) segment(ip proto.IP) {
	t, err := proto.ParseTCP(ip.Payload())
	if err != nil || !t.ChecksumOK(ip.Src(), ip.Dst()) {
		return
	}
	local, remote := netip.AddrPortFrom(ip.Dst(), t.DstPort()), netip.AddrPortFrom(ip.Src(), t.SrcPort())
	if f := h.flowOf(local, remote); f != nil {
		f.segment(t)
		return
	}
	key := connKey{local, remote}
	c := h.conns[key]
	reply := func(flags uint8, payload []byte) {
		h.sendIP(remote.Addr(), tcpFrame(local, remote, c.seq, c.ack, flags, payload))
	}
	switch {
	case t.Flags()&rst != 0:
		delete(h.conns, key)
	case t.Flags()&syn != 0 && (h.servers[service{proto.ProtocolTCP, t.DstPort()}]):
		if c == nil {
			c = &serverConn{seq: h.w.random.Uint32(), ack: t.Seq() + 1}
			h.conns[key] = c
		}
		reply(syn|ack, nil)
	case c == nil:
		c = &serverConn{seq: t.Ack(), ack: t.Seq() + t.SegmentLen()}
		reply(rst|ack, nil)
	case t.Flags()&fin != 0:
		c.ack = t.Seq() + t.SegmentLen()
		c.seq += uint32(len(h.name)) + 2
		reply(ack, nil)
		delete(h.conns, key)
	case len(t.Payload()) > 0: // the question
		c.ack = t.Seq() + t.SegmentLen()
		keep := c.seq
		c.seq++
		reply(psh|fin|ack, []byte(h.name))
		c.seq = keep
	}
}

func (h *host) flowOf(local, remote netip.AddrPort) *flow {
	for _, f := range h.w.flows {
		if f.from == h && f.tcp && f.to == remote {
			if _, ok := f.open[local.Port()]; ok {
				return f
			}
		}
	}
	return nil
}

// flow asks questions: a probe one a millisecond, a connect flow some connections a second.
type flow struct {
	w        *world
	name     string
	from     *host
	to       netip.AddrPort
	tcp      bool
	every    time.Duration
	once     bool
	stopped  bool
	port     uint16
	open     map[uint16]*clientConn
	served   map[string]int
	answers  int
	failures int
	failure  string
	began    time.Duration
	gaps     []report.Gap
	last     time.Duration // answer, -1 before the first
	gap      time.Duration // the longest without an answer, since mark
}

type clientConn struct {
	seq, ack uint32
	state    uint8 // 0 SYN sent, 1 asked
	tries    int
	gen      int
}

const (
	tcpRetry = time.Second
	tcpTries = 4
)

// step sends the next question, or repeats one (n > 0: the port and the try).
func (f *flow) step(n int) {
	if n > 0 {
		f.repeat(uint16(n>>8), n&0xff)
		return
	}
	if f.stopped {
		return
	}
	f.question()
	if !f.once {
		f.w.at(f.every, event{what: flowing, flow: f})
	}
}

func (f *flow) question() {
	src := f.from.sourceFor(f.to.Addr())
	if !f.tcp {
		if f.port == 0 {
			f.port = f.w.nextPort()
		}
		f.from.sendIP(f.to.Addr(), udpFrame(src, f.to.Addr(), f.port, f.to.Port(), []byte("?")))
		return
	}
	p := f.w.nextPort()
	f.open[p] = &clientConn{seq: f.w.random.Uint32()}
	f.transmit(p)
}

// nextPort hands out client ports; none comes again for a long time.
func (w *world) nextPort() uint16 {
	w.ports++
	return uint16(20000 + w.ports%40000)
}

// transmit sends what the connection has to send now, and again if nothing comes.
func (f *flow) transmit(p uint16) {
	c := f.open[p]
	src := netip.AddrPortFrom(f.from.sourceFor(f.to.Addr()), p)
	if c.state == 0 {
		f.from.sendIP(f.to.Addr(), tcpFrame(src, f.to, c.seq, 0, syn, nil))
	} else {
		f.from.sendIP(f.to.Addr(), tcpFrame(src, f.to, c.seq, c.ack, psh|ack, []byte("NAME\n")))
	}
	c.gen++
	f.w.at(tcpRetry, event{what: flowing, flow: f, n: int(p)<<8 | c.gen})
}

func (f *flow) repeat(p uint16, gen int) {
	c := f.open[p]
	if c == nil || c.gen != gen {
		return
	}
	if c.tries++; c.tries >= tcpTries {
		f.fail(p, "no answer")
		return
	}
	f.transmit(p)
}

func (f *flow) fail(p uint16, why string) {
	delete(f.open, p)
	f.failures++
	if f.failure == "" {
		f.failure = fmt.Sprintf("%s at %v", why, f.w.now)
	}
	f.w.changed = true
}

func (f *flow) segment(t proto.TCP) {
	p := t.DstPort()
	c := f.open[p]
	switch {
	case t.Flags()&rst != 0:
		f.fail(p, "connection refused")
	case c.state == 0 && t.Flags()&(syn|ack) == syn|ack:
		c.state, c.seq, c.ack = 1, c.seq+1, t.Seq()+1
		f.transmit(p)
	case c.state == 1 && len(t.Payload()) > 0:
		src := netip.AddrPortFrom(f.from.sourceFor(f.to.Addr()), p)
		f.from.sendIP(f.to.Addr(), tcpFrame(src, f.to, c.seq+5, t.Seq()+t.SegmentLen(), fin|ack, nil))
		delete(f.open, p)
		f.answer(string(t.Payload()))
	}
}

func (f *flow) answer(name string) {
	if f.last >= 0 {
		f.gap = max(f.gap, f.w.now-f.last)
		f.gaps = netlab.AddGap(f.gaps, f.last, f.w.now, f.every)
	}
	f.last = f.w.now
	f.answers++
	f.served[strings.TrimSpace(name)]++
	f.w.changed = f.w.changed || f.answers == 1 || f.once
}

// longest is the longest time without an answer since mark, up to now.
func (f *flow) longest() time.Duration {
	if f.last < 0 {
		return f.gap
	}
	return max(f.gap, f.w.now-f.last)
}

func (f *flow) mark() {
	f.gap = 0
	if f.last >= 0 {
		f.last = max(f.last, f.w.now)
	}
}

// report is the flow for the record.
func (f *flow) report() report.Flow {
	kind := "udp"
	if f.tcp {
		kind = "tcp"
	}
	gaps := f.gaps
	if f.last >= 0 && !f.stopped {
		gaps = netlab.AddGap(gaps, f.last, f.w.now, f.every)
	}
	return report.Flow{
		Name: f.name, Host: f.from.name, Text: kind + " " + f.to.String(), From: f.began, To: f.w.now,
		Answered: f.answers, Failed: f.failures, Gaps: gaps,
	}
}
