package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// ifaProto is the attribute IFA_PROTO of linux/if_addr.h (Linux 5.18): a number
	// for who added an address.
	ifaProto = 11
	// ownProtocol is our number, as `ip addr` shows it. The kernel's own are 1 to 3,
	// keepalived's is 18, and the numbers that routing daemons have for their routes
	// lie elsewhere too.
	ownProtocol = 82
)

// Address is an address to be added to an interface, or removed from it.
type Address struct {
	Interface string
	Prefix    netip.Prefix // the address with its length, not masked
	Label     string       // IPv4, at most 15 bytes; "" for the interface's name
	Scope     uint8        // RT_SCOPE number; IPv4 only, the kernel decides for IPv6
	Broadcast netip.Addr   // IPv4; the zero value for none
	Peer      netip.Addr   // the far end of a point-to-point address, or the zero value
	Flags     uint32       // IFA_F flags beside those that AddAddress sets itself
	DAD       bool         // IPv6: with duplicate address detection
	Preferred *uint32      // IPv6: preferred lifetime in seconds, [Forever] for no end; nil for the default
}

// Flags of an Address (linux/if_addr.h).
const (
	HomeAddress    = unix.IFA_F_HOMEADDRESS
	ManageTemp     = unix.IFA_F_MANAGETEMPADDR
	NoPrefixRoute  = unix.IFA_F_NOPREFIXROUTE
	MulticastJoins = unix.IFA_F_MCAUTOJOIN
)

// AddAddress adds an address and marks it as ours. One that is there already is
// taken over: it gets our mark and keeps its label, scope and broadcast address.
// IPv6 addresses skip duplicate address detection; a /128 is deprecated, so that it
// is no source address for own connections (both as keepalived does).
func (k *Kernel) AddAddress(a Address) error {
	index, err := k.index(a.Interface)
	if err == nil {
		err = k.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, a)
	}
	if err != nil {
		return fmt.Errorf("add %s to %s: %w", a.Prefix, a.Interface, explain(err))
	}
	return nil
}

// RemoveAddress removes an address; one that is absent, or whose interface is gone,
// is success.
func (k *Kernel) RemoveAddress(a Address) error {
	index, err := k.index(a.Interface)
	if errors.Is(err, errNoLink) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s from %s: %w", a.Prefix, a.Interface, err)
	}
	return k.remove(index, a)
}

func (k *Kernel) remove(index int, a Address) error {
	err := k.change(unix.RTM_DELADDR, 0, index, Address{Prefix: a.Prefix, Peer: a.Peer})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s from %s: %w", a.Prefix, a.Interface, explain(err))
	}
	return nil
}

// change sends one RTM_NEWADDR or RTM_DELADDR. A raw request: netlink.AddrAdd knows
// no address protocol and makes up a broadcast address where none is wanted.
func (k *Kernel) change(kind, flags, index int, a Address) error {
	addr := a.Prefix.Addr()
	if !a.Prefix.IsValid() || addr.Zone() != "" || addr.Is4In6() {
		return fmt.Errorf("%s is no address with a prefix length", a.Prefix)
	}
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	msg := nl.NewIfAddrmsg(family)
	msg.Index, msg.Prefixlen = uint32(index), uint8(a.Prefix.Bits())
	req := k.request(kind, flags|unix.NLM_F_ACK)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice()))
	far := addr
	if a.Peer.IsValid() {
		far = a.Peer
	}
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, far.AsSlice()))
	if kind == unix.RTM_NEWADDR {
		describe(req, msg, a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// describe adds what a new address has beside its numbers.
func describe(req *nl.NetlinkRequest, msg *nl.IfAddrmsg, a Address) {
	req.AddData(nl.NewRtAttr(ifaProto, []byte{ownProtocol}))
	flags := a.Flags
	if a.Prefix.Addr().Is6() && !a.DAD {
		flags |= unix.IFA_F_NODAD
	}
	msg.Flags = uint8(flags)
	if flags > 0xff {
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)))
	}
	if a.Prefix.Addr().Is6() {
		if seconds := a.preferred(); seconds != Forever {
			life := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: Forever, Prefered: seconds}}
			req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, life.Serialize()))
		}
		return
	}
	msg.Scope = a.Scope
	if a.Label != "" {
		req.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(a.Label)))
	}
	if a.Broadcast.IsValid() {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, a.Broadcast.AsSlice()))
	}
}

// preferred is the preferred lifetime of an IPv6 address.
func (a *Address) preferred() uint32 {
	switch {
	case a.Preferred != nil:
		return *a.Preferred
	case a.Prefix.IsSingleIP():
		return 0
	}
	return Forever
}

// Forever is the kernel's INFINITY_LIFE_TIME.
const Forever = 1<<32 - 1

// Sweep removes what an earlier run of ours left that could not clean up: addresses
// with our mark, less those to keep, and our table of drop rules. It returns the
// addresses that are gone. Call it before anything is added and before Watch, and only while no
// other ringkeep works in this namespace. Kernels before 5.18 keep no marks;
// nothing is found there.
func (k *Kernel) Sweep(keep ...netip.Prefix) ([]Address, error) {
	links, err := k.snapshot()
	if err != nil {
		return nil, err
	}
	entries, err := k.addresses()
	if err != nil {
		return nil, err
	}
	var gone []Address
	var errs []error
	for _, e := range entries {
		if e.protocol != ownProtocol || contains(keep, e.prefix) {
			continue
		}
		a := Address{Interface: links[e.index].Name, Prefix: e.prefix, Label: e.label, Scope: e.scope, Broadcast: e.broadcast}
		if err := k.remove(e.index, a); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, a)
	}
	if len(gone) > 0 { // or Watch would tell of these as of anybody's
		if k.seen, err = k.snapshot(); err != nil {
			errs = append(errs, err)
		}
	}
	return gone, errors.Join(append(errs, k.sweepTables())...)
}
