package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ringkeep/ringkeep/proto"
)

// The forwarders that are compared.
const (
	Ringkeep = "ringkeep"
	CBare    = "c-bare"   // fwd.c: a ring in, sendmmsg out, two MACs rewritten, nothing looked up
	CVNet    = "c-vnet"   // the same with the virtio header passed through, in slots that hold a super-frame
	GoBare   = "go-bare"  // gofwd.go, the same as fwd.c in Go
	GoNaive  = "go-naive" // gofwd.go with gopacket/afpacket and one send a frame
	Kernel   = "kernel"   // IP forwarding
	IPVS     = "ipvs"     // the kernel's, which the same daemon programs with the same file
)

// tools are the programs, as paths; "" for one that is not there.
type tools struct {
	ringkeep, c, go_ string
	workers          int    // of the daemon
	dir              string // for configurations and what was built
}

// build compiles the bare forwarders of a folder, as far as it and the compilers are there.
// What is left out is told.
func (t *tools) build(ctx context.Context, limits string, tell func(string, ...any)) {
	if limits == "" {
		tell("without the bare forwarders: no folder of them is named")
		return
	}
	limits, err := filepath.Abs(limits)
	if err == nil {
		_, err = os.Stat(limits)
	}
	if err != nil {
		tell("without the bare forwarders: %v", err)
		return
	}
	c, g := filepath.Join(t.dir, "fwd"), filepath.Join(t.dir, "gofwd")
	if out, err := exec.CommandContext(ctx, "gcc", "-O2", "-o", c, filepath.Join(limits, "fwd.c")).CombinedOutput(); err != nil {
		tell("without the forwarder in C: %v %s", err, out)
	} else {
		t.c = c
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", g, "gofwd.go")
	cmd.Dir = limits
	if out, err := cmd.CombinedOutput(); err != nil {
		tell("without the forwarders in Go: %v %s", err, out)
	} else {
		t.go_ = g
	}
}

// has tells whether a forwarder can be started.
func (t *tools) has(forwarder string) bool {
	switch forwarder {
	case CBare, CVNet:
		return t.c != ""
	case GoBare, GoNaive:
		return t.go_ != ""
	case IPVS:
		_, err := os.Stat("/proc/net/ip_vs")
		return err == nil
	}
	return true
}

// gate is the MAC to which frames for a forwarder go.
func gate(forwarder string) proto.MAC {
	if director(forwarder) || forwarder == Kernel {
		return inMAC
	}
	return gateMAC
}

// director tells whether a forwarder is the daemon with services, and not a bare one.
func director(forwarder string) bool { return forwarder == Ringkeep || forwarder == IPVS }

// start starts a forwarder on a stage; the kernel's IP forwarding has no process.
func (t *tools) start(s *stage, c Case) (*process, error) {
	switch to := s.servers.String(); c.Forwarder {
	case Ringkeep, IPVS:
		return t.director(s, c)
	case Kernel:
		return nil, s.route()
	case GoNaive:
		return start(s.dir, "ready", t.go_, "-mode", "naive", "-i", "d0", "-o", "d1", "-d", to, "-t", "600")
	case GoBare:
		return start(s.dir, "ready", back([]string{t.go_, "-mode", "raw", "-i", "d0", "-o", "d1", "-d", to, "-t", "600"}, c)...)
	default:
		args := []string{t.c, "-i", "d0", "-o", "d1", "-d", to, "-R", "v2", "-T", "mmsg", "-t", "600"}
		if c.Forwarder == CVNet {
			args = append(args, "-V", "-F", "131072", "-B", "1048576", "-N", "32")
		}
		return start(s.dir, "ready", back(args, c)...)
	}
}

// back has a bare forwarder do the way back, too.
func back(args []string, c Case) []string {
	if c.Through {
		args = append(args, "-2", "-D", genMAC.String())
	}
	return args
}

// route has the kernel forward to the servers.
func (s *stage) route() error {
	return first(
		func() error { return s.dir.Sysctl("net/ipv4/ip_forward", "1") },
		func() error { return s.dir.Neighbour("d1", serverIP(0), s.servers) },
		func() error { return s.dir.Route(netip.PrefixFrom(vip, 32), serverIP(0)) },
	)
}

// director starts the daemon with a service of the case.
func (t *tools) director(s *stage, c Case) (*process, error) {
	if err := s.dir.Address("d0", netip.PrefixFrom(vip, 32)); err != nil {
		return nil, err
	}
	file := filepath.Join(t.dir, "bench.conf")
	if err := os.WriteFile(file, []byte(configuration(c)), 0o600); err != nil {
		return nil, err
	}
	args := []string{t.ringkeep, "run", "-f", file, "--workers", strconv.Itoa(t.workers), fmt.Sprintf("--flow-offload=%v", c.Kind != Forward || c.Frame != Super)}
	if c.Forwarder == IPVS {
		args = append(args, "--dataplane", "ipvs")
		if err := s.dir.Sysctl("net/ipv4/ip_forward", "1"); err != nil { // as NAT needs it
			return nil, err
		}
	}
	return start(s.dir, "msg=started", args...)
}

// configuration is what the daemon gets, as an operator would write it.
func configuration(c Case) string {
	var b strings.Builder
	fmt.Fprintf(&b, "virtual_server %v %d {\n    lb_algo %s\n    lb_kind %s\n    protocol %s\n", vip, servicePort, c.Scheduler, c.Method, c.protocol())
	for i := range servers {
		weight := 1 + i%2
		if c.Scheduler == overflow {
			weight *= ovfFlows / servers // which is how many connections a server takes
		}
		fmt.Fprintf(&b, "    real_server %v %d {\n        weight %d\n    }\n", serverIP(i), servicePort, weight)
	}
	b.WriteString("}\n")
	return b.String()
}
