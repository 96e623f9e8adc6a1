package forward

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// side is an end of a packet.
type side int

const (
	source side = iota
	destination
)

// answer sends the packet of a NAT server back to the client, as coming from the service.
func (f *Forwarder) answer(now time.Duration, in Ingress, p packet, i int32, flags uint8) Decision {
	c := f.table.at(i)
	if p.ip.TTL() <= 1 {
		return Decision{Verdict: TTLExceeded}
	}
	d := f.tooLongBack(in, p, c.port)
	if d.Verdict != Return {
		return d
	}
	f.touch(now, i, c, &output, flags)
	if c.protocol == proto.ProtocolUDP && c.flags&controls != 0 {
		f.table.at(f.table.more(i).control).flags |= assured
	}
	if p.first {
		f.fragments.put(now, p, i, f.table.more(i).born)
	}
	p.redirect(in.Virtio, source, c.virtual, c.vport)
	return f.giveBack(d, p, i)
}

// giveBack counts an answer and sends it to where the client's packets come from, as d says how.
func (f *Forwarder) giveBack(d Decision, p packet, i int32) Decision {
	c := f.table.at(i)
	rs := &f.servers[c.server]
	for _, s := range [...]*Stats{&rs.stats, &f.services[rs.service].stats} {
		s.OutPackets++
		s.OutBytes += uint64(len(p.ip))
	}
	p.ip.DecrementTTL()
	d.Verdict, d.Server, d.Hop = Return, c.server, f.hop(i)
	return d
}

// hop is where the client's packets come from.
func (f *Forwarder) hop(i int32) Hop {
	return Hop{Port: int32(f.table.at(i).port), MAC: f.table.more(i).mac}
}

// redirect gives one end of a packet another address and port and corrects the checksums. Of
// a fragment but the first only the address is there.
func (p packet) redirect(v proto.Virtio, s side, to addr, port uint16) {
	changed := p.readdress(s, to)
	if p.later {
		return
	}
	field := 0
	switch p.protocol {
	case proto.ProtocolTCP:
		field = 16
	case proto.ProtocolUDP:
		field = 6
	case proto.ProtocolSCTP:
		if at := p.payload[2*s:]; binary.BigEndian.Uint16(at) != port {
			binary.BigEndian.PutUint16(at, port)
			sealSCTP(p.payload)
		}
		return
	}
	at := p.payload[2*s : 2*s+2]
	sum := binary.BigEndian.Uint16(p.payload[field:])
	switch {
	case v.Partial(): // of the pseudo-header only, and not complemented: the ports are summed later
		sum = changed.AddUint16(sum).Fold()
	case sum == 0 && p.protocol == proto.ProtocolUDP: // none (RFC 768, RFC 6935)
	default:
		sum = changed.Less(at).AddUint16(port).Update(sum)
		if sum == 0 && p.protocol == proto.ProtocolUDP {
			sum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(p.payload[field:], sum)
	binary.BigEndian.PutUint16(at, port)
}

// readdress gives one end of a packet another address of the same family, with the checksum
// of IPv4's header, and tells what changed in sums over it.
func (p packet) readdress(s side, to addr) proto.Sum {
	if p.ip.Is6() {
		at := p.ip[8+16*s : 24+16*s]
		changed := proto.Sum(0).Less(at)
		to.put16(at)
		return changed.Add(at)
	}
	at := p.ip[12+4*s : 16+4*s]
	changed := proto.Sum(0).Less(at)
	binary.BigEndian.PutUint32(at, uint32(to.lo))
	changed = changed.Add(at)
	binary.BigEndian.PutUint16(p.ip[10:], changed.Update(proto.IPv4(p.ip).Checksum()))
	return changed
}

// castagnoli is the polynomial of SCTP's checksum (RFC 9260 §6.8).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealSCTP fills in the checksum of a whole packet.
func sealSCTP(b []byte) {
	binary.LittleEndian.PutUint32(b[8:], 0)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
}
