package netlab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// needs skips a test for want of a right or a peer; in CI that is a failure.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	missing := ""
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		for _, dir := range frrDirs { // with /usr/sbin
			if err != nil {
				_, err = os.Stat(dir + "/" + tool)
			}
		}
		if err != nil {
			missing = tool + " is not installed"
		}
	}
	if os.Geteuid() != 0 {
		missing = "needs root"
	}
	if missing == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// binary builds ringkeep once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ringkeep-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ringkeep")
	out, err := exec.Command("go", "build", "-o", path, "github.com/ringkeep/ringkeep/cmd/ringkeep").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// play runs a scenario and returns its result and time line.
func play(t *testing.T, s *Scenario) (*Result, string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r, err := Run(ctx, s, Options{Binary: path, Out: &out, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return r, out.String()
}

// parallel is how many scenarios run at a time: they mostly wait. The one that keeps
// both processors busy runs before them, alone.
const (
	parallel = 6
	alone    = "big-download"
)

// played are the scenarios of the seed files, and those with real keepalived or FRR. Others of
// the library are played in cmd/internal/sim, beside their run in virtual time.
var played = []string{
	"big-download", "01-killed-and-swept", "01-two-node", "02-web-pair", "03-three-node", "04-nopreempt", "05-mysql-ha", "08-cloud-lvs-dr",
	"09-haproxy-track", "10-sync-group", "11-static", "13-lvs-dr-web", "deaf-backup", "demo", "interop-ah-keepalived-first",
	"auth-hmac", "interop-ah-ringkeep-first", "interop-ah-unicast", "interop-garp-paced", "interop-mcast-group",
	"interop-reload", "interop-sync-group", "interop-v2-keepalived-first", "interop-v2-over-ipv6",
	"interop-v2-ringkeep-first", "interop-v3-keepalived-first", "interop-v3-ringkeep-first",
	"interop-v6-keepalived-first", "interop-v6-ringkeep-first", "narrow-direct-routing", "narrow-nat", "tun-fragments", "tun-gue-gre", "tun-ipip", "tun-ipv6", "tun-routed", "no-accept", "notify-fifo", "refusals-said",
	"reload", "reload-macvlan", "reload-services", "routes-move", "routes-removed", "script-user", "takeover-exact", "track-group", "track-process",
	"track-weights", "wrong-password", "drain", "fail", "nat", "small-servers", "checks-hostile", "checks-misc", "checks-protocols", "checks-tls", "checks-tries", "checks-turn", "checks-web",
	"06-mysql-lb", "12-lvs-all-checks", "notify-arguments", "reload-keeps", "script-security",
	"fleet-ringkeep-ringkeep", "fleet-ringkeep-keepalived", "fleet-keepalived-ringkeep", "fleet-keepalived-keepalived",
	"fleet-ringkeep-frr", "fleet-frr-ringkeep", "fleet-frr-frr",
	"bfd-frr", "bfd-keepalived", "vmac-v2", "vmac-ipv6", "vmac-xmit-base", "vmac-killed", "vmac-services", "syn-flood", "fragments", "own-connections", "too-big-to-servers", "workers", "server-group", "fwmark", "service-ipv6", "nat-router", "backup-routes", "mark-exceptions", "interop-vmac-v2-keepalived-first", "interop-vmac-v2-ringkeep-first",
	"interop-vmac-v3-keepalived-first", "interop-vmac-v3-ringkeep-first", "interop-vmac-v6-keepalived-first", "interop-vmac-v6-ringkeep-first",
	"checks-seen",
}

// TestScenarios plays them in namespaces.
func TestScenarios(t *testing.T) {
	needs(t, "keepalived", "vrrpd", "tshark")
	if testing.Short() {
		t.Skip("scenarios take minutes")
	}
	room := make(chan struct{}, parallel)
	for _, name := range played {
		file := filepath.Join("scenarios", name+".txtar")
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			if filepath.Base(file) != alone+".txtar" {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
			}
			capture, _ := command(t, file)
			if name != "auth-hmac" { // tshark would sum the trailer, too
				witness(t, capture)
			}
			if name == "wrong-password" {
				if told := tshark(t, capture, `frame.comment contains "ignored: wrong password"`); strings.Count(told, "\n") < 2 {
					t.Errorf("packets with what their receivers made of them: %q", told)
				}
			}
			if strings.Contains(name, "vmac") {
				virtual(t, name, capture)
			}
			if strings.HasPrefix(name, "interop-ah-") {
				authenticated(t, capture)
			}
			if name == "interop-garp-paced" {
				pacedAlike(t, capture)
			}
			if look := onTheWire[name]; look != nil {
				look(t, capture)
			}
		})
	}
}

