package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/status"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

// triangle is a client, a director and a server of DR, which answers past the director. The
// daemon runs in it.
type triangle struct {
	*testing.T
	client, dir, server *netlab.Namespace
	daemon              *exec.Cmd
	sums                chan [sha256.Size]byte // of what the server received of each connection
	received            atomic.Int64
}

const triangleConf = `virtual_server 10.0.0.100 80 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 10.1.0.2 80 {
    }
}
`

func newTriangle(t *testing.T, args ...string) *triangle {
	t.Helper()
	needsRoot(t)
	tr := &triangle{T: t, sums: make(chan [sha256.Size]byte, 8)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []**netlab.Namespace{&tr.client, &tr.dir, &tr.server} {
		made, err := netlab.NewNamespace()
		must(err)
		t.Cleanup(made.Close)
		*n = made
		for _, name := range []string{"all", "default"} {
			must(made.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
		}
	}
	address := func(n *netlab.Namespace, iface, prefix string) { must(n.Address(iface, netip.MustParsePrefix(prefix))) }
	must(tr.client.Join("c0", proto.MAC{2, 0, 0, 0, 0, 1}, tr.dir, "d0", proto.MAC{2, 0, 0, 0, 0, 2}))
	must(tr.dir.Join("d1", proto.MAC{2, 0, 0, 0, 0, 3}, tr.server, "s0", proto.MAC{2, 0, 0, 0, 0, 4}))
	must(tr.client.Join("c1", proto.MAC{2, 0, 0, 0, 0, 5}, tr.server, "s1", proto.MAC{2, 0, 0, 0, 0, 6}))
	address(tr.client, "c0", "10.0.0.1/24")
	address(tr.client, "c1", "10.2.0.1/24")
	address(tr.dir, "d0", "10.0.0.2/24")
	address(tr.dir, "d0", "10.0.0.100/32")
	address(tr.dir, "d1", "10.1.0.1/24")
	address(tr.server, "s0", "10.1.0.2/24")
	address(tr.server, "s1", "10.2.0.2/24")
	address(tr.server, "lo", "10.0.0.100/32")
	must(tr.server.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
	must(tr.server.Route(netip.MustParsePrefix("10.0.0.0/24"), netip.MustParseAddr("10.2.0.1")))
	must(tr.serve())

	file := filepath.Join(t.TempDir(), "keepalived.conf")
	must(os.WriteFile(file, []byte(triangleConf), 0o600))
	log, err := os.Create(filepath.Join(filepath.Dir(file), "log"))
	must(err)
	defer log.Close()
	tr.daemon = exec.Command("ringkeep", append([]string{"run", "-f", file}, args...)...)
	tr.daemon.Stderr = log
	must(tr.dir.Do(tr.daemon.Start))
	t.Cleanup(func() {
		tr.daemon.Process.Kill()
		tr.daemon.Wait()
	})
	tr.until("start", func() bool {
		text, _ := os.ReadFile(log.Name())
		return strings.Contains(string(text), "msg=started")
	})
	return tr
}

// serve has the server read what comes.
func (tr *triangle) serve() error {
	var l net.Listener
	err := tr.server.Do(func() (err error) {
		l, err = net.Listen("tcp4", ":80")
		return err
	})
	if err != nil {
		return err
	}
	tr.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				h := sha256.New()
				if _, err := io.Copy(io.MultiWriter(h, counter{&tr.received}), c); err == nil {
					tr.sums <- [sha256.Size]byte(h.Sum(nil))
				}
			}()
		}
	}()
	return nil
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

func (tr *triangle) dial() net.Conn {
	tr.Helper()
	var c net.Conn
	err := tr.client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp4", "10.0.0.100:80", 5*time.Second)
		return err
	})
	if err != nil {
		tr.Fatal(err)
	}
	tr.Cleanup(func() { c.Close() })
	return c
}

// until waits for something that the daemon does.
func (tr *triangle) until(what string, is func() bool) {
	tr.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tr.Fatalf("no %s", what)
		}
	}
}

