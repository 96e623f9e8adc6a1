// Package dump prints packets as this program reads them: one line a packet, from a
// capture file or from an interface, and between them what a director would do that
// listens beside.
package dump

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// Remark is what a receiver of VRRP holds against a frame that it refuses, "" for nothing
// (RFC 9568 §7.1). It is for packets of which no configuration is known.
func Remark(frame []byte) string {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || eth.Type() != proto.EtherTypeIPv4 && eth.Type() != proto.EtherTypeIPv6 {
		return ""
	}
	ip, err := proto.ParseIP(eth.Payload())
	if err != nil {
		return ""
	}
	msg, ok := proto.VRRPIn(ip)
	if !ok {
		return ""
	}
	parse := proto.ParseVRRP
	if ip.Is6() {
		parse = proto.ParseVRRP6
	}
	v, err := parse(msg)
	switch {
	case err != nil:
		return "refused: " + err.Error()
	case ip.TTL() != 255 && ip.Dst().IsMulticast():
		return fmt.Sprintf("refused: TTL %d, it came through a router", ip.TTL())
	case v.ChecksumForm(ip.Src(), ip.Dst()) == proto.ChecksumBad:
		return "refused: wrong checksum"
	case v.Priority() == 0:
		return "the MASTER leaves"
	}
	return ""
}

// Printer prints packets that pass the filter, with their numbers and the time since the
// first packet.
type Printer struct {
	Filter   Filter
	Follower *Follower // nil: nobody listens beside

	out     *bufio.Writer
	printed int
}

// NewPrinter makes a printer; what it prints is flushed by its File and Live.
func NewPrinter(out io.Writer, filter Filter, f *Follower) *Printer {
	p := &Printer{Filter: filter, Follower: f, out: bufio.NewWriter(out)}
	if f != nil {
		f.print = func(at time.Duration, text string) {
			fmt.Fprintf(p.out, "%5s %12.6f  would: %s\n", "", at.Seconds(), text)
		}
	}
	return p
}

// File prints a capture. What was read before a damaged packet is printed.
func (p *Printer) File(path string) error {
	defer p.out.Flush()
	var first time.Time
	var since time.Duration
	return pcap.Each(path, func(packet pcap.Packet, _ []pcap.Interface) {
		if first.IsZero() {
			first = packet.At
			p.Follower.start()
		}
		since = max(since, packet.At.Sub(first)) // the interfaces of a capture do not always agree
		p.packet(since, packet)
	})
}

// packet prints one, after what happens before it.
func (p *Printer) packet(since time.Duration, packet pcap.Packet) {
	p.Follower.before(since)
	verdict := p.Follower.verdict(packet)
	if p.Follower == nil {
		verdict = Remark(packet.Data)
	}
	if p.Filter.Passes(packet.Data) {
		p.printed++
		fmt.Fprintln(p.out, Line(since, packet, verdict))
	}
	p.Follower.hear(since, packet)
}

// Line writes one packet.
func Line(since time.Duration, p pcap.Packet, verdict string) string {
	line := fmt.Sprintf("%5d %12.6f  ", p.Number, since.Seconds())
	if p.Interface != "" {
		line += p.Interface + "  "
	}
	line += proto.Describe(p.Data)
	for _, remark := range []string{strings.ReplaceAll(p.Comment, "\n", "; "), verdict} {
		if remark != "" {
			line += "  [" + remark + "]"
		}
	}
	return line
}
