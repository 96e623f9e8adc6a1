package sim

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/cmd/internal/reading"
)

// target is what packets of a service have in common; port 0 is every port.
type target struct {
	protocol uint8
	to       netip.AddrPort
}

// serve takes in which services the configuration has.
func (d *director) serve() {
	d.services, d.marks = map[target]bool{}, map[uint32]bool{}
	for _, vs := range d.cfg.Serving() {
		for _, e := range vs.Endpoints() {
			if e.Mark != 0 {
				d.marks[e.Mark] = true
			} else {
				d.services[target{uint8(vs.Protocol), e.Addr}] = true
			}
		}
	}
}

// reload gives the node another file, as the daemon does at SIGHUP. refused is what the
// scenario expects.
func (d *director) reload(text []byte, refused bool) error {
	if !d.alive || d.frozen {
		return fmt.Errorf("%s does not run", d.h.name)
	}
	switch err := d.reconfigure(text); {
	case err == nil && refused:
		return errors.New("it was taken")
	case err == nil:
		return nil
	case refused:
		d.say(fmt.Sprintf("not reloaded, nothing has changed: %v", err))
		return nil
	default:
		return err
	}
}

func (d *director) reconfigure(text []byte) error {
	w := d.h.w
	cfg, messages := config.Parse(d.h.name+".conf", text, config.Options{ConfigID: d.h.name})
	if err := cfg.Unfit(messages, d.cfg, d.messages); err != nil {
		return err
	}
	changes := config.Diff(d.cfg, cfg)
	d.step(node.Clock{Offset: epoch}) // the new configuration may ask for it
	actions, err := d.n.Reload(w.now, cfg, nil, nil)
	if err != nil {
		return err
	}
	d.cfg, d.messages = cfg, messages
	d.loaded++
	d.serve()
	routers := reading.Routers(cfg, d.h.machine)
	w.judge.Reloaded(w.now, d.h.name, routers)
	if w.record != nil {
		reader, err := reading.Of(cfg, d.h.machine)
		if err != nil {
			return err
		}
		w.record.Instances(d.h.name, routers, reader)
	}
	for _, c := range changes {
		d.say(c.String())
	}
	d.say("Reload complete")
	d.stack()
	d.carry(actions)
	d.unstack(d.n.VMACs())
	for _, p := range d.n.Peers() {
		if nic, hop := d.h.route(p.Addr); hop != p.Addr {
			d.step(node.Routed{Peer: p, Via: hop, Out: d.n.Port(nic.iface)})
		}
	}
	d.track()
	d.schedule()
	return nil
}

// say puts a line into the log of the node.
func (d *director) say(text string) {
	d.log = append(d.log, text)
	d.h.w.say(d.h, "%s", text)
	d.h.w.changed = true
}
