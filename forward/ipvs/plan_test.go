package ipvs

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/sched"
)

// memory is a kernel as far as commands go.
type memory []Service

func (m *memory) do(c Command) error {
	i := slices.IndexFunc(*m, func(s Service) bool { return s.Key == c.Service.Key })
	if (i < 0) != (c.Op == AddService) {
		return fmt.Errorf("%v: the service is there, or not", c)
	}
	if c.Op == AddService {
		s := c.Service
		s.Servers = nil
		*m = append(*m, s)
		return nil
	}
	svc := &(*m)[i]
	at := slices.IndexFunc(svc.Servers, func(s Server) bool { return s.Addr == c.Server.Addr })
	if c.Op >= AddServer && (at < 0) != (c.Op == AddServer) {
		return fmt.Errorf("%v: the server is there, or not", c)
	}
	switch c.Op {
	case EditService:
		servers := svc.Servers
		*svc = c.Service
		svc.Servers = servers
	case DeleteService:
		*m = slices.Delete(*m, i, i+1)
	case AddServer:
		svc.Servers = append(svc.Servers, c.Server)
	case EditServer:
		svc.Servers[at] = c.Server
	case DeleteServer:
		svc.Servers = slices.Delete(svc.Servers, at, at+1)
	}
	return nil
}

func drawServices(t *rapid.T, label string) (list []Service) {
	for i := range 4 {
		if !rapid.Bool().Draw(t, label+" has") {
			continue
		}
		s := Service{Key: forward.ServiceKey{Protocol: 6, Addr: netip.AddrPortFrom(vip, uint16(80+i))}}
		s.Scheduler = rapid.SampledFrom([]string{"rr", "sh"}).Draw(t, "scheduler")
		s.Flags = rapid.SampledFrom([]Flags{0, Persistent, Persistent | Sched1}).Draw(t, "flags")
		s.Mask = rapid.SampledFrom([]int{0, 32, 24}).Draw(t, "mask")
		for j := range rapid.IntRange(0, 4).Draw(t, "servers") {
			rs := forward.Server{Addr: netip.AddrPortFrom(serverAddr(j), 80), Method: forward.TUN}
			rs.Weight = rapid.Int32Range(0, 2).Draw(t, "weight")
			rs.Tunnel.Type = rapid.SampledFrom([]forward.TunnelType{forward.IPIP, forward.GRE}).Draw(t, "tunnel")
			s.Servers = append(s.Servers, Server{Server: rs, Active: rapid.Uint32().Draw(t, "active")})
		}
		list = append(list, s)
	}
	return list
}

// TestPlan leads from any services to any others, keeps those of strangers, and has nothing
// to do after that.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, have := drawServices(t, "want"), memory(drawServices(t, "have"))
		mine := func(k forward.ServiceKey) bool { return k.Addr.Port()%2 == 0 }
		strangers := 0
		for _, h := range have {
			if !mine(h.Key) && !slices.ContainsFunc(want, func(w Service) bool { return w.Key == h.Key }) {
				strangers++
			}
		}
		for _, c := range Plan(want, have, mine) {
			if err := have.do(c); err != nil {
				t.Fatal(err)
			}
		}
		if len(have) != len(want)+strangers {
			t.Errorf("%d services, want %d and %d of strangers", len(have), len(want), strangers)
		}
		if again := Plan(want, have, mine); len(again) > 0 {
			t.Errorf("and again %v", again)
		}
	})
}

// TestFrom has a service of the ring as the kernel would: flags and servers, the first added
// first, without those that left.
func TestFrom(t *testing.T) {
	f := forward.New(forward.Config{MaxConns: 16})
	key := forward.ServiceKey{Protocol: 6, Addr: netip.AddrPortFrom(vip, 80)}
	if err := f.AddService(forward.Service{
		Key: key, Scheduler: "mh", Options: sched.Options{Fallback: true, Port: true}, Persistence: time.Minute, PersistenceMask: 24, OnePacket: true,
	}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		if _, err := f.AddServer(key, forward.Server{Addr: netip.AddrPortFrom(serverAddr(i), 80), Method: forward.NAT, Weight: int32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	f.RemoveServer(key, netip.AddrPortFrom(serverAddr(2), 80))
	var text []string
	for _, c := range Plan([]Service{From(f.Services()[0])}, nil, nil) {
		text = append(text, c.String())
	}
	want := []string{
		"-A -t 198.51.100.10:80 -s mh -p 60 -M 255.255.255.0 -o -b mh-fallback,mh-port",
		"-a -t 198.51.100.10:80 -r 10.0.1.11:80 -m -w 1", "-a -t 198.51.100.10:80 -r 10.0.1.13:80 -m -w 3",
	}
	if !slices.Equal(text, want) {
		t.Errorf("%q", text)
	}
}

// TestCommandText is what a log has, and ipvsadm understands.
func TestCommandText(t *testing.T) {
	key := forward.ServiceKey{Protocol: 6, Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	rs := Server{Server: forward.Server{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 3, Method: forward.TUN}}
	gue := rs
	gue.Tunnel, gue.Upper = forward.Tunnel{Type: forward.GUE, Port: 6080, Sum: forward.RemoteSum}, 9
	for _, c := range []struct {
		command Command
		text    string
	}{
		{Command{Op: AddService, Service: Service{Key: key, Scheduler: "mh", Flags: Persistent | Sched1 | Sched2, Timeout: time.Minute, Mask: 24}},
			"-A -t 192.0.2.1:80 -s mh -p 60 -M 255.255.255.0 -b mh-fallback,mh-port"},
		{Command{Op: EditService, Service: Service{Key: forward.ServiceKey{Mark: 7, Addr: unspecified(10)}, Scheduler: "rr", Flags: OnePacket | Sched3}},
			"-E -f 7 -6 -s rr -o -b flag-3"},
		{Command{Op: DeleteService, Service: Service{Key: forward.ServiceKey{Protocol: 17, Addr: netip.MustParseAddrPort("[2001:db8::1]:53")}}}, "-D -u [2001:db8::1]:53"},
		{Command{Op: AddServer, Service: Service{Key: key}, Server: rs}, "-a -t 192.0.2.1:80 -r 10.0.0.1:80 -i -w 3 --tun-type ipip"},
		{Command{Op: EditServer, Service: Service{Key: key}, Server: gue}, "-e -t 192.0.2.1:80 -r 10.0.0.1:80 -i -w 3 --tun-type gue --tun-port 6080 --tun-remcsum -x 9 -y 0"},
		{Command{Op: DeleteServer, Service: Service{Key: key}, Server: rs}, "-d -t 192.0.2.1:80 -r 10.0.0.1:80"},
	} {
		if got := c.command.String(); got != c.text {
			t.Errorf("%s\nwant %s", got, c.text)
		}
	}
}

// TestGoneIsNotMine: a service that somebody else deleted while it was ours, and that is wanted
// no longer, may be theirs when it comes back.
func TestGoneIsNotMine(t *testing.T) {
	s := Service{Key: forward.ServiceKey{Protocol: 6, Addr: netip.AddrPortFrom(vip, 80)}, Scheduler: "rr"}
	r := NewReconciler(nil) // a command would take a kernel
	for i, step := range []struct{ want, have []Service }{{[]Service{s}, []Service{s}}, {nil, nil}, {nil, []Service{s}}} {
		if done, err := r.reconcile(step.want, step.have); len(done) > 0 || err != nil {
			t.Errorf("step %d: %v, %v", i, done, err)
		}
	}
}
