package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a TCP server on the loopback that accepts nothing by itself.
func listener(t *testing.T) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, netip.MustParseAddrPort(l.Addr().String())
}

// hole is an address that never answers a SYN: a listener whose queue is full.
func hole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	for range 10 { // every handshake stays in the queue, as nobody accepts
		if TCP(t.Context(), Target{Addr: addr, Timeout: 50 * time.Millisecond}) != nil {
			return addr
		}
	}
	t.Fatal("the listener's queue does not fill")
	return addr
}

// 1.5: success when the handshake completes, then a plain close and no data.
func TestTCPHandshakeThenPlainClose(t *testing.T) {
	l, addr := listener(t)
	if err := TCP(t.Context(), Target{Addr: addr, Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if n, err := c.Read(make([]byte, 10)); n != 0 || err == nil || err.Error() != "EOF" {
		t.Errorf("the server read %d bytes, %v; want the end", n, err)
	}
}

func TestTCPFailures(t *testing.T) {
	l, closed := listener(t)
	l.Close()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, open := listener(t)
	for _, tt := range []struct {
		name  string
		ctx   context.Context
		check Target
		want  string
		local bool
	}{
		{"refused", t.Context(), Target{Addr: closed}, "connection refused", false},
		{"silent", t.Context(), Target{Addr: hole(t), Timeout: 200 * time.Millisecond}, "no answer in 200ms", false},
		{"bind", t.Context(), Target{Addr: open, Bind: netip.MustParseAddrPort("192.0.2.1:0")}, "check not made: bind: cannot assign requested address", true},
		{"device", t.Context(), Target{Addr: open, Device: "nosuch0"}, "check not made: bind to device nosuch0: no such device", true},
		{"called off", gone, Target{Addr: open}, "check not made: context canceled", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := TCP(tt.ctx, tt.check)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if errors.Is(err, ErrLocal) != tt.local {
				t.Errorf("local is %t", !tt.local)
			}
		})
	}
}

func TestTCPBindsWhatIsAsked(t *testing.T) {
	l, addr := listener(t)
	c := Target{Addr: addr, Bind: netip.MustParseAddrPort("127.0.0.9:0")}
	if os.Geteuid() == 0 {
		c.Device, c.Mark = "lo", 7
	}
	if err := TCP(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.9" {
		t.Errorf("came from %s", got)
	}
}

// 1.3 lists the errors of a connect that count as failures; others are local.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		want  string
		local bool
	}{
		{unix.ENETUNREACH, "network is unreachable", false},
		{unix.EHOSTUNREACH, "no route to host", false},
		{unix.ECONNREFUSED, "connection refused", false},
		{unix.EHOSTDOWN, "host is down", false},
		{unix.ENETDOWN, "network is down", false},
		{unix.ECONNRESET, "connection reset by peer", false},
		{unix.ECONNABORTED, "software caused connection abort", false},
		{unix.ETIMEDOUT, "connection timed out", false},
		{unix.EADDRNOTAVAIL, "check not made: connect: cannot assign requested address", true},
		{unix.EPERM, "check not made: connect: operation not permitted", true},
	} {
		if err := refused(tt.errno); err.Error() != tt.want || errors.Is(err, ErrLocal) != tt.local {
			t.Errorf("%v: %q, local %t", tt.errno, err, errors.Is(err, ErrLocal))
		}
	}
}

// A port of this host that nobody listens at may be the one that the kernel chooses for the
// check: connected to itself, it says nothing of a server.
func TestTCPDoesNotMeetItself(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.MustParseAddrPort(l.Addr().String())
		l.Close()
		c := Target{Addr: addr, Bind: addr, Timeout: time.Second}
		if err := TCP(t.Context(), c); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// Hundreds of checks that wait for an answer take no thread each.
func TestTCPChecksTakeNoThreads(t *testing.T) {
	addr := hole(t)
	before := threads(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all, begun sync.WaitGroup
	for range 500 {
		begun.Add(1)
		all.Go(func() {
			begun.Done()
			TCP(ctx, Target{Addr: addr, Timeout: 10 * time.Second})
		})
	}
	begun.Wait()
	for end := time.Now().Add(5 * time.Second); sockets(t) < 500 && time.Now().Before(end); {
	}
	if n := threads(t) - before; n > 50 {
		t.Errorf("500 checks took %d threads", n)
	}
	cancel()
	all.Wait()
}

func threads(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "Threads:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func sockets(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func ExampleTCP() {
	err := TCP(context.Background(), Target{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Timeout: time.Second})
	fmt.Println(err)
	// Output: connection refused
}

// A link-local address means something on its link only.
func TestTargetOnALink(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr, device string
		zone         uint32
	}{
		{"[fe80::1]:80", "lo", uint32(lo.Index)}, {"[fe80::1]:80", "", 0}, {"[fe80::1%lo]:80", "", uint32(lo.Index)}, {"[2001:db8::1]:80", "lo", 0},
	} {
		addr := netip.MustParseAddrPort(tt.addr)
		want := &unix.SockaddrInet6{Port: 80, Addr: addr.Addr().As16(), ZoneId: tt.zone}
		if got := (Target{Device: tt.device}).sockaddr(addr); !reflect.DeepEqual(got, want) {
			t.Errorf("%s on %q: %+v", tt.addr, tt.device, got)
		}
	}
}

// bind_port alone binds to the address of the route.
func TestTargetBindsAPortAlone(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.1:80": "0.0.0.0:7", "[::1]:80": "[::]:7", "[::ffff:127.0.0.1]:80": "0.0.0.0:7"} {
		c := Target{Addr: netip.MustParseAddrPort(addr), Bind: netip.AddrPortFrom(netip.Addr{}, 7)}
		if got := c.local().String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
