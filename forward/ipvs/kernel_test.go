package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/netlab/vm"
)

// every has services and servers with every property that the kernel knows.
func every() []Service {
	key := func(protocol uint8, addr string) forward.ServiceKey {
		return forward.ServiceKey{Protocol: protocol, Addr: netip.MustParseAddrPort(addr)}
	}
	server := func(addr string, m forward.Method, weight int32) Server {
		return Server{Server: forward.Server{Addr: netip.MustParseAddrPort(addr), Method: m, Weight: weight}}
	}
	tunnel := func(s Server, t forward.TunnelType, sum forward.TunnelSum, port uint16) Server {
		s.Tunnel = forward.Tunnel{Type: t, Sum: sum, Port: port}
		return s
	}
	limited := server("10.0.1.13:8080", forward.NAT, 70000) // more than the library reads
	limited.Upper, limited.Lower = 100, 50
	return []Service{
		{Key: key(6, "198.51.100.1:80"), Scheduler: "wlc", Servers: []Server{
			server("10.0.1.11:80", forward.DR, 1), server("10.0.1.12:80", forward.DR, 0), limited,
		}},
		{Key: key(6, "198.51.100.1:443"), Scheduler: "mh", Flags: Persistent | Sched1 | Sched2, Timeout: 360 * time.Second, Mask: 24},
		{Key: key(17, "198.51.100.1:53"), Scheduler: "rr", Flags: OnePacket, Servers: []Server{server("127.0.0.1:53", forward.Local, 1)}},
		{Key: key(132, "198.51.100.1:5060"), Scheduler: "fo"},
		{Key: key(17, "198.51.100.1:5060"), Scheduler: "rr", Flags: Persistent, Timeout: time.Minute, Engine: "sip"},
		{Key: key(6, "198.51.100.2:80"), Scheduler: "sh", Flags: Sched2, Servers: []Server{
			tunnel(server("10.0.1.11:80", forward.TUN, 1), forward.IPIP, forward.NoSum, 0),
			tunnel(server("10.0.1.12:80", forward.TUN, 2), forward.GUE, forward.RemoteSum, 6080),
			tunnel(server("10.0.1.13:80", forward.TUN, 3), forward.GRE, forward.Sum, 0),
			server("[2001:db8::1]:80", forward.TUN, 4), // of the other family
		}},
		{Key: key(6, "[2001:db8:1::1]:80"), Scheduler: "lc", Flags: Persistent, Timeout: time.Minute, Mask: 64, Servers: []Server{server("[2001:db8::2]:80", forward.DR, 1)}},
		{Key: forward.ServiceKey{Mark: 7, Addr: unspecified(unix.AF_INET)}, Scheduler: "wrr", Servers: []Server{server("10.0.1.11:0", forward.DR, 1)}},
		{Key: forward.ServiceKey{Mark: 7, Addr: unspecified(unix.AF_INET6)}, Scheduler: "rr"},
	}
}

// kernelTest is one test in the machine.
type kernelTest struct {
	*testing.T
	k *Kernel
	r *Reconciler
}

func (t kernelTest) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apply expects so many commands.
func (t kernelTest) apply(want []Service, commands int) []Command {
	t.Helper()
	done, err := t.r.Apply(want)
	t.must(err)
	if len(done) != commands {
		t.Fatalf("%d commands, want %d: %v", len(done), commands, done)
	}
	return done
}

// ipvsadm runs the independent reader and writer.
func (t kernelTest) ipvsadm(args string) string {
	t.Helper()
	out, err := exec.Command("ipvsadm", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ipvsadm %s: %v: %s", args, err, out)
	}
	return string(out)
}

// TestMachineKernel programs everything into a kernel and reads it back, with ipvsadm as
// the witness.
func TestMachineKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	m := machine
	m.Modules = append(slices.Clip(m.Modules), "ip_vs_pe_sip")
	if !vm.Inside(t, m) {
		return
	}
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	test := kernelTest{t, k, NewReconciler(k)}
	test.everything()
	test.strangers()
	test.library()
	test.reload()
	test.daemons()
	test.rest()
	test.lost()
}

