package replay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// Said is something that a director sends: an advertisement, or a gratuitous ARP, which over
// IPv6 is an unsolicited neighbour advertisement.
type Said struct {
	VRID     uint8 // 0: a gratuitous ARP
	Priority uint8
	To       netip.Addr // of an advertisement
	VIP      netip.Addr // of a gratuitous ARP
}

// of tells whether it is an advertisement of the virtual router: VRID and family.
func (s Said) of(in *config.Instance) bool {
	return s.VRID == in.VRID && s.To.Is6() == (in.Family() == 6)
}

func (s Said) String() string {
	if s.VRID == 0 && s.VIP.Is6() {
		return fmt.Sprintf("neighbour advertisement of %s", s.VIP)
	}
	if s.VRID == 0 {
		return fmt.Sprintf("gratuitous ARP of %s", s.VIP)
	}
	return fmt.Sprintf("advertisement of VRID %d, priority %d, to %s", s.VRID, s.Priority, s.To)
}

// alike tells whether two differ in the priority at most.
func (s Said) alike(o Said) bool { s.Priority = o.Priority; return s == o }

// say reads what a frame says, if it is one of the two.
func say(frame []byte) (Said, bool) {
	if vip, ok := model.Announced(frame); ok {
		return Said{VIP: vip}, true
	}
	eth, err := proto.ParseEthernet(frame)
	if err != nil {
		return Said{}, false
	}
	ip, v, err := netlab.ParseVRRP(eth)
	if err != nil {
		return Said{}, false
	}
	return Said{VRID: v.VRID(), Priority: v.Priority(), To: ip.Dst()}, true
}

// packet is a packet of a capture that matters for a replay.
type packet struct {
	number int
	at     time.Duration
	port   int
	way    model.Way
	data   []byte // of one that was heard
	said   Said   // of one that was sent
	join   bool   // a membership report for the group of VRRP
	six    bool   // in that of IPv6
}

// capture is a file as a director at its seat saw it.
type capture struct {
	packets []packet // by time
	numbers []stamp  // of all packets of the file
	end     time.Duration
}

// stamp is when a packet was taken.
type stamp struct {
	number int
	at     time.Duration
}

// read reads a file. A packet of the director's that was not recorded whole is an error:
// nobody can tell what it said.
func read(path string, seat *model.Seat) (*capture, error) {
	c := &capture{}
	var first time.Time
	cut := 0
	err := pcap.Each(path, func(p pcap.Packet, _ []pcap.Interface) {
		if first.IsZero() {
			first = p.At
		}
		at := p.At.Sub(first)
		c.end = max(c.end, at)
		c.numbers = append(c.numbers, stamp{p.Number, at})
		if !control(p.Data) {
			return
		}
		k, ok := keep(p, at, seat)
		if ok {
			c.packets = append(c.packets, k)
		}
		if cut == 0 && len(p.Data) < p.Length && (k.way == model.Heard || k.way == model.Sent) {
			cut = p.Number
		}
	})
	if err == nil && cut > 0 {
		err = fmt.Errorf("%s: packet %d was not recorded whole", path, cut)
	}
	slices.SortStableFunc(c.packets, func(a, b packet) int { return cmp.Compare(a.at, b.at) })
	slices.SortStableFunc(c.numbers, func(a, b stamp) int { return cmp.Compare(a.at, b.at) })
	return c, err
}

const (
	protocolIGMP = 2
	hopByHop     = 0 // what a membership report of IPv6 begins with (RFC 3810 §5)
)

// control tells whether a frame is of VRRP, of ARP or neighbour discovery, or a membership
// report.
func control(frame []byte) bool {
	eth, err := proto.ParseEthernet(frame)
	if err != nil {
		return false
	}
	const protocol, nextHeader = 9, 6 // of what may be the beginning of a packet only
	switch b := eth.Payload(); eth.Type() {
	case proto.EtherTypeIPv4:
		return len(b) > protocol && slices.Contains([]uint8{proto.ProtocolVRRP, proto.ProtocolAH, protocolIGMP}, b[protocol])
	case proto.EtherTypeIPv6:
		return netlab.IsControl(eth) || len(b) > nextHeader && slices.Contains([]uint8{proto.ProtocolVRRP, hopByHop}, b[nextHeader])
	}
	return eth.Type() == proto.EtherTypeARP
}

// keep takes what the director heard, said or joined.
func keep(p pcap.Packet, at time.Duration, seat *model.Seat) (packet, bool) {
	k := packet{number: p.Number, at: at}
	k.port, k.way = seat.Way(p)
	switch k.way {
	case model.Heard:
		k.data = slices.Clone(p.Data)
		return k, true
	case model.Sent:
		var ok bool
		k.said, ok = say(p.Data)
		k.six = proto.Ethernet(p.Data).Type() == proto.EtherTypeIPv6
		k.join = joins(p.Data) || joins6(p.Data)
		return k, ok || k.join
	}
	return k, false
}

// joins tells whether a frame is the report of a new member of 224.0.0.18: of IGMPv3 a
// change to exclude mode (RFC 3376 §4.2.12), of IGMPv2 any.
func joins(frame []byte) bool {
	ip, err := proto.ParseIPv4(proto.Ethernet(frame).Payload())
	if err != nil || ip.Protocol() != protocolIGMP {
		return false
	}
	const v2, v3, toExclude = 0x16, 0x22, 4
	b := ip.Payload()
	switch {
	case len(b) >= 8 && b[0] == v2:
		return [4]byte(b[4:]) == group.As4()
	case len(b) >= 8 && b[0] == v3:
		for b = b[8:]; len(b) >= 8; b = b[min(len(b), 8+4*(int(b[1])+int(b[2])<<8+int(b[3]))):] {
			if b[0] == toExclude && [4]byte(b[4:]) == group.As4() {
				return true
			}
		}
	}
	return false
}

// joins6 is the same for ff02::12: of MLDv2 a change to exclude mode (RFC 3810 §5.2.12), of
// MLDv1 any report (RFC 2710 §3). Both come behind hop-by-hop options.
func joins6(frame []byte) bool {
	ip, err := proto.ParseIPv6(proto.Ethernet(frame).Payload())
	if err != nil || ip.NextHeader() != hopByHop {
		return false
	}
	const v1, v2, toExclude = 131, 143, 4
	b := ip.Payload()
	if len(b) < 8 || b[0] != proto.ProtocolICMPv6 || len(b) < 8*(int(b[1])+1)+8 {
		return false
	}
	b = b[8*(int(b[1])+1):]
	switch {
	case len(b) >= 24 && b[0] == v1:
		return [16]byte(b[8:]) == group6.As16()
	case b[0] == v2:
		for b = b[8:]; len(b) >= 20; b = b[min(len(b), 20+4*int(b[1])+16*(int(b[2])<<8+int(b[3]))):] {
			if b[0] == toExclude && [16]byte(b[4:]) == group6.As16() {
				return true
			}
		}
	}
	return false
}

var group, group6 = netip.AddrFrom4([4]byte{224, 0, 0, 18}), netip.MustParseAddr("ff02::12")

// virtual tells whether an instance has an address.
func virtual(in *config.Instance, a netip.Addr) bool {
	for _, v := range slices.Concat(in.Addresses, in.Excluded) {
		if v.Prefix.Addr() == a {
			return true
		}
	}
	return false
}
