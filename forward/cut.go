package forward

import (
	"encoding/binary"

	"github.com/ringkeep/ringkeep/proto"
)

// pieces cuts a packet that is longer than the link: one of IPv4 that may be (RFC 791
// §3.2), which may be a fragment itself, or one of IPv6 of our own (RFC 8200 §4.5), whose
// extension headers all belong to what is cut.
type pieces struct {
	ip     proto.IP
	header int
	room   int // for data in a fragment, a multiple of 8
	at     int // of the data
	id     uint32
}

const (
	fragmentLen    = 8  // the header in IPv6
	fragmentHeader = 44 // its number
	moreFragments  = 0x2000
)

// piecesOf is ok unless there is no room for data.
func piecesOf(ip proto.IP, mtu int, id uint32) (f pieces, ok bool) {
	f = pieces{ip: ip, id: id, header: proto.IPv6Len}
	mtu -= proto.IPv6Len + fragmentLen
	if !ip.Is6() {
		f.header = proto.IPv4(ip).HeaderLen()
		mtu += proto.IPv6Len + fragmentLen - f.header
	}
	f.room = mtu &^ 7
	return f, f.room > 0
}

func (f *pieces) rest() bool { return f.header+f.at < len(f.ip) }

// append appends the next fragment to b.
func (f *pieces) append(b []byte) []byte {
	from := f.header + f.at
	to := min(len(f.ip), from+f.room)
	start := len(b)
	b = append(b, f.ip[:f.header]...)
	if f.ip.Is6() {
		b = f.head6(b, to < len(f.ip))
	} else {
		f.head4(b[start:], to-from, to < len(f.ip))
	}
	b = append(b, f.ip[from:to]...)
	if f.ip.Is6() {
		binary.BigEndian.PutUint16(b[start+4:], uint16(len(b)-start-proto.IPv6Len))
	}
	f.at += f.room
	return b
}

func (f *pieces) head4(h []byte, length int, more bool) {
	word := binary.BigEndian.Uint16(h[6:]) + uint16(f.at/8)
	if more {
		word |= moreFragments
	}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+length))
	binary.BigEndian.PutUint16(h[6:], word)
	if f.at > 0 {
		clearOptions(h[proto.IPv4Len:])
	}
	sumIPv4(h)
}

// clearOptions puts no-operations in the place of options that are not to be copied into
// later fragments: those without the highest bit (RFC 791 §3.1).
func clearOptions(o []byte) {
	const end, none, copied = 0, 1, 0x80
	for len(o) > 0 && o[0] != end {
		size := 1
		if o[0] != none {
			if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
				return
			}
			size = int(o[1])
		}
		if o[0]&copied == 0 {
			for i := range o[:size] {
				o[i] = none
			}
		}
		o = o[size:]
	}
}

func (f *pieces) head6(b []byte, more bool) []byte {
	h := b[len(b)-proto.IPv6Len:]
	word := uint16(f.at)
	if more {
		word |= 1
	}
	b = append(b, h[6], 0)
	h[6] = fragmentHeader
	b = binary.BigEndian.AppendUint16(b, word)
	return binary.BigEndian.AppendUint32(b, f.id)
}
