package netlab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/netlab/report"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// wire is the lab's network: a learning switch for every lan, in one loop over rings.
// Frames pass in place with their virtio headers, so that super-frames and partial
// checksums reach the other side as they are. It sees every frame once, with one clock.
type wire struct {
	poller *ring.Poller
	done   chan struct{}

	mu         sync.Mutex // held by the loop for a round, and by whoever changes something
	ports      []*nic
	table      map[learned]*nic
	network    Network
	random     *rand.Rand
	madeUp     bool       // the frame that is carried: nobody sent it
	packets    int        // in the capture
	carried    []carried  // and not told yet
	deliveries []delivery // of these
	watchers   []func(*nic, ring.Frame)
	capture    *capture
	stopped    bool
	started    time.Time
	listens    bool // it carries nothing: every lan is a bridge of the kernel
}

// nic is an interface of a host, and the wire's end of its link.
type nic struct {
	host       *host
	lan, iface string
	mac        net.HardwareAddr
	own        []netip.Prefix
	device     string // the wire's end
	sock       *ring.Socket
	index      int
	cut        bool // its port of the kernel's bridge is closed
}

// learned is a MAC on a lan.
type learned struct {
	lan string
	mac proto.MAC
}

func newWire(seed uint64) (*wire, error) {
	p, err := ring.NewPoller()
	if err != nil {
		return nil, err
	}
	return &wire{poller: p, done: make(chan struct{}), table: map[learned]*nic{}, random: rand.New(rand.NewPCG(seed, 0)), started: time.Now()}, nil
}

// Sizes of the wire's rings, and what of a frame the capture keeps: the headers of
// bulk data, the whole of everything that is short.
const (
	wireSlots    = 1024
	wireSlotSize = 2048
	captureBytes = 256
)

// attach opens the wire's end of a link; it must run before start.
func (w *wire) attach(p *nic) error {
	again := slices.Contains(w.ports, p)
	if !again {
		p.index = len(w.ports)
	}
	var sock *ring.Socket
	var err error
	p.host.lab.wireSpace.do(func() {
		sock, err = ring.Open(ring.Config{Interface: p.device, Slots: wireSlots, SlotSize: wireSlotSize, Promiscuous: true, SuperFrames: true})
	})
	if err != nil {
		return err
	}
	w.with(func() {
		p.sock = sock
		if !again {
			w.ports = append(w.ports, p)
		}
	})
	return w.poller.Add(sock.FD(), p.index)
}

// start opens the capture and lets frames pass.
func (w *wire) start(path string) error {
	var err error
	if w.capture, err = newCapture(path, w.ports); err != nil {
		return err
	}
	w.listens = !slices.ContainsFunc(w.ports, func(p *nic) bool { return !w.network.lans[p.lan].Bridge })
	go w.loop()
	return nil
}

func (w *wire) loop() {
	defer close(w.done)
	var ready [64]int
	var batch [64]ring.Frame
	for {
		if _, err := w.poller.Wait(-1, ready[:]); err != nil {
			return
		}
		for busy := true; busy; {
			busy = false
			w.mu.Lock()
			if w.stopped {
				w.mu.Unlock()
				return
			}
			for _, p := range w.ports {
				if p.sock == nil {
					continue
				}
				n, _ := p.sock.Receive(batch[:]) // an interface that is down has no frames
				if n == 0 {
					continue
				}
				busy = true
				for _, f := range batch[:n] {
					w.carry(p, f)
				}
				w.flush()
				w.tell()
				p.sock.Release()
			}
			w.mu.Unlock()
		}
		if w.listens { // nobody waits for it: it must not take the processors' time at every frame
			time.Sleep(listenEvery)
		}
	}
}

// listenEvery is how often a wire that carries nothing looks what has passed; its rings
// hold what comes in between.
const listenEvery = 2 * time.Millisecond

// delivery is what becomes of a frame at one interface.
type delivery struct {
	to   *nic
	fate Fate
	data []byte // as it arrives

	refused bool // by the receiver, as far as is known
}

// carried is a frame that has been queued, and what becomes of it everywhere.
type carried struct {
	from  *nic
	frame ring.Frame
	eth   proto.Ethernet
	to    []delivery
}

// carry queues a frame at the ports it goes to.
func (w *wire) carry(from *nic, f ring.Frame) {
	eth, err := proto.ParseEthernet(f.Data())
	if err != nil {
		return
	}
	w.table[learned{from.lan, eth.Src()}] = from
	first := len(w.deliveries)
	if to, ok := w.table[learned{from.lan, eth.Dst()}]; ok && to.sock != nil && !eth.Dst().IsGroup() {
		w.deliver(from, to, f, eth)
	} else {
		for _, to := range w.ports {
			if to != from && to.lan == from.lan && to.sock != nil {
				w.deliver(from, to, f, eth)
			}
		}
	}
	w.carried = append(w.carried, carried{from, f, eth, w.deliveries[first:len(w.deliveries):len(w.deliveries)]})
}

