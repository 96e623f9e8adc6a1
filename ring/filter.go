package ring

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where things stand in an Ethernet frame with an IPv4 packet.
const (
	offType     = 12
	offFragment = 20
	offProtocol = 23
	offDst      = 30
	offIP       = 14
	offPort     = offIP + 2 // of the destination port, beyond the IP header's length
)

const (
	accept  = 1 << 18 // bytes of the frame to keep: all
	maxBPF  = 4096    // instructions, the kernel's limit (BPF_MAXINSNS)
	fragOff = 0x1fff
)

// NothingFilter refuses every frame: for sockets that only send.
func NothingFilter() []bpf.RawInstruction {
	raw, _ := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	return raw
}

// ControlFilter takes VRRP (IPv4 protocol 112, and 51 with authentication header) and
// ARP, addressed to mac or to a group.
func ControlFilter(mac [6]byte) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(mac[:]), SkipFalse: 8},
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipFalse: 6},
		bpf.LoadAbsolute{Off: offType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: 3},
		bpf.LoadAbsolute{Off: offProtocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 112, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 51, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: accept},
	})
}

// Match is one virtual service; port 0 takes every port.
type Match struct {
	Protocol uint8
	Addr     netip.Addr // IPv4
	Port     uint16
}

// ServiceFilter takes the frames of the services, the fragments to their addresses and
// the ICMP errors that may be about their connections. Where the services outgrow
// classic BPF it takes everything for their addresses, and where those do, all of IPv4.
func ServiceFilter(services []Match) ([]bpf.RawInstruction, error) {
	for _, build := range []func([]Match) []bpf.Instruction{exactFilter, addressFilter, ipFilter} {
		if f := build(services); len(f) <= maxBPF {
			return bpf.Assemble(f)
		}
	}
	return bpf.Assemble(ipFilter(nil))
}

func onlyIPv4() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

func ipFilter([]Match) []bpf.Instruction {
	return append(onlyIPv4(), bpf.RetConstant{Val: accept})
}

func addr32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addresses(services []Match) []uint32 {
	var list []uint32
	seen := map[uint32]bool{}
	for _, s := range services {
		if a := addr32(s.Addr); !seen[a] {
			seen[a] = true
			list = append(list, a)
		}
	}
	return list
}

func addressFilter(services []Match) []bpf.Instruction {
	f := append(onlyIPv4(), bpf.LoadAbsolute{Off: offDst, Size: 4})
	for _, a := range addresses(services) {
		f = append(f, bpf.JumpIf{Cond: bpf.JumpEqual, Val: a, SkipFalse: 1}, bpf.RetConstant{Val: accept})
	}
	return append(f, bpf.RetConstant{Val: 0})
}

// exactFilter is one block for each service and one for the ICMP errors to each
// address; a block that does not match falls through to the next.
func exactFilter(services []Match) []bpf.Instruction {
	f := onlyIPv4()
	for _, s := range services {
		f = append(f,
			bpf.LoadAbsolute{Off: offDst, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: addr32(s.Addr), SkipFalse: 8},
			bpf.LoadAbsolute{Off: offProtocol, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(s.Protocol), SkipFalse: 6},
			bpf.LoadAbsolute{Off: offFragment, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragOff, SkipTrue: 3},
			bpf.LoadMemShift{Off: offIP},
			bpf.LoadIndirect{Off: offPort, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(s.Port), SkipFalse: 1},
			bpf.RetConstant{Val: accept})
		if s.Port == 0 {
			f[len(f)-2] = bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 0, SkipFalse: 1}
		}
	}
	for _, a := range addresses(services) {
		f = append(f,
			bpf.LoadAbsolute{Off: offDst, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: a, SkipFalse: 7},
			bpf.LoadAbsolute{Off: offProtocol, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMP, SkipFalse: 5},
			bpf.LoadMemShift{Off: offIP},
			bpf.LoadIndirect{Off: offIP, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 3, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 11, SkipFalse: 1},
			bpf.RetConstant{Val: accept})
	}
	return append(f, bpf.RetConstant{Val: 0})
}
