package ipvs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/forward"
)

// Commands, and the attributes at the top of a message (include/uapi/linux/ip_vs.h).
const (
	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3
	cmdGetService = 4
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7
	cmdGetDest    = 8
	cmdNewDaemon  = 9
	cmdDelDaemon  = 10
	cmdGetDaemon  = 11
	cmdSetConfig  = 12
	cmdGetConfig  = 13
	cmdGetInfo    = 15
	cmdZero       = 16
	cmdFlush      = 17

	attrService    = 1
	attrDest       = 2
	attrDaemon     = 3
	attrTimeoutTCP = 4
	attrTimeoutFin = 5
	attrTimeoutUDP = 6
)

// Attributes of a service.
const (
	svcFamily = iota + 1
	svcProtocol
	svcAddr
	svcPort
	svcMark
	svcScheduler
	svcFlags
	svcTimeout
	svcNetmask
	_ // counters of 32 bits
	svcEngine
	svcStats
)

// Attributes of a real server.
const (
	destAddr = iota + 1
	destPort
	destMethod
	destWeight
	destUpper
	destLower
	destActive
	destInactive
	destPersist
	_ // counters of 32 bits
	destFamily
	destStats
	destTunnelType
	destTunnelPort
	destTunnelSum
)

// request sends a command and returns the attributes of each answer.
func (k *Kernel) request(cmd uint8, flags int, data ...nl.NetlinkRequestData) ([]attributes, error) {
	req := nl.NewNetlinkRequest(int(k.family), flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: &k.socket}
	req.AddData(&nl.Genlmsg{Command: cmd, Version: 1})
	for _, d := range data {
		req.AddData(d)
	}
	msgs, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return nil, err
	}
	var list []attributes
	for _, m := range msgs {
		a, err := parse(m[min(len(m), nl.SizeofGenlmsg):])
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// attributes are those of one message by their types.
type attributes map[uint16][]byte

var errShort = errors.New("an attribute is missing or too short")

func parse(b []byte) (attributes, error) {
	list, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil, err
	}
	a := attributes{}
	for _, e := range list {
		a[e.Attr.Type&^unix.NLA_F_NESTED] = e.Value
	}
	return a, nil
}

// number is an integer of 1, 2, 4 or 8 bytes in the host's order; 0 where there is none.
func (a attributes) number(t uint16) uint64 {
	switch b := a[t]; len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}

// text is a string that ends with a zero.
func (a attributes) text(t uint16) string {
	b, _, _ := bytes.Cut(a[t], []byte{0})
	return string(b)
}

// addrPort reads an address, always of 16 bytes, and a port.
func (a attributes) addrPort(family uint16, addr, port uint16) (netip.AddrPort, error) {
	b, p := a[addr], uint16(0)
	if len(a[port]) == 2 {
		p = binary.BigEndian.Uint16(a[port])
	}
	switch {
	case family == unix.AF_INET && len(b) >= 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), p), nil
	case family == unix.AF_INET6 && len(b) >= 16:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), p), nil
	}
	return netip.AddrPort{}, errShort
}

// stats reads counters of 64 bits.
func (a attributes) stats(t uint16) (Stats, error) {
	n, err := parse(a[t])
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		forward.Stats{Conns: n.number(1), Packets: n.number(2), OutPackets: n.number(3), Bytes: n.number(4), OutBytes: n.number(5)},
		forward.Rates{Conns: n.number(6), Packets: n.number(7), OutPackets: n.number(8), Bytes: n.number(9), OutBytes: n.number(10)},
	}, nil
}

// serviceKey is what names a service in a request.
func serviceKey(k forward.ServiceKey) *nl.RtAttr {
	to := nl.NewRtAttr(attrService|unix.NLA_F_NESTED, nil)
	to.AddRtAttr(svcFamily, nl.Uint16Attr(family(k.Addr.Addr())))
	if k.Mark != 0 {
		to.AddRtAttr(svcMark, nl.Uint32Attr(k.Mark))
		return to
	}
	to.AddRtAttr(svcProtocol, nl.Uint16Attr(uint16(k.Protocol)))
	to.AddRtAttr(svcAddr, k.Addr.Addr().AsSlice())
	to.AddRtAttr(svcPort, nl.BEUint16Attr(k.Addr.Port()))
	return to
}

