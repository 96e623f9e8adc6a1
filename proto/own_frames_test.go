package proto

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"
)

// Here the second decoders read what our encoders make, not what others sent.

func drawMAC(t *rapid.T, name string) MAC {
	return MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, name))
}

func drawAddr(t *rapid.T, name string) netip.Addr {
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)))
}

// same holds fields of gopacket's, printed, against what the encoder was given.
func same(t *rapid.T, what string, got, want []any) {
	if g, w := fmt.Sprint(got...), fmt.Sprint(want...); g != w {
		t.Fatalf("%s:\ngopacket reads %s\nencoded        %s", what, g, w)
	}
}

// noTrouble wants no layer that gopacket could not finish.
func noTrouble(t *rapid.T, p gopacket.Packet) {
	if l := p.ErrorLayer(); l != nil {
		t.Fatalf("%v in %x", l.Error(), p.Data())
	}
}

// RFC 826, "Packet format", inside an Ethernet frame.
func TestGopacketReadsOurARP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := ARPMessage{Op: rapid.Uint16().Draw(t, "op"), SenderMAC: drawMAC(t, "sender MAC"), Sender: drawAddr(t, "sender"),
			TargetMAC: drawMAC(t, "target MAC"), Target: drawAddr(t, "target")}
		dst, src := drawMAC(t, "dst"), drawMAC(t, "src")
		p := gopacket.NewPacket(m.Append(AppendEthernet(dirty(), dst, src, EtherTypeARP)), layers.LayerTypeEthernet, gopacket.Default)
		noTrouble(t, p)
		e, a := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeARP).(*layers.ARP)
		same(t, "Ethernet", []any{e.DstMAC, e.SrcMAC, uint16(e.EthernetType)}, []any{dst, src, EtherTypeARP})
		same(t, "ARP", []any{a.AddrType, a.Protocol, a.HwAddressSize, a.ProtAddressSize, a.Operation,
			MAC(a.SourceHwAddress), addr4(a.SourceProtAddress), MAC(a.DstHwAddress), addr4(a.DstProtAddress)},
			[]any{layers.LinkTypeEthernet, layers.EthernetTypeIPv4, 6, 4, m.Op, m.SenderMAC, m.Sender, m.TargetMAC, m.Target})
	})
}

// RFC 791 §3.1 around a segment of RFC 9293 §3.1; gopacket computes both checksums.
func TestGopacketReadsOurTCP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := TCPHeader{SrcPort: rapid.Uint16().Draw(t, "sport"), DstPort: rapid.Uint16().Draw(t, "dport"), Seq: rapid.Uint32().Draw(t, "seq"),
			Ack: rapid.Uint32().Draw(t, "ack"), Flags: rapid.Byte().Draw(t, "flags"), Window: rapid.Uint16().Draw(t, "window")}
		ip := IPv4Header{TOS: rapid.Byte().Draw(t, "tos"), ID: rapid.Uint16().Draw(t, "id"), DF: rapid.Bool().Draw(t, "df"),
			TTL: rapid.Byte().Draw(t, "ttl"), Protocol: ProtocolTCP, Src: drawAddr(t, "src"), Dst: drawAddr(t, "dst")}
		data := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data")
		b := append(h.Append(ip.Append(dirty(), tcpLen+len(data))), data...)
		SealTCP(b[IPv4Len:], ip.Src, ip.Dst)
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
		noTrouble(t, p)
		i, s := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4), p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		same(t, "IPv4", []any{i.Version, i.IHL, i.TOS, i.Length, i.Id, i.Flags&layers.IPv4DontFragment != 0, i.FragOffset, i.TTL, uint8(i.Protocol), i.SrcIP, i.DstIP},
			[]any{4, 5, ip.TOS, len(b), ip.ID, ip.DF, 0, ip.TTL, ip.Protocol, ip.Src, ip.Dst})
		same(t, "TCP", []any{uint16(s.SrcPort), uint16(s.DstPort), s.Seq, s.Ack, s.DataOffset, s.FIN, s.SYN, s.RST, s.PSH, s.ACK, s.URG, s.ECE, s.CWR, s.Window, s.Urgent},
			[]any{h.SrcPort, h.DstPort, h.Seq, h.Ack, 5, h.Flags&TCPFin != 0, h.Flags&TCPSyn != 0, h.Flags&TCPRst != 0, h.Flags&TCPPsh != 0,
				h.Flags&TCPAck != 0, h.Flags&TCPUrg != 0, h.Flags&0x40 != 0, h.Flags&0x80 != 0, h.Window, 0})
		if !bytes.Equal(s.Payload, data) {
			t.Fatalf("data %x, want %x", s.Payload, data)
		}
		if err := s.SetNetworkLayerForChecksum(i); err != nil {
			t.Fatal(err)
		}
		again := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, i, s, gopacket.Payload(data)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), b) {
			t.Fatalf("gopacket makes %x\nwe make        %x", again.Bytes(), b)
		}
	})
}

// RFC 3768 §5.3: the only version of VRRP that gopacket knows. It reads none of the
// authentication data, which stays the business of the vectors.
func TestGopacketReadsOurVRRPv2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Advert{Version: 2, VRID: rapid.ByteMin(1).Draw(t, "vrid"), Priority: rapid.Byte().Draw(t, "priority"),
			AuthType: rapid.ByteMax(2).Draw(t, "auth"), Interval: time.Duration(rapid.ByteMin(1).Draw(t, "seconds")) * time.Second,
			Auth: [8]byte(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "data"))}
		for range rapid.IntRange(1, 20).Draw(t, "count") {
			a.Addrs = append(a.Addrs, drawAddr(t, "vip"))
		}
		msg := a.Append(dirty())
		SealVRRP(msg, vip, client, ChecksumMessage)
		p := gopacket.NewPacket(msg, layers.LayerTypeVRRP, gopacket.Default)
		noTrouble(t, p)
		l := p.Layer(layers.LayerTypeVRRP).(*layers.VRRPv2)
		same(t, "VRRP", []any{l.Version, uint8(l.Type), l.VirtualRtrID, l.Priority, l.CountIPAddr, uint8(l.AuthType), l.AdverInt, l.IPAddress},
			[]any{2, VRRPAdvertisement, a.VRID, a.Priority, len(a.Addrs), a.AuthType, int(a.Interval / time.Second), a.Addrs})
	})
}
