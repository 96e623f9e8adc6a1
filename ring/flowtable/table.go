// Package flowtable has the kernel itself go on with flows that are moved by direct routing: two
// BPF programs share a table of flows. One is the filter of a packet socket, which leaves out
// the frames of those flows; the other sits behind the packet tap (tcx, Linux 6.6), where it
// gives the same frames their next Ethernet addresses, takes one from their TTL or hop limit and
// sends them on, by reference, without a copy. Both go with the process, however that ends.
//
// Only the segments in the middle of a TCP connection are taken: with ACK, without SYN, FIN and
// RST, without IP options, extension headers and a VLAN tag, no fragments, no longer than the
// way takes, with a TTL above 1, on the interface and to the MAC that the flow came to. All others stay the
// socket's, and while there is no flow in the table, all are.
package flowtable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/net/bpf"
)

// Flow is a TCP connection in the direction that is moved.
type Flow struct{ Client, Virtual netip.AddrPort }

// Hop is where the frames of a flow go.
type Hop struct {
	From      int     // index of the interface that they come to
	To        [6]byte // the MAC that they come to
	Dst, Src  [6]byte // those that they get
	Interface int     // index of the one that they leave by
	MTU       int     // the longest packet, and segment of a super-frame, in bytes of IP packet
}

// Count is what was moved. A super-frame counts once; bytes are those of IP packets.
type Count struct{ Packets, Bytes uint64 }

// ErrFull is of a table that has no room.
var ErrFull = errors.New("the table of flows is full")

// Table is the flows of one socket, or of several that take the frames of the same flows. It
// belongs to one goroutine at a time.
type Table struct {
	flows, gate *ebpf.Map
	mover       *ebpf.Program
	used, most  int

	told    map[key]Count // by Each
	keys    []key         // for Each
	entries []entry
}

// key is how the programs look up a flow; the addresses of IPv4 are followed by zeros.
type key struct {
	Client, Virtual [16]byte
	Ports           [4]byte // of both, in network byte order
	Family          uint32
}

// entry is what they find.
type entry struct {
	Packets, Bytes uint64
	To             [6]byte
	Pad            [2]byte
	Dst, Src       [6]byte
	Interface      uint32
	MTU            uint32
	From           uint32
}

// NewTable makes a table for so many flows. It needs CAP_BPF and CAP_NET_ADMIN in the initial
// user namespace.
func NewTable(flows int) (*Table, error) {
	t := &Table{most: flows, told: map[key]Count{}, keys: make([]key, flows), entries: make([]entry, flows)}
	if err := t.load(); err != nil {
		t.Close()
		return nil, fmt.Errorf("table of flows: %w", err)
	}
	return t, nil
}

func (t *Table) load() (err error) {
	t.flows, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "ringkeep_flows", Type: ebpf.Hash, KeySize: uint32(binary.Size(key{})), ValueSize: uint32(binary.Size(entry{})), MaxEntries: uint32(t.most),
	})
	if err != nil {
		return err
	}
	if t.gate, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ringkeep_gate", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}); err != nil {
		return err
	}
	t.mover, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "ringkeep_move", Type: ebpf.SchedCLS, Instructions: t.move(), License: license})
	return err
}

// license is what the kernel is told; the programs call nothing that asks for another.
const license = "none"

// Attach has the frames that come in by an interface moved, of those flows that the table has.
// The socket must have a [Table.Filter] before, or it gets them, too. Closing the link, which
// goes with the interface by itself, ends it.
func (t *Table) Attach(ifindex int) (link.Link, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: t.mover, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("attach to interface %d: %w", ifindex, err)
	}
	return l, nil
}

// Filter is a classic filter that leaves out the frames which are moved, for every socket of the
// table. A long one takes the kernel's verifier a tenth of a second; any goroutine may wait for it.
// The caller closes the program, which sockets keep all the same.
func (t *Table) Filter(classic []bpf.RawInstruction) (*ebpf.Program, error) {
	ins, err := t.filter(classic)
	if err != nil {
		return nil, err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "ringkeep_rest", Type: ebpf.SocketFilter, Instructions: ins, License: license})
	if err != nil {
		return nil, fmt.Errorf("filter beside the flows that the kernel moves: %w", err)
	}
	return p, nil
}

