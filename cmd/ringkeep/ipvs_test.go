package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/netlab/vm"
)

// ipvsMachine has the kernel's IPVS, to be unloaded and loaded again.
var ipvsMachine = vm.Machine{Modules: []string{"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", "dummy", "nf_tables"}, Programs: []string{"ipvsadm", "ip"}}

const ipvsConf = `
global_defs {
    lvs_timeouts tcp 60 udp 30
    lvs_sync_daemon eth0 inst VI_1 id 5
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    priority 255
    advert_int 1
    virtual_ipaddress { 10.0.0.100/32 }
}
virtual_server 10.0.0.100 80 {
    delay_loop 1
    lvs_sched wrr
    lvs_method DR
    protocol TCP
    sorry_server 10.0.0.9 80
    real_server 10.0.0.21 80 {
        weight 3
        TCP_CHECK {
            retry 0
            delay_before_retry 1
        }
    }
    real_server 10.0.0.22 80 {
        inhibit_on_failure
        TCP_CHECK {
            retry 0
            delay_before_retry 1
        }
    }
}
virtual_server 10.0.0.100 81 {
    lvs_sched rr
    lvs_method NAT
    protocol TCP
    persistence_timeout 50
    real_server 10.0.0.21 80 {
    }
}
virtual_server 10.0.0.100 82 {
    lvs_sched rr
    lvs_method DR
    protocol TCP
    @ringkeep dataplane ring
    real_server 10.0.0.21 82 {
    }
}
`

// inMachine is a director in the machine, beside its real servers.
type inMachine struct {
	*testing.T
	dir     string
	servers map[string]net.Listener
}

func (t *inMachine) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, t.log())
	}
}

func (t *inMachine) sh(command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", command, err, out, t.log())
	}
	return string(out)
}

// ask is the answer of the director.
func (t *inMachine) ask(question string) string {
	t.Helper()
	var b strings.Builder
	t.must(ask(question, &b))
	return b.String()
}

func (t *inMachine) log() string {
	b, _ := os.ReadFile(filepath.Join(t.dir, "log"))
	return string(b)
}

// configure writes the file, with so many texts in place of others.
func (t *inMachine) configure(change ...string) {
	t.must(os.WriteFile(filepath.Join(t.dir, "keepalived.conf"), []byte(strings.NewReplacer(change...).Replace(ipvsConf)), 0o600))
}

// waits until a condition holds.
func (t *inMachine) waits(what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(100 * time.Millisecond) { // each look costs the machine some
		if time.Now().After(end) {
			t.Fatalf("never: %s\n%s\n%s", what, t.sh("ipvsadm -Sn; ipvsadm -L --daemon; ip addr"), t.log())
		}
	}
}

func (t *inMachine) says(text string) {
	t.Helper()
	t.waits("the log says "+text, func() bool { return strings.Contains(t.log(), text) })
}

// table waits until the kernel has exactly these lines of ipvsadm -Sn.
func (t *inMachine) table(lines ...string) {
	t.Helper()
	slices.Sort(lines)
	t.waits(strings.Join(lines, "\n"), func() bool {
		var have []string
		for l := range strings.Lines(t.sh("ipvsadm -Sn")) {
			have = append(have, strings.TrimSpace(l))
		}
		slices.Sort(have)
		return slices.Equal(have, lines)
	})
}

// serve has a real server answer, or not.
func (t *inMachine) serve(addr string, on bool) {
	if !on {
		t.must(t.servers[addr].Close())
		return
	}
	l, err := net.Listen("tcp", addr)
	t.must(err)
	t.servers[addr] = l
	go func() {
		for {
			if _, err := l.Accept(); err != nil { // what it accepts stays open
				return
			}
		}
	}()
}

