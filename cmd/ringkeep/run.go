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
	"runtime"
	"slices"
	"strings"
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

// runner holds the options of run, which are keepalived's.
type runner struct {
	file, id, level, test, pidFile, namespace string

	includeCheck, dump, detail bool
	onlyVRRP, onlyChecks       bool
}

// option is one of keepalived's that is known and does nothing.
type option struct {
	letter, name string
	value        bool // it takes one
	why          string
}

// ignoredOptions mean nothing here.
var ignoredOptions = []option{
	{"n", "dont-fork", false, "the daemon never forks"}, {"l", "log-console", false, "the log goes to standard error"},
	{"S", "log-facility", true, "the log goes to standard error"}, {"g", "log-file", true, "the log goes to standard error"},
	{"G", "no-syslog", false, "the log goes to standard error"}, {"B", "no_bfd", false, "BFD is not spoken by this version"},
	{"", "all", false, "there is one process"}, {"r", "vrrp_pid", true, "there is one process: see --pid"},
	{"c", "checkers_pid", true, "there is one process: see --pid"}, {"b", "bfd_pid", true, "there is one process: see --pid"},
	{"a", "address-monitoring", false, "changes of addresses are logged anyway"}, {"x", "snmp", false, "SNMP is not spoken"},
	{"A", "snmp-agent-socket", true, "SNMP is not spoken"}, {"u", "umask", true, "files are written with mode 0600"},
	{"m", "core-dump", false, "there are no core dumps"}, {"R", "dont-respawn", false, "there are no child processes"},
	{"I", "dont-release-ipvs", false, "the kernel's IPVS is not used by this version"},
	{"M", "core-dump-pattern", true, "there are no core dumps"},
	{"X", "release-vips", false, "a node that leaves always gives its addresses up"},
}

// refusedOptions would promise what this version does not do.
var refusedOptions = []option{
	{"V", "dont-release-vrrp", false, "addresses cannot be kept at the stop in this version: leave it out"},
}

