package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// BFDPath is between which addresses a session of BFD runs, and how.
type BFDPath struct {
	From, To netip.Addr // From is invalid where the routes choose it; a link-local To has its zone
	TTL      uint8      // or hop limit, of what is sent
	Multihop bool       // to the port of RFC 5883 instead of RFC 5881
}

// Datagram is one that has come to a port of BFD.
type Datagram struct {
	From, To netip.Addr // From with its zone if it is link-local, To without
	TTL      uint8      // or hop limit, as it arrived
	Multihop bool
	Payload  []byte // until the next Receive
}

// The ports of RFC 5881 §4 and RFC 5883 §5, and those that a session may send from.
const (
	bfdPort         = 3784
	bfdMultihopPort = 4784
	bfdLeastSource  = 49152
	bfdMostSource   = 65535
)

// tosControl is internetwork control (DSCP CS6), as routing protocols send.
const tosControl = 0xc0

// receiver is the socket of one port and family; sender that of one session, whose source
// port no other session has (RFC 5881 §4).
type (
	receiver struct {
		six, multihop bool
		fd            int
	}
	sender struct {
		path BFDPath
		fd   int
	}
)

// BFD are the UDP sockets of the sessions of BFD. It is not safe for concurrent use.
type BFD struct {
	receivers []receiver
	senders   []sender
	poll      func(fd int) error
	unpoll    func(fd int) error
	source    int // port of the last sender
	buf       [512]byte
	oob       [256]byte
}

// NewBFD makes a set without sockets. poll is called with each that is to be waited for,
// unpoll before it is closed.
func NewBFD(poll, unpoll func(fd int) error) *BFD {
	return &BFD{poll: poll, unpoll: unpoll, source: bfdLeastSource}
}

// Follow opens and closes what it takes to hear on these paths and to send on them. What
// cannot be opened is in the error, and tried again the next time.
func (b *BFD) Follow(paths []BFDPath) error {
	var errs []error
	needed := func(r receiver) bool {
		return slices.ContainsFunc(paths, func(p BFDPath) bool { return p.To.Is6() == r.six && p.Multihop == r.multihop })
	}
	b.receivers = slices.DeleteFunc(b.receivers, func(r receiver) bool {
		if needed(r) {
			return false
		}
		errs = append(errs, b.unpoll(r.fd), unix.Close(r.fd))
		return true
	})
	b.senders = slices.DeleteFunc(b.senders, func(s sender) bool {
		if slices.Contains(paths, s.path) {
			return false
		}
		errs = append(errs, unix.Close(s.fd))
		return true
	})
	for _, p := range paths {
		errs = append(errs, b.hear(p))
	}
	return errors.Join(errs...)
}

// hear opens the receiver of a path.
func (b *BFD) hear(p BFDPath) error {
	r := receiver{six: p.To.Is6(), multihop: p.Multihop}
	if slices.ContainsFunc(b.receivers, func(o receiver) bool { return o.six == r.six && o.multihop == r.multihop }) {
		return nil
	}
	port := bfdPort
	if r.multihop {
		port = bfdMultihopPort
	}
	fd, err := bfdSocket(r.six, [][3]int{{unix.SOL_IP, unix.IP_RECVTTL, 1}, {unix.SOL_IP, unix.IP_PKTINFO, 1}},
		[][3]int{{unix.SOL_IPV6, unix.IPV6_V6ONLY, 1}, {unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1}})
	if err != nil {
		return err
	}
	if err = unix.Bind(fd, sockaddr(fd, unspecified(r.six), port)); err == nil {
		err = b.poll(fd)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("hear BFD at UDP port %d: %w", port, err), unix.Close(fd))
	}
	r.fd = fd
	b.receivers = append(b.receivers, r)
	return nil
}

// Send sends a datagram. With last no other follows on this path, and its socket is closed.
func (b *BFD) Send(p BFDPath, payload []byte, last bool) error {
	i := slices.IndexFunc(b.senders, func(s sender) bool { return s.path == p })
	if i < 0 {
		fd, err := b.speak(p)
		if err != nil {
			return fmt.Errorf("send BFD to %v: %w", p.To, err)
		}
		i = len(b.senders)
		b.senders = append(b.senders, sender{p, fd})
	}
	port := bfdPort
	if p.Multihop {
		port = bfdMultihopPort
	}
	err := unix.Sendto(b.senders[i].fd, payload, 0, sockaddr(b.senders[i].fd, p.To, port))
	if last {
		err = errors.Join(err, unix.Close(b.senders[i].fd))
		b.senders = slices.Delete(b.senders, i, i+1)
	}
	if err != nil {
		return fmt.Errorf("send BFD to %v: %w", p.To, err)
	}
	return nil
}

