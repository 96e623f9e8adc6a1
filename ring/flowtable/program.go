package flowtable

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"
)

// Where the fields of struct __sk_buff are (linux/bpf.h, which never changes them).
const (
	skbLen         = 0
	skbVLANPresent = 20
	skbVLANTCI     = 24
	skbInterface   = 40
	skbGSOSize     = 176
)

// What the programs keep on their stack, below the frame pointer.
const (
	atKey    = -40 // a key
	atClient = atKey
	atServer = atKey + 16
	atPorts  = atKey + 32
	atFamily = atKey + 36
	atEth    = atKey - 16 // the Ethernet header
	atIP     = atEth - 40 // that of IPv6, or of IPv4 and TCP
	atTCP6   = atIP - 24  // that of TCP behind IPv6
	atMemory = atTCP6 - 16*4
)

// Where the fields of an entry are.
const (
	entryPackets   = 0
	entryBytes     = 8
	entryTo        = 16
	entryAddresses = 24
	entryInterface = 36
	entryMTU       = 40
	entryFrom      = 44
)

const (
	family4 = 4
	family6 = 6

	ethLen  = 14
	ip4Len  = 20
	ip6Len  = 40
	tcpLen  = 20
	tcpMain = 0x17 // FIN, SYN, RST and ACK
	tcpAck  = 0x10
	tcp     = 6

	tcxNext = -1 // the frame goes on as if there were no program
	tcxDrop = 2
)

// native is two bytes of a packet as this machine reads them.
func native(b ...byte) int32 { return int32(binary.NativeEndian.Uint16(b)) }

// In both programs R6 is the context. Behind the look R7 is the entry of the table and R8 the
// length of the IP packet.
const (
	ctx   = asm.R6
	found = asm.R7
)

// load copies so many bytes of the frame to the stack, or goes to miss where it is shorter.
func load(from, length int32, to int16, miss string) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, from),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(to)),
		asm.Mov.Imm(asm.R4, length),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, miss),
	}
}

// recompute has the sum follow that the device made of the whole packet (BPF_F_RECOMPUTE_CSUM). That of
// IPv4 is the same with another TTL, and the Ethernet header is not in it.
const recompute = 1

// store copies so many bytes from the stack to the frame.
func store(from int16, length, to, flags int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, to),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(from)),
		asm.Mov.Imm(asm.R4, length),
		asm.Mov.Imm(asm.R5, flags),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "broken"),
	}
}