// Put has a flow moved from its next segment on. One that is there stays as it is.
func (t *Table) Put(f Flow, h Hop) error {
	if t.used >= t.most {
		return ErrFull
	}
	k, err := f.key()
	if err != nil {
		return err
	}
	e := entry{From: uint32(h.From), To: h.To, Dst: h.Dst, Src: h.Src, Interface: uint32(h.Interface), MTU: uint32(h.MTU)}
	switch err := t.flows.Update(k, &e, ebpf.UpdateNoExist); {
	case errors.Is(err, ebpf.ErrKeyExist):
		return nil
	case err != nil:
		return fmt.Errorf("flow from %v to %v: %w", f.Client, f.Virtual, err)
	}
	t.used++
	return t.open()
}

// Take ends the moving of a flow and tells what was moved since it was last told; ok is false for
// one that is not in the table.
func (t *Table) Take(f Flow) (c Count, ok bool) {
	k, err := f.key()
	if err != nil {
		return Count{}, false
	}
	var e entry
	if t.flows.LookupAndDelete(k, &e) != nil {
		return Count{}, false
	}
	t.used--
	_ = t.open() // one that stays open costs the frames a look
	c = t.since(k, e)
	delete(t.told, k)
	return c, true
}

// since is what was moved since it was last told.
func (t *Table) since(k key, e entry) Count {
	was := t.told[k]
	t.told[k] = Count{e.Packets, e.Bytes}
	return Count{e.Packets - was.Packets, e.Bytes - was.Bytes}
}

// Len is how many flows there are.
func (t *Table) Len() int { return t.used }

// Each tells of every flow what was moved since it was last told. The table may not be changed
// meanwhile.
func (t *Table) Each(tell func(Flow, Hop, Count)) error {
	if t.used == 0 {
		return nil
	}
	n, err := t.flows.BatchLookup(new(ebpf.MapBatchCursor), t.keys, t.entries, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("table of flows: %w", err)
	}
	for i, e := range t.entries[:n] {
		h := Hop{From: int(e.From), To: e.To, Dst: e.Dst, Src: e.Src, Interface: int(e.Interface), MTU: int(e.MTU)}
		tell(t.keys[i].flow(), h, t.since(t.keys[i], e))
	}
	return nil
}

// open lets the programs look into the table while there is a flow in it.
func (t *Table) open() error { return t.gate.Put(uint32(0), uint32(t.used)) }

// Close gives the table back. Links and sockets keep what they need of it until they are closed; no
// call of Filter may be under way.
func (t *Table) Close() {
	for _, m := range []*ebpf.Map{t.flows, t.gate} {
		m.Close()
	}
	t.mover.Close()
}

func (f Flow) key() (k key, err error) {
	client, virtual := f.Client.Addr(), f.Virtual.Addr()
	if !client.IsValid() || client.Is4() != virtual.Is4() {
		return k, fmt.Errorf("flow from %v to %v: needs two addresses of one family", f.Client, f.Virtual)
	}
	copy(k.Client[:], client.AsSlice())
	copy(k.Virtual[:], virtual.AsSlice())
	binary.BigEndian.PutUint16(k.Ports[:], f.Client.Port())
	binary.BigEndian.PutUint16(k.Ports[2:], f.Virtual.Port())
	k.Family = family6
	if client.Is4() {
		k.Family = family4
	}
	return k, nil
}

func (k key) flow() Flow {
	client, virtual := netip.AddrFrom16(k.Client), netip.AddrFrom16(k.Virtual)
	if k.Family == family4 {
		client, virtual = netip.AddrFrom4([4]byte(k.Client[:4])), netip.AddrFrom4([4]byte(k.Virtual[:4]))
	}
	return Flow{
		netip.AddrPortFrom(client, binary.BigEndian.Uint16(k.Ports[:])),
		netip.AddrPortFrom(virtual, binary.BigEndian.Uint16(k.Ports[2:])),
	}
}
