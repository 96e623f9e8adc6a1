// Package dump prints packets as this program reads them: one line a packet, from a
// capture file or from an interface.
package dump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/pcapgo"

	"github.com/ringkeep/ringkeep/proto"
)

// Filter says which packets are printed. The zero value lets all pass.
type Filter struct {
	VRID  uint8        // of advertisements; 0 for any
	Addrs []netip.Addr // of a host: as sender, receiver, or in an advertisement or ARP
	Kind  string       // vrrp, arp, tcp, udp; "" for any
}

// Passes tells whether a frame is to be printed.
func (f Filter) Passes(frame []byte) bool {
	eth, err := proto.ParseEthernet(frame)
	if err != nil {
		return f.VRID == 0 && len(f.Addrs) == 0 && f.Kind == ""
	}
	var addrs []netip.Addr
	kind := ""
	vrid := uint8(0)
	switch eth.Type() {
	case proto.EtherTypeARP:
		if a, err := proto.ParseARP(eth.Payload()); err == nil {
			kind, addrs = "arp", []netip.Addr{a.Sender(), a.Target()}
		}
	case proto.EtherTypeIPv4:
		ip, err := proto.ParseIPv4(eth.Payload())
		if err != nil {
			break
		}
		addrs = []netip.Addr{ip.Src(), ip.Dst()}
		kind = map[uint8]string{proto.ProtocolTCP: "tcp", proto.ProtocolUDP: "udp", proto.ProtocolVRRP: "vrrp"}[ip.Protocol()]
		if v, err := proto.ParseVRRP(ip.Payload()); err == nil && kind == "vrrp" {
			vrid = v.VRID()
			for i := range v.Count() {
				addrs = append(addrs, v.Addr(i))
			}
		}
	}
	return (f.Kind == "" || f.Kind == kind) && (f.VRID == 0 || f.VRID == vrid) && (len(f.Addrs) == 0 || common(f.Addrs, addrs))
}

func common(a, b []netip.Addr) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// Remark is what a receiver of VRRP holds against a frame that it refuses, "" for nothing
// (RFC 9568 §7.1).
func Remark(frame []byte) string {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || eth.Type() != proto.EtherTypeIPv4 {
		return ""
	}
	ip, err := proto.ParseIPv4(eth.Payload())
	if err != nil || ip.Protocol() != proto.ProtocolVRRP {
		return ""
	}
	v, err := proto.ParseVRRP(ip.Payload())
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

// source is a file of packets: [pcapgo.Reader] or [pcapgo.NgReader].
type source interface {
	ReadPacketData() (data []byte, info gopacket.CaptureInfo, err error)
}

// open finds out whether a file is pcap or pcapng.
func open(f io.ReadSeeker) (source, error) {
	if r, err := pcapgo.NewReader(f); err == nil {
		return r, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return nil, errors.New("neither pcap nor pcapng")
	}
	return r, nil
}

// File prints the packets of a capture that pass the filter, with their numbers and the
// time since the first packet. The error names the file; what was read before a damaged
// packet is printed.
func File(path string, filter Filter, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := open(f)
	if err != nil {
		return fmt.Errorf("%s: %w: name a capture file", path, err)
	}
	w := bufio.NewWriter(out)
	defer w.Flush()
	var first time.Time
	for n := 1; ; n++ {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: packet %d: %w", path, n, err)
		}
		if first.IsZero() {
			first = info.Timestamp
		}
		if filter.Passes(data) {
			fmt.Fprintln(w, Line(n, info.Timestamp.Sub(first), data))
		}
	}
}

// Line writes one packet.
func Line(n int, since time.Duration, frame []byte) string {
	line := fmt.Sprintf("%5d %12.6f  %s", n, since.Seconds(), proto.Describe(frame))
	if remark := Remark(frame); remark != "" {
		line += "  [" + remark + "]"
	}
	return line
}