// run starts the director.
func (t *inMachine) run(args ...string) *exec.Cmd {
	log, err := os.Create(filepath.Join(t.dir, "log"))
	t.must(err)
	defer log.Close()
	cmd := exec.Command("ringkeep", append([]string{"run", "-D", "-f", filepath.Join(t.dir, "keepalived.conf")}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	t.must(cmd.Start())
	return cmd
}

func (t *inMachine) stop(cmd *exec.Cmd) {
	t.must(cmd.Process.Signal(unix.SIGTERM))
	t.must(cmd.Wait())
}

const (
	web    = "-A -t 10.0.0.100:80 -s wrr"
	server = "-a -t 10.0.0.100:80 -r 10.0.0.21:80 -g -w 3"
	second = "-a -t 10.0.0.100:80 -r 10.0.0.22:80 -g -w 1"
	nat    = "-A -t 10.0.0.100:81 -s rr -p 50"
	natted = "-a -t 10.0.0.100:81 -r 10.0.0.21:80 -m -w 1"
)

// TestMachineDirector runs the daemon on a kernel with IPVS: its services, from a start
// without the module to the stop.
func TestMachineDirector(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if !vm.Inside(t, ipvsMachine) {
		return
	}
	m := &inMachine{T: t, dir: t.TempDir(), servers: map[string]net.Listener{}}
	m.sh(`ip link set dummy0 name eth0; ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0
ip addr add 10.0.0.21/32 dev lo; ip addr add 10.0.0.22/32 dev lo`)
	m.serve("10.0.0.21:80", true)
	m.serve("10.0.0.22:80", true)
	m.configure()
	d := m.missing()
	m.checks()
	m.strangers()
	m.steer()
	m.reload(d)
	m.stop(d)
	m.table("-A -t 10.0.0.99:80 -s rr")
	if out := m.sh("ipvsadm -L --daemon; ipvsadm -L --timeout"); strings.TrimSpace(out) != "Timeout (tcp tcpfin udp): 900 120 300" {
		t.Errorf("left after the stop: %s", out)
	}
	m.flushes()
}

// TestMachineWorkers starts workers beside an interface that is down, on a kernel that shares its
// frames only while it is up: the rings for services are opened then.
func TestMachineWorkers(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if !vm.Inside(t, ipvsMachine) {
		return
	}
	m := &inMachine{T: t, dir: t.TempDir()}
	m.sh("ip link set dummy0 name eth0; ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0; ip link add eth1 type dummy")
	m.configure()
	d := m.run("--dataplane", "ipvs", "--workers", "2") // but one
	m.says("Entering MASTER STATE")
	receivers := func() string {
		return m.sh(`i=$(cat /sys/class/net/eth1/ifindex); awk -v i=$i '$4 == "0003" && $5 == i' /proc/net/packet | wc -l`)
	}
	if got := receivers(); got != "1\n" { // for VRRP, ARP and the like
		t.Errorf("%s rings while the link is down", got)
	}
	m.sh("ip link set eth1 up")
	m.waits("rings of both workers", func() bool { return receivers() == "3\n" })
	m.sh("ip link set eth1 down; ip link set eth1 up")
	m.stop(d)
	if strings.Contains(m.log(), "level=ERROR") {
		t.Error(m.log())
	}
}

// missing begins without the module: one line says what helps while the election goes on;
// once it is there the services are served.
func (t *inMachine) missing() *exec.Cmd {
	t.sh("rmmod ip_vs_rr ip_vs_wrr ip_vs_sh ip_vs")
	d := t.run("--dataplane", "ipvs")
	t.says("Entering MASTER STATE")
	t.says("modprobe ip_vs")
	t.says("dataplane=ipvs+ring")
	t.sh("for m in ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh; do insmod /modules.d/$m.ko; done")
	t.table(web, server, second, nat, natted)
	t.says("IPVS is as it is to be again")
	if n := strings.Count(t.log(), "modprobe ip_vs"); n != 1 {
		t.Errorf("%d lines about the module:\n%s", n, t.log())
	}
	t.waits("the daemon of the MASTER", func() bool {
		return strings.Contains(t.sh("ipvsadm -L --daemon"), "master sync daemon (mcast=eth0, syncid=5,")
	})
	if out := t.sh("ipvsadm -L --timeout"); out != "Timeout (tcp tcpfin udp): 60 120 30\n" {
		t.Error(out)
	}
	return d
}

// checks decide who is in the pool.
func (t *inMachine) checks() {
	t.serve("10.0.0.22:80", false)
	t.table(web, server, strings.Replace(second, "-w 1", "-w 0", 1), nat, natted)
	t.serve("10.0.0.21:80", false)
	t.table(web, strings.Replace(second, "-w 1", "-w 0", 1), "-a -t 10.0.0.100:80 -r 10.0.0.9:80 -g -w 1", nat, natted)
	t.serve("10.0.0.21:80", true)
	t.serve("10.0.0.22:80", true)
	t.table(web, server, second, nat, natted)
}

// strangers change what is ours, which is put back, and add what is not, which stays. After
// that the kernel is looked at, and nothing done.
func (t *inMachine) strangers() {
	t.sh(`ipvsadm -A -t 10.0.0.99:80 -s rr; ipvsadm -e -t 10.0.0.100:80 -r 10.0.0.21:80 -g -w 9; ipvsadm -D -t 10.0.0.100:81
ipvsadm --set 77 0 0; ipvsadm --stop-daemon master`)
	t.table(web, server, second, nat, natted, "-A -t 10.0.0.99:80 -s rr")
	for _, command := range []string{"-e -t 10.0.0.100:80 -r 10.0.0.21:80 -g -w 3", nat, natted, "--set 60 120 30", "--start-daemon master --mcast-interface eth0 --syncid 5"} {
		t.says(`put back" command="ipvsadm ` + command + `"`)
	}
	looks := func() int { return strings.Count(t.log(), "commands=0") }
	before, from := strings.Count(t.log(), "msg=ipvs command="), looks()
	t.list() // meanwhile
	t.waits("two looks without a command", func() bool { return looks() >= from+2 })
	if after := strings.Count(t.log(), "msg=ipvs command="); after != before {
		t.Errorf("%d commands, though nothing changed\n%s", after-before, t.log())
	}
}

// list has the kernel's services as ipvsadm does, with the ring's between them.
func (t *inMachine) list() {
	c, err := net.Dial("tcp", "10.0.0.100:81")
	t.must(err)
	defer c.Close()
	for flags, words := range map[string]string{
		"-Ln": "list", "-Ln --stats --exact": "stats exact", "-Ln --thresholds": "thresholds", "-Ln --persistent-conn": "persistent-conn", "-Sn": "save",
	} {
		theirs := strings.Split(t.sh("ipvsadm "+flags), "\n")
		ours := strings.Split(t.ask("status "+words), "\n")
		for i := range theirs {
			theirs[i] = strings.TrimRight(theirs[i], " ")
		}
		for _, l := range ours {
			l = strings.TrimRight(l, " ")
			if i := slices.Index(theirs, l); i >= 0 {
				theirs = slices.Delete(theirs, i, i+1)
			} else if !strings.Contains(l, ":82") && !strings.Contains(l, "(size=") { // the ring's
				t.Errorf("status %s: ipvsadm has no line %q", flags, l)
			}
		}
		for _, l := range theirs {
			if l != "" && !strings.Contains(l, "10.0.0.99:80") && !strings.Contains(l, "(size=") {
				t.Errorf("status %s lacks %q", flags, l)
			}
		}
	}
	conns := t.ask("status connection")
	if !strings.Contains(conns, fmt.Sprintf("ESTABLISHED %-18v %-18s 10.0.0.21:80", c.LocalAddr(), "10.0.0.100:81")) || !strings.Contains(conns, "10.0.0.100:0") && !strings.Contains(conns, ":0 ") {
		t.Errorf("%s", conns)
	}
	out := t.ask("status json") + t.ask("status")
	for _, want := range []string{`"dataplane": "ipvs"`, `"dataplane": "ring"`, "TCP 10.0.0.100:81: rr in the kernel's IPVS, 1 of 1 server up"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
}

// steer drains a server, which is its weight; what the kernel has no means for is said.
func (t *inMachine) steer() {
	t.ask("drain 10.0.0.100:80 10.0.0.21")
	t.table(web, strings.Replace(server, "-w 3", "-w 0", 1), second, nat, natted, "-A -t 10.0.0.99:80 -s rr")
	t.ask("undrain 10.0.0.100:80 10.0.0.21")
	for _, question := range []string{"evict 10.0.0.100:80", "explain 10.0.0.7:4000 10.0.0.100:80"} {
		if err := ask(question, io.Discard); err == nil || !strings.Contains(err.Error(), "the kernel's IPVS forwards TCP 10.0.0.100:80") {
			t.Errorf("%s: %v", question, err)
		}
	}
}

// reload changes a service, brings another to the kernel, and takes one away.
func (t *inMachine) reload(d *exec.Cmd) {
	t.configure("lvs_sched wrr", "lvs_sched sh\n    sh-port", "weight 3", "weight 5", "dataplane ring", "dataplane ipvs", "10.0.0.100 81", "10.0.0.100 83", "lvs_timeouts tcp 60 udp 30", "")
	t.must(d.Process.Signal(unix.SIGHUP))
	t.table("-A -t 10.0.0.100:80 -s sh -b sh-port", strings.Replace(server, "-w 3", "-w 5", 1), second,
		strings.Replace(nat, ":81", ":83", 1), strings.Replace(natted, ":81", ":83", 1),
		"-A -t 10.0.0.100:82 -s rr", "-a -t 10.0.0.100:82 -r 10.0.0.21:82 -g -w 1", "-A -t 10.0.0.99:80 -s rr")
	t.waits("the timeouts of before", func() bool { return strings.Contains(t.sh("ipvsadm -L --timeout"), ": 900 120 300") })
}

// flushes empties the kernel at the start and at the stop.
func (t *inMachine) flushes() {
	t.configure("lvs_timeouts", "lvs_flush\n lvs_flush_on_stop\n lvs_timeouts", "lvs_sync_daemon eth0 inst VI_1 id 5", "", "dataplane ring", "dataplane ipvs")
	d := t.run("--dataplane", "ipvs")
	all := []string{web, server, second, nat, natted, "-A -t 10.0.0.100:82 -s rr", "-a -t 10.0.0.100:82 -r 10.0.0.21:82 -g -w 1"}
	t.table(all...) // without the stranger's
	t.says("dataplane=ipvs\n")
	t.sh("ipvsadm -A -t 10.0.0.99:80 -s rr")
	t.stop(d)
	t.table()
}