// look goes on only with a frame that is to be moved, and to miss with all others. Both programs
// begin with it, so that each frame is one's or the other's.
func (t *Table) look(miss string) asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMapValue(asm.R2, t.gate.FD(), 0),
		asm.LoadMem(asm.R2, asm.R2, 0, asm.Word),
		asm.JEq.Imm(asm.R2, 0, miss),
		asm.LoadMem(asm.R2, ctx, skbVLANPresent, asm.Word),
		asm.JNE.Imm(asm.R2, 0, miss),
		asm.Mov.Imm(asm.R2, 0),
	}
	for at := atKey; at < 0; at += 8 {
		ins = append(ins, asm.StoreMem(asm.RFP, int16(at), asm.R2, asm.DWord))
	}
	ins = append(ins, load(0, ethLen, atEth, miss)...)
	ins = append(ins, load(ethLen, 40, atIP, miss)...)
	ins = append(ins,
		asm.LoadMem(asm.R2, asm.RFP, atEth+12, asm.Half),
		asm.JEq.Imm(asm.R2, native(0x86, 0xdd), "six"),
		asm.JNE.Imm(asm.R2, native(0x08, 0x00), miss),
	)
	ins = append(ins, look4(miss)...)
	ins = append(ins, look6(miss)...)
	// R7 has the length of the IP packet, R8 the flags of TCP, R9 the length of both headers.
	ins = append(ins,
		asm.And.Imm(asm.R8, tcpMain).WithSymbol("transport"),
		asm.JNE.Imm(asm.R8, tcpAck, miss),
		asm.LoadMem(asm.R2, ctx, skbLen, asm.Word),
		asm.Sub.Imm(asm.R2, ethLen),
		asm.JNE.Reg(asm.R7, asm.R2, miss), // padded, cut off or longer than the field can tell
		asm.JGT.Reg(asm.R9, asm.R7, miss),
		asm.Mov.Reg(asm.R8, asm.R7),
		asm.LoadMapPtr(asm.R1, t.flows.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, atKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, miss),
		asm.Mov.Reg(found, asm.R0),
		asm.LoadMem(asm.R2, found, entryFrom, asm.Word),
		asm.LoadMem(asm.R3, ctx, skbInterface, asm.Word),
		asm.JNE.Reg(asm.R2, asm.R3, miss),
		asm.LoadMem(asm.R2, found, entryTo, asm.Word),
		asm.LoadMem(asm.R3, asm.RFP, atEth, asm.Word),
		asm.JNE.Reg(asm.R2, asm.R3, miss),
		asm.LoadMem(asm.R2, found, entryTo+4, asm.Half),
		asm.LoadMem(asm.R3, asm.RFP, atEth+4, asm.Half),
		asm.JNE.Reg(asm.R2, asm.R3, miss),
		asm.LoadMem(asm.R2, ctx, skbGSOSize, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "whole"),
		asm.Add.Reg(asm.R9, asm.R2),
		asm.Ja.Label("measured"),
		asm.Mov.Reg(asm.R9, asm.R8).WithSymbol("whole"),
		asm.LoadMem(asm.R2, found, entryMTU, asm.Word).WithSymbol("measured"),
		asm.JGT.Reg(asm.R9, asm.R2, miss),
	)
	return ins
}

// look4 takes IPv4 apart.
func look4(miss string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.RFP, atIP, asm.Byte),
		asm.JNE.Imm(asm.R2, 0x45, miss), // no options
		asm.LoadMem(asm.R2, asm.RFP, atIP+6, asm.Half),
		asm.And.Imm(asm.R2, native(0x3f, 0xff)),
		asm.JNE.Imm(asm.R2, 0, miss), // no fragment
		asm.LoadMem(asm.R2, asm.RFP, atIP+8, asm.Byte),
		asm.JLE.Imm(asm.R2, 1, miss), // TTL
		asm.LoadMem(asm.R2, asm.RFP, atIP+9, asm.Byte),
		asm.JNE.Imm(asm.R2, tcp, miss),
		asm.LoadMem(asm.R2, asm.RFP, atIP+12, asm.Word),
		asm.StoreMem(asm.RFP, atClient, asm.R2, asm.Word),
		asm.LoadMem(asm.R2, asm.RFP, atIP+16, asm.Word),
		asm.StoreMem(asm.RFP, atServer, asm.R2, asm.Word),
		asm.LoadMem(asm.R2, asm.RFP, atIP+ip4Len, asm.Word),
		asm.StoreMem(asm.RFP, atPorts, asm.R2, asm.Word),
		asm.StoreImm(asm.RFP, atFamily, family4, asm.Word),
		asm.LoadMem(asm.R7, asm.RFP, atIP+2, asm.Half),
		asm.HostTo(asm.BE, asm.R7, asm.Half),
		asm.LoadMem(asm.R8, asm.RFP, atIP+ip4Len+13, asm.Byte),
		asm.LoadMem(asm.R9, asm.RFP, atIP+ip4Len+12, asm.Byte),
		asm.RSh.Imm(asm.R9, 4),
		asm.LSh.Imm(asm.R9, 2),
		asm.JLT.Imm(asm.R9, tcpLen, miss),
		asm.Add.Imm(asm.R9, ip4Len),
		asm.Ja.Label("transport"),
	}
}

