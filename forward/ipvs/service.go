package ipvs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/sched"
)

// Flags are those of a service (include/uapi/linux/ip_vs.h).
type Flags uint32

// The flags. What the last three mean is the scheduler's business: for sh and mh the first
// is fallback and the second port.
const (
	Persistent Flags = 1 << 0
	hashed     Flags = 1 << 1 // the kernel's own
	OnePacket  Flags = 1 << 2
	Sched1     Flags = 1 << 3
	Sched2     Flags = 1 << 4
	Sched3     Flags = 1 << 5
)

// Service is a virtual service as the kernel knows it.
type Service struct {
	Key       forward.ServiceKey
	Scheduler string
	Flags     Flags
	Timeout   time.Duration // of persistence, whole seconds
	Mask      int           // prefix length by which persistent clients are told apart, 0 for all of the address
	Engine    string        // persistence engine, "" for none
	Servers   []Server      // the first was added first
	Stats     Stats         // only what was read has them
}

// Server is a real server as the kernel knows it. Its family may differ from the service's
// with TUN.
type Server struct {
	forward.Server
	Active, Inactive, Persist uint32 // connections
	Stats                     Stats
}

// Stats count since the service or server was added. The rates are the kernel's averages
// over about eight seconds, per second.
type Stats struct {
	forward.Stats
	Rates forward.Rates
}

// Of is a service of the ring's data plane as the kernel would have it, with servers in the
// order in which they are added. What the kernel decides for all services alike (ExpireNoDest
// and the like are sysctl settings) is left out.
func Of(s forward.Service, servers []forward.Server) Service {
	to := Service{Key: s.Key, Scheduler: s.Scheduler, Mask: s.PersistenceMask}
	if s.Persistence > 0 {
		to.Flags, to.Timeout = Persistent, s.Persistence
	}
	for flag, set := range map[Flags]bool{OnePacket: s.OnePacket, Sched1: s.Options.Fallback, Sched2: s.Options.Port} {
		if set {
			to.Flags |= flag
		}
	}
	for _, rs := range servers {
		to.Servers = append(to.Servers, Server{Server: rs})
	}
	return to
}

// From is [Of] for a service as it stands in the ring.
func From(s forward.ServiceStatus) Service {
	var servers []forward.Server
	for _, rs := range slices.Backward(s.Servers) { // the list's head was added last
		if rs.Present {
			servers = append(servers, rs.Server)
		}
	}
	return Of(s.Service, servers)
}

// Status is the reverse, for a service that was read.
func (s *Service) Status() forward.ServiceStatus {
	to := forward.ServiceStatus{
		Service: forward.Service{
			Key: s.Key, Scheduler: s.Scheduler, Options: sched.Options{Fallback: s.Flags&Sched1 != 0, Port: s.Flags&Sched2 != 0},
			PersistenceMask: cmp.Or(s.Mask, s.Key.Addr.Addr().BitLen()), OnePacket: s.Flags&OnePacket != 0,
		},
		Stats: s.Stats.Stats, Rates: s.Stats.Rates,
	}
	if s.Flags&Persistent != 0 {
		to.Persistence = s.Timeout
	}
	for _, rs := range slices.Backward(s.Servers) {
		to.Servers = append(to.Servers, forward.ServerStatus{
			Server: rs.Server, Present: true, Active: rs.Active, Inactive: rs.Inactive, Persist: rs.Persist, Stats: rs.Stats.Stats, Rates: rs.Stats.Rates,
		})
	}
	return to
}

// family is AF_INET or AF_INET6.
func family(a netip.Addr) uint16 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// netmask is a prefix length as the kernel has it: for IPv4 the mask as its bytes travel,
// for IPv6 the length. The kernel refuses an IPv6 service with 0 even without persistence.
func netmask(a netip.Addr, bits int) uint32 {
	if bits == 0 {
		bits = a.BitLen()
	}
	if a.Is6() {
		return uint32(bits)
	}
	return binary.NativeEndian.Uint32(net.CIDRMask(bits, 32))
}

// maskBits is the reverse; 0 for the whole address.
func maskBits(a netip.Addr, mask uint32) int {
	bits := int(mask)
	if a.Is4() {
		b := binary.NativeEndian.AppendUint32(nil, mask)
		bits, _ = net.IPMask(b).Size()
	}
	if bits == a.BitLen() {
		return 0
	}
	return bits
}

// The kernel's numbers of the forwarding methods.
var methods = map[forward.Method]uint32{forward.NAT: 0, forward.Local: 1, forward.TUN: 2, forward.DR: 3}

func method(n uint32) (forward.Method, error) {
	for m, number := range methods {
		if number == n&7 {
			return m, nil
		}
	}
	return 0, fmt.Errorf("forwarding method %d: unknown", n&7)
}