// speak opens the socket of a path. A source address that the host does not have yet may
// come later.
func (b *BFD) speak(p BFDPath) (int, error) {
	fd, err := bfdSocket(p.To.Is6(), [][3]int{{unix.SOL_IP, unix.IP_TTL, int(p.TTL)}, {unix.SOL_IP, unix.IP_TOS, tosControl}, {unix.SOL_IP, unix.IP_FREEBIND, 1}},
		[][3]int{{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, int(p.TTL)}, {unix.SOL_IPV6, unix.IPV6_TCLASS, tosControl}, {unix.SOL_IPV6, unix.IPV6_FREEBIND, 1}})
	if err != nil {
		return -1, err
	}
	from := p.From
	if !from.IsValid() {
		from = unspecified(p.To.Is6())
	}
	if from.IsLinkLocalUnicast() && from.Zone() == "" {
		from = from.WithZone(p.To.Zone())
	}
	err = unix.EADDRINUSE
	for n := 0; n <= bfdMostSource-bfdLeastSource && errors.Is(err, unix.EADDRINUSE); n++ {
		err = unix.Bind(fd, sockaddr(fd, from, b.source))
		if b.source++; b.source > bfdMostSource {
			b.source = bfdLeastSource
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind to %v: %w", from, err)
	}
	return fd, nil
}

// Receive gives what has arrived to each, so many at most, and returns how many there were.
func (b *BFD) Receive(most int, each func(Datagram)) (n int) {
	for _, r := range b.receivers {
		for n < most {
			got, oob, _, from, err := unix.Recvmsg(r.fd, b.buf[:], b.oob[:], 0)
			if err != nil {
				break // EAGAIN, or what the next one tells again
			}
			n++
			d := Datagram{Multihop: r.multihop, Payload: b.buf[:got]}
			switch a := from.(type) {
			case *unix.SockaddrInet4:
				d.From = netip.AddrFrom4(a.Addr)
			case *unix.SockaddrInet6:
				d.From = netip.AddrFrom16(a.Addr)
				if a.ZoneId != 0 {
					d.From = d.From.WithZone(interfaceName(r.fd, a.ZoneId))
				}
			}
			if d.read(b.oob[:oob]) == nil {
				each(d)
			}
		}
	}
	return n
}

// read takes what the kernel says beside the datagram.
func (d *Datagram) read(oob []byte) error {
	list, err := unix.ParseSocketControlMessage(oob)
	for _, m := range list {
		switch level, kind := m.Header.Level, m.Header.Type; {
		case level == unix.SOL_IP && kind == unix.IP_TTL, level == unix.SOL_IPV6 && kind == unix.IPV6_HOPLIMIT:
			d.TTL = uint8(binary.NativeEndian.Uint32(m.Data))
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO:
			d.To = netip.AddrFrom4([4]byte(m.Data[8:12])) // ipi_addr
		case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO:
			d.To = netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return err
}

// Close closes all sockets.
func (b *BFD) Close() error { return b.Follow(nil) }

// bfdSocket opens a UDP socket with the options of its family: level, name, value.
func bfdSocket(six bool, options4, options6 [][3]int) (int, error) {
	family, options := unix.AF_INET, options4
	if six {
		family, options = unix.AF_INET6, options6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("socket of BFD: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("option %d of a socket of BFD: %w", o[1], err)
		}
	}
	return fd, nil
}

func unspecified(six bool) netip.Addr {
	if six {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// sockaddr is an address for the socket fd. A zone without an interface is 0, which the kernel
// refuses where it needs one.
func sockaddr(fd int, a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	to := &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	if ifr, err := unix.NewIfreq(a.Zone()); err == nil && a.Zone() != "" && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) == nil {
		to.ZoneId = ifr.Uint32()
	}
	return to
}

// interfaceName is the name of the interface with an index, "" without one.
func interfaceName(fd int, index uint32) string {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	ifr.SetUint32(index)
	if unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr) != nil {
		return ""
	}
	return ifr.Name()
}
