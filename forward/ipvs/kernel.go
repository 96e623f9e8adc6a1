package ipvs

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/forward"
)

// ErrMissing says that this kernel has no IPVS, and what helps.
var ErrMissing = errors.New("this kernel has no IPVS (module ip_vs): run \"modprobe ip_vs\", with linux-image-amd64 or linux-image-cloud-amd64 " +
	"on Debian, linux-modules-extra on Ubuntu; or let the ring forward (--dataplane ring)")

// patience is how long a command may wait for its answer, which the kernel gives at once.
const patience = 10 * time.Second

// Kernel is the IPVS of the network namespace in which it was opened. It is not safe for
// concurrent use.
type Kernel struct {
	family uint16
	socket nl.SocketHandle
}

// Open finds IPVS in the kernel: [ErrMissing] if there is none. It starts no program to
// load a module.
func Open() (*Kernel, error) {
	f, err := netlink.GenlFamilyGet("IPVS")
	if errors.Is(err, syscall.ENOENT) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("look for IPVS: %w", err)
	}
	k := &Kernel{family: f.ID}
	if k.socket.Socket, err = nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_GENERIC); err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err = k.socket.Socket.SetReceiveTimeout(&limit); err != nil {
		k.socket.Close()
		return nil, err
	}
	return k, nil
}

// Close closes the socket. What was programmed stays.
func (k *Kernel) Close() { k.socket.Close() }

// AddService adds a service without its servers. The error wraps EEXIST if it is there,
// ENOENT if the kernel has no such scheduler or engine.
func (k *Kernel) AddService(s Service) error {
	return k.service(cmdNewService, "add", s.Key, s.message())
}

// SetService edits a service. Its servers stay; a new scheduler begins anew.
func (k *Kernel) SetService(s Service) error {
	return k.service(cmdSetService, "edit", s.Key, s.message())
}

// DeleteService removes a service with its servers. Its connections stay in the table.
func (k *Kernel) DeleteService(key forward.ServiceKey) error {
	return k.service(cmdDelService, "delete", key, serviceKey(key))
}

func (k *Kernel) service(cmd uint8, what string, key forward.ServiceKey, message *nl.RtAttr) error {
	if _, err := k.request(cmd, unix.NLM_F_ACK, message); err != nil {
		return fmt.Errorf("%s service %v: %w", what, key, err)
	}
	return nil
}

// AddServer adds a server at the head of a service's list. The error wraps EEXIST if it is
// there, ESRCH if there is no such service.
func (k *Kernel) AddServer(key forward.ServiceKey, s Server) error {
	return k.server(cmdNewDest, "add", key, s)
}

// SetServer edits a server, all of it. The error wraps ENOENT if it is not there.
func (k *Kernel) SetServer(key forward.ServiceKey, s Server) error {
	return k.server(cmdSetDest, "edit", key, s)
}

func (k *Kernel) server(cmd uint8, what string, key forward.ServiceKey, s Server) error {
	if _, err := k.request(cmd, unix.NLM_F_ACK, serviceKey(key), s.message()); err != nil {
		return fmt.Errorf("%s server %v of %v: %w", what, s.Addr, key, err)
	}
	return nil
}

// DeleteServer removes a server. Its connections wait for it to come back.
func (k *Kernel) DeleteServer(key forward.ServiceKey, s Server) error {
	return k.server(cmdDelDest, "delete", key, s)
}

// Flush removes all services of the namespace.
func (k *Kernel) Flush() error {
	_, err := k.request(cmdFlush, unix.NLM_F_ACK)
	return err
}

// Services reads all services with their servers, in the order in which they were added.
func (k *Kernel) Services() ([]Service, error) {
	list, err := k.dump(cmdGetService, nl.NewRtAttr(attrService, nil))
	if err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	var services []Service
	for _, a := range list {
		s, err := a.service()
		if err != nil {
			return nil, err
		}
		if s.Servers, err = k.servers(s.Key); err != nil {
			return nil, fmt.Errorf("read servers of %v: %w", s.Key, err)
		}
		services = append(services, s)
	}
	return services, nil
}

func (k *Kernel) servers(key forward.ServiceKey) ([]Server, error) {
	list, err := k.dump(cmdGetDest, serviceKey(key))
	if err != nil {
		return nil, err
	}
	var servers []Server
	for _, a := range list {
		s, err := a.server()
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	slices.Reverse(servers) // the kernel begins with the latest
	return servers, nil
}

// dumpTries is how often a list is read again that changed while it was read.
const dumpTries = 5

func (k *Kernel) dump(cmd uint8, what nl.NetlinkRequestData) (list []attributes, err error) {
	for range dumpTries {
		list, err = k.request(cmd, unix.NLM_F_DUMP, what)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// Timeouts are how long connections live without a packet: established TCP, TCP in
// FIN_WAIT, UDP.
func (k *Kernel) Timeouts() (tcp, fin, udp time.Duration, err error) {
	list, err := k.request(cmdGetConfig, 0)
	if err != nil || len(list) != 1 {
		return 0, 0, 0, errors.Join(fmt.Errorf("timeouts of IPVS: %d answers", len(list)), err)
	}
	of := func(t uint16) time.Duration { return time.Duration(list[0].number(t)) * time.Second }
	return of(attrTimeoutTCP), of(attrTimeoutFin), of(attrTimeoutUDP), nil
}

// SetTimeouts changes them, in whole seconds; 0 leaves one as it is.
func (k *Kernel) SetTimeouts(tcp, fin, udp time.Duration) error {
	attr := func(t int, d time.Duration) *nl.RtAttr { return nl.NewRtAttr(t, nl.Uint32Attr(uint32(d/time.Second))) }
	if _, err := k.request(cmdSetConfig, unix.NLM_F_ACK, attr(attrTimeoutTCP, tcp), attr(attrTimeoutFin, fin), attr(attrTimeoutUDP, udp)); err != nil {
		return fmt.Errorf("timeouts of IPVS: %w", err)
	}
	return nil
}

// Zero sets the counters of all services back.
func (k *Kernel) Zero() error {
	_, err := k.request(cmdZero, unix.NLM_F_ACK)
	return err
}

// Version is that of IPVS, such as 1.2.1, and the number of buckets of its table.
func (k *Kernel) Version() (version string, buckets int, err error) {
	list, err := k.request(cmdGetInfo, 0)
	if err != nil || len(list) != 1 {
		return "", 0, errors.Join(fmt.Errorf("version of IPVS: %d answers", len(list)), err)
	}
	v := list[0].number(1)
	return fmt.Sprintf("%d.%d.%d", v>>16&0xff, v>>8&0xff, v&0xff), int(list[0].number(2)), nil
}
