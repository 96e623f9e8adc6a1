package netlab

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/ring/pcap"
)

// Recorded is a frame of a capture that is played.
type Recorded struct {
	After time.Duration // since the first
	Frame []byte
}

// Recording reads the capture of play HOST FILE [of INTERFACE]; a path that is not
// absolute is looked for beside the scenario. Packets that the capture has the beginning
// of only cannot be played: they are left out.
func (s *Scenario) Recording(w []string) ([]Recorded, error) {
	path := w[2]
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(s.File), path)
	}
	of := ""
	if len(w) == 5 && w[3] == "of" {
		of = w[4]
	} else if len(w) != 3 {
		return nil, fmt.Errorf("must be %s", forms["play"].usage)
	}
	var list []Recorded
	var first time.Time
	err := pcap.Each(path, func(p pcap.Packet, _ []pcap.Interface) {
		name, _, _ := strings.Cut(p.Interface, ":")
		if of != "" && of != p.Interface && of != name || len(p.Data) < p.Length {
			return
		}
		if len(list) == 0 {
			first = p.At
		}
		list = append(list, Recorded{max(0, p.At.Sub(first)), append([]byte(nil), p.Data...)})
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: has no whole packet to play", path)
	}
	return list, err
}

// RawFrame reads the bytes of frame HOST HEX.
func RawFrame(w []string) ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(w[2:], ""))
	if err == nil && len(b) < 14 {
		err = fmt.Errorf("%d bytes are no Ethernet frame", len(b))
	}
	return b, err
}
