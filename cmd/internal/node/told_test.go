package node

import (
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// What is refused and what is odd is told (RFC 9568 §7.1, §8.3.2; RFC 3768 §7.1), once
// for each kind and sender, so that a flood fills no log. The same refusal is told anew
// after a change of state.
func TestRefusalsAndRemarksAreToldOnce(t *testing.T) {
	c := instanceConf(255)
	c.Version = 3
	n := newWorld(t, with(c)).nodes[0]
	now := time.Duration(0)
	told := func(ev Event) (list []string) {
		for _, a := range n.Step(now, ev, nil) {
			switch a := a.(type) {
			case Refused:
				list = append(list, a.Src.String()+" "+a.Verdict.String())
			case Remarked:
				list = append(list, a.Src.String()+" "+a.Remarks.String())
			}
		}
		return list
	}
	send := func(from int, priority uint8, interval time.Duration, form proto.ChecksumForm) (list []string) {
		h := proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: addrOf(from), Dst: vrrpGroup}
		msg := proto.Advert{Version: 3, VRID: 51, Priority: priority, Interval: interval, Addrs: n.instances[0].fsm.Advert(1).Addrs}.Append(nil)
		proto.SealVRRP(msg, h.Src, h.Dst, form)
		if form == proto.ChecksumBad {
			msg[6] ^= 1
		}
		f := proto.AppendEthernet(nil, vrrpGroupMAC, macOf(from), proto.EtherTypeIPv4)
		f = append(h.Append(f, len(msg)), msg...)
		for range 100 {
			list = append(list, told(Received{Port: 1, Frame: f, At: now})...)
		}
		return list
	}
	told(Start{})
	for _, c := range []struct {
		from     int
		priority uint8
		interval time.Duration
		form     proto.ChecksumForm
		want     []string
	}{
		{1, 1, time.Second, proto.ChecksumBad, []string{"10.0.0.2 bad checksum"}},
		{2, 1, time.Second, proto.ChecksumBad, []string{"10.0.0.3 bad checksum"}},
		{1, 1, time.Second, proto.ChecksumBad, nil},
		{1, 1, 0, proto.ChecksumPseudo, []string{"10.0.0.2 zero interval"}},
		{1, 1, time.Second, proto.ChecksumPseudo, []string{"10.0.0.2 owner hears a rival"}},
		{1, 1, 2 * time.Second, proto.ChecksumPseudo, []string{"10.0.0.2 interval differs, owner hears a rival"}},
		{3, 255, time.Second, proto.ChecksumPseudo, []string{"10.0.0.4 owner hears a rival, two owners"}}, // and wins
		{1, 1, time.Second, proto.ChecksumBad, []string{"10.0.0.2 bad checksum"}},
	} {
		if got := send(c.from, c.priority, c.interval, c.form); !slices.Equal(got, c.want) {
			t.Errorf("%+v: told %q", c, got)
		}
	}
	if s := n.instances[0].fsm.State(); s != fsm.Backup {
		t.Errorf("state %v", s)
	}
}
