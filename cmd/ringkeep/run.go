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
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/loop"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward/ipvs"
)

// runner holds the options of run, which are keepalived's.
type runner struct {
	file, id, level, test, pidFile, namespace string

	includeCheck, dump, detail bool
	onlyVRRP, onlyChecks       bool
	workers                    int
	dataplane                  string
	leaveIPVS                  bool
	noBFD                      bool
	flowOffload                bool
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
	{"G", "no-syslog", false, "the log goes to standard error"},
	{"", "all", false, "there is one process"}, {"r", "vrrp_pid", true, "there is one process: see --pid"},
	{"c", "checkers_pid", true, "there is one process: see --pid"}, {"b", "bfd_pid", true, "there is one process: see --pid"},
	{"a", "address-monitoring", false, "changes of addresses are logged anyway"}, {"x", "snmp", false, "SNMP is not spoken"},
	{"A", "snmp-agent-socket", true, "SNMP is not spoken"}, {"u", "umask", true, "files are written with mode 0600"},
	{"m", "core-dump", false, "there are no core dumps"}, {"R", "dont-respawn", false, "there are no child processes"},
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

Services are forwarded by rings of the program's own, or by the kernel's IPVS with
--dataplane ipvs (as keepalived does); auto takes the ring. A service may say
otherwise:

  virtual_server 10.0.0.100 80 {
      @ringkeep dataplane ipvs

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
	f.BoolVarP(&r.noBFD, "no_bfd", "B", false, "do not speak BFD: what tracks a session sees it down")
	f.BoolVarP(&r.dump, "dump-conf", "d", false, "write the effective configuration to standard error first")
	f.BoolVarP(&r.detail, "log-detail", "D", false, "log in detail: --log-level debug")
	f.StringVarP(&r.pidFile, "pid", "p", "", "write the process id to `file`")
	f.StringVarP(&r.namespace, "namespace", "s", "", "run in the network namespace with this `name` instead of the file's net_namespace; \"\" for the own one")
	f.IntVar(&r.workers, "workers", 1, "`threads` that forward the packets of virtual services, each those of its own clients")
	f.BoolVar(&r.flowOffload, "flow-offload", true, "have the kernel move the bulk of TCP streams to DR servers, where it can (Linux 6.6)")
	f.StringVar(&r.dataplane, "dataplane", "auto", "what forwards the packets of services: ring, ipvs or auto")
	f.BoolVarP(&r.leaveIPVS, "dont-release-ipvs", "I", false, "leave the services in the kernel's IPVS at the stop")
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
	err := l.UnmarshalText([]byte(r.level))
	if err != nil {
		return fmt.Errorf("--log-level %s: must be debug, info, warn or error", r.level)
	}
	if r.detail {
		l = slog.LevelDebug
	}
	if r.workers < 1 || r.workers > mostWorkers {
		return fmt.Errorf("--workers %d: must be 1 to %d", r.workers, mostWorkers)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l, ReplaceAttr: microseconds}))
	o := config.Options{ConfigID: r.id, Regex: tryRegex}
	if r.includeCheck {
		o.IncludeCheck = config.IncludeCheck{Read: true, Match: true, WildcardMatch: true, Braces: true}
	}
	outside := r.enter(o, cmd.Flags().Changed("namespace"))
	if o.IPVS, err = kernelServes(r.dataplane); err != nil {
		return err
	}
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
	cfg, messages, err := load(r.file, o, cmd.ErrOrStderr())
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
	if file := r.pidFileOf(cfg); file != "" {
		if err := writePID(file); err != nil {
			return err
		}
		defer os.Remove(file)
	}
	return r.daemon(cmd.Context(), &reloader{file: r.file, options: o, cfg: cfg, before: messages, log: log})
}

// kernelServes tells whether the kernel's IPVS serves what does not say where it is served.
func kernelServes(dataplane string) (bool, error) {
	switch dataplane {
	case "ring", "auto":
		return false, nil
	case "ipvs":
		return true, nil
	}
	return false, fmt.Errorf("--dataplane %s: must be ring, ipvs or auto", dataplane)
}

// dataplaneOf names what forwards for the services of a file.
func dataplaneOf(cfg *config.Config) string {
	is := map[bool]string{false: "ring", true: "ipvs"}
	var list []string
	for _, vs := range cfg.VirtualServers {
		if name := is[vs.InKernel()]; vs.Disabled == "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return is[cfg.UsesIPVS()]
	}
	return strings.Join(list, "+")
}

// part leaves of a configuration what this process is for.
func (r *runner) part(cfg *config.Config) {
	if r.onlyVRRP {
		cfg.VirtualServers = nil
	}
	if r.onlyChecks {
		cfg.Instances = nil
	}
	if r.noBFD {
		cfg.BFDs = nil
	}
}

