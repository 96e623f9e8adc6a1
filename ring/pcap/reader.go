package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/pcapgo"
)

// Packet is one packet of a file.
type Packet struct {
	Number    int // from 1, as Wireshark counts
	Interface string
	At        time.Time
	Data      []byte // may be the beginning only
	Length    int    // how long it was
	Comment   string
}

// Reader reads a pcap or a pcapng file. It is not safe for concurrent use.
type Reader struct {
	source interface {
		ReadPacketData() (data []byte, info gopacket.CaptureInfo, err error)
	}
	ng     *pcapgo.NgReader // nil for pcap
	blocks *blocks
	n      int
}

// NewReader finds out which of the two a file is.
func NewReader(f io.ReadSeeker) (*Reader, error) {
	if r, err := pcapgo.NewReader(f); err == nil {
		r.SetSnaplen(min(r.Snaplen(), longestBlock)) // it believes the file, and makes room for what that says
		return &Reader{source: r}, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	b := &blocks{from: f}
	ng, err := newNgReader(b)
	if err != nil {
		return nil, errors.New("neither pcap nor pcapng")
	}
	return &Reader{source: ng, ng: ng, blocks: b}, nil
}

func newNgReader(b *blocks) (ng *pcapgo.NgReader, err error) {
	defer damaged(&err)
	return pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{ErrorOnMismatchingLinkType: true})
}

// damaged makes an error of the panics of pcapgo about interfaces of nonsense: a
// resolution of 0, an option without its value.
func damaged(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("damaged: %v", p)
	}
}

// Next returns the next packet, whose data are the caller's. The error at the end of the
// file is io.EOF; any other names the packet.
func (r *Reader) Next() (Packet, error) {
	data, info, err := r.read()
	if errors.Is(err, io.EOF) {
		return Packet{}, io.EOF
	}
	r.n++
	if err != nil {
		return Packet{}, fmt.Errorf("packet %d: %w", r.n, err)
	}
	p := Packet{Number: r.n, At: info.Timestamp, Data: data, Length: info.Length}
	if r.ng != nil {
		in, err := r.ng.Interface(info.InterfaceIndex)
		if err != nil {
			return Packet{}, fmt.Errorf("packet %d: %w", r.n, err)
		}
		p.Interface, p.Comment = in.Name, r.blocks.comments[0]
		r.blocks.comments = r.blocks.comments[1:]
	}
	return p, nil
}

func (r *Reader) read() (data []byte, info gopacket.CaptureInfo, err error) {
	defer damaged(&err)
	return r.source.ReadPacketData()
}

// Interfaces lists the interfaces that the file has told of so far: all of a file that
// [Writer] made, once its first packet was read.
func (r *Reader) Interfaces() []Interface {
	var list []Interface
	for i := 0; r.ng != nil && i < r.ng.NInterfaces(); i++ {
		if in, err := r.ng.Interface(i); err == nil {
			list = append(list, Interface{in.Name, in.Description})
		}
	}
	return list
}

// Each reads a file from its first packet to its last, and hands each on with the
// interfaces that the file has told of. The error names the file.
func Each(path string, visit func(Packet, []Interface)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w: name a capture file", path, err)
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		visit(p, r.Interfaces())
	}
}

// Blocks of pcapng, and the one option that pcapgo skips.
const (
	sectionHeader       = 0x0a0d0d0a
	oldPacket           = 2
	simplePacket        = 3
	enhancedPacketBlock = 6
	byteOrderMagic      = 0x1a2b3c4d
	optComment          = 1
	longestBlock        = 1 << 20 // a packet is 64 KiB at most, its comment too
)

// blocks hands a pcapng file on as it is, a whole block at a time, and keeps the comments
// of the packets that pass: one for each, "" for none.
//
//	+------+--------+------+--------+
//	| type | length | body | length |
//	+------+--------+------+--------+
type blocks struct {
	from     io.Reader
	order    binary.ByteOrder
	rest     []byte // of the block that is handed out
	comments []string
}

func (b *blocks) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next reads a block.
func (b *blocks) next() error {
	head := make([]byte, 12)
	n, err := io.ReadFull(b.from, head)
	if n == 0 {
		return err
	}
	b.rest = head[:n]
	if err != nil {
		return nil // pcapgo says what is missing
	}
	if binary.LittleEndian.Uint32(head) == sectionHeader {
		b.order = binary.LittleEndian
		if binary.BigEndian.Uint32(head[8:]) == byteOrderMagic {
			b.order = binary.BigEndian
		}
	}
	if b.order == nil {
		return errors.New("no section header")
	}
	length := b.order.Uint32(head[4:])
	if length < 12 || length > longestBlock {
		return fmt.Errorf("a block of %d bytes", length)
	}
	block := append(head, make([]byte, length-12)...)
	if n, err = io.ReadFull(b.from, block[12:]); err != nil {
		b.rest = block[:12+n]
		return nil
	}
	b.rest = block
	return b.note(block)
}

// note keeps the comment of a packet's block. It holds the length against the block's,
// because pcapgo would make room for any.
func (b *blocks) note(block []byte) error {
	typ, head, captured, comment := b.order.Uint32(block), 0, 0, ""
	switch typ {
	case simplePacket:
		head = 12
	case enhancedPacketBlock, oldPacket:
		head = 28
	default:
		return nil
	}
	room := len(block) - 4 - head
	if room >= 0 && typ != simplePacket {
		captured = int(b.order.Uint32(block[20:]))
	}
	if room < 0 || padded(captured) > room {
		return fmt.Errorf("a packet of %d bytes in a block of %d", captured, len(block))
	}
	if typ == simplePacket && b.order.Uint32(block[8:]) > longestBlock {
		return fmt.Errorf("a packet of %d bytes", b.order.Uint32(block[8:]))
	}
	if typ == enhancedPacketBlock {
		comment = b.comment(block[head+padded(captured) : len(block)-4])
	}
	b.comments = append(b.comments, comment)
	return nil
}

// comment looks for the first one among options.
func (b *blocks) comment(options []byte) string {
	for len(options) >= 4 {
		code, n := b.order.Uint16(options), int(b.order.Uint16(options[2:]))
		if code == 0 || 4+n > len(options) {
			return ""
		}
		if code == optComment {
			return string(options[4 : 4+n])
		}
		options = options[min(len(options), 4+padded(n)):]
	}
	return ""
}