// command plays a scenario as a user does, with the judge, and returns the capture and
// the time line.
func command(t *testing.T, file string) (capture, told string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	out, err := exec.CommandContext(ctx, path, "lab", "run", "--dir", dir, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "lab.pcapng"), string(out)
}

// witness has tshark decode every frame of a capture: nothing malformed, no wrong
// checksum; that of keepalived's version 2 over IPv6 tshark does not know, and that of a
// packet which an ICMP error quotes was never completed on a veth.
func witness(t *testing.T, capture string) {
	t.Helper()
	const sums = "(vrrp.checksum.status == 0 && !(ipv6 && vrrp.version == 2) || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0)"
	const bad = "(_ws.malformed || icmpv6.checksum.status == 0 || " + sums + " && !(icmpv6.type < 128)) && !icmp"
	if remarks := tshark(t, capture, bad); remarks != "" {
		t.Errorf("tshark remarks: %s", remarks)
	}
}

// virtual has tshark find the virtual MACs where they belong (RFC 9568 §7.2, §8.1.2, §8.2.2),
// on frames of ours: keepalived as MASTER asks for its clients with the virtual address and
// the MAC of its interface.
func virtual(t *testing.T, name, capture string) {
	t.Helper()
	const vmac, physical = "eth.src[0:4] == 00:00:5e:00", "!(eth.src[0:4] == 00:00:5e:00)"
	ours := "eth"
	switch {
	case strings.HasSuffix(name, "keepalived-first"):
		ours = `frame.interface_name == "n2:eth0"`
	case strings.HasSuffix(name, "ringkeep-first"):
		ours = `frame.interface_name == "n1:eth0"`
	}
	never := []string{
		"arp.src.proto_ipv4 == 10.77.0.100 && " + physical,
		"(icmpv6.nd.na.target_address == 2001:db8:77::100 || icmpv6.nd.na.target_address == fe80::77:100) && " + physical,
		"icmpv6.type == 135 && ipv6.src == 2001:db8:77::100 && " + physical,
		"(igmp || icmpv6.type == 131 || icmpv6.type == 132 || icmpv6.type == 143) && " + vmac,
	}
	adverts := "vrrp && " + vmac
	if name == "vmac-xmit-base" {
		adverts = "vrrp && " + physical
		never = append(never, "vrrp && "+vmac)
	} else {
		never = append(never, "vrrp && "+physical)
	}
	if found := tshark(t, capture, anyOf(never)+" && "+ours); found != "" {
		t.Errorf("one of %q: %s", never, found)
	}
	if n := strings.Count(tshark(t, capture, adverts+" && "+ours), "\n"); n < 3 {
		t.Errorf("%d advertisements", n)
	}
}

// authenticated has tshark find the authentication headers: every advertisement has one,
// and whoever heard one refused none.
func authenticated(t *testing.T, capture string) {
	t.Helper()
	if n := strings.Count(tshark(t, capture, `ah.spi && vrrp.auth_type == 2 && frame.comment contains "accepted"`), "\n"); n < 5 {
		t.Errorf("%d accepted advertisements with an authentication header", n)
	}
	const ended = `frame.comment contains "takes no part"` // it has stopped, and is not gone yet
	never := []string{"vrrp && !ah", `ah && frame.comment contains "ignored" && !(` + ended + ")", "ah.sequence == 0"}
	if found := tshark(t, capture, anyOf(never)); found != "" {
		t.Errorf("one of %q: %s", never, found)
	}
}

// errorsOnce wants the ICMP errors of servers behind NAT to leave the director as its own, and
// no other way; those about what was sent to the servers themselves as they are.
func errorsOnce(t *testing.T, capture string) {
	t.Helper()
	const out = `frame.interface_name == "d:eth0" && `
	for filter, want := range map[string]int{
		`icmp.type == 3 && ip.src == 10.0.0.100 && udp.dstport == 7`:          1,
		`icmp.type == 3 && ip.src == 10.1.0.21 && udp.dstport == 7`:           0,
		`icmp.type == 3 && ip.src == 10.1.0.21 && udp.dstport == 8`:           1,
		`icmpv6.type == 1 && ipv6.src == 2001:db8::100 && udp.dstport == 7`:   1,
		`icmpv6.type == 1 && ipv6.src == 2001:db8:1::/64 && udp.dstport == 7`: 0,
	} {
		if got := tshark(t, capture, out+filter); strings.Count(got, "\n") != want {
			t.Errorf("%s: want %d\n%s", filter, want, got)
		}
	}
}

// anyOf is one filter for several: to start tshark takes longer than to read a capture.
func anyOf(filters []string) string { return "((" + strings.Join(filters, ") || (") + "))" }

