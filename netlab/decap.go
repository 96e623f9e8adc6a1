package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The far end of tunnels, for kernels without them: sockets take the packets of IPIP (4 and
// 41), GRE and GUE, which the kernel has put together and whose UDP checksum it has verified,
// and what is inside goes into a TUN device that has the virtual address. What is malformed
// does not get there.

// tunnelEnd are the sockets and the device of a host.
type tunnelEnd struct {
	device *os.File
	files  []*os.File
}

func (e *tunnelEnd) close() {
	for _, f := range append(e.files, e.device) {
		f.Close()
	}
}

// decapsulate makes the host a real server for TUN: port is that of GUE, 0 for none.
func (h *host) decapsulate(l *lab, vip netip.Addr, port int) (err error) {
	e := &tunnelEnd{}
	name := fmt.Sprintf("tun%d", len(h.ends))
	h.do(func() { err = e.open(name, port, h.six) })
	if err != nil {
		return fmt.Errorf("%s: decapsulate: %w", h.name, err)
	}
	h.ends = append(h.ends, e)
	link, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	l.command("ip -n %s tuntap add %s mode tun; ip -n %s link set %s up", h.name, name, h.name, name)
	if err := h.nl.LinkSetUp(link); err != nil {
		return err
	}
	for _, scope := range []string{"all", name} { // its packets come from where no route leads
		l.command("ip netns exec %s sysctl net.ipv4.conf.%s.rp_filter=0", h.name, scope)
		if err := h.sysctl("net/ipv4/conf/"+scope+"/rp_filter", "0"); err != nil {
			return err
		}
	}
	if err := h.strictARP(l); err != nil {
		return err
	}
	return h.addr(l, true, netip.PrefixFrom(vip, vip.BitLen()), name)
}

// open opens everything in the namespace of the thread.
func (e *tunnelEnd) open(name string, port int, six bool) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	e.device = os.NewFile(uintptr(fd), name)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if family == unix.AF_INET6 && !six {
			continue
		}
		for _, protocol := range []int{unix.IPPROTO_IPIP, unix.IPPROTO_IPV6, unix.IPPROTO_GRE} {
			if err := e.listen(family, unix.SOCK_RAW, protocol, 0); err != nil {
				return err
			}
		}
		if port == 0 {
			continue
		}
		if err := e.listen(family, unix.SOCK_DGRAM, unix.IPPROTO_UDP, port); err != nil {
			return err
		}
	}
	return nil
}

// tunnelBuffer holds what a director sends at once.
const tunnelBuffer = 8 << 20

func (e *tunnelEnd) listen(family, kind, protocol, port int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return fmt.Errorf("socket of protocol %d: %w", protocol, err)
	}
	e.files = append(e.files, os.NewFile(uintptr(fd), strconv.Itoa(protocol)))
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tunnelBuffer) // a wish
	if port > 0 {
		var to unix.Sockaddr = &unix.SockaddrInet4{Port: port}
		if family == unix.AF_INET6 {
			to = &unix.SockaddrInet6{Port: port}
			for option, level := range map[int]int{unix.IPV6_V6ONLY: unix.IPPROTO_IPV6, udpNoCheck6: unix.IPPROTO_UDP} {
				if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
					return err
				}
			}
		}
		if err := unix.Bind(fd, to); err != nil {
			return err
		}
	}
	go e.carry(fd, protocol, family == unix.AF_INET && kind == unix.SOCK_RAW)
	return nil
}

// udpNoCheck6 is UDP_NO_CHECK6_RX of linux/udp.h: no checksum is fine (RFC 6935).
const udpNoCheck6 = 102

// carry writes what is inside to the device until the socket is closed.
func (e *tunnelEnd) carry(fd, protocol int, header bool) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		b := buf[:n]
		if header {
			b = b[int(b[0]&15)*4:]
		}
		if inner, ok := unwrap(protocol, b); ok {
			e.device.Write(inner) // what the kernel refuses is lost, as on a wire
		}
	}
}

// unwrap takes the header of a tunnel off what follows the outer header of IP, or of UDP.
func unwrap(protocol int, b []byte) (inner []byte, ok bool) {
	size := 0
	switch protocol {
	case unix.IPPROTO_GRE: // RFC 2784 §2.1
		if len(b) < 8 || b[0]&0x7f != 0 || b[1] != 0 {
			return nil, false
		}
		if size = 4; b[0]&0x80 != 0 {
			if size = 8; onesSum(b) != 0xffff {
				return nil, false
			}
		}
	case unix.IPPROTO_UDP: // GUE, version 0
		if len(b) < 4 || b[0]&0xe0 != 0 {
			return nil, false
		}
		size = 4 + 4*int(b[0]&31)
		if len(b) > size && size >= 12 { // the option of a remote checksum
			return complete(b[size:], int(b[8])<<8|int(b[9]), int(b[10])<<8|int(b[11]))
		}
	}
	if len(b) <= size {
		return nil, false
	}
	return b[size:], true
}

// complete fills in the checksum at a place, of all bytes from another.
func complete(b []byte, from, at int) ([]byte, bool) {
	if from > len(b) || at+2 > len(b) {
		return nil, false
	}
	sum := ^onesSum(b[from:])
	b[at], b[at+1] = byte(sum>>8), byte(sum)
	return b, true
}

func onesSum(b []byte) uint16 {
	var sum uint32
	for i, x := range b {
		sum += uint32(x) << (8 * (1 - i&1))
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// setMTU changes the MTU of an interface of the host.
func (h *host) setMTU(l *lab, iface, mtu string) error {
	n, err := strconv.Atoi(mtu)
	if err != nil {
		return fmt.Errorf("%s: must be a number of bytes", mtu)
	}
	link, err := h.nl.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("%s: interface %s: %w", h.name, iface, err)
	}
	l.command("ip -n %s link set %s mtu %d", h.name, iface, n)
	return h.nl.LinkSetMTU(link, n)
}

// learned is the MTU that the host's kernel has been told of the way to an address, 0 for none.
func (h *host) learned(to netip.Addr) int {
	routes, err := h.nl.RouteGet(net.IP(to.AsSlice()))
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].MTU
}
