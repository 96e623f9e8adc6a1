package node

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// vector reads a frame of keepalived 2.2.7.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../proto/testdata/captures/vectors.hex")
	if err != nil {
		t.Fatal(err)
	}
	var frame []byte
	found := false
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if strings.HasPrefix(s.Text(), "@") {
			found = strings.HasPrefix(s.Text(), "@"+name+" ")
		} else if found {
			line, err := hex.DecodeString(strings.ReplaceAll(s.Text(), " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			frame = append(frame, line...)
		}
	}
	return frame
}

// authenticated is the node of the vectors: 10.77.0.1 with the key "secret12".
func authenticated(t *testing.T, peers config.Peers) *Node {
	t.Helper()
	c := instanceConf(100)
	c.AuthType, c.AuthPass, c.UnicastPeers = "AH", "secret12", peers
	c.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("10.77.0.100/32")}, {Prefix: netip.MustParsePrefix("10.77.0.101/32")}}
	mac := proto.MAC{2, 0, 0, 0, 0x77, 1}
	n, err := New(with(c), []Link{{Name: "eth0", MAC: mac, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24")}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	n.Step(0, Start{}, nil)
	if len(peers) > 0 {
		peer := proto.MAC{2, 0, 0, 0, 0x77, 2}
		reply := proto.AppendEthernet(nil, mac, peer, proto.EtherTypeARP)
		reply = proto.ARPMessage{Op: proto.ARPReply, SenderMAC: peer, Sender: peers[0].Addr, TargetMAC: mac, Target: netip.MustParseAddr("10.77.0.1")}.Append(reply)
		n.Step(0, Received{Frame: reply}, nil)
	}
	return n
}

// adverts lists the IPv4 frames that a step sends.
func adverts(out []Action) [][]byte {
	var list [][]byte
	for _, a := range out {
		if s, ok := a.(Send); ok && proto.Ethernet(s.Frame).Type() == proto.EtherTypeIPv4 {
			list = append(list, s.Frame)
		}
	}
	return list
}

// What leaves the node is what leaves keepalived: to the group, from a MASTER that
// resigns, and to a unicast peer.
func TestAuthenticationHeadersOfKeepalived(t *testing.T) {
	n := authenticated(t, nil)
	at, _ := n.Deadline()
	sent := adverts(n.Step(at, Tick{}, nil))
	sent = append(sent, adverts(n.Step(at+time.Millisecond, Stop{}, nil))...)
	unicast := authenticated(t, config.Peers{{Addr: netip.MustParseAddr("10.77.0.2")}})
	for len(sent) < 3 {
		at, _ := unicast.Deadline()
		sent = append(sent, adverts(unicast.Step(at, Tick{}, nil))...)
	}
	for i, name := range []string{"V04", "V05", "V06"} {
		if want := vector(t, name); !bytes.Equal(sent[i], want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, sent[i], want)
		}
	}
}

// The numbers go on across a takeover and a return, so that nobody is refused; an old
// message and one about something else change nothing.
func TestAuthenticationHeadersBetweenNodes(t *testing.T) {
	a, b := instanceConf(150), instanceConf(100)
	a.AuthType, b.AuthType, a.AuthPass, b.AuthPass = "AH", "AH", "secret", "secret"
	w := newWorld(t, with(a), with(b))
	w.start(0)
	w.start(1)
	w.run(3500 * time.Millisecond)
	at, _ := w.nodes[0].Deadline()
	w.run(at - 1)
	old := adverts(w.nodes[0].Step(at, Tick{}, nil))[0] // number 2, which is lost
	w.run(10 * time.Second)
	w.kill(0)
	w.run(20 * time.Second)
	w.nodes[0] = newWorld(t, with(a)).nodes[0]
	w.start(0)
	w.run(30 * time.Second)
	w.expect("0 VI_1 BACKUP -> MASTER", "1 VI_1 BACKUP -> MASTER", "0 VI_1 BACKUP -> MASTER", "1 VI_1 MASTER -> BACKUP (advert from 10.0.0.1 priority 150)")
	if log := strings.Join(w.log, "\n"); strings.Contains(log, "refused") {
		t.Fatal(log)
	}

	before, _ := w.nodes[1].Deadline()
	w.step(1, Received{Port: 1, Frame: old, At: w.now})
	w.expect("1 refused 10.0.0.1: replayed")
	tunnel := bytes.Clone(old)
	proto.IPv4(proto.Ethernet(tunnel).Payload()).Payload()[0] = 4
	lines := len(w.log)
	w.step(1, Received{Port: 1, Frame: tunnel, At: w.now})
	if after, _ := w.nodes[1].Deadline(); after != before || len(w.log) != lines {
		t.Errorf("deadline %v, was %v:\n%s", after, before, strings.Join(w.log[lines:], "\n"))
	}
}
