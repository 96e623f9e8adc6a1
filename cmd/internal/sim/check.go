package sim

import (
	"path/filepath"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// runCheck looks whether the server answers, after the time that this takes.
func (d *director) runCheck(i int) {
	w := d.h.w
	c := d.n.Check(i)
	after, code := c.ConnectTimeout, 0
	if o := d.h.reach(c.Connect.Addr()); c.Kind == "MISC_CHECK" {
		after, code = scriptTime, d.misc(c)
	} else if o != nil && o.reach(d.h.sourceFor(c.Connect.Addr())) == d.h {
		if after = checkTime; o.answers(c) {
			code = 1
		}
	}
	w.at(after, event{what: checked, host: d.h, n: i<<1 | code, gen: d.loaded})
}

// answers tells whether a host answers a check: of the servers on it only their ports are
// known.
func (h *host) answers(c *config.Check) bool {
	switch c.Kind {
	case "PING_CHECK":
		return true
	case "UDP_CHECK", "DNS_CHECK":
		return h.servers[service{proto.ProtocolUDP, c.Connect.Port()}]
	}
	return h.servers[service{proto.ProtocolTCP, c.Connect.Port()}]
}

// misc is 1 for a script that is good: those of the scenario end as it says.
func (d *director) misc(c *config.Check) int {
	switch how := d.script[filepath.Base(c.MiscPath.Args[0])]; how {
	case "fail", "hang":
		return 0
	}
	return 1
}

func (h *host) checkDone(e *event) {
	if d := h.dir; d.alive && d.loaded == e.gen && !d.frozen {
		d.step(node.CheckDone{Check: e.n >> 1, OK: e.n&1 == 1, Reason: "connection refused or timed out"})
	}
}
