package node

import (
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/proto"
)

// Reference 4.2: every script of an instance in its state, the special one before the
// general one, and notify_master_rx_lower_pri for each lower advertisement, without it.
func TestScriptsOfAnInstance(t *testing.T) {
	script := func(name string) *config.Command { return &config.Command{Args: []string{name, "own"}} }
	c := instanceConf(150)
	c.NotifyMaster, c.NotifyBackup, c.NotifyFault, c.NotifyStop = script("/m"), script("/b"), script("/f"), script("/s")
	c.Notify, c.NotifyMasterRxLowerPri = script("/all"), script("/lower")
	w := newWorld(t, with(c))
	want := func(when, list string) {
		t.Helper()
		if got := notes(w); got != list {
			t.Errorf("%s:\ngot  %s\nwant %s", when, got, list)
		}
	}
	advert := func(priority uint8) {
		h := proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: addrOf(1), Dst: vrrpGroup}
		in := w.nodes[0].instances[0]
		msg := proto.Advert{Version: c.Version, VRID: c.VRID, Priority: priority, Interval: time.Second, Addrs: in.fsm.Advert(1).Addrs}.Append(nil)
		proto.SealVRRP(msg, h.Src, h.Dst, proto.ChecksumMessage)
		f := proto.AppendEthernet(nil, vrrpGroupMAC, macOf(1), proto.EtherTypeIPv4)
		w.step(0, Received{Port: 1, Frame: append(h.Append(f, len(msg)), msg...), At: w.now})
	}
	w.start(0)
	want("start", "/b own; /all own INSTANCE VI_1 BACKUP 150")
	advert(100)
	want("lower while BACKUP", "")
	w.run(w.now + 5*time.Second)
	want("election", "/m own; /all own INSTANCE VI_1 MASTER 150")
	advert(100)
	advert(100)
	want("lower while MASTER", "/lower own; /lower own")
	w.step(0, LinkChanged{Port: 1, MAC: macOf(0)})
	want("link down", "/f own; /all own INSTANCE VI_1 FAULT 150")
	w.step(0, Stop{})
	want("stop", "/s own; /all own INSTANCE VI_1 STOP 150")
}