// ask runs a command beside the daemon.
func (tr *triangle) ask(args ...string) string {
	tr.Helper()
	var out []byte
	err := tr.dir.Do(func() (err error) {
		out, err = exec.Command("ringkeep", args...).CombinedOutput()
		return err
	})
	if err != nil {
		tr.Fatalf("ringkeep %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// offloaded tells whether the kernel forwards a connection of the client's.
func (tr *triangle) offloaded(c net.Conn) bool {
	return strings.Contains(tr.ask("explain", "flow", c.LocalAddr().String(), "10.0.0.100:80"), "offloaded")
}

// programs counts those of the kernel at the director's interface towards the client.
func (tr *triangle) programs() (n int) {
	tr.Helper()
	err := tr.dir.Do(func() error {
		l, err := netlink.LinkByName("d0")
		if err != nil {
			return err
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			n = len(q.Programs)
		}
		return err
	})
	if err != nil {
		tr.Fatal(err)
	}
	return n
}

// write sends at random what is also returned as a sum, until stop says so.
func write(c net.Conn, stop func() bool) (n int64, sum [sha256.Size]byte, err error) {
	h, b, r := sha256.New(), make([]byte, 1<<18), rand.NewChaCha8([32]byte{1})
	for !stop() {
		r.Read(b[:1<<10])
		k, err := c.Write(b)
		h.Write(b[:k])
		if n += int64(k); err != nil {
			return n, sum, err
		}
	}
	return n, [sha256.Size]byte(h.Sum(nil)), nil
}

// An upload is offloaded: it arrives as it was sent, the ring sees little of it, and what is told
// of the service has all of it. It is reset when its server is to fail. What is killed leaves no
// program behind.
func TestUploadIsOffloaded(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--workers", "2"}, {"--flow-offload=false"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			tr := newTriangle(t, args...)
			off := len(args) == 1
			want := 1
			if len(args) == 2 {
				want = 2
			} else if off {
				want = 0
			}
			tr.until(fmt.Sprintf("%d programs", want), func() bool { return tr.programs() == want })
			c := tr.dial()
			const size = 30 << 20
			var enough atomic.Bool
			var n int64
			var sum [sha256.Size]byte
			sent := make(chan error, 1)
			go func() {
				var err error
				n, sum, err = write(c, enough.Load)
				sent <- err
			}()
			if !off {
				tr.until("stream that is offloaded", func() bool { return tr.offloaded(c) })
			}
			tr.until("thirty megabytes", func() bool { return tr.received.Load() > size })
			if off && tr.offloaded(c) {
				t.Error("the stream is offloaded")
			}
			enough.Store(true)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			c.Close()
			select {
			case got := <-tr.sums:
				if got != sum {
					t.Error("other bytes have come than were sent")
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the server waits for more")
			}
			var s status.Counters
			tr.until("whole stream in the counters", func() bool {
				var told status.Report
				if err := json.Unmarshal([]byte(tr.ask("status", "--json")), &told); err != nil {
					t.Fatal(err)
				}
				s = told.Services[0].Counters
				// 20 bytes of IP and 32 of TCP are in front of each packet's part, of the SYN 8 more.
				return told.Services[0].Servers[0].Active == 0 && int64(s.InBytes) >= n+52*int64(s.InPackets)+8
			})
			if got := int64(s.InBytes) - 52*int64(s.InPackets) - 8; got > n+n/5 { // some is sent again
				t.Errorf("%d bytes in %d packets were told, of %d sent", s.InBytes, s.InPackets, n)
			}
			if off {
				return
			}
			c = tr.dial()
			failed := make(chan error, 1)
			go func() {
				_, _, err := write(c, func() bool { return false })
				failed <- err
			}()
			tr.until("stream that is offloaded", func() bool { return tr.offloaded(c) })
			tr.ask("fail", "10.0.0.100:80", "10.1.0.2")
			select {
			case err := <-failed:
				if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
					t.Errorf("the stream ended with %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the stream goes on to a server that is to fail")
			}
			tr.daemon.Process.Kill()
			tr.daemon.Wait()
			tr.until("end of the programs", func() bool { return tr.programs() == 0 })
		})
	}
}
