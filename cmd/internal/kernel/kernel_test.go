package kernel

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deadline is how long a test waits for what must happen.
const deadline = 20 * time.Second

// namespace moves the test to a network namespace of its own, on a thread of its
// own; both end with the test. "lo" is up in it.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: Go ends the thread with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("make a network namespace: %v", err)
		}
		t.Skipf("needs root to make a network namespace: %v", err)
	}
	up(t, "lo")
}

func up(t *testing.T, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		t.Fatalf("set %s up: %v", name, err)
	}
}

// link makes an interface that is up: one end of a pair, its name with an x at the
// other end. (Not every kernel has the dummy driver.)
func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	veth(t, name, name+"x")
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

// veth makes a pair, both ends up and running: the kernel tells the carrier a moment after
// the ends are up.
func veth(t *testing.T, a, b string) {
	t.Helper()
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: b}); err != nil {
		t.Fatalf("add %s: %v", a, err)
	}
	up(t, a)
	up(t, b)
	for _, name := range []string{a, b} { // the carrier is noticed a moment later
		eventually(t, name+" runs", func() bool {
			l, err := netlink.LinkByName(name)
			return err == nil && l.Attrs().RawFlags&unix.IFF_RUNNING != 0
		})
	}
}

func open(t *testing.T) *Kernel {
	t.Helper()
	k, err := Open(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", deadline, what)
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs the program %s as a witness", name)
		}
		t.Skipf("needs the program %s as a witness", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// shown is an address as the program ip shows it, our witness.
type shown struct {
	Local, Broadcast, Scope, Label string
	Address                        string // the far end
	Prefixlen                      int
	Deprecated, Nodad              bool
}

func witness(t *testing.T, iface string) []shown {
	t.Helper()
	var links []struct {
		Info []shown `json:"addr_info"`
	}
	must(t, json.Unmarshal([]byte(output(t, "ip", "-j", "addr", "show", "dev", iface)), &links))
	var all []shown
	for _, l := range links {
		all = append(all, l.Info...)
	}
	return all
}

// prefixes lists what ip shows, link-local IPv6 left out.
func prefixes(t *testing.T, iface string) string {
	t.Helper()
	var list []string
	for _, a := range witness(t, iface) {
		if !strings.HasPrefix(a.Local, "fe80:") {
			list = append(list, fmt.Sprintf("%s/%d", a.Local, a.Prefixlen))
		}
	}
	return strings.Join(list, " ")
}

func vip(iface, prefix string) Address {
	return Address{Interface: iface, Prefix: netip.MustParsePrefix(prefix)}
}

// helperEnv asks this test binary to be a director that gets killed.
const helperEnv = "RINGKEEP_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Exit(victim())
	}
	os.Exit(m.Run())
}

// victim adds an address and drop rules, says so, and waits to be killed.
func victim() int {
	runtime.LockOSThread()
	k, err := Open(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil {
		err = k.AddAddress(vip("d0", "10.1.0.100/24"))
	}
	if err == nil {
		err = k.AddAddress(vip("d0", "2001:db8::100/128"))
	}
	if err == nil {
		err = k.DropRules([]string{"d0"}, []Flow{serviceFlow(6, netip.MustParseAddr("10.1.0.100"), 80)})
	}
	if err == nil {
		err = k.Block([]Address{vip("d0", "10.1.0.100/24")})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// killVictim runs a victim in this namespace up to the point where it has added
// everything, and kills it.
func killVictim(t *testing.T, before func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Errorf("victim said %q, %v", line, err)
	}
	before()
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed, as it should
}

// powerless takes the network capabilities from this thread, which ends with the test.
func powerless(t *testing.T) {
	t.Helper()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	must(t, unix.Capget(&head, &caps[0]))
	caps[0].Effective &^= 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	must(t, unix.Capset(&head, &caps[0]))
}

func TestMissingRightsAreNamed(t *testing.T) {
	namespace(t)
	link(t, "d0")
	k := open(t)
	must(t, k.AddAddress(vip("d0", "10.1.0.1/24")))
	powerless(t)
	flow := serviceFlow(6, netip.MustParseAddr("10.1.0.1"), 80)
	_, openErr := Open(slog.New(slog.NewTextHandler(io.Discard, nil)))
	for _, tt := range []struct {
		err  error
		want string
	}{
		{openErr, "open a raw socket for IP protocol 51: operation not permitted: needs CAP_NET_RAW (run as root)"},
		{k.AddAddress(vip("d0", "10.1.0.2/24")), "add 10.1.0.2/24 to d0: operation not permitted: needs CAP_NET_ADMIN (run as root)"},
		{k.RemoveAddress(vip("d0", "10.1.0.1/24")), "remove 10.1.0.1/24 from d0: operation not permitted: needs CAP_NET_ADMIN (run as root)"},
		{k.DropRules([]string{"d0"}, []Flow{flow}), "needs CAP_NET_ADMIN (run as root)"},
	} {
		if tt.err == nil || !strings.HasSuffix(tt.err.Error(), tt.want) {
			t.Errorf("got %v\nwant %s", tt.err, tt.want)
		}
	}
}
