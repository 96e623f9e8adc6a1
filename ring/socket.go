package ring

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"

	"github.com/cilium/ebpf/link"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What [Socket.Receive] and [Socket.Err] report of the device, for errors.Is.
const (
	// ErrDown: the interface went down. It passes: once the link is up again
	// the same socket receives again.
	ErrDown = unix.ENETDOWN

	// ErrGone: the interface was deleted or moved to another namespace. It
	// stays: the socket must be closed and another one opened.
	ErrGone = unix.ENODEV
)

const (
	defaultSlots    = 1024
	defaultSlotSize = 2048
	minSlotSize     = 256
	maxSlotSize     = 1 << 17
	maxBlock        = 1 << 16 // larger contiguous blocks are hard to allocate

	// reserve makes room in each slot for a VLAN tag to be put back in place.
	reserve = 16

	// defaultSendBuffer holds a full batch of 64 KiB super-frames (the kernel
	// doubles it for its own overhead).
	defaultSendBuffer = 8 << 20

	// superBacklog bounds the bytes of super-frames that wait for recv.
	superBacklog = 64 << 20
)

// Config says what to open. Its zero values mean the defaults given.
type Config struct {
	Interface string // name of the interface; "" to go by Index
	Index     int    // index of the interface, used without a name
	Name      string // what errors call the socket; Interface by default

	Slots    int // frames in the receive ring, rounded up; 1024
	SlotSize int // bytes of a slot, rounded up to a power of two; 2048

	// Filter is in force before the first frame arrives. nil takes everything.
	Filter []bpf.RawInstruction

	Promiscuous bool // the device accepts frames to every MAC
	SuperFrames bool // frames longer than a slot are received whole, not skipped
	Outgoing    bool // what this host sends is received too, see [Frame.Outgoing]
	Qdisc       bool // send through the queueing discipline; bypassed by default
	SendBuffer  int  // bytes of frames that may wait in the device; 8 MiB
}

// Socket receives from and sends to one interface. It belongs to one
// goroutine at a time.
type Socket struct {
	name    string
	ifindex int
	fd      int // receiver
	rx      receiver
	tx      sender
	stats   Stats

	mover    link.Link // of flows past the socket; nil for none
	offloads bool      // its filter leaves them out

	downErr, goneErr error // made once, so that reporting does not allocate
}

// Open opens a socket on cfg's interface in the network namespace of the
// calling thread. Errors name the interface; without CAP_NET_RAW it fails with
// EPERM. An interface that is down can be opened: it receives once it is up.
func Open(cfg Config) (*Socket, error) {
	ifi, err := lookup(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		cfg.Name = ifi.Name
	}
	s := &Socket{
		name: cfg.Name, ifindex: ifi.Index, fd: -1,
		downErr: fmt.Errorf("%s: %w", cfg.Name, ErrDown),
		goneErr: fmt.Errorf("%s: %w", cfg.Name, ErrGone),
	}
	s.tx.with.fd, s.tx.without.fd = -1, -1
	if err := s.open(ifi, cfg); err != nil {
		_ = s.Close()
		return nil, openError(cfg.Name, err)
	}
	return s, nil
}

func lookup(cfg Config) (*net.Interface, error) {
	if cfg.Interface == "" {
		ifi, err := net.InterfaceByIndex(cfg.Index)
		if err != nil {
			return nil, fmt.Errorf("open interface %d: %w", cfg.Index, cause(err))
		}
		return ifi, nil
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cfg.Interface, cause(err))
	}
	return ifi, nil
}

// cause strips the net package's prefix ("route ip+net: ").
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func openError(name string, err error) error {
	err = fmt.Errorf("open %s: %w", name, cause(err))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: needs CAP_NET_RAW (run as root, or setcap cap_net_raw,cap_net_admin+ep)", err)
	}
	return err
}

func (s *Socket) open(ifi *net.Interface, cfg Config) error {
	if err := s.openReceiver(ifi, cfg); err != nil {
		return err
	}
	return s.openSender(ifi, cfg)
}

