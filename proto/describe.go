package proto

import (
	"fmt"
	"strings"
)

// Describe decodes one frame into one line for people. What the package does not decode
// (IGMP, MLD) becomes a line with its numbers.
func Describe(frame []byte) string {
	e, err := ParseEthernet(frame)
	if err != nil {
		return err.Error()
	}
	head := e.Src().String() + " > " + e.Dst().String() + " "
	switch e.Type() {
	case EtherTypeARP:
		return head + describeARP(e.Payload())
	case EtherTypeIPv4:
		return head + describeIPv4(e.Payload())
	case EtherTypeIPv6:
		return head + describeIPv6(e.Payload())
	}
	return head + fmt.Sprintf("type %04x, %d bytes", e.Type(), len(e.Payload()))
}

func describeARP(b []byte) string {
	a, err := ParseARP(b)
	if err != nil {
		return "ARP: " + err.Error()
	}
	if a.IsGratuitous() && a.Op() == ARPRequest && a.TargetMAC() == Broadcast {
		return fmt.Sprintf("gratuitous ARP: %s is at %s", a.Sender(), a.SenderMAC())
	}
	return fmt.Sprintf("ARP operation %d: %s is at %s, target %s at %s",
		a.Op(), a.Sender(), a.SenderMAC(), a.Target(), a.TargetMAC())
}

func describeIPv4(b []byte) string {
	p, err := ParseIPv4(b)
	if err != nil {
		return "IPv4: " + err.Error()
	}
	var flags []string
	if p.DontFragment() {
		flags = append(flags, " df")
	}
	if p.MoreFragments() || p.FragmentOffset() > 0 {
		flags = append(flags, fmt.Sprintf(" fragment at %d", p.FragmentOffset()))
	}
	if !p.ChecksumOK() {
		flags = append(flags, " BAD HEADER CHECKSUM")
	}
	if pad := len(b) - len(p); pad > 0 {
		flags = append(flags, fmt.Sprintf(" padding %d", pad))
	}
	head := fmt.Sprintf("%s > %s ttl %d tos %02x id %d%s, ", p.Src(), p.Dst(), p.TTL(), p.TOS(), p.ID(), strings.Join(flags, ""))
	switch p.Protocol() {
	case ProtocolVRRP:
		return head + describeVRRP(IP(p), p.Payload())
	case ProtocolAH:
		return head + describeAH(p)
	case ProtocolICMP:
		if m, err := ParseICMP(p.Payload()); err == nil {
			return head + fmt.Sprintf("ICMP type %d code %d, checksum ok %t", m.Type(), m.Code(), m.ChecksumOK())
		}
	}
	return head + describeTransport(p.Protocol(), p.Payload())
}

func describeIPv6(b []byte) string {
	p, err := ParseIPv6(b)
	if err != nil {
		return "IPv6: " + err.Error()
	}
	pad := ""
	if n := len(b) - len(p); n > 0 {
		pad = fmt.Sprintf(" padding %d", n)
	}
	head := fmt.Sprintf("%s > %s hop limit %d class %02x%s, ", p.Src(), p.Dst(), p.HopLimit(), p.TrafficClass(), pad)
	switch p.NextHeader() {
	case ProtocolVRRP:
		return head + describeVRRP(IP(p), p.Payload())
	case ProtocolICMPv6:
		if m, err := ParseNDP(p.Payload()); err == nil {
			return head + describeNDP(p, m)
		}
		if m, err := ParseICMP(p.Payload()); err == nil {
			return head + fmt.Sprintf("ICMPv6 type %d code %d", m.Type(), m.Code())
		}
	}
	return head + describeTransport(p.NextHeader(), p.Payload())
}

