package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
)

// Who is who on the stage.
var (
	genMAC    = proto.MAC{2, 0, 0, 0, 0, 1}
	inMAC     = proto.MAC{2, 0, 0, 0, 0, 2} // of the director towards the generator
	outMAC    = proto.MAC{2, 0, 0, 0, 0, 3} // and towards the sink
	sinkMAC   = proto.MAC{2, 0, 0, 0, 0, 4}
	backGen   = proto.MAC{2, 0, 0, 0, 0, 5}
	backSink  = proto.MAC{2, 0, 0, 0, 0, 6}
	nobodyMAC = proto.MAC{2, 0, 0, 0, 0, 0x99}
	gateMAC   = proto.MAC{0, 0, 0x5e, 0, 1, 10} // what a bare forwarder takes, and its kernel does not

	genIP    = netip.MustParseAddr("10.9.0.1")
	inIP     = netip.MustParseAddr("10.9.0.254")
	outIP    = netip.MustParseAddr("10.9.1.254")
	vip      = netip.MustParseAddr("10.9.9.100")
	flowNet  = netip.MustParseAddr("10.8.0.0") // sources of the flows
	backIP   = netip.MustParseAddr("10.9.2.1")
	sinkBack = netip.MustParseAddr("10.9.2.2")
)

// servers is how many addresses the sink has, each a real server.
const servers = 4

func serverIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 1, byte(2 + i)}) }

// stage is the three namespaces of one measurement.
type stage struct {
	gen, dir, sink *netlab.Namespace
	servers        proto.MAC // where the frames go: the sink's, or nobody's
	ends           []func()
}

// setting says what differs between stages.
type setting struct {
	listen  bool // the sink's kernel takes the frames; it drops them first thing otherwise
	through bool // its answers go back through the director
	gate    proto.MAC
}

// newStage builds one. close takes it away.
func newStage(o setting) (*stage, error) {
	s := &stage{servers: nobodyMAC}
	if o.listen {
		s.servers = sinkMAC
	}
	if err := s.build(o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) build(o setting) error {
	for _, n := range []**netlab.Namespace{&s.gen, &s.dir, &s.sink} {
		made, err := netlab.NewNamespace()
		if err != nil {
			return err
		}
		*n = made
		s.ends = append(s.ends, made.Close)
		for _, name := range []string{"all", "default"} {
			if err := made.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"); err != nil {
				return err
			}
		}
	}
	back := backIP
	if o.through {
		back = outIP
	}
	err := first(
		func() error { return s.gen.Join("g0", genMAC, s.dir, "d0", inMAC) },
		func() error { return s.dir.Join("d1", outMAC, s.sink, "s0", sinkMAC) },
		func() error { return s.gen.Join("g1", backGen, s.sink, "s1", backSink) },
		func() error { return s.gen.Address("g0", netip.PrefixFrom(genIP, 24)) },
		func() error { return s.gen.Address("g1", netip.PrefixFrom(backIP, 24)) },
		func() error { return s.dir.Address("d0", netip.PrefixFrom(inIP, 24)) },
		func() error { return s.dir.Address("d1", netip.PrefixFrom(outIP, 24)) },
		func() error { return s.sink.Address("s1", netip.PrefixFrom(sinkBack, 24)) },
		func() error { return s.sink.Address("lo", netip.PrefixFrom(vip, 32)) },
		func() error { return s.gen.Neighbour("g0", inIP, o.gate) },
		func() error { return s.gen.Route(netip.PrefixFrom(vip, 32), inIP) },
	)
	for i := 0; i < servers && err == nil; i++ {
		err = s.sink.Address("s0", netip.PrefixFrom(serverIP(i), 24))
	}
	if err != nil {
		return err
	}
	err = s.sink.Route(netip.PrefixFrom(genIP, 24).Masked(), back)
	if err == nil && o.through && o.gate == gateMAC {
		err = s.sink.Neighbour("s0", outIP, gateMAC)
	}
	if err != nil || o.listen {
		return err
	}
	return s.answerARP()
}

// first runs steps until one fails.
func first(steps ...func() error) error {
	for _, f := range steps {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// answerARP has the sink claim that its servers are at a MAC that is nobody's. The socket is
// for ARP alone: frames that are forwarded do not meet it.
func (s *stage) answerARP() error {
	if err := s.sink.Sysctl("net/ipv4/conf/all/arp_ignore", "8"); err != nil {
		return err
	}
	fd := -1
	err := s.sink.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ARP)))
		return err
	})
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return err
	}
	over := make(chan struct{})
	stopped := make(chan struct{})
	s.ends = append(s.ends, func() { close(over); <-stopped; unix.Close(fd) })
	go func() {
		defer close(stopped)
		for b := make([]byte, 1500); ; {
			select {
			case <-over:
				return
			default:
				answerOne(fd, b)
			}
		}
	}()
	return nil
}

// answerOne waits a moment for a request about a server, and answers it.
func answerOne(fd int, b []byte) {
	n, from, err := unix.Recvfrom(fd, b, 0)
	if err != nil || n < 14 {
		return
	}
	eth := proto.Ethernet(b[:n])
	q, err := proto.ParseARP(eth.Payload())
	if err != nil || q.Op() != proto.ARPRequest || q.Target().As4()[2] != 1 || q.Target() == outIP {
		return
	}
	f := proto.AppendEthernet(nil, eth.Src(), sinkMAC, proto.EtherTypeARP)
	f = proto.ARPMessage{Op: proto.ARPReply, SenderMAC: nobodyMAC, Sender: q.Target(), TargetMAC: eth.Src(), Target: q.Sender()}.Append(f)
	_ = unix.Sendto(fd, f, 0, from) // asked for again if it is lost
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// close takes the stage away, the latest part first.
func (s *stage) close() {
	for len(s.ends) > 0 {
		last := len(s.ends) - 1
		s.ends[last]()
		s.ends = s.ends[:last]
	}
}

// arrived is how many frames the sink has.
func (s *stage) arrived() (uint64, error) { return s.sink.Received("s0") }

// errSilent says that nothing comes out of a forwarder.
var errSilent = errors.New("no frame arrived at the sink")

// settled waits until no more frames arrive and returns how many there are.
func (s *stage) settled() (uint64, error) {
	n, err := s.arrived()
	for same := 0; err == nil && same < 4; {
		time.Sleep(5 * time.Millisecond) // the time is what is asked about
		was := n
		if n, err = s.arrived(); n == was {
			same++
		} else {
			same = 0
		}
	}
	return n, err
}

// expect waits until the sink has n frames; late frames are lost ones.
func (s *stage) expect(n uint64) error {
	last, since := uint64(0), time.Now()
	for {
		got, err := s.arrived()
		switch {
		case err != nil || got >= n:
			return err
		case got > last:
			last, since = got, time.Now()
		case time.Since(since) > 500*time.Millisecond:
			return fmt.Errorf("%w: %d of %d", errSilent, got, n)
		}
	}
}
