package reading

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

// Reader knows the instances of one director.
type Reader struct {
	cfg   *config.Config
	links []node.Link
	node  *node.Node // asked, never stepped
}

// New makes a reader for a configuration on a host with these links. The error names
// the position of a line that cannot work there.
func New(cfg *config.Config, links []node.Link) (*Reader, error) {
	n, err := node.New(cfg, links, 1)
	if err != nil {
		return nil, err
	}
	return &Reader{cfg, links, n}, nil
}

// States tells where an instance stands: its state, such as MASTER, and its effective
// priority, 0 for the configured one. An empty state is one that nobody knows.
type States = func(instance string) (state string, priority uint8)

// Verdict is what the instances make of a frame that arrives on the interface: one line,
// "" where they have nothing to say. A message that is refused is "ignored: " and why.
func (r *Reader) Verdict(iface string, frame []byte, states States) string {
	port := slices.IndexFunc(r.links, func(l node.Link) bool { return l.Name == iface })
	eth, err := proto.ParseEthernet(frame)
	if port < 0 || err != nil {
		return ""
	}
	if _, ok := netlab.ParseResolution(eth); ok {
		return r.announcement(eth, states)
	}
	return r.message(port, eth, states)
}

// announcement tells a gratuitous ARP or an unsolicited neighbour advertisement.
func (r *Reader) announcement(eth proto.Ethernet, states States) string {
	a, _ := netlab.ParseResolution(eth)
	if !a.Gratuitous {
		return ""
	}
	line := fmt.Sprintf("announces %s at %s", a.Addr, a.MAC)
	for _, in := range r.cfg.Instances {
		virtual := func(v config.Address) bool { return v.Prefix.Addr() == a.Addr }
		if in.Disabled != "" || !slices.ContainsFunc(slices.Concat(in.Addresses, in.Excluded), virtual) {
			continue
		}
		line += ", a virtual address of " + in.Name
		if state, _ := states(in.Name); state == "MASTER" {
			line += ", which is MASTER here"
		}
	}
	return line
}

// message tells what becomes of an IP packet.
func (r *Reader) message(port int, eth proto.Ethernet, states States) string {
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil || eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 {
		return ""
	}
	switch msg, ok := proto.VRRPIn(ip); {
	case !ok:
		return ""
	case len(msg) < 2:
		return fmt.Sprintf("ignored: bad length (%d bytes)", len(ip.Payload()))
	case !r.reaches(port, eth.Dst()):
		return "ignored: to the MAC of another host"
	}
	var lines []string
	for _, h := range r.node.Hear(port, eth) {
		if text := refusal(h); text != "" {
			lines = append(lines, "ignored: "+text)
			continue
		}
		state, priority := states(h.Instance.Name)
		if priority == 0 {
			priority = h.Instance.Priority
		}
		line := hearing{h, priority}.in(state)
		if odd := h.Remarks &^ fsm.EqualPriority; odd != 0 { // that is in the line
			line += " (" + odd.String() + ")"
		}
		lines = append(lines, line)
	}
	if lines == nil {
		return r.unheard(port, ip)
	}
	return strings.Join(lines, "; ")
}

// reaches tells whether the port's card takes frames to this MAC. One that nobody gave
// has no say.
func (r *Reader) reaches(port int, dst proto.MAC) bool {
	own := r.links[port].MAC
	return dst.IsGroup() || dst == own || dst.IsVirtual() || own == proto.MAC{}
}

// unheard is why a message is for no instance.
func (r *Reader) unheard(port int, ip proto.IP) string {
	b, _ := proto.VRRPIn(ip)
	msg := proto.VRRP(b)
	for _, l := range r.links {
		for _, p := range l.Prefixes {
			if p.Addr() == ip.Src() {
				return fmt.Sprintf("ignored: own address %s", ip.Src())
			}
		}
	}
	elsewhere := ""
	for _, in := range r.cfg.Instances {
		switch {
		case in.Disabled != "" || in.VRID != msg.VRID() || (in.Family() == 6) != ip.Is6():
		case in.Interface != r.links[port].Name:
			elsewhere = " on " + r.links[port].Name
		case len(in.UnicastPeers) > 0:
			return fmt.Sprintf("ignored: wrong destination (%s, %s has unicast peers)", ip.Dst(), in.Name)
		default:
			return fmt.Sprintf("ignored: wrong destination (%s, %s listens to the group)", ip.Dst(), in.Name)
		}
	}
	return fmt.Sprintf("no instance has VRID %d%s", msg.VRID(), elsewhere)
}