func describeNDP(p IPv6, m NDP) string {
	tail := ""
	if mac, ok := m.LinkAddress(); ok {
		tail = " at " + mac.String()
	}
	if !m.Valid(p) {
		tail += " INVALID"
	}
	if m.Type() == NeighbourSolicitation {
		return fmt.Sprintf("who has %s, tell %s%s", m.Target(), p.Src(), tail)
	}
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{{m.Router(), "router"}, {m.Solicited(), "solicited"}, {m.Override(), "override"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	return fmt.Sprintf("neighbour advertisement (%s): %s is%s", strings.Join(flags, ","), m.Target(), tail)
}

// describeTransport is what the payload of either family is.
func describeTransport(protocol uint8, b []byte) string {
	switch protocol {
	case ProtocolTCP:
		if t, err := ParseTCP(b); err == nil {
			return fmt.Sprintf("TCP %d > %d %s seq %d ack %d, %d bytes", t.SrcPort(), t.DstPort(), describeFlags(t.Flags()), t.Seq(), t.Ack(), len(t.Payload()))
		}
	case ProtocolUDP:
		if u, err := ParseUDP(b); err == nil {
			head := fmt.Sprintf("UDP %d > %d, ", u.SrcPort(), u.DstPort())
			if u.DstPort() == BFDPort || u.DstPort() == BFDMultihopPort {
				return head + describeBFD(u.Payload())
			}
			return head + fmt.Sprintf("%d bytes", len(u.Payload()))
		}
	}
	return fmt.Sprintf("protocol %d, %d bytes", protocol, len(b))
}

func describeBFD(b []byte) string {
	p, err := ParseBFD(b)
	if err != nil {
		return "BFD: " + err.Error()
	}
	s := fmt.Sprintf("BFD %v discriminators %08x %08x tx %s rx %s multiplier %d", p.State(), p.Mine(), p.Yours(), p.MinTX(), p.MinRX(), p.Multiplier())
	if p.Diag() != BFDNoDiag {
		s += ", " + p.Diag().String()
	}
	if p.Poll() {
		s += ", poll"
	}
	if p.Final() {
		s += ", final"
	}
	return s
}

// describeFlags names the flags of a TCP segment.
func describeFlags(f uint8) string {
	var names []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// describeAH cannot tell whether the ICV is right: that takes the key.
func describeAH(p IPv4) string {
	a, err := ParseAH(p.Payload())
	if err != nil {
		return "AH: " + err.Error()
	}
	head := fmt.Sprintf("AH spi %s seq %d icv %x, ", a.SPI(), a.Sequence(), a.ICV())
	if a.Next() != ProtocolVRRP {
		return head + fmt.Sprintf("protocol %d, %d bytes", a.Next(), len(a.Payload()))
	}
	return head + describeVRRP(IP(p), a.Payload())
}

func describeVRRP(p IP, msg []byte) string {
	parse, size, addr := ParseVRRP, VRRP.Size, VRRP.Addr
	if p.Is6() {
		parse, size, addr = ParseVRRP6, VRRP.Size6, VRRP.Addr6
	}
	v, err := parse(msg)
	if err != nil {
		return "VRRP: " + err.Error()
	}
	var tail strings.Builder
	if v.Type() != VRRPAdvertisement {
		fmt.Fprintf(&tail, " TYPE %d", v.Type())
	}
	if !p.Is6() && v.Version() == 2 && v.AuthType() == VRRPAuthPass {
		auth := v.Auth()
		fmt.Fprintf(&tail, " auth %d %q", v.AuthType(), strings.TrimRight(string(auth[:]), "\x00"))
	}
	if !p.Is6() && v.AuthType() > VRRPAuthPass {
		fmt.Fprintf(&tail, " auth %d", v.AuthType())
	}
	if n := len(v) - size(v); n != 0 {
		fmt.Fprintf(&tail, " SURPLUS %d", n)
	}
	for i := range v.Count() {
		tail.WriteString(" " + addr(v, i).String())
	}
	return fmt.Sprintf("VRRPv%d vrid %d priority %d interval %s checksum %s:%s",
		v.Version(), v.VRID(), v.Priority(), v.Interval(), v.ChecksumForm(p.Src(), p.Dst()), tail.String())
}