// look6 takes IPv6 apart.
func look6(miss string) asm.Instructions {
	ins := load(ethLen+ip6Len, tcpLen, atTCP6, miss)
	ins[0] = ins[0].WithSymbol("six")
	ins = append(ins,
		asm.LoadMem(asm.R2, asm.RFP, atIP, asm.Byte),
		asm.RSh.Imm(asm.R2, 4),
		asm.JNE.Imm(asm.R2, 6, miss),
		asm.LoadMem(asm.R2, asm.RFP, atIP+6, asm.Byte),
		asm.JNE.Imm(asm.R2, tcp, miss),
		asm.LoadMem(asm.R2, asm.RFP, atIP+7, asm.Byte),
		asm.JLE.Imm(asm.R2, 1, miss), // hop limit
	)
	for at := int16(0); at < 32; at += 8 { // both addresses, one behind the other in both places
		ins = append(ins,
			asm.LoadMem(asm.R2, asm.RFP, atIP+8+at, asm.DWord),
			asm.StoreMem(asm.RFP, atClient+at, asm.R2, asm.DWord),
		)
	}
	return append(ins,
		asm.LoadMem(asm.R2, asm.RFP, atTCP6, asm.Word),
		asm.StoreMem(asm.RFP, atPorts, asm.R2, asm.Word),
		asm.StoreImm(asm.RFP, atFamily, family6, asm.Word),
		asm.LoadMem(asm.R7, asm.RFP, atIP+4, asm.Half),
		asm.HostTo(asm.BE, asm.R7, asm.Half),
		asm.Add.Imm(asm.R7, ip6Len),
		asm.LoadMem(asm.R8, asm.RFP, atTCP6+13, asm.Byte),
		asm.LoadMem(asm.R9, asm.RFP, atTCP6+12, asm.Byte),
		asm.RSh.Imm(asm.R9, 4),
		asm.LSh.Imm(asm.R9, 2),
		asm.JLT.Imm(asm.R9, tcpLen, miss),
		asm.Add.Imm(asm.R9, ip6Len),
	)
}

// move is the program that sends frames on.
func (t *Table) move() asm.Instructions {
	ins := t.look("next")
	ins = append(ins,
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(found, asm.R2, asm.DWord, entryPackets),
		asm.AddAtomic.Mem(found, asm.R8, asm.DWord, entryBytes),
		asm.LoadMem(asm.R2, found, entryAddresses, asm.DWord),
		asm.StoreMem(asm.RFP, atEth, asm.R2, asm.DWord),
		asm.LoadMem(asm.R2, found, entryAddresses+8, asm.Word),
		asm.StoreMem(asm.RFP, atEth+8, asm.R2, asm.Word),
	)
	ins = append(ins, store(atEth, 12, 0, 0)...)
	ins = append(ins,
		asm.LoadMem(asm.R2, asm.RFP, atFamily, asm.Word),
		asm.JEq.Imm(asm.R2, family6, "hops"),
		// The TTL is the first byte of a word of the checksum (RFC 1624).
		asm.LoadMem(asm.R3, asm.RFP, atIP+8, asm.Half),
		asm.LoadMem(asm.R2, asm.RFP, atIP+8, asm.Byte),
		asm.Sub.Imm(asm.R2, 1),
		asm.StoreMem(asm.RFP, atIP+8, asm.R2, asm.Byte),
		asm.LoadMem(asm.R4, asm.RFP, atIP+8, asm.Half),
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, ethLen+10),
		asm.Mov.Imm(asm.R5, 2),
		asm.FnL3CsumReplace.Call(),
		asm.JNE.Imm(asm.R0, 0, "broken"),
	)
	ins = append(ins, store(atIP+8, 1, ethLen+8, 0)...)
	ins = append(ins,
		asm.Ja.Label("send"),
		asm.LoadMem(asm.R2, asm.RFP, atIP+7, asm.Byte).WithSymbol("hops"),
		asm.Sub.Imm(asm.R2, 1),
		asm.StoreMem(asm.RFP, atIP+7, asm.R2, asm.Byte),
	)
	ins = append(ins, store(atIP+7, 1, ethLen+7, recompute)...)
	return append(ins,
		asm.LoadMem(asm.R1, found, entryInterface, asm.Word).WithSymbol("send"),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcxDrop).WithSymbol("broken"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("next"),
		asm.Return(),
	)
}