// openReceiver has the library open the socket and bind it with protocol 0,
// which receives nothing yet, so that no early frame can land in the plain
// queue; the ring is set up on its SyscallConn, and a second bind with
// ETH_P_ALL starts reception.
func (s *Socket) openReceiver(ifi *net.Interface, cfg Config) error {
	fd, err := detach(ifi, cfg.Filter, func(c *packet.Conn, fd int) error {
		if cfg.Promiscuous {
			if err := c.SetPromiscuous(true); err != nil {
				return err
			}
		}
		if err := receiverOptions(fd, cfg); err != nil {
			return err
		}
		return s.rx.mapRing(fd, cfg)
	})
	if err != nil {
		return err
	}
	s.fd = fd
	all := &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: htons(unix.ETH_P_ALL)}
	if err := unix.Bind(fd, all); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return nil
}

func (s *Socket) openSender(ifi *net.Interface, cfg Config) error {
	if cfg.SendBuffer == 0 {
		cfg.SendBuffer = defaultSendBuffer
	}
	for _, w := range []*way{&s.tx.with, &s.tx.without} {
		fd, err := sendingSocket(ifi, cfg, w == &s.tx.with)
		if err != nil {
			return err
		}
		w.init(fd)
	}
	return nil
}

// sendingSocket is one of its own: the receiver sits in an epoll set, and the kernel would walk
// its wait queue at every frame that has left the device.
func sendingSocket(ifi *net.Interface, cfg Config, header bool) (int, error) {
	return detach(ifi, nil, func(_ *packet.Conn, fd int) error {
		if header {
			if err := setInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"); err != nil {
				return err
			}
		}
		if !cfg.Qdisc {
			if err := setInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS"); err != nil {
				return err
			}
		}
		return setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, cfg.SendBuffer)
	})
}

// detach opens a packet socket by the library, lets setup configure it and
// returns a duplicate of its descriptor. The library's own is closed with its
// Conn, which takes it out of the Go runtime's poller: staying in there would
// wake a runtime thread at every frame, beside our own epoll.
func detach(ifi *net.Interface, filter []bpf.RawInstruction, setup func(c *packet.Conn, fd int) error) (int, error) {
	conn, err := packet.Listen(ifi, packet.Raw, 0, &packet.Config{Filter: filter})
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup, inner := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		if inner = setup(conn, int(fd)); inner != nil {
			return
		}
		dup, inner = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err = errors.Join(err, inner); err != nil {
		return -1, err
	}
	return dup, nil
}

