package main

import (
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward/ipvs"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/netlab/vm"
)

// The directory of the files in the machine, and that of what the test writes.
const (
	filesDir = "/conf"
	workDir  = "/work"
)

// checkScript is every script that a check of the files runs: the server is alive if it
// accepts connections.
const checkScript = `#!/bin/sh
case $1 in *.*.*.*) to=$1 ;; *) to=192.168.200.6 ;; esac
exec /busybox/nc -w 2 "$to" 7 </dev/null
`

var (
	serviceLine = regexp.MustCompile(`(?m)^virtual_server `)
	hostBlock   = regexp.MustCompile(`(?s)\n\s*host \{.*?\}`)
	ownMember   = regexp.MustCompile(`(?m)^[ \t]+192\.168\.200\.1 1358\n`)
	dynamicLine = regexp.MustCompile(`(?m)^misc_dynamic\n`)
	digestLine  = regexp.MustCompile(`(?m)^(\s*digest\s+)[0-9a-f]{32}`)
)

var everyFile = flag.Bool("every", false, "take every sample with a virtual server to the machine, which is a matter of minutes")

// fewSamples are those that differ most from each other and from the seed files.
var fewSamples = []string{"IPv6", "lvs_syncd"}

// serviceFiles are the seed files and samples that have a virtual server, with the digests of the
// pages that the servers of this test have. They do without host blocks of SMTP_CHECK, with which
// keepalived 2.2.7 loses servers that answer, and of misc_dynamic, after a reload of which it gives the
// server weight 0. The group of one sample does without the address and port that its first server
// has, too: IPVS takes the director's own checks of that server to any of them.
func serviceFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for file, text := range read(t, originals(t)) {
		if serviceLine.MatchString(text) && !strings.HasPrefix(filepath.Base(file), "broken-") {
			sample := strings.HasPrefix(filepath.Base(file), "keepalived.conf.")
			if sample && !*everyFile && !slices.ContainsFunc(fewSamples, func(s string) bool { return strings.HasSuffix(file, "."+s) }) {
				continue
			}
			text = hostBlock.ReplaceAllString(text, "")
			text = ownMember.ReplaceAllString(text, "")
			text = dynamicLine.ReplaceAllString(text, "")
			files[filepath.Join(filesDir, filepath.Base(file))] = []byte(digestLine.ReplaceAllString(text, "${1}"+pageDigest))
		}
	}
	return files
}

// TestMachineServices runs keepalived and this program with the same files in Debian's kernel:
// after each step its IPVS is the same, byte for byte, as ipvsadm tells it, and what failures and
// recoveries at given times do to it comes in the same order.
func TestMachineServices(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	t.Parallel()
	m := vm.Machine{Modules: kernelModules, Programs: []string{"keepalived", "ipvsadm", "ip"}, Memory: 2048, Counted: true}
	if os.Getenv("RINGKEEP_VM") == "" {
		m.Files = serviceFiles(t)
		m.Files["/etc/passwd"], m.Files["/etc/group"] = []byte("root:x:0:0::/root:/bin/sh\n"), []byte("root:x:0:\n")
		for _, name := range []string{"script.sh", "check_load.sh"} {
			m.Files["/usr/local/bin/"+name] = []byte(checkScript)
		}
	}
	if !vm.Inside(t, m) {
		return
	}
	certificate, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filesDir + "/*")
	if err != nil || len(files) < len(fewSamples)+5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			playServices(t, file, certificate)
		})
	}
	t.Run("order", func(t *testing.T) {
		t.Parallel()
		playOrder(t, certificate)
	})
}

// started is the step before which nothing has failed yet.
const started = "started"

// playServices leads both programs through everything that changes the services.
func playServices(t *testing.T, file string, certificate tls.Certificate) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newPair(t, filepath.Base(file), string(text), certificate)
	began := time.Now()
	step := func(name string) string {
		saved := p.compare(name)
		t.Logf("%v: %s", time.Since(began).Round(time.Second), name)
		return saved
	}
	p.start()
	whole := step(started)
	checked := p.checked()
	silence := !strings.Contains(string(text), "UDP_CHECK") // which takes that for good
	last := max(0, len(checked)-1)
	for _, a := range checked[last:] {
		p.reach(false, a)
		if saved := step("one server is gone"); saved == whole && silence {
			t.Errorf("%v is gone, and nothing changed:\n%s", a, saved)
		}
	}
	if len(checked) > 1 {
		p.reach(false, checked[:last]...)
		step("all servers are gone")
	}
	p.reach(true, checked...)
	if saved := step("all are back"); saved != whole {
		t.Errorf("all are back:\n%s\nbefore:\n%s", saved, whole)
	}
	p.reload(changed(string(text)))
	if saved := step("reloaded with changes"); saved == whole {
		t.Errorf("the reload changed nothing:\n%s", saved)
	}
	p.reload(string(text))
	if saved := step("reloaded as it was"); saved != whole {
		t.Errorf("reloaded as it was:\n%s\nbefore:\n%s", saved, whole)
	}
	p.stop()
	if saved := step("stopped"); saved != "" {
		t.Errorf("left after the stop:\n%s", saved)
	}
}

