// Package pcap writes pcapng files with the name of every interface and, where there
// is something to say about a packet, a comment on it, and reads them and pcap files.
// gopacket's pcapgo does the formats; it knows no comments on packets, which are added here.
package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Interface is a place where packets were taken.
type Interface struct{ Name, Description string }

// Writer writes one file. It is not safe for concurrent use.
type Writer struct {
	out *bufio.Writer
	ng  *pcapgo.NgWriter
}

// NewWriter starts a file with these interfaces; packets name them by their place in
// the list, which must not be empty.
func NewWriter(w io.Writer, interfaces []Interface) (*Writer, error) {
	if len(interfaces) == 0 {
		return nil, fmt.Errorf("pcapng: no interfaces")
	}
	p := &Writer{out: bufio.NewWriterSize(w, 1<<16)}
	for i, in := range interfaces {
		ni := pcapgo.NgInterface{
			Name: in.Name, Description: in.Description, LinkType: layers.LinkTypeEthernet,
			TimestampResolution: 9, SnapLength: 0,
		}
		if i == 0 {
			var err error
			o := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "ringkeep"}}
			if p.ng, err = pcapgo.NewNgWriterInterface(p.out, ni, o); err != nil {
				return nil, fmt.Errorf("pcapng: %w", err)
			}
			continue
		}
		if _, err := p.ng.AddInterface(ni); err != nil {
			return nil, fmt.Errorf("pcapng: interface %s: %w", in.Name, err)
		}
	}
	return p, nil
}

// Write adds a packet taken on interface iface at the given time. data may be its
// beginning only; length is how long it was. The comment may be empty.
func (p *Writer) Write(iface int, at time.Time, data []byte, length int, comment string) error {
	if comment == "" {
		return p.ng.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data), Length: length, InterfaceIndex: iface}, data)
	}
	if err := p.ng.Flush(); err != nil {
		return err
	}
	_, err := p.out.Write(enhancedPacket(iface, at, data, length, comment))
	return err
}

// enhancedPacket builds an Enhanced Packet Block with an opt_comment.
//
//	+------+--------+-----------+----------+---------+----------+--------+------+---------+--------+
//	| 6    | length | interface | time, hi | time,lo | captured | length | data | options | length |
//	+------+--------+-----------+----------+---------+----------+--------+------+---------+--------+
func enhancedPacket(iface int, at time.Time, data []byte, length int, comment string) []byte {
	le := binary.LittleEndian
	ns := uint64(at.UnixNano())
	total := 32 + padded(len(data)) + 4 + padded(len(comment)) + 4
	b := make([]byte, 0, total)
	for _, v := range []uint32{6, uint32(total), uint32(iface), uint32(ns >> 32), uint32(ns), uint32(len(data)), uint32(length)} {
		b = le.AppendUint32(b, v)
	}
	b = appendPadded(b, data)
	b = le.AppendUint16(b, 1) // opt_comment
	b = le.AppendUint16(b, uint16(len(comment)))
	b = appendPadded(b, []byte(comment))
	b = le.AppendUint32(b, 0) // opt_endofopt
	return le.AppendUint32(b, uint32(total))
}

func padded(n int) int { return (n + 3) &^ 3 }

func appendPadded(b, data []byte) []byte {
	b = append(b, data...)
	return append(b, make([]byte, padded(len(data))-len(data))...)
}

// Flush writes what is buffered.
func (p *Writer) Flush() error {
	if err := p.ng.Flush(); err != nil {
		return err
	}
	return p.out.Flush()
}