// receiverOptions sets what must be set before the ring exists (EBUSY after).
func receiverOptions(fd int, cfg Config) error {
	type option struct {
		opt, value int
		name       string
	}
	options := []option{
		{unix.PACKET_VERSION, unix.TPACKET_V2, "PACKET_VERSION"},
		{unix.PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"},
		{unix.PACKET_RESERVE, reserve, "PACKET_RESERVE"},
	}
	if !cfg.Outgoing {
		options = append(options, option{unix.PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING"})
	}
	if cfg.SuperFrames {
		options = append(options, option{unix.PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH"})
		if err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, superBacklog); err != nil {
			return err
		}
	}
	for _, o := range options {
		if err := setInt(fd, unix.SOL_PACKET, o.opt, o.value, o.name); err != nil {
			return err
		}
	}
	return nil
}

func setInt(fd, level, opt, value int, name string) error {
	if err := unix.SetsockoptInt(fd, level, opt, value); err != nil {
		return fmt.Errorf("setsockopt %s: %w", name, err)
	}
	return nil
}

// setBuffer raises a socket buffer beyond the sysctl's limit if that is allowed
// (CAP_NET_ADMIN in the initial namespace), up to the limit otherwise.
func setBuffer(fd, force, plain, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return setInt(fd, unix.SOL_SOCKET, plain, size, "socket buffer")
}

// geometry rounds the wanted ring to what the kernel takes: slots of a power of
// two, blocks of whole pages, and as many slots as fill the blocks.
func geometry(slots, slotSize int) unix.TpacketReq {
	if slots <= 0 {
		slots = defaultSlots
	}
	if slotSize <= 0 {
		slotSize = defaultSlotSize
	}
	slotSize = 1 << bits.Len(uint(min(max(slotSize, minSlotSize), maxSlotSize)-1))
	block := 1 << bits.Len(uint(slots*slotSize-1))
	block = max(min(block, maxBlock), slotSize, os.Getpagesize())
	blocks := (slots*slotSize + block - 1) / block
	return unix.TpacketReq{
		Block_size: uint32(block),
		Block_nr:   uint32(blocks),
		Frame_size: uint32(slotSize),
		Frame_nr:   uint32(blocks * (block / slotSize)),
	}
}

// Name is what errors call the socket: the interface's name unless [Config]
// said otherwise.
func (s *Socket) Name() string { return s.name }

// Index is the index of the interface, as it was when the socket was opened.
func (s *Socket) Index() int { return s.ifindex }

// FD is the descriptor to wait on: readable while frames are ready. It stays
// the socket's own.
func (s *Socket) FD() int { return s.fd }

// SetFilter replaces the filter; nil takes every frame. Frames that are in the
// ring already stay there. What was left out by [Socket.Offload] passes: there must be no flow in
// its table.
func (s *Socket) SetFilter(filter []bpf.RawInstruction) error {
	s.offloads = false
	if len(filter) == 0 {
		err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("detach filter %s: %w", s.name, err)
		}
		return nil
	}
	err := s.attach(filter)
	if errors.Is(err, unix.ENOMEM) { // net.core.optmem_max has room for one of them only
		if err = s.attach(always(accepted)); err == nil {
			err = s.attach(filter)
		}
	}
	if err != nil {
		return fmt.Errorf("attach filter %s: %w", s.name, err)
	}
	return nil
}

func (s *Socket) attach(filter []bpf.RawInstruction) error {
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filters(filter)[0]}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
}

// AcceptMAC has the device take frames to mac, a virtual MAC or a multicast
// group, until [Socket.RefuseMAC] or Close. It needs CAP_NET_RAW only.
func (s *Socket) AcceptMAC(mac [6]byte) error {
	return s.membership(unix.PACKET_ADD_MEMBERSHIP, "accept", mac)
}

// RefuseMAC takes one AcceptMAC back.
func (s *Socket) RefuseMAC(mac [6]byte) error {
	return s.membership(unix.PACKET_DROP_MEMBERSHIP, "refuse", mac)
}

func (s *Socket) membership(opt int, verb string, mac [6]byte) error {
	mreq := unix.PacketMreq{Ifindex: int32(s.ifindex), Type: unix.PACKET_MR_UNICAST, Alen: 6}
	if mac[0]&1 != 0 {
		mreq.Type = unix.PACKET_MR_MULTICAST
	}
	copy(mreq.Address[:], mac[:])
	if err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, opt, &mreq); err != nil {
		return fmt.Errorf("%s %v on %s: %w", verb, net.HardwareAddr(mac[:]), s.name, err)
	}
	return nil
}

// Err asks the kernel for the socket's pending error and clears it: [ErrDown]
// once after the link went down, [ErrGone] from when the device was deleted,
// nil otherwise. [Socket.Receive] asks by itself when it finds no frame.
func (s *Socket) Err() error {
	if s.fd < 0 {
		return net.ErrClosed
	}
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	switch {
	case s.rx.gone:
		return s.goneErr
	case errno == 0:
		return nil
	case s.detached(): // a deleted device reports ENETDOWN as well, but leaves no index
		s.rx.gone = true
		return s.goneErr
	case unix.Errno(errno) == ErrDown:
		return s.downErr
	}
	return fmt.Errorf("%s: %w", s.name, unix.Errno(errno))
}

// detached reports whether the kernel has unbound the socket from its device.
func (s *Socket) detached() bool {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return false
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return ok && ll.Ifindex != s.ifindex
}

// Close gives back the sockets and the ring. Frames still held become invalid.
// A second call does nothing.
func (s *Socket) Close() error {
	if s.mover != nil {
		_ = s.mover.Close()
		s.mover, s.offloads = nil, false
	}
	err := errors.Join(s.rx.unmap(), s.tx.close())
	if s.fd >= 0 {
		err = errors.Join(err, unix.Close(s.fd))
		s.fd = -1
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", s.name, err)
	}
	return nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
