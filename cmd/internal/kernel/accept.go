package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names in the table of the addresses that are not accepted.
const (
	set4Name     = "addresses"
	set6Name     = "addresses6"
	setLinkLocal = "link_local" // with their interfaces
)

// acceptPriority is where the chains stand: before the filters of the administrator.
const acceptPriority = nftables.ChainPriority(-1)

// door is an address that is not accepted. One that is link-local belongs to an interface.
type door struct {
	addr  netip.Addr
	iface string
}

func doorOf(a Address) door {
	d := door{addr: a.Prefix.Addr()}
	if d.addr.Is6() && d.addr.IsLinkLocalUnicast() {
		d.iface = a.Interface
	}
	return d
}

func (d door) set() string {
	switch {
	case d.iface != "":
		return setLinkLocal
	case d.addr.Is6():
		return set6Name
	}
	return set4Name
}

// key is the address, and for link-local ones the name of the interface in 16 bytes.
func (d door) key() []byte {
	key := d.addr.AsSlice()
	if d.iface != "" {
		key = append(key, make([]byte, unix.IFNAMSIZ)...)
		copy(key[16:], d.iface)
	}
	return key
}

// Block keeps packets to and from the addresses from this host's own programs: what
// RFC 9568 §6.4.3 asks of a MASTER that neither owns the addresses nor accepts for them.
// ARP and neighbour solicitations and advertisements pass (§6.1), and so does what the
// host forwards for others. An address that is blocked twice is unblocked by the second
// Unblock. The rules go with Close and with the process, as those of [Kernel.DropRules].
func (k *Kernel) Block(list []Address) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nft == nil {
		return fmt.Errorf("block addresses: this kernel has no nf_tables: %w", k.nftErr)
	}
	k.limit()
	if err := k.block(list); err != nil {
		if len(k.blocked) == 0 { // a table that may be without its chains
			err = errors.Join(err, k.removeTable(nftables.TableFamilyINet))
		}
		return fmt.Errorf("block addresses: %w", explain(err))
	}
	for _, a := range list {
		k.blocked[doorOf(a)]++
	}
	return nil
}

func (k *Kernel) block(list []Address) error {
	made := k.tables[nftables.TableFamilyINet]
	if err := k.makeTable(nftables.TableFamilyINet); err != nil {
		return err
	}
	if !made {
		k.blocked = map[door]int{}
		if err := k.addDoors(); err != nil {
			return err
		}
	}
	return k.changeDoors(list, 0, k.nft.SetAddElements)
}

// Unblock ends what Block began. Addresses that are not blocked are left alone.
func (k *Kernel) Unblock(list []Address) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nft == nil || !k.tables[nftables.TableFamilyINet] {
		return nil
	}
	k.limit()
	if err := k.changeDoors(list, 1, k.nft.SetDeleteElements); err != nil {
		return fmt.Errorf("unblock addresses: %w", explain(err))
	}
	for _, a := range list {
		if d := doorOf(a); k.blocked[d] > 1 {
			k.blocked[d]--
		} else {
			delete(k.blocked, d)
		}
	}
	if len(k.blocked) == 0 {
		return k.removeTable(nftables.TableFamilyINet)
	}
	return nil
}

// changeDoors sends the addresses that are blocked so many times to the sets.
func (k *Kernel) changeDoors(list []Address, times int, do func(*nftables.Set, []nftables.SetElement) error) error {
	elements := map[string][]nftables.SetElement{}
	seen := map[door]bool{}
	for _, a := range list {
		if d := doorOf(a); k.blocked[d] == times && !seen[d] {
			seen[d] = true
			elements[d.set()] = append(elements[d.set()], nftables.SetElement{Key: d.key()})
		}
	}
	for _, set := range doorSets(ownTable(nftables.TableFamilyINet)) {
		for batch := range slices.Chunk(elements[set.Name], setBatch) {
			if err := do(set, batch); err != nil {
				return err
			}
		}
	}
	return k.nft.Flush()
}

func doorSets(table *nftables.Table) []*nftables.Set {
	return []*nftables.Set{
		{Table: table, Name: set4Name, KeyType: nftables.TypeIPAddr},
		{Table: table, Name: set6Name, KeyType: nftables.TypeIP6Addr},
		{Table: table, Name: setLinkLocal, Concatenation: true, KeyType: nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeIFName)},
	}
}

// addDoors adds sets, chains and rules to a new table.
func (k *Kernel) addDoors() error {
	table := ownTable(nftables.TableFamilyINet)
	sets := doorSets(table)
	for _, set := range sets {
		if err := k.nft.AddSet(set, nil); err != nil {
			return err
		}
	}
	accept, priority := nftables.ChainPolicyAccept, acceptPriority
	for _, side := range []struct {
		name          string
		hook          *nftables.ChainHook
		at4, at6      uint32 // where the address is in the header
		interfaceName expr.MetaKey
	}{
		{"in", nftables.ChainHookInput, 16, 24, expr.MetaKeyIIFNAME},
		{"out", nftables.ChainHookOutput, 12, 8, expr.MetaKeyOIFNAME},
	} {
		chain := k.nft.AddChain(&nftables.Chain{
			Name: side.name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: side.hook, Priority: &priority, Policy: &accept,
		})
		for _, exprs := range [][]expr.Any{
			dropIn(sets[0], unix.NFPROTO_IPV4, side.at4, 4),
			passDiscovery(),
			dropIn(sets[1], unix.NFPROTO_IPV6, side.at6, 16),
			dropIn(sets[2], unix.NFPROTO_IPV6, side.at6, 16, &expr.Meta{Key: side.interfaceName, Register: 12}),
		} {
			k.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
		}
	}
	return nil
}

// family begins a rule for one of the two.
func family(protocol byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equals(protocol)}
}

func equals(b byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{b}} }

// dropIn is the rule: ip daddr @set drop, where more goes into the key behind the address.
func dropIn(set *nftables.Set, protocol byte, offset, length uint32, more ...expr.Any) []expr.Any {
	rule := append(family(protocol), &expr.Payload{DestRegister: 8, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length})
	rule = append(rule, more...)
	return append(rule, &expr.Lookup{SourceRegister: 8, SetName: set.Name, SetID: set.ID}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// ICMPv6 types of RFC 4861 §4.3 and §4.4.
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

// passDiscovery is the rule: icmpv6 type 135-136 accept.
func passDiscovery() []expr.Any {
	return append(family(unix.NFPROTO_IPV6),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals(unix.IPPROTO_ICMPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{neighbourSolicitation}, ToData: []byte{neighbourAdvertisement}},
		&expr.Verdict{Kind: expr.VerdictAccept})
}

// tableFamilies are those in which there may be a table of ours.
var tableFamilies = []nftables.TableFamily{nftables.TableFamilyNetdev, nftables.TableFamilyINet}

// removeTables removes all that k made.
func (k *Kernel) removeTables() error {
	var errs []error
	for _, f := range tableFamilies {
		errs = append(errs, k.removeTable(f))
	}
	return errors.Join(errs...)
}