func runCommand() *cobra.Command {
	r := &runner{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run as a director in the foreground",
		Long: `Run as a director in the foreground until SIGTERM or SIGINT. A MASTER that is
stopped sends priority 0 and gives its addresses up. Needs CAP_NET_ADMIN and
CAP_NET_RAW (root, or a user namespace with a network namespace of its own).

The options have keepalived's names. With -t the file is only read and compared with
this machine; the exit status is 0 without a complaint, 2 if a keyword lacks its value
(the daemon would stop), 4 if the file cannot be read, 6 if scripts could be changed by
others than root or a mandatory include is missing, and 5 for any other complaint.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&r.file, "use-file", "f", "/etc/keepalived/keepalived.conf", "configuration `file`")
	f.StringVarP(&r.id, "config-id", "i", "", "the `id` of lines that start with @ID (default the host name up to its first dot)")
	f.StringVarP(&r.test, "config-test", "t", "", "only test the configuration; findings go to standard error, or are appended to `file`")
	f.Lookup("config-test").NoOptDefVal = "-"
	f.BoolVarP(&r.includeCheck, "include-check", "e", false, "a missing include is told as one")
	f.BoolVarP(&r.onlyVRRP, "vrrp", "P", false, "run VRRP only")
	f.BoolVarP(&r.onlyChecks, "check", "C", false, "run the virtual servers only")
	f.BoolVarP(&r.dump, "dump-conf", "d", false, "write the effective configuration to standard error first")
	f.BoolVarP(&r.detail, "log-detail", "D", false, "log in detail: --log-level debug")
	f.StringVarP(&r.pidFile, "pid", "p", "", "write the process id to `file`")
	f.StringVarP(&r.namespace, "namespace", "s", "", "run in the network namespace with this `name` instead of the file's net_namespace; \"\" for the own one")
	f.StringVar(&r.level, "log-level", "info", "debug, info, warn or error")
	for _, o := range append(ignoredOptions, refusedOptions...) {
		if o.value {
			f.StringP(o.name, o.letter, "", o.why)
		} else {
			f.BoolP(o.name, o.letter, false, o.why)
		}
		f.Lookup(o.name).Hidden = true
	}
	cmd.Version = version
	return cmd
}

// withTestFile gives -tFILE the form that the flag library knows.
func withTestFile(args []string) []string {
	list := slices.Clone(args)
	for i, a := range list {
		if len(list) > 0 && list[0] == "run" && strings.HasPrefix(a, "-t") && len(a) > 2 {
			list[i] = "--config-test=" + strings.TrimPrefix(a[2:], "=")
		}
	}
	return list
}

func (r *runner) run(cmd *cobra.Command) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(r.level)); err != nil {
		return fmt.Errorf("--log-level %s: must be debug, info, warn or error", r.level)
	}
	if r.detail {
		l = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l, ReplaceAttr: microseconds}))
	o := config.Options{ConfigID: r.id}
	if r.includeCheck {
		o.IncludeCheck = config.IncludeCheck{Read: true, Match: true, WildcardMatch: true, Braces: true}
	}
	outside := r.enter(o, cmd.Flags().Changed("namespace"))
	if r.test != "" {
		return r.configTest(cmd, o, outside)
	}
	if outside != nil {
		return outside
	}
	for _, o := range refusedOptions {
		if cmd.Flags().Changed(o.name) {
			return fmt.Errorf("--%s: %s", o.name, o.why)
		}
	}
	cfg, _, err := load(r.file, o, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	for _, o := range ignoredOptions {
		if cmd.Flags().Changed(o.name) {
			log.Warn("option without effect", "reason", "--"+o.name+": "+o.why)
		}
	}
	if r.dump {
		if err := cfg.Print(cmd.ErrOrStderr()); err != nil {
			return err
		}
	}
	if r.onlyVRRP {
		cfg.VirtualServers = nil
	}
	if r.onlyChecks {
		cfg.Instances = nil
	}
	if file := r.pidFileOf(cfg); file != "" {
		if err := writePID(file); err != nil {
			return err
		}
		defer os.Remove(file)
	}
	return run(cmd.Context(), cfg, log)
}

// microseconds writes the time of a log line so that it can be compared with a capture.
func microseconds(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		a.Value = slog.StringValue(a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
	}
	return a
}

// run is the daemon: it opens everything the node needs of this host, and gives
// it all back at the end.
func run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	only, err := net.Listen("unix", "@ringkeep") // abstract: one a network namespace, gone with the process
	if err != nil {
		return errors.New("another ringkeep runs in this network namespace: stop it first")
	}
	defer only.Close()
	shutdown := startup(ctx, &cfg.Global, log)
	defer shutdown()
	k, err := kernel.Open(log)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := sweep(k, log); err != nil {
		return err
	}
	if err := promote(cfg, k, ""); err != nil {
		return err
	}
	secure(cfg, log)
	if err := makeVMACs(k, cfg); err != nil {
		return err
	}
	links, err := k.Links()
	if err != nil {
		return err
	}
	links = append(links, missing(cfg, links, log)...)
	n, err := node.New(afterBoot(cfg), nodeLinks(links), seed())
	if err != nil {
		return err
	}
	for _, p := range n.Peers() {
		n.Step(0, node.Routed{Peer: p, Via: k.Gateway(p.Addr, links[p.Port].Name)}, nil)
	}
	start := time.Now()
	d := &director{cfg: cfg, node: n, kernel: k, links: links}
	defer d.close(log)
	if err := d.open(); err != nil {
		return err
	}
	pipes := openFIFOs(ctx, &cfg.Global, log)
	defer pipes.close()
	mail, sent := openMail(&cfg.Global, log)
	defer sent()
	l := loop.New(loop.Config{
		Node: n, Ports: d.ports, Loopback: d.loopback, Poller: d.poller, Host: k, Names: kernel.ReadNames(), Log: log, Reopen: d.reopen, Tell: pipes.tell, Mail: mail,
		Clock: func() time.Duration { return time.Since(start) }, Wall: loop.WallClock,
	})
	if err := l.Watch(ctx, k, links); err != nil {
		return err
	}
	ignoreSignals(ctx, log)
	log.Info("started", "instances", len(cfg.Instances), "services", len(cfg.VirtualServers), "version", version)
	runtime.LockOSThread() // which gives the loop this thread
	prioritise(&cfg.Global, log)
	err = l.Run(ctx)
	log.Info("stopped")
	return err
}

// ignoreSignals keeps the signals by which keepalived reloads and dumps its data from
// ending the process, which would leave its addresses behind.
func ignoreSignals(ctx context.Context, log *slog.Logger) {
	c := make(chan os.Signal, 3) // one of each: the kernel may hand over the later one first
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
	macvlans, err3 := k.SweepMacvlans()
	for _, name := range macvlans {
		log.Info("removed an interface with a virtual MAC that a killed run left", "iface", name)
	}
	routes, rules, err := k.SweepRoutes() // first: the kernel drops some with the addresses
	for _, r := range routes {
		log.Info("removed a route that a killed run left", "route", r)
	}
	for _, preference := range rules {
		log.Info("removed a rule that a killed run left", "rule", preference)
	}
	left, err2 := k.Sweep()
	for _, a := range left {
		log.Info("removed an address that a killed run left", "vip", a.Prefix, "iface", a.Interface)
	}
	return errors.Join(err, err2, err3)
}

func seed() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func nodeLinks(links []kernel.Link) []node.Link {
	out := make([]node.Link, len(links))
	for i, l := range links {
		out[i] = node.Link{Name: l.Name, MAC: proto.MAC(l.MAC), Up: l.Up, Loopback: l.Loopback, Router: l.Router, Missing: l.Index == 0, Base: l.Base, Prefixes: l.Prefixes}
	}
	return out
}

// director holds what run opened, to be closed in reverse.
type director struct {
	cfg      *config.Config
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
	controlSlots     = 64 // at least
	mostControlSlots = 8192
	serviceSlots     = 4096
	serviceSlotSize  = 2048
)

func (d *director) open() (err error) {
	if d.poller, err = ring.NewPoller(); err != nil {
		return err
	}
	if err := d.shield(); err != nil {
		return err
	}
	for i := range d.links {
		s, err := d.sockets(i)
		if err != nil {
			return err
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

// sockets opens what the node needs of a port.
func (d *director) sockets(port int) (s loop.Sockets, err error) {
	use := d.node.Uses()[port]
	if d.links[port].Index == 0 {
		return s, nil // see reopen
	}
	if use.Control {
		if s.Control, err = d.control(d.links[port], use); err != nil {
			return s, err
		}
	}
	if use.Service {
		s.Service, err = d.service(d.links[port])
	}
	return s, err
}

// reopen follows an interface that was deleted and made again under its name, or that
// did not exist before.
func (d *director) reopen(port int) (loop.Sockets, error) {
	l, err := d.kernel.Link(d.links[port].Name)
	if err != nil {
		return loop.Sockets{}, err
	}
	for i, s := range d.opened {
		if s != nil && s.Index() == d.links[port].Index {
			s.Close()
			d.opened[i] = nil
		}
	}
	d.links[port] = l
	if err := promote(d.cfg, d.kernel, l.Name); err != nil {
		return loop.Sockets{}, err
	}
	return d.sockets(port)
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

func (d *director) control(l kernel.Link, use node.Use) (loop.Port, error) {
	filter, err := ring.ControlFilter(l.MAC)
	if err != nil {
		return nil, err
	}
	if use.Multicast {
		err = d.kernel.JoinVRRP(l.Name)
	}
	if use.Multicast6 && err == nil {
		err = d.kernel.JoinVRRP6(l.Name)
	}
	for _, group := range use.Groups {
		if err == nil {
			err = d.kernel.JoinGroup(l.Name, group)
		}
	}
	if err != nil {
		return nil, err
	}
	return d.socket(ring.Config{Interface: l.Name, Slots: d.controlSlots(l.Name), SlotSize: serviceSlotSize, Filter: filter})
}

// controlSlots has room for what comes at once when another node becomes MASTER of
// every instance of an interface: an advertisement each, and the announcement of each
// address, several times.
func (d *director) controlSlots(iface string) int {
	frames := 0
	for _, in := range d.cfg.Instances {
		if in.Interface == iface {
			frames += 1 + in.GARPMasterRepeat*(len(in.Addresses)+len(in.Excluded))
		}
	}
	slots := controlSlots
	for slots < 2*frames && slots < mostControlSlots {
		slots *= 2
	}
	return slots
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
		if s == nil {
			continue
		}
		st := s.Stats()
		log.Info("ring", "iface", s.Name(), "received", st.Received, "dropped", st.Dropped, "superframes", st.SuperFrames,
			"truncated", st.Truncated, "freezes", st.Freezes, "sent", st.Sent, "unsent", st.SendErrors.Total())
		s.Close()
	}
	if d.poller != nil {
		d.poller.Close()
	}
}
