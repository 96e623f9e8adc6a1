package node

import (
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// Two peers get two copies of each advertisement: with the same identification, TTL 255
// and the MAC of the peer (conformance 49).
func TestUnicastCopies(t *testing.T) {
	c := instanceConf(255)
	c.UnicastPeers = config.Peers{{Addr: addrOf(1)}, {Addr: addrOf(2)}}
	n := newWorld(t, with(c)).nodes[0]
	n.Step(0, Start{}, nil)
	for i := 1; i <= 2; i++ {
		reply := proto.AppendEthernet(nil, macOf(0), macOf(i), proto.EtherTypeARP)
		reply = proto.ARPMessage{Op: proto.ARPReply, SenderMAC: macOf(i), Sender: addrOf(i), TargetMAC: macOf(0), Target: addrOf(0)}.Append(reply)
		n.Step(0, Received{Port: 1, Frame: reply}, nil)
	}
	var last uint16
	for at := time.Second; at <= 3*time.Second; at += time.Second {
		sent := adverts(n.Step(at, Tick{}, nil))
		if len(sent) != 2 {
			t.Fatalf("at %v: %d copies", at, len(sent))
		}
		for i, f := range sent {
			eth := proto.Ethernet(f)
			ip, err := proto.ParseIPv4(eth.Payload())
			if err != nil || eth.Dst() != macOf(i+1) || eth.Src() != macOf(0) || ip.Dst() != addrOf(i+1) || ip.TTL() != 255 {
				t.Errorf("at %v, copy %d: %s", at, i, proto.Describe(f))
			}
			if id := ip.ID(); i == 0 && id != last+1 && last != 0 || i == 1 && id != last {
				t.Errorf("at %v, copy %d: identification %d after %d", at, i, id, last)
			} else {
				last = id
			}
		}
	}
}
