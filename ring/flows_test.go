package ring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/flowtable"
)

func newTable(t testing.TB, flows int) *flowtable.Table {
	t.Helper()
	table, err := flowtable.NewTable(flows)
	if err != nil {
		unable(t, err.Error())
	}
	t.Cleanup(table.Close)
	return table
}

// offload gives a socket of the namespace a filter that leaves out what is moved.
func (s *space) offload(sock *ring.Socket, table *flowtable.Table, filter []bpf.RawInstruction) error {
	p, err := table.Filter(filter)
	if err != nil {
		return err
	}
	defer p.Close()
	s.in(func() { err = sock.Offload(table, p) })
	return err
}

// As eBPF beside a table a filter passes what it passes alone, while the table has no flow and
// while it has one of somebody else.
func TestFilterBesideFlows(t *testing.T) {
	left, right := cable(t)
	out := left.open(ring.Config{Interface: "v0"})
	in := right.open(ring.Config{Interface: "v1", Slots: 4096, Filter: ring.NothingFilter()})
	table := newTable(t, 4)
	services := func(n int) (list []ring.Match) {
		for i := range n {
			list = append(list, serviceAt(6, addrOf(i), uint16(i%3)), answerOf(17, addrOf(i+1), uint16(i%4)))
		}
		return append(list,
			ring.Match{Protocol: 6, Src: netip.MustParsePrefix("10.1.0.0/23"), Dst: netip.MustParsePrefix("10.1.0.0/16"), SrcPorts: [2]uint16{2, 5}, DstPorts: [2]uint16{1, 3}},
			ring.Match{Protocol: 17, Dst: host(other6), Quoted: true})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name   string
		filter []bpf.RawInstruction
	}{
		{"everything", must(bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 1 << 20}}))},
		{"a few", must(ring.ServiceFilter(services(5)))},
		{"many", must(ring.ServiceFilter(services(60)))},
		{"coarse", must(ring.ServiceFilter(services(5000)))},
	} {
		if err := right.offload(in, table, c.filter); err != nil || !in.Offloads() {
			t.Fatalf("%s: %v, offloads %v", c.name, err, in.Offloads())
		}
		var want []uint16
		for i := range uint16(400) {
			p := randomPacket(random)
			p.dst, p.typ = [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)}, 0x800
			if p.to.Is6() {
				p.typ = 0x86dd
			}
			if passes(t, c.filter, p.bytes()) {
				want = append(want, i)
			}
			out.Queue(append(make([]byte, ring.VNetLen), p.bytes()...))
			if i == 200 {
				f := flowtable.Flow{Client: netip.AddrPortFrom(far4, 1), Virtual: netip.AddrPortFrom(far4, 2)}
				if err := table.Put(f, flowtable.Hop{}); err != nil {
					t.Fatal(err)
				}
				defer table.Take(f)
			}
		}
		if _, err := out.Flush(); err != nil {
			t.Fatal(err)
		}
		var got []uint16
		for _, b := range receive(t, in, len(want)) {
			got = append(got, binary.BigEndian.Uint16(b[ring.VNetLen+4:]))
		}
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: passes\n%v, want\n%v", c.name, got, want)
		}
	}
}

func randomPacket(r *rand.Rand) packet {
	p := packet{
		proto: []uint8{6, 17, 1, 58}[r.IntN(4)], to: addrOf(r.IntN(12)), fromPort: uint16(r.IntN(6)), port: uint16(r.IntN(4)), icmp: uint8(r.IntN(5)),
	}
	for p.from = addrOf(r.IntN(12)); p.from.Is4() != p.to.Is4(); {
		p.from = addrOf(r.IntN(12))
	}
	if r.IntN(4) == 0 {
		p.fragment = uint16(r.IntN(2) << 3)
	}
	if p.to.Is6() {
		for range r.IntN(4) {
			p.headers = append(p.headers, []uint8{0, 43, 44, 60}[r.IntN(4)])
		}
	} else {
		p.options = 4 * r.IntN(3)
	}
	if r.IntN(2) == 0 {
		p.quote = &packet{proto: 17, to: p.to}
	}
	return p
}

