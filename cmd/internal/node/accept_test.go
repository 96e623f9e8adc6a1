package node

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// term lists in order what an owner-less MASTER does to its addresses, routes and packets.
func term(actions []Action) []string {
	var list []string
	for _, a := range actions {
		switch a := a.(type) {
		case AddAddress:
			list = append(list, "add "+a.Prefix.Addr().String())
		case RemoveAddress:
			list = append(list, "remove "+a.Prefix.Addr().String())
		case BlockAddresses:
			list = append(list, fmt.Sprintf("block %d", len(a.Addresses)))
		case UnblockAddresses:
			list = append(list, fmt.Sprintf("unblock %d", len(a.Addresses)))
		case AddRoute:
			list = append(list, "add route")
		case RemoveRoute:
			list = append(list, "remove route")
		case Notify:
			list = append(list, "notify")
		}
	}
	return list
}

// While a node with no_accept is MASTER, packets to its addresses are dropped: from before
// the first is there until the last is gone (RFC 9568 §6.4.3). A member of a sync group does
// the same, and its routes move with it.
func TestNoAcceptGoesWithTheAddresses(t *testing.T) {
	for _, grouped := range []bool{false, true} {
		in := instanceConf(100)
		in.NoAccept = true
		in.Excluded = config.Addresses{{Prefix: netip.MustParsePrefix("2001:db8::1/64")}}
		in.Routes = config.Routes{{To: netip.MustParsePrefix("192.0.2.0/24"), Device: "eth0"}}
		in.NotifyMaster = &config.Command{Args: []string{"m"}}
		in.NotifyBackup, in.NotifyStop = in.NotifyMaster, in.NotifyMaster
		cfg := with(in)
		if grouped {
			cfg.SyncGroups = []*config.SyncGroup{{Name: "G", Members: config.Names{in.Name}}}
		}
		n, err := New(cfg, []Link{{Name: "eth0", MAC: proto.MAC{2}, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		step := func(at time.Duration, ev Event, want ...string) {
			t.Helper()
			if got := term(n.Step(at, ev, nil)); !slices.Equal(got, want) {
				t.Errorf("grouped %v, %T:\ngot  %q\nwant %q", grouped, ev, got, want)
			}
		}
		up := []string{"block 2", "add 10.0.0.100", "add 2001:db8::1", "add route", "notify"}
		down := []string{"remove 10.0.0.100", "remove 2001:db8::1", "unblock 2", "notify"}
		step(0, Start{}, "notify")
		step(4*time.Second, Tick{}, up...)
		step(5*time.Second, AddressChanged{Port: 0, Prefix: netip.MustParsePrefix("10.0.0.100/32"), Present: true})
		step(6*time.Second, LinkChanged{Port: 0}, append([]string{"remove route"}, down[:3]...)...)
		step(7*time.Second, LinkChanged{Port: 0, Up: true}, "notify")
		step(11*time.Second, Tick{}, up...)
		step(13*time.Second, Stop{}, append([]string{"remove route"}, down...)...)
	}
}

// Without no_accept nothing is dropped.
func TestAcceptByDefault(t *testing.T) {
	n := newWorld(t, with(instanceConf(100))).nodes[0]
	n.Step(0, Start{}, nil)
	if got := term(n.Step(4*time.Second, Tick{}, nil)); !slices.Equal(got, []string{"add 10.0.0.100"}) {
		t.Errorf("%q", got)
	}
}

// With track_src_ip the instance takes part while the configured source is on its interface;
// without, it believes the file.
func TestTrackSrcIP(t *testing.T) {
	source := netip.MustParsePrefix("10.0.0.50/24")
	for _, track := range []bool{true, false} {
		for _, unicast := range []bool{true, false} {
			in := instanceConf(100)
			in.TrackSrcIP = track
			if unicast {
				in.UnicastSource, in.UnicastPeers = source.Addr(), config.Peers{{Addr: addrOf(1), MinTTL: -1, MaxTTL: -1}}
			} else {
				in.McastSource = source.Addr()
			}
			w := newWorld(t, with(in))
			state := func(want fsm.State, what string) {
				t.Helper()
				if !track && want == fsm.Fault {
					return
				}
				if got := w.nodes[0].instances[0].fsm.State(); got != want {
					t.Errorf("track %v, unicast %v, %s: %v, want %v", track, unicast, what, got, want)
				}
			}
			w.start(0)
			state(fsm.Fault, "without the address")
			w.step(0, AddressChanged{Port: 0, Prefix: source, Present: true})
			state(fsm.Fault, "on another interface")
			w.step(0, AddressChanged{Port: 1, Prefix: source, Present: true})
			state(fsm.Backup, "with it")
			w.run(5 * time.Second)
			state(fsm.Master, "after a while")
			w.step(0, AddressChanged{Port: 1, Prefix: source})
			state(fsm.Fault, "removed")
			if !track {
				state(fsm.Master, "removed")
			}
			w.step(0, AddressChanged{Port: 1, Prefix: source, Present: true})
			w.run(10 * time.Second)
			state(fsm.Master, "back")
		}
	}
}
