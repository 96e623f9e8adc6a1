package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// build carries out the statements that declare.
func (l *lab) build(st Statement) error {
	w := st.Words
	switch w[0] {
	case "lan":
		if IsBridge(w) {
			if err := l.addBridge(w[1]); err != nil {
				return err
			}
		}
		return l.fault(w)
	case "host", "router", "realserver", "node":
		m, _, err := ParseMachine(w)
		if err != nil {
			return err
		}
		return l.declare(m)
	}
	return nil
}

func (l *lab) declare(m Machine) error {
	h, err := l.addHost(m)
	if err != nil {
		return err
	}
	if !slices.Contains(Programs, m.Kind) {
		l.record.Machine(m, nil, nil)
	}
	if m.Forwarding {
		if err := h.forward(l); err != nil {
			return err
		}
	}
	switch m.Kind {
	case "host", "router":
		return nil
	case "realserver":
		return h.quietARP(l, m.VIP)
	}
	n := &node{host: h, kind: m.Kind, own: m, dir: filepath.Join(l.dir, m.Name), files: l.filesOf(m.Name)}
	l.scriptFiles(n)
	h.node = n
	if err := n.read(l, m); err != nil {
		return err
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.dir, "node.conf"), l.scenario.Files[m.Name+".conf"], 0o644)
}

// read tells judge and record what the node's configuration says.
func (n *node) read(l *lab, m Machine) error {
	if n.kind == "frr" {
		return n.readFRR(l, m)
	}
	var reader Reader
	if l.options.Read != nil {
		var err error
		if n.routers, reader, err = l.options.Read(m, l.scenario.Files[m.Name+".conf"]); err != nil {
			return err
		}
		for i := range n.routers {
			n.routers[i].Foreign = n.kind != "ringkeep"
		}
	}
	l.record.Machine(m, n.routers, reader)
	return l.live.follow(n.host)
}

// execute carries out the statements that do something.
func (l *lab) execute(st Statement) error {
	w := st.Words
	switch w[0] {
	case "lan", "host", "router", "realserver", "node", "needs", "repeat", "sweep":
		return nil
	case "say":
		l.say("", "%s", strings.Join(w[1:], " "))
		return nil
	case "wait", "stays":
		return l.wait(w)
	case "expect":
		return l.expect(w)
	case "mark":
		l.marked = l.moment(false)
		l.wire.with(func() {
			for _, e := range l.observer.elections {
				e.silence, e.earlier = -1, -1
			}
		})
		for _, f := range l.flows {
			f.mark()
		}
		return nil
	}
	l.say("", "> %s", st)
	switch w[0] {
	case "up":
		return l.up(w[1:])
	case "stop", "kill", "crash":
		return l.down(l.hosts[w[1]], w[0])
	case "link":
		return l.carrier(l.hosts[w[1]], w[2] == "up", w[3:]...)
	case "drop", "duplicate", "delay", "reorder", "corrupt", "partition", "heal":
		return l.fault(w)
	case "freeze":
		l.live.frozen(w[1], true)
		return l.hosts[w[1]].node.signal(syscall.SIGSTOP)
	case "thaw":
		if l.hosts[w[1]].node.starving != nil {
			l.hosts[w[1]].node.feed()
			return nil
		}
		l.live.frozen(w[1], false)
		return l.hosts[w[1]].node.signal(syscall.SIGCONT)
	case "iface":
		return l.iface(l.hosts[w[1]], w[2], w[3] == "create")
	case "starve":
		return l.hosts[w[1]].node.starve(w[2])
	case "script":
		return l.hosts[w[1]].node.setScript(w[2], w[3])
	case "write":
		return l.hosts[w[1]].node.write(w[2], []byte(w[3]+"\n"))
	case "reload":
		return l.reload(l.hosts[w[1]], w[2], len(w) > 3)
	case "ringkeep":
		return l.operate(l.hosts[w[1]], w[2:])
	case "advert":
		return l.craft(w)
	case "frame":
		frame, err := RawFrame(w)
		if err == nil {
			l.wire.inject(l.hosts[w[1]].nics[0], frame)
		}
		return err
	case "play":
		return l.playback(w)
	case "run":
		return l.pass(w[1], 0)
	case "at":
		return l.pass(w[1], l.live.now())
	case "tolerate":
		l.live.tolerate(w[1])
		return nil
	case "serve":
		return l.hosts[w[1]].serve(w[2], w[3])
	case "unserve":
		return l.hosts[w[1]].unserve(w[2], w[3])
	case "decapsulate":
		port := 0
		if len(w) > 3 {
			port, _ = strconv.Atoi(w[3]) // looked at before
		}
		return l.hosts[w[1]].decapsulate(l, netip.MustParseAddr(w[2]), port)
	case "mtu":
		return l.hosts[w[1]].setMTU(l, w[2], w[3])
	case "addr":
		p, err := netip.ParsePrefix(w[3])
		if err != nil {
			return err
		}
		return l.hosts[w[1]].addr(l, w[2] == "add", p, w[4])
	case "route":
		return l.hosts[w[1]].unroute(l, strings.Join(w[3:], " "))
	case "ask":
		return l.ask(w)
	}
	return l.traffic(w)
}

