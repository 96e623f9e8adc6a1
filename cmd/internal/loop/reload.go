package loop

import (
	"context"
	"crypto/tls"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// generation is the time of one configuration. What was started in it ends with it, and
// its results are of no use afterwards: their numbers are other objects'.
type generation struct {
	ctx    context.Context
	cancel context.CancelFunc
	loop   *Loop
	probes map[int]func() probe // of its checks, when they have run

	certificate func() *tls.Certificate // of SSL_GET
}

func (g generation) post(ev node.Event) { g.loop.post(posted{ev: ev, gen: &g}) }

// begin ends the present generation and begins another.
func (l *Loop) begin() {
	if l.running.cancel != nil {
		l.running.cancel()
	}
	ctx, cancel := context.WithCancel(l.ctx)
	l.running = generation{ctx: ctx, cancel: cancel, loop: l, probes: map[int]func() probe{}, certificate: l.certificate(l.Node.SSL())}
}

// Reload gives the node another configuration ([node.Node.Reload]); call it by way of
// [Loop.Do]. reopen is called when the node has taken it, and makes l.Ports what it uses
// now, and that of the workers, before anything is sent. Checks and scripts that run are ended.
func (l *Loop) Reload(cfg *config.Config, links []node.Link, reopen func()) error {
	l.flush()
	l.now = l.Clock()
	l.step(node.Clock{Offset: l.offset()}) // the new configuration may ask for it
	resume := l.pause()                    // verdicts may speak of ports that are not open yet
	actions, err := l.Node.Reload(l.now, cfg, links, nil)
	if err != nil {
		resume()
		return err
	}
	l.begin()
	l.halt()
	reopen()
	resume()
	for _, a := range actions {
		l.do(a)
	}
	l.flush()
	l.track(false)
	return nil
}
