package sim

import (
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// sendBFD is a socket of BFD of the host.
func (h *host) sendBFD(a node.SendBFD) {
	from, port := a.From, proto.BFDPort
	if !from.IsValid() {
		from = h.sourceFor(a.To)
	}
	if a.Multihop {
		port = proto.BFDMultihopPort
	}
	h.sendIP(a.To, datagramFrame(a.TTL, from, a.To, proto.BFDSourcePort, port, a.Payload))
}

// heardBFD gives the process a datagram, as long after it came as any other wake-up.
func (d *director) heardBFD(ip proto.IP, u proto.UDP) {
	if !d.alive {
		return
	}
	w := d.h.w
	d.woken = max(d.woken, w.now+wakeDelay+w.jitter(wakeJitter))
	w.at(d.woken-w.now, event{what: datagram, host: d.h, frame: ip, gen: d.gen})
}

// datagramDue is the wake-up. One that stands still has it in the buffer of its socket.
func (h *host) datagramDue(e *event) {
	d := h.dir
	switch {
	case !d.alive || d.gen != e.gen:
	case d.frozen:
		if len(d.datagrams) < rxFrames {
			d.datagrams = append(d.datagrams, e.frame)
		}
	default:
		d.readBFD(e.frame)
	}
}

func (d *director) readBFD(packet []byte) {
	ip := proto.IP(packet)
	u := proto.UDP(ip.Payload())
	d.step(node.BFDHeard{From: ip.Src(), To: ip.Dst(), TTL: ip.TTL(), Multihop: u.DstPort() == proto.BFDMultihopPort, Payload: u.Payload()})
}