var (
	weightLine      = regexp.MustCompile(`(?m)^(\s*weight\s+)[0-9]+`)
	algorithmLine   = regexp.MustCompile(`(?m)^(\s*lb_algo\s+)\w+`)
	persistenceLine = regexp.MustCompile(`(?m)^(\s*persistence_timeout\s+)[0-9]+`)
	serverBlock     = regexp.MustCompile(`(?m)^\s*real_server\s+\S*[.:]([0-9a-f]+)\b`)
)

// changed is a file with another weight, scheduler and persistence of the first service, another
// last server, and a service more.
func changed(text string) string {
	for _, c := range []struct {
		line *regexp.Regexp
		to   string
	}{{weightLine, "${1}17"}, {algorithmLine, "${1}sed"}, {persistenceLine, "${1}77"}} {
		if at := c.line.FindStringIndex(text); at != nil {
			text = text[:at[0]] + c.line.ReplaceAllString(text[at[0]:at[1]], c.to) + text[at[1]:]
		}
	}
	if all := serverBlock.FindAllStringSubmatchIndex(text, -1); len(all) > 0 {
		last := all[len(all)-1]
		text = text[:last[2]] + "77" + text[last[3]:]
	}
	return text + `
virtual_server 10.77.0.1 8077 {
    lb_algo wlc
    lb_kind DR
    protocol TCP
    real_server 10.77.0.2 8077 {
        weight 2
    }
    real_server 10.77.0.3 8077 {
        weight 0
        uthreshold 20
        lthreshold 10
    }
}
`
}

// pair is keepalived and ringkeep with the same file, each in a network of its own that is like
// the other's:
//
//	director  eth0 and others of the file, with nobody on them
//	          up 10.255.255.1, fd00:255::1  ───  10.255.255.2, fd00:255::2  every other address
type pair struct {
	*testing.T
	program string // this one
	name    string
	text    string
	cfg     *config.Config
	sides   [2]*side
}

type side struct {
	kind      string
	kernel    *ipvs.Kernel // the director's
	dir, far  *netlab.Namespace
	file, log string
	cmd       *exec.Cmd
}

func newPair(t *testing.T, name, text string, certificate tls.Certificate) *pair {
	t.Helper()
	program, err := exec.LookPath("ringkeep")
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{T: t, name: name, program: program}
	p.configure(text)
	p.build(certificate)
	return p
}

func (p *pair) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// configure reads a text; both programs get it with their next start or reload.
func (p *pair) configure(text string) {
	p.Helper()
	p.text = text
	p.cfg, _ = config.Parse(p.name, []byte(text), config.Options{})
	for _, s := range p.sides {
		if s != nil {
			p.must(os.WriteFile(s.file, []byte(text), 0o644))
		}
	}
}

// interfaceName finds those that files speak of.
var interfaceName = regexp.MustCompile(`\b(eth|xgbe|ens|bond)[0-9]+\b`)

