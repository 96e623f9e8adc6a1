package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	nfnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	tableName = "ringkeep"
	// tableOwner is NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h (Linux 5.12):
	// the table belongs to the socket that made it, and goes with it.
	tableOwner = 2
)

func ownTable(family nftables.TableFamily) *nftables.Table {
	return &nftables.Table{Name: tableName, Family: family}
}

// DropRules keeps the kernel away from the flows on the interfaces, and from no
// others: packet sockets see those frames, nothing after them does. The rules of an
// earlier call are replaced in one transaction, so that no packet slips through
// between. They go with Close and with the process, however it ends (kernels before
// 5.12: [Kernel.Sweep] removes them at the next start). Fragments after the first
// have no port: those of answers are dropped by address, those to services pass, which
// alone are never answered. Frames of a VLAN pass; its own interface has rules for them.
func (k *Kernel) DropRules(interfaces []string, flows []Flow) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(interfaces) == 0 || len(flows) == 0 {
		return k.removeTable(nftables.TableFamilyNetdev)
	}
	rules, err := newDropRules(flows)
	if err != nil {
		return err
	}
	for _, name := range interfaces {
		// Linux 6.16 and later would wait for one that does not exist.
		if _, err := k.index(name); err != nil {
			return fmt.Errorf("drop rules: %w", err)
		}
	}
	if err := k.makeTable(nftables.TableFamilyNetdev); err != nil {
		return err
	}
	k.limit()
	for range replaceTries {
		// An interface that vanishes meanwhile takes its chain with it, and the
		// transaction fails on it.
		if err = k.replace(interfaces, rules); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("drop rules on %v: %w", interfaces, explain(err))
	}
	return nil
}

// replaceTries bounds how often a transaction is put together anew.
const replaceTries = 3

// makeTable makes the table ours, where it is not yet.
func (k *Kernel) makeTable(family nftables.TableFamily) error {
	if k.nft == nil {
		return fmt.Errorf("drop rules: this kernel has no nf_tables: %w", k.nftErr)
	}
	if k.tables[family] {
		return nil
	}
	k.limit()
	err := k.createOwned(family)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		k.log.Warn("this kernel has no owned tables: drop rules stay if the process is killed", "err", err)
		k.nft.AddTable(ownTable(family))
		err = k.nft.Flush()
	}
	if err != nil {
		return fmt.Errorf("create nftables table %s: %w", tableName, explain(err))
	}
	k.tables[family] = true
	return nil
}

// answerTime is how long the kernel may take to answer a transaction.
const answerTime = 10 * time.Second

// limit keeps a wrong idea of how many answers there will be from hanging us.
func (k *Kernel) limit() {
	_ = k.raw.SetReadDeadline(time.Now().Add(answerTime)) // fails on a closed socket, as what follows
}

// createOwned makes the table with the flag for owner, by a message of our own on
// the socket that later transactions use: the nftables package sends no flags.
func (k *Kernel) createOwned(family nftables.TableFamily) error {
	flags := binary.BigEndian.AppendUint32(nil, tableOwner)
	attrs, err := nfnetlink.MarshalAttributes([]nfnetlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(tableName), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: flags},
	})
	if err != nil {
		return err
	}
	const newTable = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
	_, err = k.raw.SendMessages([]nfnetlink.Message{
		nfMessage(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		nfMessage(newTable, nfnetlink.Acknowledge|nfnetlink.Create|nfnetlink.Excl, uint8(family), 0, attrs),
		nfMessage(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	if err != nil {
		return err
	}
	_, err = k.raw.Receive()
	return err
}

// nfMessage puts the header nfgenmsg (family, version 0, resource id) before data.
func nfMessage(kind uint16, flags nfnetlink.HeaderFlags, family uint8, resource uint16, data []byte) nfnetlink.Message {
	head := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	return nfnetlink.Message{
		Header: nfnetlink.Header{Type: nfnetlink.HeaderType(kind), Flags: nfnetlink.Request | flags},
		Data:   append(head, data...),
	}
}

// replace swaps all that is in the table for new chains and new sets.
func (k *Kernel) replace(interfaces []string, rules *dropRules) error {
	table := ownTable(nftables.TableFamilyNetdev)
	if err := k.clearTable(table); err != nil {
		return err
	}
	sets := map[setKind]*nftables.Set{}
	for _, kind := range setKinds() {
		if len(rules.elements[kind]) == 0 {
			continue
		}
		set := &nftables.Set{Table: table, Name: kind.name(), Concatenation: true, KeyType: kind.key()}
		sets[kind] = set
		if err := k.nft.AddSet(set, nil); err != nil {
			return err
		}
		for batch := range slices.Chunk(rules.elements[kind], setBatch) {
			if err := k.nft.SetAddElements(set, batch); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(interfaces))) {
		chain := k.nft.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter, Device: name,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
		})
		for _, exprs := range rules.chain(name, sets) {
			k.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
		}
	}
	return k.nft.Flush()
}

// setBatch keeps the elements of one message within its 64 KiB.
const setBatch = 1000

// clearTable adds to the transaction the removal of all that the table holds.
func (k *Kernel) clearTable(table *nftables.Table) error {
	chains, err := k.nft.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return err
	}
	for _, c := range chains {
		if c.Table.Name == table.Name {
			k.nft.DelChain(&nftables.Chain{Name: c.Name, Table: table})
		}
	}
	sets, err := k.nft.GetSets(table)
	if err != nil {
		return err
	}
	for _, s := range sets {
		k.nft.DelSet(s)
	}
	return nil
}

// removeTable removes the table of the family if k made it.
func (k *Kernel) removeTable(family nftables.TableFamily) error {
	if !k.tables[family] {
		return nil
	}
	k.limit()
	k.nft.DelTable(ownTable(family))
	if err := k.nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove nftables table %s: %w", tableName, explain(err))
	}
	k.tables[family] = false
	return nil
}

// sweepTables removes the tables that an earlier run left.
func (k *Kernel) sweepTables() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, family := range tableFamilies {
		if k.nft != nil && !k.tables[family] {
			errs = append(errs, k.sweepTable(family))
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) sweepTable(family nftables.TableFamily) error {
	k.limit()
	tables, err := k.nft.ListTablesOfFamily(family)
	if err != nil {
		// Without the right to look, or without nf_tables, there is nothing of ours.
		return nil
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName }) {
		return nil
	}
	k.nft.DelTable(ownTable(family))
	err = k.nft.Flush()
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("remove nftables table %s: %w: it belongs to another ringkeep that runs in this namespace, or needs CAP_NET_ADMIN (run as root)", tableName, err)
	case err != nil && !errors.Is(err, unix.ENOENT):
		return fmt.Errorf("remove nftables table %s: %w", tableName, err)
	}
	return nil
}