// everything is read back as it was written, by us and by ipvsadm.
func (t kernelTest) everything() {
	want := every()
	commands := 0
	for _, s := range want {
		commands += 1 + len(s.Servers)
	}
	var text []string
	for _, c := range t.apply(want, commands) {
		line, _, _ := strings.Cut(c.String(), " -x ") // of limits ipvsadm says nothing here
		text = append(text, line)
	}
	got := strings.Split(strings.TrimSpace(t.ipvsadm("-S -n")), "\n")
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	slices.Sort(text)
	slices.Sort(got)
	if !slices.Equal(text, got) {
		t.Errorf("ipvsadm -Sn\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(text, "\n"))
	}
	t.apply(want, 0)
	have, err := t.k.Services()
	t.must(err)
	for _, h := range have {
		i := slices.IndexFunc(want, func(s Service) bool { return s.Key == h.Key })
		if a, b := fmt.Sprintf("%+v", want[i]), fmt.Sprintf("%+v", h); a != b {
			t.Errorf("read  %s\nwrote %s", b, a)
		}
	}
}

// strangers changed what is ours: it is put back. What is theirs stays.
func (t kernelTest) strangers() {
	want := every()
	t.ipvsadm("-A -t 198.51.100.99:80 -s rr")
	t.ipvsadm("-e -t 198.51.100.2:80 -r 10.0.1.12:80 -i -w 9") // which makes GUE to IPIP
	t.ipvsadm("-d -t 198.51.100.1:80 -r 10.0.1.11:80")
	t.ipvsadm("-a -t 198.51.100.1:80 -r 10.0.1.99:80 -g")
	t.ipvsadm("-E -t 198.51.100.1:443 -s rr")
	t.ipvsadm("-D -f 7")
	done := fmt.Sprint(t.apply(want, 6))
	for _, part := range []string{
		"-e -t 198.51.100.2:80 -r 10.0.1.12:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum", "-a -t 198.51.100.1:80 -r 10.0.1.11:80 -g -w 1",
		"-d -t 198.51.100.1:80 -r 10.0.1.99:80", "-E -t 198.51.100.1:443 -s mh -p 360 -M 255.255.255.0 -b mh-fallback,mh-port",
		"-A -f 7 -s wrr", "-a -f 7 -r 10.0.1.11:0 -g -w 1",
	} {
		if !strings.Contains(done, part) {
			t.Errorf("no %s in %s", part, done)
		}
	}
	t.apply(want, 0)
	if out := t.ipvsadm("-S -n"); !strings.Contains(out, "-A -t 198.51.100.99:80 -s rr") {
		t.Errorf("the stranger's service is gone:\n%s", out)
	}
}

// library is another reader: what it knows of services agrees.
func (t kernelTest) library() {
	h, err := moby.New("")
	t.must(err)
	defer h.Close()
	list, err := h.GetServices()
	t.must(err)
	want := every()
	if len(list) != len(want)+1 { // the stranger's
		t.Errorf("%d services", len(list))
	}
	for _, s := range list {
		i := slices.IndexFunc(want, func(w Service) bool {
			return w.Key.Mark == s.FWMark && (s.FWMark != 0 || w.Key.Addr.Addr().String() == s.Address.String()) &&
				uint16(w.Key.Protocol) == s.Protocol && w.Key.Addr.Port() == s.Port && family(w.Key.Addr.Addr()) == s.AddressFamily
		})
		if i < 0 {
			continue
		}
		w := want[i]
		if s.SchedName != w.Scheduler || Flags(s.Flags)&^hashed != w.Flags || s.Timeout != uint32(w.Timeout/time.Second) || s.Netmask != netmask(w.Key.Addr.Addr(), w.Mask) {
			t.Errorf("the library reads %+v, wanted %+v", s, w)
		}
		servers, err := h.GetDestinations(s)
		t.must(err)
		if len(servers) != len(w.Servers) {
			t.Errorf("%v: %d servers, wanted %d", w.Key, len(servers), len(w.Servers))
		}
	}
}

// reload changes every property of a server and of a service; at the end only the stranger's
// service is left.
func (t kernelTest) reload() {
	want := every()[5:6]
	t.apply(want, 8) // the others go
	for _, change := range []func(*Service){
		func(s *Service) { s.Servers[1].Weight = 0 }, // and its tunnel stays
		func(s *Service) {
			s.Servers[1].Tunnel = forward.Tunnel{Type: forward.GUE, Port: 6081, Sum: forward.Sum}
		},
		func(s *Service) { s.Servers[2].Upper = 10 },
		func(s *Service) { s.Servers[0].Method = forward.DR; s.Servers[0].Tunnel = forward.Tunnel{} },
		func(s *Service) { s.Scheduler = "lblcr" },
		func(s *Service) { s.Flags |= Persistent; s.Timeout, s.Mask = time.Hour, 20 },
		func(s *Service) { s.Flags, s.Timeout, s.Mask = 0, 0, 0 },
		func(s *Service) { s.Servers = s.Servers[:3] },
	} {
		change(&want[0])
		t.apply(want, 1)
		t.apply(want, 0)
	}
	t.apply(nil, 1)
	if out := t.ipvsadm("-S -n"); strings.TrimSpace(out) != "-A -t 198.51.100.99:80 -s rr" {
		t.Errorf("left:\n%s", out)
	}
}

// daemons run, one of each role.
func (t kernelTest) daemons() {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "d0"
	link := &netlink.Dummy{LinkAttrs: attrs}
	t.must(netlink.LinkAdd(link))
	t.must(netlink.LinkSetUp(link))
	t.must(netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1), Mask: net.CIDRMask(24, 32)}}))
	master := Daemon{Role: Master, Interface: "d0", ID: 51, MaxLen: 1000, Group: netip.MustParseAddr("224.0.0.99"), Port: 9000, TTL: 7}
	t.must(t.k.StartDaemon(master))
	if err := t.k.StartDaemon(master); !errors.Is(err, syscall.EEXIST) {
		t.Error(err)
	}
	t.must(t.k.StartDaemon(Daemon{Role: Backup, Interface: "d0", ID: 52}))
	standard := Daemon{Role: Backup, Interface: "d0", ID: 52, MaxLen: 1472, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1}
	if got, err := t.k.Daemons(); err != nil || !slices.Equal(got, []Daemon{master, standard}) {
		t.Error(got, err)
	}
	want := "master sync daemon (mcast=d0, syncid=51, maxlen=1000, group=224.0.0.99, port=9000, ttl=7)"
	if out := t.ipvsadm("-L --daemon"); !strings.Contains(out, want) {
		t.Error(out)
	}
	t.must(t.k.StopDaemon(master))
	t.must(t.k.StopDaemon(standard))
	if got, err := t.k.Daemons(); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
	if err := t.k.StopDaemon(master); !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}