// microseconds writes the time of a log line so that it can be compared with a capture.
func microseconds(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		a.Value = slog.StringValue(a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
	}
	return a
}

// daemon runs with the configuration that the reloader has: it opens everything the node
// needs of this host, and gives it all back at the end.
func (r *runner) daemon(ctx context.Context, re *reloader) error {
	log := re.log
	only, err := net.Listen("unix", controlSocket) // one a network namespace
	if err != nil {
		return errors.New("another ringkeep runs in this network namespace: stop it first")
	}
	defer only.Close()
	heed := catchSignals()
	shutdown := startup(ctx, re.cfg, log)
	defer shutdown()
	k, err := kernel.Open(log)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := sweep(k, log); err != nil {
		return err
	}
	re.prepare = func(cfg *config.Config) error {
		r.part(cfg)
		secure(cfg, log)
		return promote(cfg, k, "")
	}
	cfg := re.cfg
	if err := re.prepare(cfg); err != nil {
		return err
	}
	if err := makeVMACs(k, cfg); err != nil {
		return err
	}
	links, err := k.Links()
	if err != nil {
		return err
	}
	links = append(links, missing(cfg, links, log)...)
	re.booted = sinceBoot()
	guard, key := &sync.RWMutex{}, seed()
	n, err := node.NewShared(delayed(cfg, re.booted), nodeLinks(links), key, r.shared(guard))
	if err != nil {
		return err
	}
	for _, p := range n.Peers() {
		if ev, ok := loop.Towards(k, p, links); ok {
			n.Step(0, ev, nil)
		}
	}
	start := time.Now()
	d := &director{cfg: cfg, node: n, kernel: k, links: links, seed: key, log: log, offloader: &offloader{log: log}}
	defer d.close()
	if err := d.addWorkers(r.workers); err != nil {
		return err
	}
	if r.flowOffload {
		d.offloader = newOffloader(r.workers, log)
	}
	for i, w := range d.workers {
		w.Flows = d.offloader.table(i + 1)
	}
	if err := d.open(); err != nil {
		return err
	}
	d.followBFD()
	pipes := openFIFOs(ctx, &cfg.Global, log)
	defer pipes.close()
	post := &mailbox{log: log}
	post.follow(&cfg.Global)
	defer post.close()
	l := loop.New(loop.Config{
		Node: n, Ports: d.ports, Loopback: d.loopback, BFD: d.bfd, Poller: d.poller, Host: k, Names: kernel.ReadNames(), Log: log, Reopen: d.reopen, Tell: pipes.tell, Mail: post.send, Spin: spinTime(),
		Workers: d.workers, Guard: guard, Flows: d.offloader.table(0),
		IPVS: ipvs.NewKeeper(), LeaveIPVS: r.leaveIPVS,
		Clock: func() time.Duration { return time.Since(start) }, Wall: loop.WallClock,
	})
	if err := l.Watch(ctx, k, links); err != nil {
		return err
	}
	d.offloader.loop = l
	d.offloadSoon()
	re.director, re.loop, re.pipes, re.post = d, l, pipes, post
	go heed(ctx, re)
	go serveControl(ctx, only, re, log)
	log.Info("started", "instances", len(cfg.Instances), "services", len(cfg.VirtualServers), "version", version, "dataplane", dataplaneOf(cfg))
	if runtime.GOMAXPROCS(0) <= r.workers {
		runtime.GOMAXPROCS(r.workers + 1) // no loop has a turn to wait for behind the checks, nor they behind loops that nap
	}
	runtime.LockOSThread() // which gives the loop this thread
	prioritise(&cfg.Global, log)
	err = l.Run(ctx)
	log.Info("stopped")
	return err
}

// spinTime is how long the loop looks for the next frame before it sleeps: longer than frames
// of a busy service are apart, and shorter than others wait for the processor that it keeps.
func spinTime() time.Duration {
	if runtime.NumCPU() < 2 {
		return 0
	}
	return 10 * time.Microsecond
}

// catchSignals keeps the signals by which keepalived reloads and dumps its data from ending
// the process, which would leave its addresses behind. heed reloads at SIGHUP, also at one
// that came before.
func catchSignals() (heed func(context.Context, *reloader)) {
	dumps, reloads := make(chan os.Signal, 2), make(chan os.Signal, 1) // another SIGHUP waits for the first
	signal.Notify(dumps, syscall.SIGUSR1, syscall.SIGUSR2)
	signal.Notify(reloads, syscall.SIGHUP)
	return func(ctx context.Context, r *reloader) {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-dumps:
				r.log.Warn("signal ignored: dumps are not available in this version", "reason", s.String())
			case <-reloads:
				r.reload(ctx, wish{})
			}
		}
	}
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
