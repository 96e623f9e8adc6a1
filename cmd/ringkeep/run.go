package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/loop"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
)

func runCommand() *cobra.Command {
	var file, level string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run as a director in the foreground",
		Long: `Run as a director in the foreground until SIGTERM or SIGINT. A MASTER that is
stopped sends priority 0 and gives its addresses up. Needs CAP_NET_ADMIN and
CAP_NET_RAW (root, or a user namespace with a network namespace of its own).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level %s: must be debug, info, warn or error", level)
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			cfg, err := load(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return run(cmd.Context(), cfg, log)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "/etc/keepalived/keepalived.conf", "configuration `file`")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// run is the daemon: it opens everything the node needs of this host, and gives
// it all back at the end.
func run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	only, err := net.Listen("unix", "@ringkeep") // abstract: one a network namespace, gone with the process
	if err != nil {
		return errors.New("another ringkeep runs in this network namespace: stop it first")
	}
	defer only.Close()
	k, err := kernel.Open(log)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := sweep(k, log); err != nil {
		return err
	}
	secure(cfg, log)
	links, err := k.Links()
	if err != nil {
		return err
	}
	n, err := node.New(cfg, nodeLinks(links), seed())
	if err != nil {
		return err
	}
	start := time.Now()
	d := &director{node: n, kernel: k, links: links}
	defer d.close(log)
	if err := d.open(); err != nil {
		return err
	}
	l := loop.New(loop.Config{
		Node: n, Ports: d.ports, Loopback: d.loopback, Poller: d.poller, Host: k, Log: log,
		Clock: func() time.Duration { return time.Since(start) }, Wall: loop.WallClock,
	})
	if err := l.Watch(ctx, k, links); err != nil {
		return err
	}
	ignoreSignals(ctx, log)
	log.Info("started", "instances", len(cfg.Instances), "services", len(cfg.VirtualServers), "version", version)
	err = l.Run(ctx)
	log.Info("stopped")
	return err
}

// ignoreSignals keeps the signals by which keepalived reloads and dumps its data from
// ending the process, which would leave its addresses behind.
func ignoreSignals(ctx context.Context, log *slog.Logger) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-c:
				log.Warn("signal ignored: reload and dumps are not available in this version, restart instead", "reason", s.String())
			}
		}
	}()
}

// sweep removes what a killed run left on this host.
func sweep(k *kernel.Kernel, log *slog.Logger) error {
	left, err := k.Sweep()
	for _, a := range left {
		log.Info("removed an address that a killed run left", "vip", a.Prefix, "iface", a.Interface)
	}
	return err
}

func seed() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func nodeLinks(links []kernel.Link) []node.Link {
	out := make([]node.Link, len(links))
	for i, l := range links {
		out[i] = node.Link{Name: l.Name, MAC: proto.MAC(l.MAC), Up: l.Up, Loopback: l.Loopback, Prefixes: l.Prefixes}
	}
	return out
}

// director holds what run opened, to be closed in reverse.
type director struct {
	node     *node.Node
	kernel   *kernel.Kernel
	links    []kernel.Link
	poller   *ring.Poller
	ports    []loop.Sockets
	loopback loop.Port
	opened   []*ring.Socket
}

// Sizes of the rings. A service slot of 2 KiB holds every frame that is not a
// super-frame, and those are taken whole beside the ring.
const (
	controlSlots    = 64
	serviceSlots    = 4096
	serviceSlotSize = 2048
)

func (d *director) open() (err error) {
	if d.poller, err = ring.NewPoller(); err != nil {
		return err
	}
	if err := d.shield(); err != nil {
		return err
	}
	for i, use := range d.node.Uses() {
		var s loop.Sockets
		if use.Control {
			if s.Control, err = d.control(d.links[i], use.Multicast); err != nil {
				return err
			}
		}
		if use.Service {
			if s.Service, err = d.service(d.links[i]); err != nil {
				return err
			}
		}
		d.ports = append(d.ports, s)
	}
	if d.node.LocalServers() {
		s, err := d.socket(ring.Config{Interface: "lo", Slots: controlSlots, SlotSize: serviceSlotSize, Filter: ring.NothingFilter()})
		if err != nil {
			return err
		}
		d.loopback = s
	}
	return nil
}

// shield keeps the kernel from answering the flows that the ring forwards.
func (d *director) shield() error {
	var flows []kernel.Flow
	for _, k := range d.node.Flows() {
		flows = append(flows, kernel.Flow{Protocol: k.Protocol, Addr: k.Addr.Addr(), Port: k.Addr.Port()})
	}
	if len(flows) == 0 {
		return nil
	}
	var names []string
	for i, use := range d.node.Uses() {
		if use.Service {
			names = append(names, d.links[i].Name)
		}
	}
	return d.kernel.DropRules(names, flows)
}

func (d *director) control(l kernel.Link, multicast bool) (loop.Port, error) {
	filter, err := ring.ControlFilter(l.MAC)
	if err != nil {
		return nil, err
	}
	if multicast {
		if err := d.kernel.JoinVRRP(l.Name); err != nil {
			return nil, err
		}
	}
	return d.socket(ring.Config{Interface: l.Name, Slots: controlSlots, SlotSize: serviceSlotSize, Filter: filter})
}

func (d *director) service(l kernel.Link) (loop.Port, error) {
	var matches []ring.Match
	for _, k := range d.node.Flows() {
		matches = append(matches, ring.Match{Protocol: k.Protocol, Addr: k.Addr.Addr(), Port: k.Addr.Port()})
	}
	filter, err := ring.ServiceFilter(matches)
	if err != nil {
		return nil, err
	}
	return d.socket(ring.Config{Interface: l.Name, Slots: serviceSlots, SlotSize: serviceSlotSize, Filter: filter, SuperFrames: true})
}

func (d *director) socket(c ring.Config) (*ring.Socket, error) {
	s, err := ring.Open(c)
	if err != nil {
		return nil, err
	}
	d.opened = append(d.opened, s)
	return s, d.poller.Add(s.FD(), len(d.opened))
}

func (d *director) close(log *slog.Logger) {
	for _, s := range d.opened {
		st := s.Stats()
		log.Info("ring", "iface", s.Name(), "received", st.Received, "dropped", st.Dropped, "superframes", st.SuperFrames,
			"truncated", st.Truncated, "freezes", st.Freezes, "sent", st.Sent, "unsent", st.SendErrors.Total())
		s.Close()
	}
	if d.poller != nil {
		d.poller.Close()
	}
}
