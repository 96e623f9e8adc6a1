package loop

import (
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// Datagrams is what the loop needs of the sockets of BFD: a *kernel.BFD.
type Datagrams interface {
	Receive(most int, each func(kernel.Datagram)) (n int)
	Send(p kernel.BFDPath, payload []byte, last bool) error
}

// mostDatagrams bounds the batches that are taken at once: as many as the sockets hold.
const mostDatagrams = 16

// datagrams gives the node all that has come to its sessions of BFD: a packet that has arrived
// counts before the detection time that it ends. It tells whether there was any.
func (l *Loop) datagrams() (heard bool) {
	if l.BFD == nil {
		return false
	}
	for range mostDatagrams {
		n := l.BFD.Receive(batchSize, l.hear)
		heard = heard || n > 0
		if n < batchSize {
			break
		}
	}
	return heard
}

func (l *Loop) datagram(d kernel.Datagram) {
	l.now = l.Clock() // a reload before it may have taken long
	l.step(node.BFDHeard{From: d.From, To: d.To, TTL: d.TTL, Multihop: d.Multihop, Payload: d.Payload})
}

// sendBFD sends a control packet. What hinders it is told when it begins to, and counts as a
// packet that was lost.
func (l *Loop) sendBFD(a node.SendBFD) {
	path := kernel.BFDPath{From: a.From, To: a.To, TTL: a.TTL, Multihop: a.Multihop}
	err := l.BFD.Send(path, a.Payload, a.Last)
	if err != nil && l.unsent[path] != err.Error() {
		l.Log.Warn("BFD packet not sent", "dst", a.To, "err", err)
	}
	if l.unsent[path] = ""; err != nil {
		l.unsent[path] = err.Error()
	}
}

// reportBFD logs how a session turned; the cause is what keepalived leaves out.
func (l *Loop) reportBFD(a node.BFDChanged) {
	attrs := []any{"from", a.From.String(), "to", a.To.String(), "neighbour", a.Neighbor, "reason", a.Cause.String()}
	if a.To == proto.BFDDown {
		attrs = append(attrs, "local_diagnostic", a.Diag.String(), "remote_diagnostic", a.RemoteDiag.String())
	}
	l.Log.Info("("+a.Session+") Entering "+a.To.String()+" state", attrs...)
}
