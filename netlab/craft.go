package netlab

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// Craft is an advertisement that a scenario makes up.
type Craft struct {
	proto.Advert
	Src     netip.Addr // the zero value: that of the host
	TTL     uint8
	Damaged bool // the checksum is wrong
}

// ParseCraft reads advert HOST vrid N priority N [version N] [interval T] [src ADDR]
// [ttl N] [auth TEXT] [vip ADDR]... [checksum bad].
func ParseCraft(w []string) (Craft, error) {
	c := Craft{Advert: proto.Advert{Version: 2, Interval: time.Second}, TTL: 255}
	for i := 2; i < len(w); i += 2 {
		if i+1 >= len(w) {
			return c, fmt.Errorf("%s: needs a value", w[i])
		}
		var n uint64
		var err error
		switch value := w[i+1]; w[i] {
		case "vrid", "priority", "version", "ttl":
			n, err = strconv.ParseUint(value, 10, 8)
			*map[string]*uint8{"vrid": &c.VRID, "priority": &c.Priority, "version": &c.Version, "ttl": &c.TTL}[w[i]] = uint8(n)
		case "interval":
			c.Interval, err = time.ParseDuration(value)
		case "src":
			c.Src, err = netip.ParseAddr(value)
		case "vip":
			var a netip.Addr
			a, err = netip.ParseAddr(value)
			c.Addrs = append(c.Addrs, a)
		case "auth":
			c.AuthType = 1
			copy(c.Auth[:], value)
		case "checksum":
			c.Damaged = true
		default:
			err = fmt.Errorf("must be vrid, priority, version, interval, src, ttl, auth, vip or checksum")
		}
		if err != nil {
			return c, fmt.Errorf("%s %s: %w", w[i], w[i+1], err)
		}
	}
	if c.VRID == 0 {
		return c, fmt.Errorf("advert needs a vrid")
	}
	return c, nil
}

// Frame is the advertisement as an Ethernet frame to 224.0.0.18.
func (c Craft) Frame(mac proto.MAC, src netip.Addr) []byte {
	if c.Src.IsValid() {
		src = c.Src
	}
	group := netip.AddrFrom4([4]byte{224, 0, 0, 18})
	msg := c.Append(nil)
	form := proto.ChecksumMessage
	if c.Version == 3 {
		form = proto.ChecksumPseudo
	}
	proto.SealVRRP(msg, src, group, form)
	if c.Damaged {
		msg[len(msg)-1] ^= 0xff
	}
	f := proto.AppendEthernet(nil, proto.MAC{1, 0, 0x5e, 0, 0, 18}, mac, proto.EtherTypeIPv4)
	f = proto.IPv4Header{TOS: 0xc0, TTL: c.TTL, Protocol: proto.ProtocolVRRP, Src: src, Dst: group}.Append(f, len(msg))
	return append(f, msg...)
}
