package ipvs

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Role is what a synchronization daemon does. A director may have one of each.
type Role uint32

// The roles: to tell others of the connections, and to listen to them.
const (
	Master Role = 1
	Backup Role = 2
)

// Daemon is one of the kernel's two threads that keep the connections of directors alike.
// What is zero or not set is the kernel's default: a message fits 1,500 bytes, 224.0.0.81,
// port 8848, TTL 1.
type Daemon struct {
	Role      Role
	Interface string // at most 15 bytes
	ID        uint8  // a backup hears those of its own, with 0 all
	MaxLen    uint16 // bytes of a message
	Group     netip.Addr
	Port      uint16
	TTL       uint8
}

// Attributes of a daemon.
const (
	daemonRole = iota + 1
	daemonInterface
	daemonID
	daemonMaxLen
	daemonGroup
	daemonGroup6
	daemonPort
	daemonTTL
)

// StartDaemon starts a daemon. The error wraps EEXIST if there is one of its role, ENODEV if
// there is no such interface.
func (k *Kernel) StartDaemon(d Daemon) error { return k.daemon(cmdNewDaemon, "start", d) }

// StopDaemon stops the daemon of a role; of d nothing else matters. The error wraps ESRCH if
// there is none.
func (k *Kernel) StopDaemon(d Daemon) error { return k.daemon(cmdDelDaemon, "stop", d) }

func (k *Kernel) daemon(cmd uint8, what string, d Daemon) error {
	if _, err := k.request(cmd, unix.NLM_F_ACK, d.message()); err != nil {
		return fmt.Errorf("%s the sync daemon on %s: %w", what, d.Interface, err)
	}
	return nil
}

func (d Daemon) message() *nl.RtAttr {
	to := nl.NewRtAttr(attrDaemon|unix.NLA_F_NESTED, nil)
	to.AddRtAttr(daemonRole, nl.Uint32Attr(uint32(d.Role)))
	to.AddRtAttr(daemonInterface, nl.ZeroTerminated(d.Interface))
	to.AddRtAttr(daemonID, nl.Uint32Attr(uint32(d.ID)))
	if d.MaxLen != 0 {
		to.AddRtAttr(daemonMaxLen, nl.Uint16Attr(d.MaxLen))
	}
	switch {
	case d.Group.Is4():
		to.AddRtAttr(daemonGroup, d.Group.AsSlice())
	case d.Group.Is6():
		to.AddRtAttr(daemonGroup6, d.Group.AsSlice())
	}
	if d.Port != 0 {
		to.AddRtAttr(daemonPort, nl.Uint16Attr(d.Port))
	}
	if d.TTL != 0 {
		to.AddRtAttr(daemonTTL, nl.Uint8Attr(d.TTL))
	}
	return to
}

// Daemons reads those that run, with what they use where nothing was asked for.
func (k *Kernel) Daemons() (daemons []Daemon, err error) {
	list, err := k.dump(cmdGetDaemon, nl.NewRtAttr(attrDaemon, nil))
	if err != nil {
		return nil, fmt.Errorf("read the sync daemons: %w", err)
	}
	for _, a := range list {
		n, err := parse(a[attrDaemon])
		if err != nil {
			return nil, err
		}
		d := Daemon{
			Role: Role(n.number(daemonRole)), Interface: n.text(daemonInterface), ID: uint8(n.number(daemonID)),
			MaxLen: uint16(n.number(daemonMaxLen)), Port: uint16(n.number(daemonPort)), TTL: uint8(n.number(daemonTTL)),
		}
		for _, t := range []uint16{daemonGroup, daemonGroup6} {
			if group, ok := netip.AddrFromSlice(n[t]); ok {
				d.Group = group
			}
		}
		daemons = append(daemons, d)
	}
	return daemons, nil
}
