package reading

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/netlab"
)

// Routers is what the lab's judge needs to know of the instances of one node.
func Routers(cfg *config.Config, m netlab.Machine) []netlab.Router {
	var list []netlab.Router
	for _, in := range cfg.Instances {
		i := slices.IndexFunc(m.NICs, func(n netlab.NIC) bool { return n.Iface == in.Interface })
		if in.Disabled == "" && i >= 0 {
			list = append(list, router(cfg, in, m.Name, m.NICs[i]))
		}
	}
	return list
}

func router(cfg *config.Config, in *config.Instance, node string, nic netlab.NIC) netlab.Router {
	r := netlab.Router{
		Node: node, Instance: in.Name, LAN: nic.LAN, Interface: nic.Iface, Unicast: len(in.UnicastPeers) > 0, VRID: in.VRID, Priority: in.Priority, Interval: in.AdvertInterval, NoPreempt: in.NoPreempt,
		PreemptDelay: in.PreemptDelay, StartupDelay: cfg.Global.StartupDelay, GARPRepeat: in.GARPMasterRepeat, GARPDelay: in.GARPMasterDelay,
		Slowest: time.Duration(in.DownTimerAdverts+1) * in.AdvertInterval,
		Tracks:  tracks(in.TrackInterfaces, in.TrackScripts, in.TrackFiles, in.TrackProcesses, in.TrackBFDs) || in.TrackSrcIP || len(in.Needs()) > 0,
	}
	for _, g := range cfg.SyncGroups {
		if slices.Contains(g.Members, in.Name) {
			r.Group = g.Name
			r.Tracks = r.Tracks || tracks(g.TrackInterfaces, g.TrackScripts, g.TrackFiles, g.TrackProcesses, g.TrackBFDs)
		}
	}
	if gap := announcementGap(cfg); gap > 0 { // what waits is announced once for all rounds
		r.GARPRepeat, r.GARPWait = min(1, r.GARPRepeat), gap*time.Duration(addresses(cfg))
	}
	r.Addr = source(in, nic)
	r.Skew = skewUnit(in, in.AdvertInterval)
	silence := time.Duration(in.DownTimerAdverts) * in.AdvertInterval
	r.Down = silence + skew(in.Priority, r.Skew)
	r.Slowest = max(r.Slowest, silence+r.Skew)
	for _, a := range slices.Concat(in.Addresses, in.Excluded) {
		r.VIPs = append(r.VIPs, a.Prefix.Addr())
	}
	return r
}

// announcementGap is the greatest time that pacing keeps two announcements apart.
func announcementGap(cfg *config.Config) time.Duration {
	gap := max(cfg.Global.GARPInterval, cfg.Global.GNAInterval)
	for _, g := range cfg.GARPGroups {
		gap = max(gap, g.GARPInterval, g.GNAInterval)
	}
	return gap
}

func addresses(cfg *config.Config) (count int) {
	for _, in := range cfg.Instances {
		count += len(in.Addresses) + len(in.Excluded)
	}
	return count
}

func tracks(blocks ...config.Tracks) bool {
	return slices.ContainsFunc(blocks, func(t config.Tracks) bool { return len(t) > 0 })
}

// source is where the advertisements come from: what the file says, or the first address
// of the family, which for IPv6 is link-local (RFC 9568 §5.1.2.1).
func source(in *config.Instance, nic netlab.NIC) netip.Addr {
	six := in.Family() == 6
	for _, a := range []netip.Addr{in.UnicastSource, in.McastSource} {
		if a.IsValid() {
			return a
		}
	}
	for _, p := range nic.Addrs {
		if a := p.Addr(); a.Is6() == six && (!six || a.IsLinkLocalUnicast()) {
			return a
		}
	}
	return netip.Addr{}
}

// skewUnit is what the skew time is a part of: the MASTER's interval in version 3
// (RFC 9568 §6.1), a second in version 2 (RFC 3768 §6.1).
func skewUnit(in *config.Instance, interval time.Duration) time.Duration {
	if in.Version == 3 {
		return interval
	}
	return time.Second
}

func skew(priority uint8, unit time.Duration) time.Duration {
	return time.Duration(256-int(priority)) * unit / 256
}

// Of makes a reader for a machine of the lab.
func Of(cfg *config.Config, m netlab.Machine) (*Reader, error) {
	links := []node.Link{{Name: "lo", Up: true, Loopback: true}}
	for _, n := range m.NICs {
		links = append(links, node.Link{Name: n.Iface, Up: true, Prefixes: n.Addrs})
	}
	return New(cfg, links)
}

// Read is what the lab wants to know of a node's configuration. One that cannot be used
// is not judged: the node says why it does not start.
func Read(m netlab.Machine, conf []byte) ([]netlab.Router, netlab.Reader, error) {
	cfg, messages := config.Parse(m.Name+".conf", conf, config.Options{ConfigID: m.Name})
	if slices.ContainsFunc(messages, func(m config.Message) bool { return m.Level == config.Error }) {
		return nil, nil, nil
	}
	r, err := Of(cfg, m)
	if err != nil {
		return nil, nil, nil
	}
	return Routers(cfg, m), r, nil
}
