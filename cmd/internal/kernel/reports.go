package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reportTable holds the rules that keep MLD reports off the wire.
func reportTable() *nftables.Table {
	return &nftables.Table{Name: "ringkeep-vmac", Family: nftables.TableFamilyIPv6}
}

// reportTypes are the ICMPv6 types by which a host joins and leaves groups (RFC 2710 §3,
// RFC 3810 §5.2).
var reportTypes = []byte{131, 132, 143}

// holdReports keeps the kernel from reporting groups on macvlans of ours. A router that is
// MASTER no more takes its addresses off and would report that it leaves their groups, up to
// a second later and with the virtual MAC, which is another's by then: switches would send
// its frames the wrong way. keepalived sends them from the interface below instead; ours
// reports the groups there from the start ([Kernel.AddMacvlan]). IPv4 needs none of this:
// nothing is joined there. A kernel without nf_tables is only told of.
func (k *Kernel) holdReports() error {
	if k.nft == nil {
		k.log.Warn("this kernel has no nf_tables: a router that is MASTER no more may send MLD reports with the virtual MAC", "err", k.nftErr)
		return nil
	}
	k.limit()
	table := k.nft.AddTable(reportTable())
	chain := k.nft.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	k.nft.FlushChain(chain)
	var names []string
	for name, m := range k.macvlans {
		if m.IPv6 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, kind := range reportTypes {
			k.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dropReports(name, kind)})
		}
	}
	if err := k.nft.Flush(); err != nil {
		return fmt.Errorf("nftables table %s: %w", table.Name, explain(err))
	}
	return nil
}

// dropReports is the rule
//
//	oifname NAME meta l4proto icmpv6 icmpv6 type KIND drop
func dropReports(name string, kind byte) []expr.Any {
	device := make([]byte, unix.IFNAMSIZ)
	copy(device, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// releaseReports removes the table, of an earlier run too. It is not owned by a socket: it
// has to outlive a process that is killed, as the macvlan and its addresses do.
func (k *Kernel) releaseReports() error {
	if k.nft == nil {
		return nil
	}
	k.limit()
	tables, err := k.nft.ListTablesOfFamily(nftables.TableFamilyIPv6)
	if err != nil { // without the right to look, or without nf_tables, there is nothing of ours
		return nil
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == reportTable().Name }) {
		return nil
	}
	k.nft.DelTable(reportTable())
	if err := k.nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove nftables table %s: %w", reportTable().Name, explain(err))
	}
	return nil
}
