package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/dump"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

// dumper holds the options of dump.
type dumper struct {
	file, iface, kind  string
	vrid               uint8
	hosts, vips, flows []string
	follow             string
	seat               seated
	filter             dump.Filter
}

// seated are the options that say which director a configuration is for.
type seated struct {
	id, node string
	own      []string
}

func (s *seated) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.node, "node", "", "the `host` of the configuration in a capture of the lab")
	f.StringVar(&s.id, "config-id", "", "the `id` of lines that start with @ID (default the node, or the host name up to its first dot)")
	f.StringArrayVar(&s.own, "own", nil, "`address` of the director, where the capture does not show it; may be repeated")
}

// load reads the configuration of the director.
func (s *seated) load(file string, out io.Writer) (*config.Config, error) {
	id := s.id
	if id == "" {
		id = s.node
	}
	cfg, _, err := load(file, config.Options{ConfigID: id}, out)
	return cfg, err
}

// place is where to look for the director in a capture.
func (s *seated) place(iface string) (model.Place, error) {
	own, err := addresses("--own", s.own)
	return model.Place{Node: s.node, Own: own, Interface: iface}, err
}

func dumpCommand() *cobra.Command {
	d := &dumper{}
	cmd := &cobra.Command{
		Use:   "dump -r FILE | -i INTERFACE",
		Short: "Print packets as this program reads them",
		Long: `Print the packets of a capture (pcap or pcapng) or of an interface as this program reads
them: one line a packet, with its number, the time since the first one, and what a receiver
of VRRP holds against it. On an interface that is VRRP and ARP, and with --kind or --flow
TCP and UDP; Ctrl-C ends it and prints the counts. It needs CAP_NET_RAW there.

With --follow a director of that configuration listens beside, and sends nothing: the lines
say what it makes of each packet, and between them what it would do. Its elections begin
with the first packet. Tracking scripts are not run and taken to succeed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&d.file, "read", "r", "", "the capture `file`")
	f.StringVarP(&d.iface, "interface", "i", "", "the `interface`; with -r, the one of the configuration that the capture is of")
	f.StringVar(&d.kind, "kind", "", "packets of one `kind`: vrrp, arp, tcp or udp")
	f.Uint8Var(&d.vrid, "vrid", 0, "advertisements of one `VRID`")
	f.StringArrayVar(&d.vips, "vip", nil, "advertisements and ARP of a virtual `address`; may be repeated")
	f.StringArrayVar(&d.flows, "flow", nil, "TCP and UDP from or to an `address:port`; may be repeated")
	f.StringArrayVar(&d.hosts, "host", nil, "packets from, to or about an `address`; may be repeated")
	f.StringVar(&d.follow, "follow", "", "a director of this configuration `file` listens beside")
	d.seat.flags(cmd)
	return cmd
}

func (d *dumper) run(cmd *cobra.Command) (err error) {
	if d.filter, err = d.selection(); err != nil {
		return err
	}
	var cfg *config.Config
	if d.follow != "" {
		if cfg, err = d.seat.load(d.follow, cmd.ErrOrStderr()); err != nil {
			return err
		}
	}
	switch {
	case d.file != "":
		return d.capture(cfg, cmd.OutOrStdout())
	case d.iface != "":
		return d.live(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return fmt.Errorf("name a capture with -r FILE, or an interface with -i")
}

// selection reads the options that choose packets.
func (d *dumper) selection() (f dump.Filter, err error) {
	f = dump.Filter{VRID: d.vrid, Kind: d.kind}
	if d.kind != "" && !slices.Contains([]string{"vrrp", "arp", "tcp", "udp"}, d.kind) {
		return f, fmt.Errorf("--kind %s: must be vrrp, arp, tcp or udp", d.kind)
	}
	if f.Addrs, err = addresses("--host", d.hosts); err != nil {
		return f, err
	}
	if f.VIPs, err = addresses("--vip", d.vips); err != nil {
		return f, err
	}
	for _, text := range d.flows {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return f, fmt.Errorf("--flow %s: must be an address and a port, such as 10.0.0.100:80 or [2001:db8::100]:80", text)
		}
		f.Flows = append(f.Flows, a)
	}
	return f, nil
}

func addresses(option string, list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range list {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%s %s: must be an address", option, text)
		}
		out = append(out, a)
	}
	return out, nil
}

// capture prints a file.
func (d *dumper) capture(cfg *config.Config, out io.Writer) error {
	var follower *dump.Follower
	if cfg != nil {
		place, err := d.seat.place(d.iface)
		if err != nil {
			return err
		}
		seat, err := model.Find(cfg, place, d.file)
		if err != nil {
			return err
		}
		if follower, err = dump.Follow(cfg, seat.Links, seat.Way); err != nil {
			return err
		}
	}
	return dump.NewPrinter(out, d.filter, follower).File(d.file)
}

// live prints an interface until ctx ends.
func (d *dumper) live(ctx context.Context, cfg *config.Config, out, notes io.Writer) error {
	var protocols []uint8
	switch d.kind {
	case "tcp":
		protocols = []uint8{proto.ProtocolTCP}
	case "udp":
		protocols = []uint8{proto.ProtocolUDP}
	}
	filter, err := ring.WatchFilter(protocols, d.filter.Flows)
	if err != nil {
		return err
	}
	follower, err := d.beside(cfg)
	if err != nil {
		return err
	}
	s, err := ring.Open(ring.Config{Interface: d.iface, Filter: filter, SuperFrames: true, Outgoing: true})
	if err != nil {
		return err
	}
	defer s.Close()
	for _, mac := range []proto.MAC{
		{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}, proto.GroupMAC6(proto.AllNodes), // of 224.0.0.18
		{0x33, 0x33, 0x00, 0x00, 0x00, 0x12}, // of ff02::12
	} {
		if err := s.AcceptMAC(mac); err != nil {
			return err
		}
	}
	return dump.NewPrinter(out, d.filter, follower).Live(ctx, s, notes)
}

// beside makes the director that listens on the live interface.
func (d *dumper) beside(cfg *config.Config) (*dump.Follower, error) {
	if cfg == nil {
		return nil, nil
	}
	k, err := kernel.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer k.Close()
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	port := slices.IndexFunc(links, func(l kernel.Link) bool { return l.Name == d.iface })
	return dump.Follow(cfg, nodeLinks(links), dump.LiveWay(port))
}