// tshark lists the packets of a capture that a filter lets pass. Of a port that a client
// happened to get it does not guess what is spoken there.
func tshark(t *testing.T, capture, filter string) string {
	t.Helper()
	cmd := exec.Command("tshark", "-r", capture, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-d", "udp.port==32768-60999,data", "-d", "tcp.port==32768-60999,data", "-Y", filter)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints // that it runs as root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, complaints.String())
	}
	return string(out)
}

// TestSeedFilesAreVerbatim holds the configurations of the scenarios that play the
// seed files against those files.
func TestSeedFilesAreVerbatim(t *testing.T) {
	for seed, in := range map[string]string{
		"01-two-node.master": "01-two-node n10", "01-two-node.backup": "01-two-node n11",
		"02-web-pair.master": "02-web-pair m", "02-web-pair.backup": "02-web-pair b",
		"03-three-node.node1": "03-three-node n1", "03-three-node.node2": "03-three-node n2", "03-three-node.node3": "03-three-node n3",
		"04-nopreempt.master": "04-nopreempt m", "04-nopreempt.backup": "04-nopreempt b",
		"05-mysql-ha.node1": "05-mysql-ha n1", "05-mysql-ha.node2": "05-mysql-ha n2",
		"07-unicast-cross-subnet.master": "07-cross-subnet m", "07-unicast-cross-subnet.backup": "07-cross-subnet b",
		"08-cloud-lvs-dr.master": "08-cloud-lvs-dr m", "08-cloud-lvs-dr.backup": "08-cloud-lvs-dr b",
		"09-haproxy-track": "09-haproxy-track n1", "11-static": "11-static n", "13-lvs-dr-web": "13-lvs-dr-web d",
		"06-mysql-lb": "06-mysql-lb m:/etc/keepalived/mysql-lb", "12-lvs-all-checks": "12-lvs-all-checks d:/etc/keepalived/seed",
	} {
		want, err := os.ReadFile("../cmd/internal/config/testdata/seed/" + seed + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		scenario, node, _ := strings.Cut(in, " ")
		s, err := Load("scenarios/" + scenario + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Files[node+".conf"]; strings.TrimSuffix(string(got), "\n") != strings.TrimSuffix(string(want), "\n") {
			t.Errorf("%s of %s is not the seed file", node, scenario)
		}
	}
}

// TestFailureNamesTheStatement plays a scenario that cannot pass.
func TestFailureNamesTheStatement(t *testing.T) {
	needs(t)
	s, err := Parse("s", []byte("lan lan\nhost a lan:eth0 10.0.0.1/24\nhost b lan:eth0 10.0.0.2/24\nserve b tcp 80\nask a tcp 10.0.0.2:80 b\nwait 50ms a holds 10.0.0.9\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, out := play(t, s)
	if r.Passed || !strings.HasPrefix(r.Failure.Error(), "s:6:1: wait 50ms a holds 10.0.0.9: not within this time") {
		t.Fatalf("%v\n%s", r.Failure, out)
	}
}

// TestWireCarriesSuperFramesAndFaults needs no director: a download with default
// offloads, a cut link, a drop, all across the wire in userspace.
func TestWireCarriesSuperFramesAndFaults(t *testing.T) {
	needs(t, "tshark")
	s, err := Parse("s", []byte(`lan lan
lan other
host a lan:eth0 10.0.0.1/24
host b lan:eth0 10.0.0.2/24
host c other:eth0 10.0.0.3/24
serve b tcp 80
serve b udp 9
serve c tcp 80
flow big a download 10.0.0.2:80 50000000
wait 30s flow big done
probe every-ms a udp 10.0.0.2:9
wait 1s flow every-ms answers
mark
drop b to a udp
stays 100ms b holds 10.0.0.2
heal
ask a udp 10.0.0.2:9 b
expect gap every-ms 95ms 2s
mark
link b down
stays 100ms b holds 10.0.0.2
link b up
ask a tcp 10.0.0.2:80 b
expect gap every-ms 95ms 3s
`))
	if err != nil {
		t.Fatal(err)
	}
	r, out := play(t, s)
	if !r.Passed {
		t.Fatal(out)
	}
	witness(t, r.Capture)
}

// TestLansAreApart asks across two lans, which must fail.
func TestLansAreApart(t *testing.T) {
	needs(t)
	s, err := Parse("s", []byte("lan x\nlan y\nhost a x:eth0 10.0.0.1/24\nhost b y:eth0 10.0.0.2/24\nserve b tcp 80\nask a tcp 10.0.0.2:80 b\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r, out := play(t, s); r.Passed {
		t.Fatal(out)
	}
}

// running lists the processes that have a word in their command line.
func running(word string) (list []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), word) {
			list = append(list, f)
		}
	}
	return list
}

func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
		pause(t.Context(), 5*time.Millisecond)
	}
}
