package node

import (
	"time"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// builtRoom is what stands before the packet in a frame that was made anew.
const builtRoom = proto.VirtioLen + proto.EthernetLen

// rebuild makes the frames that leave instead of one, and addresses them to the server, or
// for an answer to where the client's frames come from. They wait in its place, too.
func (p *Plane) rebuild(now time.Duration, d forward.Decision, in forward.Ingress, eth proto.Ethernet, out *Batch) Verdict {
	n := p.n
	made := &out.made
	made.Room, made.Spans = builtRoom, made.Spans[:0]
	before := len(made.Buf)
	h := hop(-1)
	if d.Verdict == forward.Forward {
		if int(d.Server) >= len(n.hops) || n.hops[d.Server] < 0 {
			return Verdict{}
		}
		h = n.hops[d.Server]
	}
	if !p.fwd.Rebuild(d, in, eth.Payload(), made) {
		made.Buf = made.Buf[:before]
		return Verdict{}
	}
	held := false
	for _, s := range made.Spans {
		buf := made.Buf[s.From-builtRoom : s.To : s.To]
		frame := proto.Ethernet(buf[proto.VirtioLen:])
		frame.SetType(etherType(buf[builtRoom:]))
		switch {
		case h < 0:
			frame.SetDst(d.Hop.MAC)
			frame.SetSrc(n.ports[d.Hop.Port].link.MAC)
			out.Built = append(out.Built, Built{Port: d.Hop.Port, Buf: buf})
		case n.neighbours[h].resolved:
			nb := &n.neighbours[h]
			n.address(frame, nb)
			out.Built = append(out.Built, Built{Port: int32(nb.port), Buf: buf})
		default:
			held = p.wait(now, d.Server, buf[:proto.VirtioLen], frame, out) || held
		}
	}
	if h >= 0 && !n.neighbours[h].resolved {
		if held {
			return Verdict{Fate: Held}
		}
		return Verdict{}
	}
	return Verdict{Fate: Rebuilt}
}

func etherType(ip []byte) uint16 {
	if ip[0]>>4 == 6 {
		return proto.EtherTypeIPv6
	}
	return proto.EtherTypeIPv4
}

// tooBig tells the sender of a frame how long its packets may be.
func (p *Plane) tooBig(port int, eth proto.Ethernet, mtu int, out *Batch) {
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil {
		return
	}
	f := proto.AppendEthernet(make([]byte, 0, 1294), eth.Src(), eth.Dst(), eth.Type())
	whole := f
	if ip.Is6() {
		whole = proto.AppendPacketTooBig(f, proto.IPv6(ip), mtu)
	} else {
		whole = proto.AppendFragmentationNeeded(f, proto.IPv4(ip), mtu)
	}
	if len(whole) > len(f) {
		out.Actions = append(out.Actions, Send{Port: port, Frame: whole})
	}
}

// tunnelError tells the client what became of its packet in a tunnel.
func (p *Plane) tunnelError(d forward.Decision, eth proto.Ethernet, out *Batch) {
	port := int(d.Hop.Port)
	f := proto.AppendEthernet(make([]byte, 0, 1294), d.Hop.MAC, p.n.ports[port].link.MAC, 0)
	whole := forward.AppendTunnelError(f, d, eth.Payload())
	if len(whole) > len(f) {
		proto.Ethernet(whole).SetType(etherType(whole[proto.EthernetLen:]))
		out.Actions = append(out.Actions, Send{Port: port, Frame: whole})
	}
}