// build makes both networks. What the file binds to or sends from is an address of the director.
func (p *pair) build(certificate tls.Certificate) {
	other, _ := config.Parse(p.name, []byte(changed(p.text)), config.Options{})
	serve := serversOf(p.cfg, other)
	for i, kind := range []string{"keepalived", "ringkeep"} {
		s := &side{kind: kind}
		p.sides[i] = s
		dir := filepath.Join(workDir, p.name, kind)
		p.must(os.MkdirAll(dir, 0o755))
		s.file, s.log = filepath.Join(dir, "conf"), filepath.Join(dir, "log")
		var err error
		for _, n := range []**netlab.Namespace{&s.dir, &s.far} {
			*n, err = netlab.NewNamespace()
			p.must(err)
			p.Cleanup((*n).Close)
			for _, name := range []string{"all", "default"} {
				p.must((*n).Sysctl("net/ipv6/conf/"+name+"/disable_ipv6", "0"))
				p.must((*n).Sysctl("net/ipv6/conf/"+name+"/accept_dad", "0"))
			}
		}
		p.must(s.dir.Do(func() (err error) { s.kernel, err = ipvs.Open(); return err }))
		p.Cleanup(s.kernel.Close)
		p.must(s.dir.Join("up", [6]byte{2, 0, 0, 0, 0, 1}, s.far, "down", [6]byte{2, 0, 0, 0, 0, 2}))
		p.ip(s.dir, "addr add 10.255.255.1/30 dev up\naddr add fd00:255::1/64 dev up nodad\n"+
			"route add default via 10.255.255.2\nroute add default via fd00:255::2 dev up\n"+p.addresses())
		p.ip(s.far, "addr add 10.255.255.2/30 dev down\naddr add fd00:255::2/64 dev down nodad\n"+
			"route add local 0.0.0.0/0 dev lo\nroute add local ::/0 dev lo\n"+
			"route add 10.255.255.1/32 dev down table local\nroute add fd00:255::1/128 dev down table local\n"+p.returns())
		p.must(serve.serve(s.far, certificate))
	}
	p.configure(p.text)
}

// addresses are those that the director needs for the file, as lines of ip -batch.
func (p *pair) addresses() string {
	var b strings.Builder
	names := interfaceName.FindAllString(p.text, -1)
	slices.Sort(names)
	for i, name := range slices.Compact(names) {
		fmt.Fprintf(&b, "link add %s type veth peer name far%d\nlink set %[1]s up\nlink set far%[2]d up\naddr add 10.254.%[2]d.1/24 dev %[1]s\n", name, i)
	}
	for _, in := range p.cfg.Instances {
		if in.UnicastSource.IsValid() {
			fmt.Fprintf(&b, "addr add %v dev %s\n", in.UnicastSource, in.Interface)
		}
	}
	for _, a := range p.bound() {
		fmt.Fprintf(&b, "addr add %v dev lo\n", a)
	}
	for _, vs := range p.cfg.VirtualServers {
		if vs.HASuspend && vs.Addr.IsValid() { // without it nothing would be checked
			fmt.Fprintf(&b, "addr add %v dev lo\n", vs.Addr.Addr())
		}
	}
	return b.String()
}

// returns lead answers back to the addresses that checks are bound to.
func (p *pair) returns() string {
	var b strings.Builder
	for _, a := range p.bound() {
		fmt.Fprintf(&b, "route add %v via 10.255.255.1 dev down table local\n", a)
	}
	return b.String()
}

func (p *pair) bound() (list []netip.Addr) {
	eachCheck(p.cfg, func(_ *config.RealServer, c *config.Check, _ string) {
		if c.BindTo.IsValid() && !slices.Contains(list, c.BindTo) {
			list = append(list, c.BindTo)
		}
	})
	return list
}

// checked are the addresses of the servers that are checked.
func (p *pair) checked() (list []netip.Addr) {
	eachCheck(p.cfg, func(rs *config.RealServer, _ *config.Check, _ string) {
		if a := rs.Addr.Addr(); !slices.Contains(list, a) {
			list = append(list, a)
		}
	})
	return list
}

// ip runs lines of ip -batch, those with a colon for IPv6.
func (p *pair) ip(n *netlab.Namespace, lines string) {
	p.Helper()
	batches := map[string]string{}
	for line := range strings.Lines(lines) {
		family := "-4"
		if strings.Contains(line, ":") {
			family = "-6"
		}
		batches[family] += line
	}
	for family, batch := range batches {
		cmd := exec.Command("ip", family, "-batch", "-")
		cmd.Stdin = strings.NewReader(batch)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := n.Do(cmd.Run); err != nil {
			p.Fatalf("ip %s: %v %s\n%s", family, err, out.Bytes(), batch)
		}
	}
}

// reach lets servers answer, or nobody hear of them again.
func (p *pair) reach(yes bool, servers ...netip.Addr) {
	p.Helper()
	verb := "add"
	if yes {
		verb = "del"
	}
	var lines strings.Builder
	for _, a := range servers {
		fmt.Fprintf(&lines, "route %s blackhole %v table local\n", verb, a)
	}
	for _, s := range p.sides {
		p.ip(s.far, lines.String())
	}
}