// message is a service without its servers as a request has it. An edit replaces all flags.
func (s *Service) message() *nl.RtAttr {
	to := serviceKey(s.Key)
	to.AddRtAttr(svcScheduler, nl.ZeroTerminated(s.Scheduler))
	to.AddRtAttr(svcFlags, append(nl.Uint32Attr(uint32(s.Flags)), nl.Uint32Attr(1<<32-1)...))
	to.AddRtAttr(svcTimeout, nl.Uint32Attr(uint32(s.Timeout/time.Second)))
	to.AddRtAttr(svcNetmask, nl.Uint32Attr(netmask(s.Key.Addr.Addr(), s.Mask)))
	if s.Engine != "" {
		to.AddRtAttr(svcEngine, nl.ZeroTerminated(s.Engine))
	}
	return to
}

// service reads an answer without its servers.
func (a attributes) service() (Service, error) {
	n, err := parse(a[attrService])
	if err != nil {
		return Service{}, err
	}
	af := uint16(n.number(svcFamily))
	s := Service{
		Key:       forward.ServiceKey{Protocol: uint8(n.number(svcProtocol)), Mark: uint32(n.number(svcMark))},
		Scheduler: n.text(svcScheduler), Engine: n.text(svcEngine), Timeout: time.Duration(n.number(svcTimeout)) * time.Second,
	}
	if s.Key.Mark != 0 {
		s.Key.Protocol, s.Key.Addr = 0, unspecified(af)
	} else if s.Key.Addr, err = n.addrPort(af, svcAddr, svcPort); err != nil {
		return s, fmt.Errorf("a service's address: %w", err)
	}
	if len(n[svcFlags]) < 4 {
		return s, fmt.Errorf("flags of %v: %w", s.Key, errShort)
	}
	s.Flags = Flags(binary.NativeEndian.Uint32(n[svcFlags])) &^ hashed
	s.Mask = maskBits(s.Key.Addr.Addr(), uint32(n.number(svcNetmask)))
	s.Stats, err = n.stats(svcStats)
	return s, err
}

func unspecified(family uint16) netip.AddrPort {
	if family == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// message is a server as a request has it, with its family and its tunnel, which an
// update would otherwise reset.
func (s Server) message() *nl.RtAttr {
	to := nl.NewRtAttr(attrDest|unix.NLA_F_NESTED, nil)
	to.AddRtAttr(destFamily, nl.Uint16Attr(family(s.Addr.Addr())))
	to.AddRtAttr(destAddr, s.Addr.Addr().AsSlice())
	to.AddRtAttr(destPort, nl.BEUint16Attr(s.Addr.Port()))
	to.AddRtAttr(destMethod, nl.Uint32Attr(methods[s.Method]))
	to.AddRtAttr(destWeight, nl.Uint32Attr(uint32(s.Weight)))
	to.AddRtAttr(destUpper, nl.Uint32Attr(s.Upper))
	to.AddRtAttr(destLower, nl.Uint32Attr(s.Lower))
	if s.Method == forward.TUN {
		to.AddRtAttr(destTunnelType, nl.Uint8Attr(uint8(s.Tunnel.Type)))
		to.AddRtAttr(destTunnelPort, nl.BEUint16Attr(s.Tunnel.Port))
		to.AddRtAttr(destTunnelSum, nl.Uint16Attr(uint16(s.Tunnel.Sum)))
	}
	return to
}

// server reads an answer.
func (a attributes) server() (s Server, err error) {
	n, err := parse(a[attrDest])
	if err != nil {
		return s, err
	}
	if s.Addr, err = n.addrPort(uint16(n.number(destFamily)), destAddr, destPort); err != nil {
		return s, fmt.Errorf("a server's address: %w", err)
	}
	if s.Method, err = method(uint32(n.number(destMethod))); err != nil {
		return s, fmt.Errorf("server %v: %w", s.Addr, err)
	}
	if s.Method == forward.TUN {
		s.Tunnel = forward.Tunnel{Type: forward.TunnelType(n.number(destTunnelType)), Sum: forward.TunnelSum(n.number(destTunnelSum))}
		if p := n[destTunnelPort]; len(p) == 2 {
			s.Tunnel.Port = binary.BigEndian.Uint16(p)
		}
	}
	s.Weight = int32(n.number(destWeight))
	s.Upper, s.Lower = uint32(n.number(destUpper)), uint32(n.number(destLower))
	s.Active, s.Inactive, s.Persist = uint32(n.number(destActive)), uint32(n.number(destInactive)), uint32(n.number(destPersist))
	s.Stats, err = n.stats(destStats)
	return s, err
}