// rest is timeouts, errors, versions and counters.
func (t kernelTest) rest() {
	t.must(t.k.SetTimeouts(0, 77*time.Second, 0))
	if tcp, fin, udp, err := t.k.Timeouts(); err != nil || tcp != 900*time.Second || fin != 77*time.Second || udp != 300*time.Second {
		t.Error(tcp, fin, udp, err)
	}
	key := every()[0].Key
	if err := t.k.AddService(Service{Key: key, Scheduler: "nosuch"}); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
	if err := t.k.AddServer(key, every()[0].Servers[0]); !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	if v, buckets, err := t.k.Version(); v != "1.2.1" || buckets != 4096 || err != nil {
		t.Error(v, buckets, err)
	}
	t.must(t.k.Zero())
	t.must(t.k.Flush())
	if list, err := t.k.Services(); len(list) > 0 || err != nil {
		t.Error(list, err)
	}
}

// lost is a look at the kernel that fails: what is ours can be given back all the same.
func (t kernelTest) lost() {
	k := NewKeeper()
	want := Wanted{Services: every()[:1]}
	_, _, err := k.Keep(want)
	t.must(err)
	k.kernel.Close()
	if _, _, err := k.Keep(want); err == nil {
		t.Error("a closed socket answers")
	}
	t.must(k.Release(false))
	if list, err := t.k.Services(); len(list) > 0 || err != nil {
		t.Error(list, err)
	}
}