func (p *pair) start() {
	p.Helper()
	for _, s := range p.sides {
		dir := filepath.Dir(s.file)
		args := []string{"/usr/sbin/keepalived", "-n", "-l", "-D", "-f", s.file,
			"-p", dir + "/pid", "-r", dir + "/vrrp.pid", "-c", dir + "/checkers.pid"}
		if s.kind == "ringkeep" {
			args = []string{p.program, "run", "-f", s.file, "-s", "", "--dataplane", "ipvs"}
		}
		log, err := os.Create(s.log)
		p.must(err)
		s.cmd = exec.Command(args[0], args[1:]...)
		s.cmd.Stdout, s.cmd.Stderr = log, log
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p.must(s.dir.Do(s.cmd.Start))
		log.Close()
		p.Cleanup(func() {
			syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
			s.cmd.Wait()
		})
	}
}

func (p *pair) reload(text string) {
	p.Helper()
	p.configure(text)
	p.must(p.sides[0].cmd.Process.Signal(syscall.SIGHUP))
	var out []byte
	err := p.sides[1].dir.Do(func() (err error) { // by force, since what is changed may bring a warning
		out, err = exec.Command(p.program, "reload", "--force").CombinedOutput()
		return err
	})
	if err != nil {
		p.Fatalf("reload: %v %s", err, out)
	}
}

func (p *pair) stop() {
	p.Helper()
	for _, s := range p.sides {
		p.must(s.cmd.Process.Signal(syscall.SIGTERM))
	}
}

// settled is how long the slowest check of the file may take to find out. The machine's clock makes
// no difference between a busy host and another.
func (p *pair) settled() time.Duration {
	longest := 5 * time.Second
	eachCheck(p.cfg, func(_ *config.RealServer, c *config.Check, _ string) {
		urls := time.Duration(max(1, len(c.URLs)))
		longest = max(longest, max(c.Warmup, c.DelayLoop)+urls*time.Duration(c.Retry+1)*(c.ConnectTimeout+c.DelayBeforeRetry))
	})
	return longest + 5*time.Second
}

// compare waits until nothing moves any more, and holds both kernels against each other: the
// services as ipvsadm saves them, which it returns, and what it does not save.
func (p *pair) compare(when string) (saved string) {
	p.Helper()
	time.Sleep(p.settled())
	var texts [2]string
	for i, s := range p.sides {
		saved = p.ipvsadm(s, "-S -n")
		texts[i] = saved + p.unsaved(s, when == started)
	}
	if texts[0] != texts[1] {
		p.Fatalf("%s: keepalived has\n%s\nringkeep has\n%s\nlog of keepalived\n%s\nlog of ringkeep\n%s", when, texts[0], texts[1], p.sides[0].tail(), p.sides[1].tail())
	}
	return saved
}

// unsaved are the limits and engines, the timeouts and the synchronization daemons. In order the
// servers are as the schedulers have them, which is by chance where several come back together.
func (p *pair) unsaved(s *side, inOrder bool) string {
	p.Helper()
	services, err := s.kernel.Services()
	p.must(err)
	slices.SortFunc(services, func(a, b ipvs.Service) int { return strings.Compare(fmt.Sprint(a.Key), fmt.Sprint(b.Key)) })
	var b strings.Builder
	for _, v := range services {
		if !inOrder || strings.Contains(p.text, "alpha") {
			slices.SortFunc(v.Servers, func(a, b ipvs.Server) int { return a.Addr.Compare(b.Addr) })
		}
		fmt.Fprintf(&b, "%v flags %d engine %q:", v.Key, v.Flags, v.Engine)
		for _, rs := range v.Servers {
			fmt.Fprintf(&b, " %v (%d to %d)", rs.Addr, rs.Lower, rs.Upper)
		}
		b.WriteString("\n")
	}
	tcp, fin, udp, err := s.kernel.Timeouts()
	p.must(err)
	daemons, err := s.kernel.Daemons()
	p.must(err)
	fmt.Fprintf(&b, "timeouts %v %v %v, daemons %v\n", tcp, fin, udp, daemons)
	return b.String()
}

func (p *pair) ipvsadm(s *side, args string) string {
	p.Helper()
	var out []byte
	err := s.dir.Do(func() (err error) {
		out, err = exec.Command("/usr/sbin/ipvsadm", strings.Fields(args)...).CombinedOutput()
		return err
	})
	if err != nil {
		p.Fatalf("ipvsadm %s: %v %s", args, err, out)
	}
	return string(out)
}

// tail is the end of what a program said.
func (s *side) tail() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-40):], nil))
}
