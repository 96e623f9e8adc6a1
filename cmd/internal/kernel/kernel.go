package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	nfnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel speaks to the network namespace that the thread was in which called
// [Open]; all its sockets are made there, so that its methods may be called from
// any goroutine, at the same time too.
type Kernel struct {
	log *slog.Logger

	links  *netlink.Handle          // whole link dumps
	routes map[int]*nl.SocketHandle // requests that the library above cannot word
	events *nl.NetlinkSocket        // link and address changes since Open
	seen   snapshot                 // what Watch compares with; its goroutine's own
	owned  owned                    // routes that are ours
	own    uint32                   // by whom the kernel says that a change was made, if by us

	mu     sync.Mutex
	nft    *nftables.Conn  // nil where the kernel has no nf_tables; then nftErr says why
	raw    *nfnetlink.Conn // the socket under nft
	nftErr error
	tables map[nftables.TableFamily]bool // those of ours that exist
	// blocked counts who has blocked an address.
	blocked map[door]int

	groups   *groups
	groups6  *groups // nil where the kernel has no IPv6
	watched  bool
	asked    []netip.Addr       // by Gateway
	macvlans map[string]Macvlan // that are there while k is open, by name
	restore  []func() error     // sysctls
}

// rtnlgrpIPv6Rule is RTNLGRP_IPV6_RULE of linux/rtnetlink.h.
const rtnlgrpIPv6Rule = 19

// eventBuffer holds some ten thousand changes while nobody reads them.
const eventBuffer = 1 << 20

// Open makes the sockets, on the calling thread and so in its network namespace.
// The caller closes the result.
func Open(log *slog.Logger) (*Kernel, error) {
	k := &Kernel{log: log, tables: map[nftables.TableFamily]bool{}}
	if err := k.open(); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

func (k *Kernel) open() (err error) {
	if k.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open routing netlink: %w", err)
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE) // to nothing: for requests only
	if err != nil {
		return fmt.Errorf("open routing netlink: %w", err)
	}
	k.routes = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	if k.own, err = s.GetPid(); err != nil {
		return fmt.Errorf("open routing netlink: %w", err)
	}
	k.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, rtnlgrpIPv6Rule)
	if err != nil {
		return fmt.Errorf("subscribe to changes of links, addresses, routes and rules: %w", err)
	}
	if err := k.events.SetReceiveBufferSize(eventBuffer, true); err != nil {
		_ = k.events.SetReceiveBufferSize(eventBuffer, false) // as much as we may have
	}
	if k.groups, err = openGroups(); err != nil {
		return err
	}
	if k.groups6, err = openGroups6(); err != nil {
		return err
	}
	k.openTables()
	k.seen, err = k.snapshot()
	return err
}

// transactionSize has room for rules about tens of thousands of servers, which are replaced in
// one message; the kernel grants it to who may change rules.
const transactionSize = 16 << 20

// openTables opens nf_tables. A kernel without it is an error only for who wants
// drop rules.
func (k *Kernel) openTables() {
	keep := func(c *nfnetlink.Conn) error {
		k.raw = c
		_ = c.SetWriteBuffer(transactionSize) // else a large transaction says what it lacks
		return nil
	}
	k.nft, k.nftErr = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(keep))
}

// Close gives everything back: the tables of drop rules, the memberships, and Watch
// ends. Addresses stay; who added them removes them. Close may be called twice.
func (k *Kernel) Close() error {
	if k.events != nil {
		k.events.Close()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	if len(k.macvlans) > 0 {
		err = k.removeMacvlans()
	}
	err = errors.Join(err, k.restoreSysctls())
	if k.nft != nil {
		err = errors.Join(err, k.removeTables(), k.nft.CloseLasting())
		k.nft, k.nftErr = nil, errors.New("closed")
	}
	if k.groups != nil {
		k.groups.close()
	}
	if k.groups6 != nil {
		k.groups6.close()
	}
	if k.links != nil {
		k.links.Close()
	}
	for _, h := range k.routes {
		h.Close()
	}
	return err
}

// request starts a routing message on the socket of k's namespace.
func (k *Kernel) request(kind, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = k.routes
	return req
}

// explain adds what to do to an error that comes from a missing right.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: needs CAP_NET_ADMIN (run as root)", err)
	}
	return err
}