// router is a director between two hosts, with a socket that has a table.
type router struct {
	director      *space
	table         *flowtable.Table
	out, in, back *ring.Socket // of the client, the director and the server
	mac           [6]byte      // of the director
	hop           flowtable.Hop
}

func newRouter(t *testing.T) *router {
	t.Helper()
	client, director, server := newSpace(t), newSpace(t), newSpace(t)
	client.veth("c0", director, "d0")
	director.veth("d1", server, "s0")
	r := &router{director: director, table: newTable(t, 4)}
	filter := must(ring.ServiceFilter([]ring.Match{serviceAt(6, vip4, 80), serviceAt(6, vip6, 80)}))
	r.out = client.open(ring.Config{Interface: "c0", SuperFrames: true})
	r.in = director.open(ring.Config{Interface: "d0", Filter: filter, SuperFrames: true})
	r.back = server.open(ring.Config{Interface: "s0", SuperFrames: true, Filter: filter})
	if err := director.offload(r.in, r.table, filter); err != nil {
		t.Fatal(err)
	}
	r.mac = [6]byte(director.link("d0").Attrs().HardwareAddr)
	r.hop = flowtable.Hop{
		From: director.link("d0").Attrs().Index, To: r.mac, Dst: [6]byte(server.link("s0").Attrs().HardwareAddr), Src: [6]byte(director.link("d1").Attrs().HardwareAddr),
		Interface: director.link("d1").Attrs().Index, MTU: 1500,
	}
	return r
}

// segment is a frame of TCP, whose payload is a super-frame's if it is longer than mss.
type segment struct {
	flow    flowtable.Flow
	to      [6]byte
	flags   uint8
	ttl     uint8
	payload int
	options int // bytes of TCP's
	mss     int
	change  func(ip []byte)
	pad     int // bytes behind the packet
}

