package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guards are the tables that keep the kernel from sending frames with a virtual MAC that is
// another router's by then: switches would send its frames the wrong way until the next
// advertisement. They are not owned by a socket: they have to outlive a process that is
// killed, as the macvlan and its addresses do.
func guards() []*nftables.Table {
	return []*nftables.Table{
		{Name: "ringkeep-vmac", Family: nftables.TableFamilyARP},
		{Name: "ringkeep-vmac", Family: nftables.TableFamilyIPv6},
	}
}

// reportTypes are the ICMPv6 types by which a host joins and leaves groups (RFC 2710 §3,
// RFC 3810 §5.2).
var reportTypes = []byte{131, 132, 143}

// guardMacvlans makes the rules for all macvlans of ours.
//
// A new MASTER announces its addresses by ARP requests with the virtual MAC. The old one,
// which takes its addresses off at that moment, would answer them, with the same MAC. Of a
// macvlan for IPv4, questions that carry its own MAC are dropped.
//
// An old MASTER over IPv6 leaves the groups of its addresses, and would report that up to a
// second later. keepalived sends these reports from the interface below instead; ours
// reports the groups there from the start ([Kernel.AddMacvlan]).
//
// A kernel without nf_tables is only told of.
func (k *Kernel) guardMacvlans() error {
	if k.nft == nil {
		k.log.Warn("this kernel has no nf_tables: a router that is MASTER no more may send a frame with the virtual MAC", "err", k.nftErr)
		return nil
	}
	k.limit()
	tables := guards()
	// The first hook of the family is that of input.
	arp := k.nft.AddChain(&nftables.Chain{
		Name: "input", Table: k.nft.AddTable(tables[0]), Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter,
	})
	six := k.nft.AddChain(&nftables.Chain{
		Name: "output", Table: k.nft.AddTable(tables[1]), Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	k.nft.FlushChain(arp)
	k.nft.FlushChain(six)
	for _, name := range slices.Sorted(maps.Keys(k.macvlans)) {
		m := k.macvlans[name]
		if !m.IPv6 {
			k.nft.AddRule(&nftables.Rule{Table: arp.Table, Chain: arp, Exprs: dropOwnQuestions(m)})
			continue
		}
		for _, kind := range reportTypes {
			k.nft.AddRule(&nftables.Rule{Table: six.Table, Chain: six, Exprs: dropReports(name, kind)})
		}
	}
	if err := k.nft.Flush(); err != nil {
		return fmt.Errorf("nftables tables %s: %w", tables[0].Name, explain(err))
	}
	return nil
}

// dropOwnQuestions is the rule
//
//	iifname NAME arp saddr ether MAC drop
func dropOwnQuestions(m Macvlan) []expr.Any {
	const senderMAC = 8
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device(m.Name)},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: senderMAC, Len: 6},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: m.MAC[:]},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// dropReports is the rule
//
//	oifname NAME meta l4proto icmpv6 icmpv6 type KIND drop
func dropReports(name string, kind byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device(name)},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// device is a name as nf_tables compares it.
func device(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// removeGuards removes the tables, of an earlier run too.
func (k *Kernel) removeGuards() error {
	if k.nft == nil {
		return nil
	}
	k.limit()
	for _, guard := range guards() {
		tables, err := k.nft.ListTablesOfFamily(guard.Family)
		if err != nil { // without the right to look, or without nf_tables, there is nothing of ours
			return nil
		}
		if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == guard.Name }) {
			continue
		}
		k.nft.DelTable(guard)
		if err := k.nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove nftables table %s: %w", guard.Name, explain(err))
		}
	}
	return nil
}