func (l *lab) up(names []string) error {
	for i, name := range names {
		if i > 0 {
			l.hosts[names[i-1]].node.begin(l.ctx)
		}
		h := l.hosts[name]
		if h.node.crashed {
			h.node.crashed = false
			if err := errors.Join(h.unstack(l), h.reboot(l), l.carrier(h, true)); err != nil {
				return err
			}
		}
		if err := h.node.start(l); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) down(h *host, how string) error {
	if how == "stop" {
		h.node.stopping.Store(true)
		return h.node.end(syscall.SIGTERM)
	}
	if how == "crash" { // the link first: nothing may leave a host without power
		h.node.crashed = true
		if err := l.carrier(h, false); err != nil {
			return err
		}
		l.live.up(h.name, false) // whenever the process is gone
	}
	return h.node.end(syscall.SIGKILL)
}

// fault changes what befalls frames.
func (l *lab) fault(w []string) (err error) {
	l.wire.with(func() {
		switch w[0] {
		case "heal":
			l.wire.network.Heal()
			err = l.cutPorts()
		case "partition":
			l.wire.network.Partition(w)
			err = l.cutPorts()
		case "lan":
			err = l.wire.network.SetLan(w)
		default:
			err = l.wire.network.Add(w)
		}
		l.live.changed(l.wire.network.Clone())
	})
	return err
}

// craft puts a made-up advertisement on the wire.
func (l *lab) craft(w []string) error {
	c, err := ParseCraft(w)
	if err != nil {
		return err
	}
	n := l.hosts[w[1]].nics[0]
	l.wire.inject(n, c.Frame(proto.MAC(n.mac), n.own[0].Addr()))
	return nil
}

// playback puts the frames of a capture on the wire, in their pace, beside what follows.
func (l *lab) playback(w []string) error {
	list, err := l.scenario.Recording(w)
	if err != nil {
		return err
	}
	start, from := time.Now(), l.hosts[w[1]].nics[0]
	go func() {
		for _, r := range list {
			if pause(l.ctx, time.Until(start.Add(r.After))); l.ctx.Err() != nil {
				return
			}
			l.wire.inject(from, r.Frame)
		}
	}()
	return nil
}

// pass lets a time pass, less what has passed of it.
func (l *lab) pass(time string, passed time.Duration) error {
	d, err := parseTime(time)
	if err != nil {
		return err
	}
	if passed > d {
		return fmt.Errorf("it is %v already", passed.Round(1e6))
	}
	pause(l.ctx, d-passed)
	return l.violated()
}

func parseTime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s: must be a time such as 4s", s)
	}
	return d, nil
}

// Nobody stands in ask for an answer that must not come.
const Nobody = "nobody"

// ask puts one question and looks who answers.
func (l *lab) ask(w []string) error {
	var name string
	var err error
	done := make(chan struct{})
	l.hosts[w[1]].spawn(func() {
		defer close(done)
		switch w[2] {
		case "http":
			name, err = askHTTP(l.ctx, w[3])
		case "udp":
			name, err = askUDP(w[3])
		default:
			name, err = ask(l.ctx, w[3], "NAME", 0)
		}
	})
	<-done
	if err != nil && w[4] == Nobody {
		return nil
	}
	if err == nil && !slices.Contains(strings.Split(w[4], "|"), name) {
		err = fmt.Errorf("%s answered", name)
	}
	return err
}

// traffic starts and ends flows.
func (l *lab) traffic(w []string) error {
	if w[0] == "stopflow" {
		f := l.flows[w[1]]
		if f == nil {
			return fmt.Errorf("no flow %s", w[1])
		}
		f.cancel()
		<-f.done
		l.say("flow "+f.name, "%s", f.summary())
		return nil
	}
	if l.flows[w[1]] != nil {
		return fmt.Errorf("flow %s is there already", w[1])
	}
	if w[0] == "probe" {
		f, ctx := l.newFlow(w[1], l.hosts[w[2]], w[4])
		if w[3] == "icmp" {
			return f.ping(ctx, l)
		}
		go f.probe(ctx, w[3])
		return nil
	}
	n, err := strconv.ParseInt(w[5], 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("%s: must be a number of connections a second, or of bytes", w[5])
	}
	f, ctx := l.newFlow(w[1], l.hosts[w[2]], w[4])
	switch w[3] {
	case "connect":
		go f.connect(ctx, int(n), l.port)
	case "download":
		go f.transfer(ctx, n, fetch)
	case "upload":
		go f.transfer(ctx, n, store)
	case "syns":
		go f.flood(ctx, int(n))
	case "datagrams":
		go f.datagrams(ctx, int(n))
	default:
		return fmt.Errorf("%s: must be connect, download, upload, datagrams or syns", w[3])
	}
	return nil
}