func (s segment) bytes() []byte {
	head := make([]byte, ring.VNetLen)
	client, virtual := s.flow.Client, s.flow.Virtual
	typ, tcpLen := uint16(0x800), 20+s.options+s.payload
	var ip []byte
	if client.Addr().Is4() {
		ip = proto.IPv4Header{TTL: s.ttl, Protocol: 6, Src: client.Addr(), Dst: virtual.Addr()}.Append(nil, tcpLen)
	} else {
		typ = 0x86dd
		ip = proto.IPv6Header{HopLimit: s.ttl, NextHeader: 6, Src: client.Addr(), Dst: virtual.Addr()}.Append(nil, tcpLen)
	}
	hlen := len(ip)
	tcp := make([]byte, tcpLen)
	binary.BigEndian.PutUint16(tcp, client.Port())
	binary.BigEndian.PutUint16(tcp[2:], virtual.Port())
	tcp[12], tcp[13] = byte(20+s.options)/4<<4, s.flags
	for i := range s.options {
		tcp[20+i] = 1
	}
	ip = append(ip, tcp...)
	if s.change != nil {
		s.change(ip)
	}
	if s.mss > 0 {
		v := ring.VNet{Flags: ring.VNetNeedsChecksum, GSOType: ring.GSOTCPv4, GSOSize: uint16(s.mss), HeaderLen: uint16(14 + hlen + 20 + s.options), ChecksumStart: uint16(14 + hlen), ChecksumOffset: 16}
		if typ == 0x86dd {
			v.GSOType = ring.GSOTCPv6
		}
		f := ring.Frame{Buf: head}
		f.SetVNet(v)
	}
	b := append(head, s.to[:]...)
	b = append(b, 2, 0, 0, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(b, typ)
	return append(append(b, ip...), make([]byte, s.pad)...)
}

// Of a flow in the table what is in the middle of the connection goes past the socket, to where
// the table says and as it says; all the rest is the socket's. No frame is both.
func TestFlowsAreMoved(t *testing.T) {
	r := newRouter(t)
	flows := []flowtable.Flow{
		{Client: netip.MustParseAddrPort("192.0.2.7:4711"), Virtual: netip.AddrPortFrom(vip4, 80)},
		{Client: netip.MustParseAddrPort("[2001:db8:f::7]:4711"), Virtual: netip.AddrPortFrom(vip6, 80)},
	}
	const ack, psh, fin, syn, rst = 0x10, 8, 1, 2, 4
	for _, f := range flows {
		four := f.Client.Addr().Is4()
		other := f
		other.Client = netip.AddrPortFrom(f.Client.Addr(), 4712)
		at := func(v4, v6 int, b byte) func([]byte) {
			i := v6
			if four {
				i = v4
			}
			return func(ip []byte) { ip[i] = b }
		}
		list := []struct {
			name  string
			s     segment
			moved bool
		}{
			{"a segment", segment{flags: ack, payload: 100}, true},
			{"with PSH", segment{flags: ack | psh, payload: 100}, true},
			{"without payload", segment{flags: ack, options: 12}, true},
			{"a full one", segment{flags: ack, payload: 1400}, true},
			{"a super-frame", segment{flags: ack, payload: 30000, mss: 1400}, true},
			{"TTL 2", segment{flags: ack, payload: 100, ttl: 2}, true},
			{"TTL 1", segment{flags: ack, payload: 100, ttl: 1}, false},
			{"SYN", segment{flags: syn}, false},
			{"FIN", segment{flags: fin | ack, payload: 100}, false},
			{"a super-frame with FIN", segment{flags: fin | ack, payload: 30000, mss: 1400}, false},
			{"RST", segment{flags: rst | ack}, false},
			{"no ACK", segment{flags: psh, payload: 100}, false},
			{"another client", segment{flow: other, flags: ack, payload: 100}, false},
			{"another MAC", segment{flags: ack, payload: 100, to: [6]byte{2, 0, 0, 0, 0, 9}}, false},
			{"padded", segment{flags: ack, payload: 1, pad: 5}, false},
			{"segments too long for the way", segment{flags: ack, payload: 30000, mss: 1450, options: 12}, false},
			{"a header of TCP that is too short", segment{flags: ack, payload: 100, change: at(32, 52, 0x40)}, false},
			{"one that is longer than the packet", segment{flags: ack, payload: 8, change: at(32, 52, 0xf0)}, false},
			{"a length beyond the frame", segment{flags: ack, payload: 100, change: at(3, 5, 250)}, false},
		}
		if four {
			list = append(list, []struct {
				name  string
				s     segment
				moved bool
			}{
				{"a first fragment", segment{flags: ack, payload: 100, change: at(6, 0, 0x20)}, false},
				{"DF", segment{flags: ack, payload: 100, change: at(6, 0, 0x40)}, true},
				{"options", segment{flags: ack, payload: 100, change: func(ip []byte) {
					ip[0] = 0x46
					copy(ip[24:], ip[20:40])
				}}, false},
			}...)
		}
		if err := r.table.Put(f, r.hop); err != nil {
			t.Fatal(err)
		}
		var sent flowtable.Count
		for _, c := range list {
			if c.s.flow == (flowtable.Flow{}) {
				c.s.flow = f
			}
			if c.s.to == ([6]byte{}) {
				c.s.to = r.mac
			}
			if c.s.ttl == 0 {
				c.s.ttl = 64
			}
			b := c.s.bytes()
			r.out.Queue(b)
			if _, err := r.out.Flush(); err != nil {
				t.Fatal(err)
			}
			if !c.moved {
				if got := receive(t, r.in, 1)[0]; !bytes.Equal(got[ring.VNetLen:], b[ring.VNetLen:]) {
					t.Errorf("%s: the socket received %x, want %x", c.name, got, b)
				}
				continue
			}
			sent.Packets++
			sent.Bytes += uint64(len(b) - ring.VNetLen - 14)
			got := receive(t, r.back, 1)[0][ring.VNetLen:]
			if want := moved(b[ring.VNetLen:], r.hop); !bytes.Equal(got, want) {
				t.Errorf("%s: the server received\n%x, want\n%x", c.name, got[:54], want[:54])
			}
		}
		var told []string
		if err := r.table.Each(func(f flowtable.Flow, h flowtable.Hop, c flowtable.Count) {
			told = append(told, fmt.Sprint(f, h, c))
		}); err != nil {
			t.Fatal(err)
		}
		if want := []string{fmt.Sprint(f, r.hop, sent)}; !slices.Equal(told, want) {
			t.Errorf("the table tells %v, want %v", told, want)
		}
		if c, ok := r.table.Take(f); !ok || c != (flowtable.Count{}) || r.table.Len() != 0 {
			t.Errorf("taken %+v, %v, though all was told; %d left", c, ok, r.table.Len())
		}
		s := segment{flow: f, to: r.mac, flags: ack, ttl: 64, payload: 100}
		r.out.Queue(s.bytes())
		if _, err := r.out.Flush(); err != nil {
			t.Fatal(err)
		}
		receive(t, r.in, 1)
	}
	for _, s := range []*ring.Socket{r.in, r.back} {
		if got := s.Ready(make([]ring.Frame, 8)); got != 0 {
			t.Errorf("%s has %d frames too many", s.Name(), got)
		}
	}
}

// moved is what leaves in place of a frame.
func moved(frame []byte, h flowtable.Hop) []byte {
	b := bytes.Clone(frame)
	copy(b, h.Dst[:])
	copy(b[6:], h.Src[:])
	proto.IP(b[14:]).DecrementTTL()
	return b
}

// The table has its limit; what Take ends is the socket's again, and so is everything with a new
// filter. A filter of no services goes into the kernel, one with instructions that none of them has
// does not.
func TestFlowsEnd(t *testing.T) {
	r := newRouter(t)
	flow := func(port uint16) flowtable.Flow {
		return flowtable.Flow{Client: netip.AddrPortFrom(far4, port), Virtual: netip.AddrPortFrom(vip4, 80)}
	}
	for port := range uint16(4) {
		if err := r.table.Put(flow(port), r.hop); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.table.Put(flow(4), r.hop); err != flowtable.ErrFull {
		t.Errorf("the fifth of four flows: %v", err)
	}
	if err := r.table.Put(flowtable.Flow{Client: netip.AddrPortFrom(far6, 1), Virtual: netip.AddrPortFrom(vip4, 80)}, r.hop); err == nil {
		t.Error("a flow of two families is taken")
	}
	told := map[flowtable.Flow]bool{}
	if err := r.table.Each(func(f flowtable.Flow, _ flowtable.Hop, _ flowtable.Count) { told[f] = true }); err != nil || len(told) != 4 {
		t.Errorf("%v: told of %v", err, told)
	}
	arrives := func(port uint16, at *ring.Socket) {
		t.Helper()
		s := segment{flow: flow(port), to: r.mac, flags: 0x10, ttl: 64, payload: 100}
		r.out.Queue(s.bytes())
		if _, err := r.out.Flush(); err != nil {
			t.Fatal(err)
		}
		receive(t, at, 1)
	}
	arrives(2, r.back)
	for port := range uint16(4) {
		if c, ok := r.table.Take(flow(port)); !ok || c.Packets != uint64(port/2%2)*uint64(1-port%2) {
			t.Errorf("of flow %d %v was moved, %v", port, c, ok)
		}
		arrives(port, r.in)
	}
	if _, ok := r.table.Take(flow(2)); ok || r.table.Len() != 0 {
		t.Errorf("taken twice; %d are left", r.table.Len())
	}
	filter := must(ring.ServiceFilter([]ring.Match{serviceAt(6, vip4, 80)}))
	if err := r.in.SetFilter(filter); err != nil || r.in.Offloads() {
		t.Errorf("a new filter: %v, offloads %v", err, r.in.Offloads())
	}
	arrives(1, r.in)
	if err := r.director.offload(r.in, r.table, must(ring.ServiceFilter(nil))); err != nil {
		t.Error(err)
	}
	odd := must(bpf.Assemble([]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtRand}, bpf.RetConstant{Val: 1 << 20}}))
	if _, err := r.table.Filter(odd); err == nil {
		t.Error("an instruction that no filter has is translated")
	}
}

// Without the rights there is no table, and an error that says so.
func TestTableNeedsRights(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := flowtable.NewTable(4)
		if err == nil {
			t.Error("a table without rights")
		}
		return
	}
	inThread(func() { // which ends with its lack of rights
		runtime.LockOSThread()
		header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Error(err)
			return
		}
		if table, err := flowtable.NewTable(4); !errors.Is(err, unix.EPERM) || table != nil {
			t.Errorf("a table without rights: %v, %v", table, err)
		}
	})
}