// tell captures what was carried, and tells it to who watches, when it is on its way:
// nobody has to wait for that.
func (w *wire) tell() {
	for _, c := range w.carried {
		w.packets++
		w.capture.add(c.from.index, c.frame, w.comment(c))
		for _, watch := range w.watchers {
			watch(c.from, c.frame)
		}
	}
	clear(w.carried)
	clear(w.deliveries)
	w.carried, w.deliveries = w.carried[:0], w.deliveries[:0]
}

// comment is what the capture says of a frame; control packets are told to the record
// and the judge.
func (w *wire) comment(c carried) string {
	l := c.from.host.lab
	control := IsControl(c.eth)
	var to []report.Delivery
	for i, d := range c.to {
		r := report.Delivery{Host: d.to.host.name, Lost: d.fate.Lost}
		if control && r.Lost == "" {
			r.Verdict = l.record.Verdict(r.Host, d.to.iface, d.data)
			c.to[i].refused = strings.HasPrefix(r.Verdict, "ignored: ")
		}
		if control || r.Lost != "" {
			to = append(to, r)
		}
	}
	if !control {
		return Comment(report.Packet{To: to})
	}
	l.live.frame(c.from, c.frame, c.eth, c.to)
	at := time.Unix(0, c.frame.Time).Sub(w.started.Round(0))
	return Comment(l.record.Packet(at, w.packets, c.from.host.name, c.eth, to))
}

// deliver queues a frame at one port, unless something drops it.
func (w *wire) deliver(from, to *nic, f ring.Frame, eth proto.Ethernet) {
	faulty := w.network.Faulty()
	fate := w.network.Fate(time.Since(w.started), from.lan, from.host.name, to.host.name, eth, w.random)
	if faulty && !w.network.Faulty() { // the last frame that it was for
		from.host.lab.live.changed(w.network.Clone())
	}
	buf := f.Buf
	if fate.Corrupt || fate.Delay > 0 {
		buf = slices.Clone(buf)
	}
	if fate.Corrupt {
		Corrupt(buf[ring.VNetLen:], w.random)
	}
	w.deliveries = append(w.deliveries, delivery{to: to, fate: fate, data: buf[ring.VNetLen:]})
	switch {
	case fate.Lost != "":
	case w.network.lans[from.lan].Bridge && !w.madeUp: // it is there already
	case fate.Delay > 0:
		time.AfterFunc(fate.Delay, func() { w.late(to, buf) })
	default:
		to.sock.Queue(buf)
		if fate.Twice {
			to.sock.Queue(buf)
		}
	}
}

// flush sends what was queued; what a dead link does not take is lost, as on a real one.
func (w *wire) flush() {
	for _, p := range w.ports {
		if p.sock != nil {
			p.sock.Flush()
		}
	}
}

// late puts a frame that was held up on its way.
func (w *wire) late(to *nic, buf []byte) {
	w.with(func() {
		if !w.stopped && to.sock != nil {
			to.sock.Queue(buf)
			to.sock.Flush()
		}
	})
}

// inject puts a frame on the wire that no host sent.
func (w *wire) inject(from *nic, frame []byte) {
	w.with(func() {
		if w.stopped || from.sock == nil {
			return
		}
		w.madeUp = true
		w.carry(from, ring.Frame{Buf: append(make([]byte, ring.VNetLen), frame...), Time: time.Now().UnixNano()})
		w.flush()
		w.tell()
		w.madeUp = false
	})
}

// with runs f while the wire stands still.
func (w *wire) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// stop ends the loop and closes the capture.
func (w *wire) stop() error {
	w.with(func() { w.stopped = true })
	var err error
	if w.capture != nil {
		w.poller.Wake()
		<-w.done
		err = w.capture.close()
	}
	for _, p := range w.ports {
		if p.sock != nil {
			p.sock.Close()
		}
	}
	w.poller.Close()
	return err
}

// capture is the file of all frames of the lab.
type capture struct {
	file   *os.File
	writer *pcap.Writer
	buf    []byte
}

func newCapture(path string, ports []*nic) (*capture, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	var list []pcap.Interface
	for _, p := range ports {
		list = append(list, pcap.Interface{Name: p.host.name + ":" + p.iface, Description: "lan " + p.lan})
	}
	w, err := pcap.NewWriter(file, list)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &capture{file: file, writer: w}, nil
}

// add writes one frame, its checksum completed in a copy.
func (c *capture) add(port int, f ring.Frame, comment string) {
	c.buf = append(c.buf[:0], f.Buf...)
	g := ring.Frame{Buf: c.buf}
	g.CompleteChecksum()
	data := g.Data()
	if err := c.writer.Write(port, time.Unix(0, f.Time), data[:min(len(data), captureBytes)], len(data), comment); err != nil {
		fmt.Fprintln(os.Stderr, "capture:", err)
	}
}

func (c *capture) close() error {
	if err := c.writer.Flush(); err != nil {
		c.file.Close()
		return err
	}
	return c.file.Close()
}
