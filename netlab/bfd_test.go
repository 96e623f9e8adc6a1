package netlab

import (
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// detection is a session between ours and FRR's bfdd whose end FRR does not live to see.
const detection = `
needs namespaces
lan lan
node a ringkeep lan:eth0 10.0.0.1/24
node r frr lan:eth0 10.0.0.2/24
up a r
wait 20s log a "(to-r) Entering Up state"
run 1s
crash r
wait 3s log a "(to-r) Entering Down state"
run 200ms
-- a.conf --
bfd_instance to-r {
    neighbor_ip 10.0.0.2
    min_tx 100
    min_rx 100
    multiplier 3
}
-- r.conf --
!
bfd
 peer 10.0.0.1
  detect-multiplier 4
  receive-interval 100
  transmit-interval 150
`

// TestBFDDetection reads from the capture how long after the last packet of a neighbour that
// has crashed the session is told to be Down: its multiplier times its interval (RFC 5880
// §6.8.4), and a moment for a busy machine.
func TestBFDDetection(t *testing.T) {
	needs(t, "bfdd")
	if testing.Short() {
		t.Skip("plays in real time")
	}
	t.Parallel()
	s, err := Parse("detection", []byte(detection))
	if err != nil {
		t.Fatal(err)
	}
	r, out := play(t, s)
	if !r.Passed {
		t.Fatal(out)
	}
	const want = 4 * 150 * time.Millisecond
	var last, down time.Time
	err = pcap.Each(r.Capture, func(p pcap.Packet, _ []pcap.Interface) {
		m, ttl, ok := bfdOf(p.Data)
		switch {
		case !ok:
		case ttl != proto.BFDTTL:
			t.Errorf("TTL %d", ttl)
		case p.Interface == "r:eth0":
			last = p.At
		case m.State() == proto.BFDDown && m.Diag() == proto.BFDTimeExpired && down.IsZero():
			down = p.At
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := down.Sub(last); took < want || took > want+300*time.Millisecond {
		t.Errorf("Down %v after the last packet, the detection time is %v", took, want)
	}
}

// bfdOf reads the control packet of a frame.
func bfdOf(frame []byte) (m proto.BFD, ttl uint8, ok bool) {
	eth, err := proto.ParseEthernet(frame)
	if err != nil || eth.Type() != proto.EtherTypeIPv4 {
		return nil, 0, false
	}
	ip, err := proto.ParseIPv4(eth.Payload())
	if err != nil || ip.Protocol() != proto.ProtocolUDP {
		return nil, 0, false
	}
	u, err := proto.ParseUDP(ip.Payload())
	if err != nil || u.DstPort() != proto.BFDPort || u.SrcPort() < proto.BFDSourcePort {
		return nil, 0, false
	}
	m, err = proto.ParseBFD(u.Payload())
	return m, ip.TTL(), err == nil
}
