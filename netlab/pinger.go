package netlab

import (
	"crypto/rand"
	order "encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
)

const (
	pingEvery    = time.Millisecond     // of each sender
	pingSenders  = 2                    // on a processor each: the host of a virtual one may take it away
	pingLook     = 5 * time.Millisecond // how often the answers that have come are fetched
	pingPriority = 20                   // above what a node may be given by vrrp_rt_priority 10
	pingBuffer   = 4 << 20              // bytes of answers that wait to be fetched
	pingMemory   = 256 << 20            // bytes, before the garbage is collected
)

// An echo request or its answer (RFC 792, RFC 4443 §4): type, code, checksum, identifier and
// sequence number, and here a cookie.
const (
	echoSum    = 2
	echoID     = 4
	echoSeq    = 6
	echoCookie = 8
	echoLen    = 16

	echoRequest6, echoReply6 uint8 = 128, 129
)

// pinger is the process of a probe.
type pinger struct {
	fd     int
	six    bool
	cookie [echoLen - echoCookie]byte // of this process: what else is answered is not counted
}

// Ping asks an address by ICMP until w is closed: two threads, each on a processor of its own
// and with real-time priority where that is allowed, ask once a millisecond, half a
// millisecond apart. It writes to w, as 8 bytes in the order of the machine, when
// the kernel received each answer, in ns since 1970, and every 5 ms the negative time up to
// which all have been written.
func Ping(to string, w io.Writer) error {
	addr, err := netip.ParseAddr(to)
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1) // it would stop the senders
	debug.SetMemoryLimit(pingMemory)
	runtime.GOMAXPROCS(4 * pingSenders) // none waits for another to let it run
	p := &pinger{six: addr.Is6()}
	rand.Read(p.cookie[:])
	if err := p.open(addr); err != nil {
		return fmt.Errorf("ping %v: %w", addr, err)
	}
	cpus := processors(pingSenders)
	start := monotonic()
	for i, cpu := range cpus {
		go p.send(i, len(cpus), cpu, start+int64(pingEvery)*int64(i)/int64(len(cpus)))
	}
	return p.receive(w)
}

// open makes the socket, which belongs to all threads.
func (p *pinger) open(addr netip.Addr) (err error) {
	family, protocol := unix.AF_INET6, unix.IPPROTO_ICMPV6
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.As16()}
	if !p.six {
		family, protocol = unix.AF_INET, unix.IPPROTO_ICMP
		to = &unix.SockaddrInet4{Addr: addr.As4()}
	}
	if p.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1); err != nil {
		return err
	}
	if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, pingBuffer) != nil { // in a user namespace
		if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, pingBuffer); err != nil {
			return err
		}
	}
	return unix.Connect(p.fd, to)
}

// processors are the first of those that this process may use, n at most.
func processors(n int) (list []int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return []int{0}
	}
	for cpu := 0; len(list) < min(n, set.Count()); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list
}

func monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // does not fail
	return ts.Nano()
}

// send is a sender: it asks at a time of the monotonic clock, in ns, and then every
// millisecond. What it slept through is not made up for.
func (p *pinger) send(number, of, cpu int, at int64) {
	runtime.LockOSThread()
	p.prefer(cpu)
	var request [echoLen]byte
	for seq := uint16(number); ; seq += uint16(of) {
		for at += int64(pingEvery); at < monotonic(); {
			at += int64(pingEvery)
		}
		ts := unix.NsecToTimespec(at)
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
		}
		p.fill(&request, seq)
		unix.Write(p.fd, request[:]) // unreachable, or no room: the gap tells
	}
}

// prefer gives the thread a processor and the precedence there, as far as is allowed.
func (p *pinger) prefer(cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	_ = unix.SchedSetaffinity(0, &set)
	rt := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: pingPriority}
	if unix.SchedSetAttr(0, &rt, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	}
}

// fill writes a request.
func (p *pinger) fill(b *[echoLen]byte, seq uint16) {
	clear(b[:])
	b[0] = proto.ICMPEcho
	if p.six {
		b[0] = echoRequest6
	}
	copy(b[echoID:], p.cookie[:2])
	order.BigEndian.PutUint16(b[echoSeq:], seq)
	copy(b[echoCookie:], p.cookie[:])
	if !p.six { // over IPv6 the kernel fills it in
		order.BigEndian.PutUint16(b[echoSum:], proto.Checksum(b[:]))
	}
}

// answers tells whether what a raw socket received is an answer to one of the requests.
func (p *pinger) answers(b []byte) bool {
	reply := echoReply6
	if !p.six { // with the IP header
		ip, err := proto.ParseIPv4(b)
		if err != nil {
			return false
		}
		b, reply = ip.Payload(), proto.ICMPEchoReply
	}
	return len(b) == echoLen && b[0] == reply && b[1] == 0 && [echoLen - echoCookie]byte(b[echoCookie:]) == p.cookie
}

// receive fetches the answers. It need not be in time: the kernel has noted theirs.
func (p *pinger) receive(w io.Writer) error {
	var b, packet, control []byte = nil, make([]byte, 256), make([]byte, 128)
	for {
		now := time.Now().UnixNano()
		b = b[:0]
		for {
			n, c, _, _, err := unix.Recvmsg(p.fd, packet, control, 0)
			if err == unix.EAGAIN {
				break
			}
			if err != nil { // unreachable: the gap tells
				continue
			}
			if at := received(control[:c]); at > 0 && p.answers(packet[:n]) {
				b = order.NativeEndian.AppendUint64(b, uint64(at))
			}
		}
		if _, err := w.Write(order.NativeEndian.AppendUint64(b, uint64(-now))); err != nil {
			return err
		}
		time.Sleep(pingLook)
	}
}

// received is the time that the kernel noted, in ns since 1970, or 0.
func received(control []byte) int64 {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range list {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS_NEW && len(m.Data) >= 16 {
			return int64(order.NativeEndian.Uint64(m.Data))*int64(time.Second) + int64(order.NativeEndian.Uint64(m.Data[8:]))
		}
	}
	return 0
}
